//! The server side of RFC 6455 after the upgrade, as a byte stream: MQTT packets may be split over
//! frames or share one [MQTT-6.0.0-2], so payload is handed on as it arrives and never gathered.
//! A connection therefore holds at most one unfinished frame header, or one control frame.
//!
//! [`super::Messages`] gathers them all the same, for protocols that count in messages.

use thiserror::Error;
use tungstenite::protocol::frame::coding::CloseCode;

use super::{LayerError, Received};
use crate::limits::{WEBSOCKET_CONTROL, WEBSOCKET_FRAME, WEBSOCKET_MESSAGE};

/// What a WebSocket client did wrong. [`WebSocketError::close_code`] is what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WebSocketError {
    /// A text frame; MQTT travels in binary frames only [MQTT-6.0.0-1].
    #[error(
        "the client sent a WebSocket text frame; MQTT needs binary frames, set the client's \
             WebSocket to binary (in a browser: send an ArrayBuffer)"
    )]
    Text,
    /// A frame without mask (RFC 6455 §5.1).
    #[error(
        "the client sent a WebSocket frame without a mask; every client must mask its frames, \
             use a newer WebSocket library on it"
    )]
    Unmasked,
    /// A reserved bit is set although no extension was agreed.
    #[error(
        "the client sent a WebSocket frame with reserved bits set; no extension was agreed, \
             switch off compression (permessage-deflate) in the client"
    )]
    ReservedBits,
    /// An opcode that RFC 6455 does not define.
    #[error(
        "the client sent the unknown WebSocket opcode {0:#x}; use a newer WebSocket library \
             on it, or look for a proxy that damages traffic"
    )]
    Opcode(u8),
    /// A control frame that is not final.
    #[error("the client split a WebSocket control frame; use a newer WebSocket library on it")]
    SplitControl,
    /// A control frame with more than 125 bytes of payload.
    #[error(
        "the client sent a WebSocket control frame of {0} bytes, 125 is the most; use a newer \
             WebSocket library on it"
    )]
    LongControl(u64),
    /// A continuation with nothing to continue.
    #[error(
        "the client continued a WebSocket message that it had not begun; use a newer \
             WebSocket library on it"
    )]
    NothingToContinue,
    /// A new data frame inside an unfinished message.
    #[error(
        "the client began a WebSocket message before it had finished the one before; use a \
             newer WebSocket library on it"
    )]
    Unfinished,
    /// A frame or message over the limit.
    #[error(
        "the client announced a WebSocket {part} of {size} bytes, {limit} is the most; send \
             smaller messages"
    )]
    TooLong {
        /// "frame" or "message".
        part: &'static str,
        /// Its size in bytes, as far as announced.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A close frame with one byte of payload or a code that may not be sent.
    #[error("the client sent a WebSocket close frame with an invalid code; nothing is lost")]
    CloseCode,
    /// A close frame whose reason is not UTF-8.
    #[error("the client sent a WebSocket close frame whose reason is not UTF-8; nothing is lost")]
    CloseReason,
}

impl WebSocketError {
    /// The close code of RFC 6455 §7.4 that the client was sent.
    pub fn close_code(self) -> u16 {
        let code = match self {
            WebSocketError::Text => CloseCode::Unsupported,
            WebSocketError::TooLong { .. } => CloseCode::Size,
            WebSocketError::CloseReason => CloseCode::Invalid,
            _ => CloseCode::Protocol,
        };
        code.into()
    }
}

/// One WebSocket connection.
#[derive(Debug)]
pub(super) struct WebSocket {
    reading: Reading,
    carries: Carries,
    /// Payload bytes announced so far of a message whose final frame has not come.
    message: Option<u64>,
    /// Whether the current message is text.
    is_text: bool,
    end: End,
}

/// What the protocol above wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Bytes, wherever messages end; text is none of them.
    Bytes,
    /// Messages of so many bytes at most, binary and text; each is in memory as a whole.
    Messages(u32),
}

/// What the next byte belongs to.
#[derive(Debug)]
enum Reading {
    Header(Header),
    Data(DataFrame),
    // A control frame is rare, and must be whole before it can be answered.
    Control(Box<ControlFrame>),
}

/// A frame header that may have arrived in part.
#[derive(Debug, Default)]
struct Header {
    bytes: [u8; 14],
    held: u8,
}

#[derive(Debug)]
struct DataFrame {
    left: u64,
    mask: [u8; 4],
    /// Whether the message ends with it.
    is_final: bool,
}

#[derive(Debug)]
struct ControlFrame {
    opcode: u8,
    length: usize,
    mask: [u8; 4],
    payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// We have sent a close frame; what comes before theirs is read and dropped.
    SaidGoodbye,
    /// Nothing more comes or goes.
    Over,
}

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

