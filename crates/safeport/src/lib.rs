//! safeport-safeport
