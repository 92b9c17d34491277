//! safeport-engine
