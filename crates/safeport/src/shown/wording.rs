//! Why an image, a device or an offer is refused, and what to do, in the reader's language.
//!
//! The English words stand with the types themselves; here are the Chinese ones, as a match over
//! each type, so that a new refusal does not compile before it has its words in both.

use safeport_fleet::image::{GzipError, ImageError, Looks, Misfit, Warning};
use safeport_fleet::release::Refusal;
use safeport_fleet::upgrade::Reason;
use safeport_fleet::version::VersionError;

use crate::serve::upgrades::OfferError;
use crate::text::Language;

/// What has words in every language.
pub trait Wording: std::fmt::Display {
    /// In this language.
    fn words(&self, language: Language) -> String {
        match language {
            Language::English => self.to_string(),
            Language::Chinese => self.in_chinese(),
        }
    }

    /// In Chinese.
    fn in_chinese(&self) -> String;
}

impl Wording for Misfit {
    fn in_chinese(&self) -> String {
        let revision = |number: &u16| format!("v{}.{}", number / 100, number % 100);
        match self {
            Misfit::Factory { offset, length } => format!(
                "这是用线缆刷写的出厂文件：它以引导程序开头，设备会把整个文件当作应用程序存下。请取出其中的应用程序：从 {offset:#x} 起的 {length} 字节"
            ),
            Misfit::Bootloader => {
                "引导程序只能用线缆刷写，没有设备会通过网络接收它。请使用构建结果中的应用程序映像，通常是 firmware.bin".into()
            }
            Misfit::PartitionTable => {
                "分区表只能用线缆刷写，没有设备会通过网络接收它。请使用构建结果中的应用程序映像，通常是 firmware.bin".into()
            }
            Misfit::Gzip { chip } => format!(
                "只有 ESP8266 接收 gzip，而这个映像用于 {chip}：请解压后提供 .bin 文件"
            ),
            Misfit::GzipTooOld { version } => format!(
                "Tasmota {version} 不接收 gzip（8.2 起才支持）：请提供不带 .gz 的 .bin 文件"
            ),
            Misfit::ChipUnknown => {
                "设备还没有报告芯片型号，而用于其他芯片的映像会使它无法启动：请等待询问结果，或用 `device set NAME --chip CHIP` 指明".into()
            }
            Misfit::Chip { image, device } => format!(
                "映像用于 {image}，设备是 {device}：请使用 {device} 的版本"
            ),
            Misfit::RevisionTooLow { min, device } => format!(
                "映像需要芯片版本 {} 或更高，设备是 {}：请使用适用于较旧芯片的版本",
                revision(min),
                revision(device)
            ),
            Misfit::RevisionTooHigh { max, device } => format!(
                "映像最高适用于芯片版本 {}，设备是 {}：请使用较新的版本",
                revision(max),
                revision(device)
            ),
            Misfit::OneCore => {
                "设备的 ESP32 只有一个核心，而这个版本需要两个：请使用单核版本（tasmota32solo1.bin、ESP32solo1）".into()
            }
            Misfit::FamilyUnknown => {
                "不知道设备运行哪种固件：请等待它出现，或用 `device set NAME --family FAMILY` 指明".into()
            }
            Misfit::Family { image, device } => format!(
                "映像是 {image}，设备运行 {device}：换成另一种固件会丢失设备的设置，包括登录信息。请用线缆更换，然后重新登记设备"
            ),
            Misfit::NoDescriptor => {
                "映像没有自我描述（缺少 ESP-IDF 应用描述符），这台设备会拒绝这样的映像：请使用构建结果中的应用程序映像".into()
            }
            Misfit::Slot { kind, slot } => format!(
                "{kind} 映像不能写入 {slot} 槽位：请使用该槽位的映像"
            ),
            Misfit::NoSafeboot => {
                "设备没有 safeboot 分区：请只升级主映像，或先用线缆更改分区".into()
            }
            Misfit::NoOta => "设备只有一个应用程序分区，无法通过网络升级：请使用线缆".into(),
            Misfit::LayoutUnknown => {
                "不知道设备的闪存如何划分：请等待询问结果，或用 `device set NAME --layout dual|safeboot` 指明".into()
            }
            Misfit::SlotSizeUnknown => {
                "不知道槽位有多大：请等待询问结果，或用 `device set NAME --slot-size BYTES` 指明".into()
            }
            Misfit::TooLarge { size, space } => format!(
                "映像有 {size} 字节，槽位有 {space} 字节：请使用较小的版本，或用线缆更改分区"
            ),
            Misfit::FlashSize { image, device } => format!(
                "映像是为 {image} 字节的闪存构建的，设备有 {device} 字节，会拒绝它：请使用适合设备闪存的版本"
            ),
            Misfit::Version { version, why } => {
                format!("版本 {version} 不可用：{}", why.in_chinese())
            }
            Misfit::VersionUnknown => {
                "映像没有说明自己的版本，而设备要与自己的版本比较：请在添加映像时指明版本".into()
            }
            Misfit::XiaozhiLayout { version } => format!(
                "版本 {version} 需要另一种分区表（xiaozhi 2 增加了资源分区）：请先用线缆刷写一次设备"
            ),
            Misfit::Variant { image, device } => format!(
                "映像是 {image} 版本，设备运行 {device}，两者的闪存布局或文件系统不同，设备会丢失设置。请使用 {device} 版本"
            ),
            Misfit::AlreadyInstalled => "设备运行的正是这个映像：无需任何操作".into(),
        }
    }
}

