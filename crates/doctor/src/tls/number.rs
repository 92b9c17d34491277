//! The error numbers that devices print.

use core::fmt;

use serde::{Serialize, Serializer};

/// The number under which a device reports an error, as its log shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Number {
    /// Of BearSSL: its own numbers, 256 more for an alert that came, below zero for what is not TLS.
    BearSsl(i32),
    /// Of mbedTLS: below zero, printed as `-0x2700`, and the flags of the verification.
    MbedTls {
        /// The error.
        code: i32,
        /// What is wrong with the certificate; 0 for other errors.
        flags: u32,
    },
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::BearSsl(number) => write!(f, "{number}"),
            Number::MbedTls { code, flags: 0 } => write!(f, "-0x{:04X}", -code),
            Number::MbedTls { code, flags } => write!(f, "-0x{:04X} (flags 0x{flags:X})", -code),
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
