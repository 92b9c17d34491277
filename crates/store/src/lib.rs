//! safeport-store
