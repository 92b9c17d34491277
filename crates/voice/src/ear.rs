//! One microphone: packets in, what is spoken out.

use crate::codec::{CodecError, Decoder, Rate};
use crate::endpoint::{Change, Endpointer, Patience};
use crate::vad::Vad;

/// Decoder, detector and endpoints of one microphone: about 30 kB, so it lives only while somebody
/// is being listened to.
pub struct Ear {
    decoder: Decoder,
    vad: Vad,
    endpointer: Endpointer,
    samples: Vec<i16>,
}

impl Ear {
    /// That has heard nothing yet.
    ///
    /// # Errors
    /// [`CodecError::Inside`] when memory is short.
    pub fn new(patience: Patience) -> Result<Ear, CodecError> {
        Ok(Ear {
            decoder: Decoder::new(Rate::Hz16000)?,
            vad: Vad::default(),
            endpointer: Endpointer::new(patience),
            samples: Vec::new(),
        })
    }

    /// Takes one packet of Opus and calls `changed` for each change in it.
    ///
    /// # Errors
    /// As [`Decoder::decode`]; the packet is passed over.
    pub fn hear(
        &mut self,
        packet: &[u8],
        mut changed: impl FnMut(Change),
    ) -> Result<(), CodecError> {
        self.samples.clear();
        self.decoder.decode(packet, &mut self.samples)?;
        let endpointer = &mut self.endpointer;
        self.vad.hear(&self.samples, |score| {
            if let Some(change) = endpointer.hear(score) {
                changed(change);
            }
        });
        Ok(())
    }

    /// The samples of the last packet, at 16 kHz.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// Whether somebody speaks.
    pub fn is_speaking(&self) -> bool {
        self.endpointer.is_speaking()
    }
}

#[cfg(test)]
mod tests;