impl Wording for Refusal {
    fn in_chinese(&self) -> String {
        match self {
            Refusal::Misfit(misfit) => misfit.in_chinese(),
            Refusal::NoImage { count, nearest } => format!(
                "发布中的 {count} 个映像都不适合这台设备；最接近的一个：{}",
                nearest.in_chinese()
            ),
            Refusal::Ambiguous { names } => format!(
                "有多个映像适合这台设备（{names}）：请提供其中一个，或制作一个每种设备只有一个映像的发布"
            ),
            Refusal::Empty => {
                "发布中没有映像：请用 `safeport firmware release NAME IMAGE …` 重新制作".into()
            }
            Refusal::AlreadyInstalled { version } => {
                format!("设备已经运行 {version}；如需再安装一次，请加上 --reinstall")
            }
            Refusal::SameVersion { version } => format!(
                "设备运行的也是版本 {version}，xiaozhi 不会安装与自己相同的版本：请用更高的版本号构建映像"
            ),
            Refusal::SafebootMissing { known, chip } => format!(
                "设备通过 TLS 连接，它的 safeboot（{known}）可能太旧：请把 {chip} 的 safeboot 映像也放进发布，或加上 --safeboot off"
            ),
            Refusal::SafebootWithoutTls { file } => format!(
                "{file} 构建时没有 MQTT over TLS，而这台设备通过 TLS 连接：首次重启进入该 safeboot 后就再也没有它的消息。请使用带 TLS 的 safeboot，或让设备使用不加密的监听端口"
            ),
            Refusal::SafebootUnprovable { file } => format!(
                "无法判断 {file} 是否支持 MQTT over TLS，而能够恢复设备的设备页面地址也不知道：请用 `safeport device set NAME --web HOST:PORT` 指明，或加上 --safeboot off"
            ),
            Refusal::MinimalMissing { flash } => format!(
                "这台 ESP8266 有 {flash} 字节闪存，放不下两个映像：请把 tasmota-minimal.bin 也放进发布"
            ),
            Refusal::HopMissing { from, hop } => format!(
                "Tasmota 从 {from} 升级要经过 {hop}：请把该映像也放进发布，文件名中带上版本（tasmota-{hop}.bin）"
            ),
            Refusal::UrlTooLong { length, limit } => format!(
                "映像的地址会有 {length} 个字符，而 Tasmota 只能保存 {limit} 个：请公布较短的名称或 IP 地址"
            ),
            Refusal::Assets => {
                "资源通过语音会话发给 xiaozhi 设备，不通过固件升级：请提供应用程序映像".into()
            }
        }
    }
}

impl Wording for OfferError {
    fn in_chinese(&self) -> String {
        match self {
            OfferError::NoMember(id) => {
                format!("没有设备 {id}；请查看 `safeport device list`")
            }
            OfferError::Refused(refusal) => refusal.in_chinese(),
            OfferError::Open(offer) => {
                format!("设备有一个未结束的升级 {offer}：请先取消它，或等它结束")
            }
            OfferError::Contested => {
                "另一块板子使用了这台设备的登录，无法确定会写入哪一块：请查看 `safeport device quarantine`，并用 --keep 或 --pass 解决".into()
            }
            // Names of files and what the system says of them.
            OfferError::NoFirmware(why) => why.clone(),
            OfferError::Store(error) => format!("升级无法写入登记库：{error}"),
        }
    }
}

