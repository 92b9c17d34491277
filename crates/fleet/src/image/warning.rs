//! What does not stop an image but should be known.

use alloc::string::String;

use super::Kind;

/// What a person should know before, or when, an image is offered. The text
/// says what to do; [`Warning::code`] is the same for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Warning {
    /// Bytes after the end of the image.
    #[error(
        "{bytes} bytes follow the end of the image: devices ignore them, but the file may have been joined with another; compare it with the original"
    )]
    Trailing {
        /// How many.
        bytes: u64,
    },
    /// An ESP32 image without a SHA-256 at its end.
    #[error(
        "the image carries no SHA-256, so that devices check it by one byte only; build it with the hash appended, which is the default of the tools"
    )]
    NoHash,
    /// An ESP32 application without description.
    #[error(
        "the image does not describe itself (no ESP-IDF application descriptor), so that its version is unknown; xiaozhi and ESP-IDF devices will refuse it"
    )]
    NoDescriptor,
    /// Nothing tells the version.
    #[error(
        "the image does not tell its version; put it into the file's name, such as {example}, or name it when you add the image"
    )]
    NoVersion {
        /// A name in which it is found.
        example: String,
    },
    /// The name and the contents tell different versions.
    #[error(
        "the file's name says version {name}, the image itself says {inside}, which counts; check that it is the file you meant"
    )]
    NameVersion {
        /// In the name.
        name: String,
        /// In the image.
        inside: String,
    },
    /// The name and the contents tell different kinds.
    #[error(
        "the file's name says {name}, but its contents are those of {inside}, which counts; check that it is the file you meant"
    )]
    NameKind {
        /// By the name.
        name: Kind,
        /// By the contents.
        inside: Kind,
    },
    /// Only the name tells the kind.
    #[error(
        "only the file's name says that this is {kind}; its contents do not tell. Take it from the same release as the main image"
    )]
    KindByName {
        /// The kind.
        kind: Kind,
    },
    /// A safeboot that cannot do MQTT over TLS.
    #[error(
        "this safeboot was built without TLS for MQTT: a device that uses port 8883 is out of MQTT's reach while it runs. Take a release whose safeboot can, or keep its web page reachable"
    )]
    NoMqttTls,
    /// A safeboot of which TLS cannot be told.
    #[error(
        "whether this safeboot can do MQTT over TLS cannot be told from the file; try it on one device first"
    )]
    MqttTlsUnknown,
    /// Nothing tells the family.
    #[error(
        "which firmware this is cannot be told from the file; it is offered only where you say so"
    )]
    FamilyUnknown,
    /// A stepping stone offered as the destination.
    #[error(
        "a minimal image is a stepping stone: it does nothing but take the next image; offer the full image instead"
    )]
    MinimalAsMain,
    /// Built for more flash than the device has.
    #[error(
        "the image was built for {image} bytes of flash, the device has {device}: some versions refuse it; take the build for the device's flash"
    )]
    FlashSize {
        /// For which it was built.
        image: u32,
        /// Which there is.
        device: u32,
    },
    /// The device did not say its chip's revision.
    #[error(
        "the image needs chip revision v{}.{} or later, and the device has not told its own; it will refuse the image if it is older", min / 100, min % 100
    )]
    RevisionUnknown {
        /// Lowest revision: major × 100 + minor.
        min: u16,
    },
    /// Whether the chip has one core or two is not known.
    #[error(
        "the device has not told whether its ESP32 has one core; if it has, it starts only images for a single core (solo1)"
    )]
    CoresUnknown,
    /// Older than what runs.
    #[error("version {to} is older than {from}, which the device runs")]
    Older {
        /// What runs.
        from: String,
        /// The image's.
        to: String,
    },
    /// The same version as what runs.
    #[error("the device runs version {version} already, in another build")]
    SameVersion {
        /// Of both.
        version: String,
    },
    /// Another build of the same firmware.
    #[error(
        "the device runs the build {device}, the image is {image}: settings of parts that it lacks are lost"
    )]
    OtherVariant {
        /// What runs.
        device: String,
        /// The image's.
        image: String,
    },
    /// The slot's size is an assumption.
    #[error(
        "the device has not told the size of its slot; the usual one of its layout, {bytes} bytes, is assumed"
    )]
    SlotSizeAssumed {
        /// In bytes.
        bytes: u64,
    },
}

impl Warning {
    /// A short word for programs, the same in every language.
    pub fn code(&self) -> &'static str {
        match self {
            Warning::Trailing { .. } => "trailing",
            Warning::NoHash => "no-hash",
            Warning::NoDescriptor => "no-descriptor",
            Warning::NoVersion { .. } => "no-version",
            Warning::NameVersion { .. } => "name-version",
            Warning::NameKind { .. } => "name-kind",
            Warning::KindByName { .. } => "kind-by-name",
            Warning::NoMqttTls => "no-mqtt-tls",
            Warning::MqttTlsUnknown => "mqtt-tls-unknown",
            Warning::FamilyUnknown => "family-unknown",
            Warning::MinimalAsMain => "minimal-as-main",
            Warning::FlashSize { .. } => "flash-size",
            Warning::RevisionUnknown { .. } => "revision-unknown",
            Warning::CoresUnknown => "cores-unknown",
            Warning::Older { .. } => "older",
            Warning::SameVersion { .. } => "same-version",
            Warning::OtherVariant { .. } => "other-variant",
            Warning::SlotSizeAssumed { .. } => "slot-size-assumed",
        }
    }
}
