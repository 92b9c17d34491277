//! safeport-sim