impl Wording for Warning {
    fn in_chinese(&self) -> String {
        match self {
            Warning::Trailing { bytes } => format!(
                "映像结尾之后还有 {bytes} 字节：设备会忽略它们，但文件可能与另一个拼接在一起；请与原文件比较"
            ),
            Warning::NoHash => {
                "映像不带 SHA-256，设备只用一个字节检查它；请在构建时附加校验值，这是工具的默认做法".into()
            }
            Warning::NoDescriptor => {
                "映像没有自我描述（缺少 ESP-IDF 应用描述符），因此版本未知；xiaozhi 和 ESP-IDF 设备会拒绝它".into()
            }
            Warning::NoVersion { example } => format!(
                "映像没有说明自己的版本；请写在文件名中，例如 {example}，或在添加映像时指明"
            ),
            Warning::NameVersion { name, inside } => format!(
                "文件名说版本是 {name}，映像本身说是 {inside}，以后者为准；请确认这是您要的文件"
            ),
            Warning::NameKind { name, inside } => format!(
                "文件名说是 {name}，内容却是 {inside}，以后者为准；请确认这是您要的文件"
            ),
            Warning::KindByName { kind } => format!(
                "只有文件名说明这是 {kind}，内容看不出来。请使用与主映像同一发布中的文件"
            ),
            Warning::NoMqttTls => {
                "这个 safeboot 构建时没有 MQTT over TLS：它运行期间，使用 8883 端口的设备无法通过 MQTT 联系到。请使用支持 TLS 的 safeboot，或确保设备页面可以访问".into()
            }
            Warning::MqttTlsUnknown => {
                "从文件看不出这个 safeboot 是否支持 MQTT over TLS；请先在一台设备上试用".into()
            }
            Warning::FamilyUnknown => {
                "从文件看不出这是哪种固件；只会在您指定的地方提供".into()
            }
            Warning::MinimalAsMain => {
                "minimal 映像只是过渡：它除了接收下一个映像外什么也不做；请提供完整映像".into()
            }
            Warning::FlashSize { image, device } => format!(
                "映像是为 {image} 字节的闪存构建的，设备有 {device} 字节：有些版本会拒绝它；请使用适合设备闪存的版本"
            ),
            Warning::RevisionUnknown { min } => format!(
                "映像需要芯片版本 v{}.{} 或更高，设备还没有报告自己的版本；如果较旧，它会拒绝这个映像",
                min / 100,
                min % 100
            ),
            Warning::CoresUnknown => {
                "设备没有说明它的 ESP32 是否只有一个核心；如果是，它只能启动单核映像（solo1）".into()
            }
            Warning::Older { from, to } => format!("版本 {to} 比设备运行的 {from} 旧"),
            Warning::SameVersion { version } => {
                format!("设备已经运行版本 {version}，但构建不同")
            }
            Warning::OtherVariant { device, image } => format!(
                "设备运行 {device} 版本，映像是 {image}：映像中没有的部分的设置会丢失"
            ),
            Warning::SlotSizeAssumed { bytes } => format!(
                "设备没有说明槽位的大小；按其布局的通常大小 {bytes} 字节计算"
            ),
        }
    }
}