impl WebSocket {
    pub(super) fn new(carries: Carries) -> WebSocket {
        WebSocket {
            reading: Reading::Header(Header::default()),
            carries,
            message: None,
            is_text: false,
            end: End::Open,
        }
    }

    /// `ended` is told where a message ends, whether it was text, and what `plain` holds then.
    pub(super) fn receive(
        &mut self,
        raw: &[u8],
        plain: &mut Vec<u8>,
        raw_out: &mut Vec<u8>,
        ended: impl FnMut(bool, &mut Vec<u8>),
    ) -> Result<Received, WebSocketError> {
        let outcome = self.read(raw, plain, raw_out, ended);
        if let Err(error) = outcome {
            self.say_close(&error.close_code().to_be_bytes(), raw_out);
            self.end = End::Over;
        }
        outcome
    }

    fn read(
        &mut self,
        mut raw: &[u8],
        plain: &mut Vec<u8>,
        raw_out: &mut Vec<u8>,
        mut ended: impl FnMut(bool, &mut Vec<u8>),
    ) -> Result<Received, WebSocketError> {
        while self.end != End::Over {
            // A frame without payload ends where its header ends, so this comes before the bytes.
            match &self.reading {
                Reading::Data(frame) if frame.left == 0 => {
                    if frame.is_final && self.end == End::Open {
                        ended(self.is_text, plain);
                    }
                    self.expect_header();
                }
                Reading::Control(frame) if frame.payload.len() == frame.length => {
                    self.answer_control(raw_out)?;
                }
                _ if raw.is_empty() => return Ok(Received::Open),
                _ => raw = self.take(raw, plain)?,
            }
        }
        Ok(Received::Closed)
    }

