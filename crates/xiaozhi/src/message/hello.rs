//! The first message of each side: what it can do, and how its audio comes.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use super::fields::{Fields, Wrong, cut, mark};
use super::json::Writer;
use crate::limits::MAX_FIELD;

/// What a device says first. All of it is claimed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceHello {
    /// 1 to 3: over WebSocket the framing of its audio, over MQTT always 3. Browsers send none.
    pub version: Option<u64>,
    /// How it will send audio; browsers do not say.
    pub transport: Option<Transport>,
    /// What it can do beside talking.
    pub features: Features,
    /// Of the audio that it sends; browsers do not say.
    pub audio: Option<AudioParams>,
    /// The font into which glyphs could be pushed.
    pub text_font: Option<TextFont>,
}

/// How audio travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// In binary frames of the same connection.
    WebSocket,
    /// In datagrams beside MQTT.
    Udp,
}

/// What a device can do beside talking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features {
    /// It has tools (always from firmware 1.8.0).
    pub mcp: bool,
    /// The server cancels its echo: it sends time stamps with its audio.
    pub aec: bool,
    /// It takes glyphs that its font lacks (from firmware 2.4.0).
    pub glyph_push: bool,
}

/// The font of a device that takes glyphs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextFont {
    /// Name of the font's bundle.
    pub bundle: Box<str>,
    /// `basic` or `common`.
    pub charset: Box<str>,
    /// Height, in pixels.
    pub size: u16,
    /// Bits of one pixel: 1 or 4.
    pub bpp: u8,
}

/// How audio of one direction is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AudioParams {
    /// Codec.
    pub format: AudioFormat,
    /// Samples of a second, 8,000 to 48,000. Opus can be decoded at any of its rates, whatever
    /// this says.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Milliseconds of one packet, 1 to 120. A packet says more reliably itself how long it is.
    pub frame_duration: u16,
}

/// A codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AudioFormat {
    /// The one that every device speaks.
    #[default]
    Opus,
    /// Samples as they are (esp_xiaozhi can).
    Pcm,
    /// G.711 (esp_xiaozhi can).
    G711,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHello {
    /// How audio travels.
    pub way: HelloWay,
    /// Of the audio that the server sends.
    pub audio: AudioParams,
}

/// How audio travels, with what the device needs for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelloWay {
    /// In binary frames of the same connection.
    WebSocket,
    /// In datagrams. Boxed: most voice sessions have none.
    Udp(Box<UdpOffer>),
}

/// Where a device sends its datagrams, and how they are ciphered.
#[derive(Clone, PartialEq, Eq)]
pub struct UdpOffer {
    /// IPv4 address, or a name that has one.
    pub server: Box<str>,
    /// Port, 1 to 65535.
    pub port: u16,
    /// Key of AES-128-CTR; another one for each hello.
    pub key: [u8; 16],
    /// Head of every packet: `01 00`, two zero bytes, the ssrc, eight zero bytes.
    pub nonce: [u8; 16],
}

impl core::fmt::Debug for UdpOffer {
    /// Without the key, which would be found in logs.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "UdpOffer({}:{})", self.server, self.port)
    }
}

impl AudioParams {
    /// What stock devices send, and what counts where a hello says nothing.
    pub const DEVICE: AudioParams = AudioParams {
        format: AudioFormat::Opus,
        sample_rate: 16_000,
        channels: 1,
        frame_duration: 60,
    };
    /// What a server sends if its hello says nothing; most boards play 24 kHz.
    pub const SERVER: AudioParams = AudioParams {
        sample_rate: 24_000,
        ..AudioParams::DEVICE
    };

    fn read(fields: &Fields<'_>, absent: AudioParams, wrong: &mut Wrong) -> AudioParams {
        let mut within = |name, least: u64, most: u64, otherwise: u64| {
            let number = fields.number(name, wrong).unwrap_or(otherwise);
            if (least..=most).contains(&number) {
                return number;
            }
            mark(name, wrong);
            otherwise
        };
        let sample_rate = within("sample_rate", 8_000, 48_000, absent.sample_rate.into()) as u32;
        let channels = within("channels", 1, 2, absent.channels.into()) as u8;
        let duration = absent.frame_duration.into();
        let frame_duration = within("frame_duration", 1, 120, duration) as u16;
        let format = fields.text("format", wrong);
        let format = match format.as_deref() {
            None => absent.format,
            Some(name) => match AudioFormat::ALL.into_iter().find(|f| f.name() == name) {
                Some(format) => format,
                None => {
                    mark("format", wrong);
                    absent.format
                }
            },
        };
        AudioParams {
            format,
            sample_rate,
            channels,
            frame_duration,
        }
    }

    fn to_json(self) -> String {
        let mut json = Writer::object();
        json.text("format", self.format.name());
        json.plain("sample_rate", self.sample_rate);
        json.plain("channels", self.channels);
        json.plain("frame_duration", self.frame_duration);
        json.end()
    }
}

impl AudioFormat {
    const ALL: [AudioFormat; 3] = [AudioFormat::Opus, AudioFormat::Pcm, AudioFormat::G711];

    /// As it is written in a hello.
    pub fn name(self) -> &'static str {
        match self {
            AudioFormat::Opus => "opus",
            AudioFormat::Pcm => "pcm",
            AudioFormat::G711 => "g711",
        }
    }
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Transport::WebSocket => "websocket",
            Transport::Udp => "udp",
        }
    }

    fn read(fields: &Fields<'_>, wrong: &mut Wrong) -> Option<Transport> {
        match fields.text("transport", wrong)?.as_ref() {
            "websocket" => Some(Transport::WebSocket),
            "udp" => Some(Transport::Udp),
            _ => {
                mark("transport", wrong);
                None
            }
        }
    }
}

