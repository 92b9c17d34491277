//! Truth, text, numbers, sizes, times, folders.

use alloc::string::{String, ToString};
use core::time::Duration;

use super::{Kind, Misfit, Raw, quote, type_name};
use crate::said::said;
use crate::units::{parse_duration, show_duration};
use crate::{ByteSize, DataPath, Said};

impl Kind for bool {
    fn read(raw: Raw<'_>) -> Result<bool, Misfit> {
        let read = match raw {
            Raw::Toml(value) => value.as_bool(),
            Raw::Text("true") => Some(true),
            Raw::Text("false") => Some(false),
            Raw::Text(_) => None,
        };
        read.ok_or_else(|| {
            raw.misfit(
                said!("is neither true nor false", "既不是 true 也不是 false"),
                said!(
                    "write true or false, without quotes",
                    "请写 true 或 false，不加引号"
                ),
            )
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Kind for String {
    fn read(raw: Raw<'_>) -> Result<String, Misfit> {
        Ok(raw.text("\"text\"")?.to_string())
    }

    fn show(&self) -> String {
        quote(self)
    }
}

impl Kind for DataPath {
    fn read(raw: Raw<'_>) -> Result<DataPath, Misfit> {
        let help = || said!("write a path, or \"auto\"", "请写路径，或 \"auto\"");
        match raw.text("\"/var/lib/safeport\"")? {
            "" => Err(raw.misfit(said!("names no folder", "没有指明文件夹"), help())),
            text if text.contains('\0') => Err(raw.misfit(
                said!(
                    "has a zero byte, which no path can have",
                    "含有零字节，路径里不允许"
                ),
                help(),
            )),
            "auto" => Ok(DataPath::Auto),
            folder => Ok(DataPath::Folder(folder.to_string())),
        }
    }

    fn show(&self) -> String {
        match self {
            DataPath::Auto => quote("auto"),
            DataPath::Folder(folder) => quote(folder),
        }
    }
}

/// Whole numbers, of the width that the setting's type has.
macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Kind for $type {
            fn read(raw: Raw<'_>) -> Result<$type, Misfit> {
                let number = match raw {
                    Raw::Toml(value) => value.as_integer(),
                    Raw::Text(text) => text.replace('_', "").parse::<i64>().ok(),
                };
                let Some(number) = number else {
                    return Err(raw.misfit(
                        said!("is not a whole number", "不是整数"),
                        said!(
                            "write digits without quotes or a unit, for example 1000",
                            "请只写数字，不加引号和单位，例如 1000"
                        ),
                    ));
                };
                <$type>::try_from(number).map_err(|_| raw.misfit(
                    said!("is out of range", "超出范围"),
                    said!("use a number from 0 to {}", "请用 0 到 {} 之间的数字", <$type>::MAX),
                ))
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn measure(&self) -> Option<u64> {
                Some(u64::from(*self))
            }
        }
    )*};
}
whole_number!(u16, u32);

impl Kind for ByteSize {
    fn read(raw: Raw<'_>) -> Result<ByteSize, Misfit> {
        with_unit(
            raw,
            ByteSize::parse,
            said!("a size", "大小"),
            said!(
                "\"64KiB\", \"1MiB\" or a plain number of bytes",
                "\"64KiB\"、\"1MiB\" 或单独的字节数"
            ),
        )
    }

    fn show(&self) -> String {
        quote(&self.to_string())
    }

    fn measure(&self) -> Option<u64> {
        Some(self.0)
    }
}

impl Kind for Duration {
    fn read(raw: Raw<'_>) -> Result<Duration, Misfit> {
        with_unit(
            raw,
            parse_duration,
            said!("a duration", "时长"),
            said!(
                "\"500ms\", \"10s\", \"7d\" or a plain number of seconds",
                "\"500ms\"、\"10s\"、\"7d\" 或单独的秒数"
            ),
        )
    }

    fn show(&self) -> String {
        quote(&show_duration(*self))
    }

    fn measure(&self) -> Option<u64> {
        u64::try_from(self.as_millis()).ok()
    }
}

/// Reads a number with a unit, or a bare integer from a file.
fn with_unit<T>(
    raw: Raw<'_>,
    parse: fn(&str) -> Result<T, Said>,
    name: Said,
    example: Said,
) -> Result<T, Misfit> {
    let seen = raw.seen();
    let text = match raw {
        Raw::Text(text) => text.to_string(),
        Raw::Toml(value) => match (value.as_str(), value.as_integer()) {
            (Some(text), _) => text.to_string(),
            (None, Some(number)) => number.to_string(),
            (None, None) => {
                let is = type_name(value);
                return Err(Misfit {
                    what: said!("{seen} is {}, not {}", "{seen} 是{}，不是{}", is, name),
                    help: said!("write {}", "请写 {}", example),
                });
            }
        },
    };
    parse(&text).map_err(|why| Misfit {
        what: said!("{seen} is not {}: {}", "{seen} 不是{}：{}", name, why),
        help: said!("write {}", "请写 {}", example),
    })
}