impl Wording for ImageError {
    fn in_chinese(&self) -> String {
        const AGAIN: &str = "文件已损坏；请重新下载";
        match self {
            ImageError::Empty => "文件是空的：请重新下载".into(),
            ImageError::TooLarge { limit } => format!(
                "文件大于 {limit} 字节：这些芯片没有这么大的映像；如果您的确实如此，请调高 firmware.max_image"
            ),
            ImageError::NotAnImage(looks) => format!("不是 ESP 映像：{}", looks.in_chinese()),
            ImageError::Truncated { size, needs } => format!(
                "文件在 {size} 字节后结束，而文件头说至少有 {needs} 字节：下载中断了；请重新下载"
            ),
            ImageError::Segments { count } => {
                format!("文件头说有 {count} 个段，而映像有 1 到 16 个：{AGAIN}")
            }
            ImageError::SegmentLength { index, length } => {
                format!("段 {index} 长 {length} 字节，超过任何闪存：{AGAIN}")
            }
            ImageError::SegmentUnaligned { index, length } => {
                format!("段 {index} 长 {length} 字节，而长度应是 4 的倍数：{AGAIN}")
            }
            ImageError::SecondHeader { magic } => {
                format!("第二个文件头以 {magic:#04x} 而不是 0xe9 开头：{AGAIN}")
            }
            ImageError::Header { value } => format!(
                "文件头第 23 字节是 {value}，只有 0 和 1 有意义：文件已损坏或用于另一种芯片；请重新下载"
            ),
            ImageError::Checksum { stored, computed } => {
                format!("校验和是 {stored:#04x}，而内容算出 {computed:#04x}：{AGAIN}")
            }
            ImageError::Hash => format!("映像末尾的 SHA-256 与内容不符：{AGAIN}"),
            ImageError::Crc { stored, computed } => {
                format!("映像中的 CRC 是 {stored:#010x}，而内容算出 {computed:#010x}：{AGAIN}")
            }
            ImageError::Signature => {
                "末尾的签名是为其他内容做的：请重新签名，或使用构建得到的原文件".into()
            }
            ImageError::UnknownChip { id } => format!(
                "映像用于编号为 {id} 的芯片，Safeport 不认识它：请使用其他文件，较新的 Safeport 也许认识"
            ),
            ImageError::Gzip(error) => format!(
                "gzip 文件已损坏（{}）：请重新下载，或重新压缩映像",
                error.in_chinese()
            ),
            ImageError::UnpackedTooLarge { limit } => format!(
                "gzip 文件解压后超过 {limit} 字节：只有 ESP8266 接收 gzip，而它没有这么大的映像"
            ),
            ImageError::Inside(error) => format!("gzip 文件内部：{}", error.in_chinese()),
            ImageError::NoApp => {
                "这是一个没有应用程序的出厂文件（引导程序和分区表）：请使用构建结果中的应用程序映像，通常是 firmware.bin".into()
            }
            ImageError::PartitionTable => "分区表已损坏：校验和不符；请重新构建".into(),
        }
    }
}

impl Wording for GzipError {
    fn in_chinese(&self) -> String {
        let text = match self {
            GzipError::Header => "文件头要求 gzip 没有的功能",
            GzipError::Data => "压缩数据无法理解",
            GzipError::Truncated => "提前结束",
            GzipError::Crc => "CRC 不符",
            GzipError::Length => "末尾的长度不符",
            GzipError::Trailing => "结尾之后还有字节，而 ESP8266 在那里读取大小",
        };
        text.into()
    }
}

impl Wording for VersionError {
    fn in_chinese(&self) -> String {
        let text = match self {
            VersionError::Empty => "版本是空的：请写一个，例如 1.2.0",
            VersionError::Long => "版本太长：请缩短",
            VersionError::Control => "版本中有控制字符：请使用字母、数字、点和短横线",
            VersionError::Xiaozhi => {
                "xiaozhi 设备把版本读作用点分隔的整数，例如 2.4.2；其他写法会使它的检查中断"
            }
            VersionError::Tasmota => {
                "Tasmota 的版本是三或四个不超过 255 的数字，用点分隔，例如 15.0.1 或 15.0.1.2"
            }
            VersionError::EspEasy => "ESPEasy 的版本是文件名中的日期，例如 20240822",
        };
        text.into()
    }
}

impl Wording for Looks {
    fn in_chinese(&self) -> String {
        let text = match self {
            Looks::Html => "是网页，多半是存成文件的错误页面；请重新下载",
            Looks::Markup => "是 JSON 或 XML；请使用 .bin 文件",
            Looks::Elf => "是链接器的输出（.elf）；请使用同一次构建的 .bin 文件",
            Looks::Uf2 => "是 UF2 文件，用于当作 U 盘刷写的板子；请使用 .bin 文件",
            Looks::Zip => "是 ZIP 压缩包；请解压并使用其中的 .bin 文件",
            Looks::Archive => "是压缩包；请解压并使用其中的 .bin 文件",
            Looks::IntelHex => "是 Intel HEX；请使用 .bin 文件",
            Looks::Text => "是文本；请使用 .bin 文件",
            Looks::FileSystem => "是文件系统；请使用应用程序映像",
            Looks::Erased => "是擦除后的闪存内容；请重新构建或下载",
            Looks::Random => "看不出任何规律，是加密或压缩过的；请使用未加密的 .bin 文件",
            Looks::Other(byte) => {
                return format!("以 {byte:#04x} 而不是 0xe9 开头；请使用 .bin 文件");
            }
        };
        text.into()
    }
}