impl DeviceHello {
    /// How its audio is coded.
    pub fn audio(&self) -> AudioParams {
        self.audio.unwrap_or(AudioParams::DEVICE)
    }

    pub(super) fn read(fields: &Fields<'_>, wrong: &mut Wrong) -> DeviceHello {
        let mut features = Features::default();
        if let Some(said) = fields.object("features", wrong) {
            features.mcp = said.flag("mcp", wrong).unwrap_or(false);
            features.aec = said.flag("aec", wrong).unwrap_or(false);
            features.glyph_push = said.flag("glyph_push", wrong).unwrap_or(false);
        }
        let audio = fields.object("audio_params", wrong);
        let font = fields.object("text_font", wrong);
        DeviceHello {
            version: fields.number("version", wrong),
            transport: Transport::read(fields, wrong),
            features,
            audio: audio.map(|said| AudioParams::read(&said, AudioParams::DEVICE, wrong)),
            text_font: font.map(|said| TextFont::read(&said, wrong)),
        }
    }

    pub(super) fn write(&self, json: &mut Writer) {
        if let Some(version) = self.version {
            json.plain("version", version);
        }
        let mut features = Writer::object();
        features.plain("mcp", self.features.mcp);
        if self.features.aec {
            features.plain("aec", true);
        }
        features.plain("glyph_push", self.features.glyph_push);
        json.raw("features", &features.end());
        if let Some(transport) = self.transport {
            json.text("transport", transport.name());
        }
        if let Some(audio) = self.audio {
            json.raw("audio_params", &audio.to_json());
        }
        if let Some(font) = &self.text_font {
            json.raw("text_font", &font.to_json());
        }
    }
}

impl TextFont {
    fn read(fields: &Fields<'_>, wrong: &mut Wrong) -> TextFont {
        let mut text = |name| {
            let text = fields.text(name, wrong).unwrap_or_default();
            Box::from(cut(text, MAX_FIELD).as_ref())
        };
        let (bundle, charset) = (text("bundle"), text("charset"));
        let size = fields.number("size", wrong).unwrap_or(0);
        let bpp = fields.number("bpp", wrong).unwrap_or(0);
        TextFont {
            bundle,
            charset,
            size: size.try_into().unwrap_or(0),
            bpp: bpp.try_into().unwrap_or(0),
        }
    }

    fn to_json(&self) -> String {
        let mut json = Writer::object();
        json.text("bundle", &self.bundle);
        json.text("charset", &self.charset);
        json.plain("size", self.size);
        json.plain("bpp", self.bpp);
        json.end()
    }
}

impl ServerHello {
    pub(super) fn read(fields: &Fields<'_>, wrong: &mut Wrong) -> Option<ServerHello> {
        let way = match Transport::read(fields, wrong)? {
            Transport::WebSocket => HelloWay::WebSocket,
            Transport::Udp => {
                let udp = fields.object("udp", wrong)?;
                HelloWay::Udp(Box::new(UdpOffer::read(&udp, wrong)?))
            }
        };
        let audio = match fields.object("audio_params", wrong) {
            Some(said) => AudioParams::read(&said, AudioParams::SERVER, wrong),
            None => AudioParams::SERVER,
        };
        Some(ServerHello { way, audio })
    }

    pub(super) fn write(&self, json: &mut Writer) {
        // Firmware dereferences `transport` without a look whether it is there.
        let (version, transport) = match self.way {
            HelloWay::WebSocket => (1, Transport::WebSocket),
            HelloWay::Udp(_) => (3, Transport::Udp),
        };
        json.plain("version", version);
        json.text("transport", transport.name());
        if let HelloWay::Udp(offer) = &self.way {
            json.raw("udp", &offer.to_json());
        }
        json.raw("audio_params", &self.audio.to_json());
    }
}

impl UdpOffer {
    /// What a device takes up; it refuses the whole hello for any one field.
    fn read(fields: &Fields<'_>, wrong: &mut Wrong) -> Option<UdpOffer> {
        let server = fields.text("server", wrong).unwrap_or(Cow::Borrowed(""));
        let port = fields.number("port", wrong).unwrap_or(0);
        let mut bytes = |name| {
            let text = fields.text(name, wrong)?;
            let bytes = unhex(&text);
            if bytes.is_none() {
                mark(name, wrong);
            }
            bytes
        };
        let (key, nonce) = (bytes("key"), bytes("nonce"));
        let port = u16::try_from(port).ok().filter(|port| *port != 0);
        if port.is_none() {
            mark("port", wrong);
        }
        if server.is_empty() {
            mark("server", wrong);
            return None;
        }
        Some(UdpOffer {
            server: Box::from(cut(server, MAX_FIELD).as_ref()),
            port: port?,
            key: key?,
            nonce: nonce?,
        })
    }

    fn to_json(&self) -> String {
        let mut json = Writer::object();
        json.text("server", &self.server);
        json.plain("port", self.port);
        json.text("encryption", "aes-128-ctr");
        json.text("key", &hex(self.key));
        json.text("nonce", &hex(self.nonce));
        json.end()
    }
}

fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok()?;
    is_hex.then(|| number.to_be_bytes())
}
