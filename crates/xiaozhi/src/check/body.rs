//! The body of a check, read as far as it goes.
//!
//! The values are taken up while the text is parsed, so that what stands before a fault is kept.
//! Every field may be of any type: one that does not fit is passed over.

use alloc::string::String;
use core::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::{Body, Info, Partition, kept};
use crate::limits::MAX_PARTITIONS;

/// What the body says.
pub(super) fn read(body: &[u8]) -> (Body, Info) {
    let mut info = Info::default();
    if body.trim_ascii().is_empty() {
        return (Body::Empty, info);
    }
    let mut text = serde_json::Deserializer::from_slice(body);
    let at = At {
        info: &mut info,
        field: Field::Root,
    };
    let whole = at.deserialize(&mut text).is_ok() && text.end().is_ok();
    (if whole { Body::Whole } else { Body::Broken }, info)
}

/// A place in the body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Root,
    Language,
    FlashSize,
    Heap,
    Mac,
    Uuid,
    Chip,
    ChipInfo,
    ChipRevision,
    Application,
    ApplicationName,
    Version,
    CompileTime,
    IdfVersion,
    ElfHash,
    Partitions,
    Partition,
    Label,
    Kind,
    Subtype,
    Address,
    Size,
    Ota,
    RunningSlot,
    Display,
    Width,
    Height,
    Board,
    BoardType,
    BoardName,
    Manufacturer,
    Ip,
    Rssi,
    Modem,
    Sim,
    Skipped,
}

impl Field {
    /// The field of this name in the object at `self`.
    fn child(self, key: &str) -> Field {
        match (self, key) {
            (Field::Root, "language") => Field::Language,
            (Field::Root, "flash_size") => Field::FlashSize,
            (Field::Root, "minimum_free_heap_size" | "min_free_heap_size") => Field::Heap,
            (Field::Root, "mac_address" | "mac") => Field::Mac,
            (Field::Root, "uuid") => Field::Uuid,
            (Field::Root, "chip_model_name") => Field::Chip,
            (Field::Root, "chip_info") => Field::ChipInfo,
            (Field::Root, "application") => Field::Application,
            (Field::Root, "partition_table") => Field::Partitions,
            (Field::Root, "ota") => Field::Ota,
            (Field::Root, "display") => Field::Display,
            (Field::Root, "board") => Field::Board,
            (Field::ChipInfo, "revision") => Field::ChipRevision,
            (Field::Application, "name") => Field::ApplicationName,
            (Field::Application, "version") => Field::Version,
            (Field::Application, "compile_time") => Field::CompileTime,
            (Field::Application, "idf_version") => Field::IdfVersion,
            (Field::Application, "elf_sha256") => Field::ElfHash,
            (Field::Partition, "label") => Field::Label,
            (Field::Partition, "type") => Field::Kind,
            (Field::Partition, "subtype") => Field::Subtype,
            (Field::Partition, "address") => Field::Address,
            (Field::Partition, "size") => Field::Size,
            (Field::Ota, "label") => Field::RunningSlot,
            (Field::Display, "width") => Field::Width,
            (Field::Display, "height") => Field::Height,
            (Field::Board, "type") => Field::BoardType,
            (Field::Board, "name") => Field::BoardName,
            (Field::Board, "manufacturer") => Field::Manufacturer,
            (Field::Board, "ip") => Field::Ip,
            (Field::Board, "rssi") => Field::Rssi,
            (Field::Board, "revision") => Field::Modem,
            (Field::Board, "imei" | "iccid" | "carrier") => Field::Sim,
            _ => Field::Skipped,
        }
    }
}

/// Takes up the value at a place.
struct At<'a> {
    info: &'a mut Info,
    field: Field,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.field == Field::Skipped {
            return IgnoredAny::deserialize(deserializer).map(drop);
        }
        let is_root = self.field == Field::Root;
        deserializer.deserialize_any(self).and_then(|was_object| {
            if is_root && !was_object {
                return Err(D::Error::custom("the body is no object"));
            }
            Ok(())
        })
    }
}

impl<'de> Visitor<'de> for At<'_> {
    /// Whether it was an object.
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        if self.field == Field::Partition {
            self.info.partitions.push(Partition::default());
        }
        while let Some(field) = map.next_key_seed(Key(self.field))? {
            map.next_value_seed(At {
                info: self.info,
                field,
            })?;
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        loop {
            let is_row =
                self.field == Field::Partitions && self.info.partitions.len() < MAX_PARTITIONS;
            let field = if is_row {
                Field::Partition
            } else {
                Field::Skipped
            };
            let row = At {
                info: self.info,
                field,
            };
            if list.next_element_seed(row)?.is_none() {
                return Ok(false);
            }
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        self.text(text);
        Ok(false)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<bool, E> {
        self.number(i64::try_from(number).unwrap_or(i64::MAX));
        Ok(false)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<bool, E> {
        self.number(number);
        Ok(false)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<bool, E> {
        // Saturates at the ends; what stands behind the point is no part of any of these.
        self.number(number as i64);
        Ok(false)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

impl At<'_> {
    fn text(self, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let info = self.info;
        let place: &mut Option<String> = match self.field {
            Field::Language => &mut info.language,
            Field::Mac => &mut info.mac,
            Field::Uuid => &mut info.uuid,
            Field::Chip => &mut info.chip,
            Field::ApplicationName => &mut info.application,
            Field::Version => &mut info.version,
            Field::CompileTime => &mut info.compile_time,
            Field::IdfVersion => &mut info.idf_version,
            Field::ElfHash => &mut info.elf_sha256,
            Field::RunningSlot => &mut info.running_slot,
            Field::BoardType => &mut info.board_type,
            Field::BoardName => &mut info.board_name,
            Field::Manufacturer => &mut info.manufacturer,
            Field::Ip => &mut info.ip,
            Field::Modem => &mut info.modem,
            Field::Label => {
                if let Some(row) = info.partitions.last_mut() {
                    row.label = kept(text);
                }
                return;
            }
            Field::Sim => {
                info.has_sim = true;
                return;
            }
            // Numbers come as texts, too: minimum_free_heap_size always does.
            field => {
                if let Ok(number) = text.parse() {
                    At { info, field }.number(number);
                }
                return;
            }
        };
        *place = Some(kept(text));
    }

    fn number(self, number: i64) {
        let info = self.info;
        let unsigned = u64::try_from(number).ok();
        let small = u32::try_from(number).ok();
        match self.field {
            Field::FlashSize => info.flash_size = unsigned,
            Field::Heap => info.minimum_free_heap = unsigned,
            Field::ChipRevision => info.chip_revision = small,
            Field::Rssi => info.rssi = i32::try_from(number).ok(),
            Field::Width => {
                info.screen = Some((small.unwrap_or(0), info.screen.map_or(0, |s| s.1)))
            }
            Field::Height => {
                info.screen = Some((info.screen.map_or(0, |s| s.0), small.unwrap_or(0)));
            }
            Field::Sim => info.has_sim = true,
            Field::Kind | Field::Subtype | Field::Address | Field::Size => {
                let Some(row) = info.partitions.last_mut() else {
                    return;
                };
                let byte = u8::try_from(number).unwrap_or(u8::MAX);
                match self.field {
                    Field::Kind => row.kind = byte,
                    Field::Subtype => row.subtype = byte,
                    Field::Address => row.address = unsigned.unwrap_or(0),
                    _ => row.size = unsigned.unwrap_or(0),
                }
            }
            _ => {}
        }
    }
}

/// Which field a key of the object at a place names, without keeping the key.
struct Key(Field);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Field, E> {
        Ok(self.0.child(key))
    }
}
