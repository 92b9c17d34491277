//! Empty buffers, kept for the next connection that needs one.

use crate::limits::{POOL_BUFFER_BYTES, POOL_BYTES};

/// Buffers of one loop. Idle connections own none, so a busy one takes and gives back one for
/// each burst; this is cheaper than the allocator.
#[derive(Default)]
pub(crate) struct Pool {
    buffers: Vec<Vec<u8>>,
    /// what the buffers can hold
    bytes: usize,
}

impl Pool {
    /// An empty buffer, with room if one was kept.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Gives a buffer back, unless it grew too large or enough are kept.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        let size = buffer.capacity();
        if size > 0 && size <= POOL_BUFFER_BYTES && self.bytes + size <= POOL_BYTES {
            buffer.clear();
            self.bytes += size;
            self.buffers.push(buffer);
        }
    }
}
