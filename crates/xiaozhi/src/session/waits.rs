//! How long a voice session waits for what.

/// Times of a voice session, in milliseconds. `Waits::default()` is what fits stock firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// From the connection to the hello. Default 10 s, as long as devices wait for ours.
    pub hello: u64,
    /// Without a word of anybody until the farewell; `None`: no end. Default 120 s.
    pub idle: Option<u64>,
    /// For the farewell, until the end without one. Default 60 s.
    pub farewell: u64,
    /// Without a sign of the pipeline, while it is to answer and has nothing left to play, until
    /// the turn is given up. Default 60 s: tools of a device may take 30.
    pub answer: u64,
    /// Without a message to the device until one is sent that does nothing. Default 100 s: after
    /// 120 s firmware takes a connection for dead.
    pub keep_alive: u64,
    /// Audio that may lie ahead of what is being played. Default 300 ms, at most 1000: a longer
    /// one bridges worse networks.
    pub lead: u32,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits {
            hello: 10_000,
            idle: Some(120_000),
            farewell: 60_000,
            answer: 60_000,
            keep_alive: 100_000,
            lead: 300,
        }
    }
}