    /// Takes bytes from the front of `raw`, at least one, and returns the rest.
    fn take<'a>(&mut self, raw: &'a [u8], plain: &mut Vec<u8>) -> Result<&'a [u8], WebSocketError> {
        match &mut self.reading {
            Reading::Header(header) => {
                header.push(raw[0]);
                self.check_header()?;
                Ok(&raw[1..])
            }
            Reading::Data(frame) => {
                let most = usize::try_from(frame.left).unwrap_or(usize::MAX);
                let (payload, rest) = raw.split_at(most.min(raw.len()));
                // After our close frame nobody wants the payload any more.
                if self.end == End::Open {
                    unmask_into(plain, payload, frame.mask);
                }
                frame.mask.rotate_left(payload.len() % 4);
                frame.left -= payload.len() as u64;
                Ok(rest)
            }
            Reading::Control(frame) => {
                let missing = frame.length - frame.payload.len();
                let (payload, rest) = raw.split_at(missing.min(raw.len()));
                unmask_into(&mut frame.payload, payload, frame.mask);
                frame.mask.rotate_left(payload.len() % 4);
                Ok(rest)
            }
        }
    }

    /// Judges the header as far as it has come, so that a fault is answered at its own byte.
    fn check_header(&mut self) -> Result<(), WebSocketError> {
        let Reading::Header(header) = &self.reading else {
            return Ok(());
        };
        match header.held {
            1 => self.check_first_byte(header.bytes[0])?,
            2 if header.bytes[1] & MASKED == 0 => return Err(WebSocketError::Unmasked),
            _ => {}
        }
        let Some((length, mask)) = header.complete() else {
            return Ok(());
        };
        let first = header.bytes[0];
        self.reading = if is_control(first) {
            if length > WEBSOCKET_CONTROL as u64 {
                return Err(WebSocketError::LongControl(length));
            }
            let (opcode, length) = (first & 0x0f, length as usize);
            let payload = Vec::with_capacity(length);
            Reading::Control(Box::new(ControlFrame {
                opcode,
                length,
                mask,
                payload,
            }))
        } else {
            self.count_message(first, length)?;
            if first & 0x0f != CONTINUATION {
                self.is_text = first & 0x0f == TEXT;
            }
            Reading::Data(DataFrame {
                left: length,
                mask,
                is_final: first & FINAL != 0,
            })
        };
        Ok(())
    }

    fn check_first_byte(&self, first: u8) -> Result<(), WebSocketError> {
        if first & RESERVED != 0 {
            return Err(WebSocketError::ReservedBits);
        }
        match first & 0x0f {
            CONTINUATION if self.message.is_none() => Err(WebSocketError::NothingToContinue),
            TEXT | BINARY if self.message.is_some() => Err(WebSocketError::Unfinished),
            TEXT if self.carries == Carries::Bytes => Err(WebSocketError::Text),
            CLOSE | PING | PONG if first & FINAL == 0 => Err(WebSocketError::SplitControl),
            CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG => Ok(()),
            opcode => Err(WebSocketError::Opcode(opcode)),
        }
    }

    fn count_message(&mut self, first: u8, length: u64) -> Result<(), WebSocketError> {
        let too_long = |part, size, limit| Err(WebSocketError::TooLong { part, size, limit });
        let (frame, message) = match self.carries {
            Carries::Bytes => (WEBSOCKET_FRAME, WEBSOCKET_MESSAGE),
            Carries::Messages(most) => (u64::from(most), u64::from(most)),
        };
        if length > frame {
            return too_long("frame", length, frame);
        }
        let size = self.message.unwrap_or(0) + length;
        if size > message {
            return too_long("message", size, message);
        }
        self.message = (first & FINAL == 0).then_some(size);
        Ok(())
    }

    fn expect_header(&mut self) -> Reading {
        std::mem::replace(&mut self.reading, Reading::Header(Header::default()))
    }

    fn answer_control(&mut self, raw_out: &mut Vec<u8>) -> Result<(), WebSocketError> {
        let Reading::Control(frame) = self.expect_header() else {
            return Ok(());
        };
        match frame.opcode {
            PING if self.end == End::Open => put_frame(PONG, &frame.payload, raw_out),
            CLOSE => {
                check_close(&frame.payload)?;
                // The answer repeats the code (RFC 6455 §5.5.1); the reason is of no use to them.
                let code = &frame.payload[..frame.payload.len().min(2)];
                self.say_close(code, raw_out);
                self.end = End::Over;
            }
            _ => {}
        }
        Ok(())
    }

    /// One binary frame around `plain`.
    pub(super) fn send(&self, plain: &[u8], raw_out: &mut Vec<u8>) -> Result<(), LayerError> {
        self.put(BINARY, plain, raw_out)
    }

    /// One text frame.
    pub(super) fn send_text(&self, text: &str, raw_out: &mut Vec<u8>) -> Result<(), LayerError> {
        self.put(TEXT, text.as_bytes(), raw_out)
    }

    fn put(&self, opcode: u8, plain: &[u8], raw_out: &mut Vec<u8>) -> Result<(), LayerError> {
        if self.end != End::Open {
            return Err(LayerError::Closed);
        }
        put_frame(opcode, plain, raw_out);
        Ok(())
    }

    pub(super) fn close(&mut self, raw_out: &mut Vec<u8>) {
        self.say_close(&u16::from(CloseCode::Normal).to_be_bytes(), raw_out);
    }

    fn say_close(&mut self, payload: &[u8], raw_out: &mut Vec<u8>) {
        if self.end == End::Open {
            put_frame(CLOSE, payload, raw_out);
            self.end = End::SaidGoodbye;
        }
    }
}

impl Header {
    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.held)] = byte;
        self.held += 1;
    }

    /// Payload length and mask, once the last byte is there (RFC 6455 §5.2).
    fn complete(&self) -> Option<(u64, [u8; 4])> {
        let [_, second, rest @ ..] = &self.bytes;
        if self.held < 2 {
            return None;
        }
        let extended = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if usize::from(self.held) < 2 + extended + 4 {
            return None;
        }
        let (length, rest) = rest.split_at(extended);
        let length = match extended {
            0 => u64::from(second & !MASKED),
            _ => length
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        };
        Some((length, [rest[0], rest[1], rest[2], rest[3]]))
    }
}

fn is_control(first: u8) -> bool {
    first & 0x08 != 0
}

fn check_close(payload: &[u8]) -> Result<(), WebSocketError> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() {
            Ok(())
        } else {
            Err(WebSocketError::CloseCode)
        };
    };
    if !CloseCode::from(u16::from_be_bytes([*high, *low])).is_allowed() {
        return Err(WebSocketError::CloseCode);
    }
    std::str::from_utf8(reason).map_err(|_| WebSocketError::CloseReason)?;
    Ok(())
}

/// Appends `payload`, unmasked. `mask` starts at the first byte of `payload`.
fn unmask_into(out: &mut Vec<u8>, payload: &[u8], mask: [u8; 4]) {
    let start = out.len();
    out.extend_from_slice(payload);
    let key = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let mut words = out[start..].chunks_exact_mut(8);
    for word in &mut words {
        let clear = u64::from_ne_bytes((&*word).try_into().expect("eight bytes")) ^ key;
        word.copy_from_slice(&clear.to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// A final frame; a server does not mask.
fn put_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(payload.len() + 10);
    out.push(FINAL | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