/// What to do after an offer has failed for the reason with this word; none for one that only
/// another version knows.
pub fn advice(reason: &str, language: Language) -> Option<&'static str> {
    let reason: Reason = serde_json::from_value(reason.into()).ok()?;
    Some(match language {
        Language::English => reason.advice(),
        Language::Chinese => advice_in_chinese(reason),
    })
}

fn advice_in_chinese(reason: Reason) -> &'static str {
    match reason {
        Reason::SafebootWithoutTls => {
            "这个发布中的 safeboot 连不上 TLS 监听端口，因此没有动主映像。请提供 safeboot 带 MQTT over TLS 的发布，或让设备升级时使用不加密的端口（SetOption103 0，端口 1883）。"
        }
        Reason::StuckInSafeboot => {
            "请在浏览器中打开 http://<设备地址>/，选择“固件升级”，上传主映像；然后重新提供这个发布。"
        }
        Reason::WrongFile => {
            "设备说这个文件不适合它。请用 `safeport firmware inspect` 比较芯片、分区布局和大小，并提供适合这台设备的映像。"
        }
        Reason::Refused => "设备拒绝了，原话见上。请在设备上纠正，然后重新提供。",
        Reason::InstallLoop => {
            "设备取走了映像却没有保留。请检查它自己的升级检查是否比较版本，以及映像能否在这块板子上启动。"
        }
        Reason::BootLoop => "设备不断重启。请重新提供以前的映像，或查看它的串口输出。",
        Reason::Crashed => {
            "新映像因异常或看门狗重启。请重新提供以前的映像，并附上调用栈报告这次崩溃。"
        }
        Reason::OtherBuild => {
            "运行的不是取走的映像。请检查上传映像时填写的版本是否就是它报告的版本，以及是否还有别人在升级这台设备。"
        }
        Reason::NotProved => {
            "映像已被取走，但设备没有说明自己运行什么。请查看设备；如果一切正常，请让它报告版本。"
        }
        Reason::Unstable => {
            "使用新映像后设备反复掉线。请在 `safeport attempts` 中查看原因，或重新提供以前的映像。"
        }
        Reason::BackupRefused => {
            "设备不交出设置供备份。请告诉 Safeport 设备页面的密码，或设置 `firmware.backup_before = false`。"
        }
        Reason::UrlTooLong => {
            "Tasmota 的 OtaUrl 最多保存 100 个字符。请公布较短的名称或 IP 地址（`advertise.host`），或缩短映像的文件名。"
        }
        Reason::Unreachable => "设备没有回来。请检查板子和它的 Wi-Fi；设备回来后可以重新提供。",
        Reason::Interrupted => {
            "不断有东西打断：消息丢失、下载中断或断电。请检查设备的 Wi-Fi 信号和电源，然后重新提供。"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safeport_fleet::{Chip, Family};

    #[test]
    fn refusals_keep_their_figures_and_names_in_both_languages() {
        let refusal = OfferError::Refused(Refusal::NoImage {
            count: 2,
            nearest: Misfit::TooLarge {
                size: 3_000_016,
                space: 2_097_152,
            },
        });
        for language in [Language::English, Language::Chinese] {
            let words = refusal.words(language);
            assert!(
                words.contains("3000016") && words.contains("2097152"),
                "{words}"
            );
        }
        let misfit = Misfit::Chip {
            image: Chip::Esp32,
            device: Chip::Esp32C3,
        };
        assert!(misfit.words(Language::Chinese).starts_with("映像用于"));
        assert_eq!(misfit.words(Language::English), misfit.to_string());
        let family = Misfit::Family {
            image: Family::Tasmota,
            device: Family::EspEasy,
        };
        assert!(family.words(Language::Chinese).contains("tasmota"));
        let error = ImageError::Inside(Box::new(ImageError::NotAnImage(Looks::Html)));
        assert!(error.words(Language::Chinese).contains("网页"));
    }

    #[test]
    fn the_advice_on_a_failed_offer_is_found_by_the_word_for_its_reason() {
        for reason in [
            Reason::SafebootWithoutTls,
            Reason::InstallLoop,
            Reason::UrlTooLong,
        ] {
            let english = advice(reason.code(), Language::English);
            let chinese = advice(reason.code(), Language::Chinese);
            assert_eq!(english, Some(reason.advice()));
            assert!(chinese.is_some() && chinese != english, "{reason:?}");
        }
        assert_eq!(advice("of tomorrow", Language::Chinese), None);
    }
}
