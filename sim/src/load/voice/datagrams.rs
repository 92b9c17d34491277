//! MQTT for messages and encrypted datagrams for sound.

use super::super::Target;
use super::super::wire::{self, Frame, Session};
use super::check::{MqttLogin, Pass};
use super::line::Heard;
use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use safeport_mqtt::{QoS, Version};
use serde_json::Value;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// What a datagram begins with: its type, flags, length, the number of the stream, time and sequence.
const HEADER: usize = 16;
/// The longest datagram that is read.
const LONGEST: usize = 2048;

/// A device's connection to the broker, and its socket for sound.
pub(super) struct Datagrams {
    stream: TcpStream,
    topic: String,
    inbox: Vec<u8>,
    sound: Option<Sound>,
    datagram: Vec<u8>,
}

struct Sound {
    socket: UdpSocket,
    key: [u8; 16],
    /// Of the server's hello; length, time and sequence are written into it.
    nonce: [u8; HEADER],
    sequence: u32,
}

impl Datagrams {
    /// Connects, and logs in with what the device was told.
    pub(super) async fn open(pass: &Pass, login: &MqttLogin) -> io::Result<Datagrams> {
        let mut stream = pass.connect().await?;
        let target = Target {
            username: Some(login.username.clone()),
            password: Some(login.password.clone()),
            ..Target::new(pass.address)
        };
        let mut connect = Vec::new();
        wire::connect(&target, &login.client_id, Session::Clean, &mut connect);
        stream.write_all(&connect).await?;
        let mut line = Datagrams {
            stream,
            topic: login.topic.clone(),
            inbox: Vec::with_capacity(512),
            sound: None,
            datagram: Vec::new(),
        };
        loop {
            let admitted = line.next_frame(|frame| match frame {
                Frame::ConnAck { code, .. } => Some(code),
                _ => None,
            })?;
            match admitted {
                Some(Some(0)) => return Ok(line),
                Some(Some(code)) => {
                    return Err(io::Error::other(format!("MQTT return code {code}")));
                }
                Some(None) => {}
                None => {
                    if line.stream.read_buf(&mut line.inbox).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }

    pub(super) async fn agree(&mut self, hello: &Value) -> io::Result<()> {
        let told = &hello["udp"];
        let bytes = |name: &str| hexadecimal(told[name].as_str()?);
        let (Some(server), Some(port)) = (told["server"].as_str(), told["port"].as_u64()) else {
            return Err(io::Error::other(format!(
                "a hello without datagrams: {hello}"
            )));
        };
        let (Some(key), Some(nonce)) = (bytes("key"), bytes("nonce")) else {
            return Err(io::Error::other(format!("a hello without a key: {hello}")));
        };
        let own = self.stream.local_addr()?.ip();
        let socket = UdpSocket::bind((own, 0)).await?;
        socket.connect((server, port as u16)).await?;
        self.sound = Some(Sound {
            socket,
            key,
            nonce,
            sequence: 0,
        });
        Ok(())
    }

    pub(super) async fn send_text(&mut self, text: &str) -> io::Result<()> {
        let publish = wire::publish(
            Version::V311,
            &self.topic,
            QoS::AtMostOnce,
            false,
            text.as_bytes(),
        );
        self.stream.write_all(&publish.bytes).await
    }

    pub(super) async fn send_sound(&mut self, packet: &[u8]) -> io::Result<()> {
        let Some(sound) = &mut self.sound else {
            return Ok(());
        };
        sound.sequence += 1;
        let mut header = sound.nonce;
        header[2..4].copy_from_slice(&(packet.len() as u16).to_be_bytes());
        header[12..].copy_from_slice(&sound.sequence.to_be_bytes());
        self.datagram.clear();
        self.datagram.extend_from_slice(&header);
        self.datagram.extend_from_slice(packet);
        let mut cipher = Ctr128BE::<Aes128>::new(&sound.key.into(), &header.into());
        cipher.apply_keystream(&mut self.datagram[HEADER..]);
        sound.socket.send(&self.datagram).await?;
        Ok(())
    }

    pub(super) async fn hear(&mut self) -> io::Result<Option<Heard>> {
        loop {
            let text = self.next_frame(|frame| match frame {
                Frame::Publish { payload, .. } => Some(payload.to_vec()),
                _ => None,
            })?;
            match text {
                Some(Some(text)) => return Ok(Some(Heard::Text(text))),
                Some(None) => continue,
                None => {}
            }
            let mut datagram = [0; LONGEST];
            let sound = self.sound.as_ref();
            let arrives = async {
                match sound {
                    Some(sound) => sound.socket.recv(&mut datagram).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                length = arrives => {
                    if length? > HEADER {
                        return Ok(Some(Heard::Sound));
                    }
                }
                length = self.stream.read_buf(&mut self.inbox) => {
                    if length? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Takes one packet from what has come and shows it to `look`; `None` when none is whole.
    fn next_frame<T>(&mut self, look: impl FnOnce(Frame<'_>) -> T) -> io::Result<Option<T>> {
        let found = wire::next_frame(Version::V311, &self.inbox).map_err(io::Error::other)?;
        let Some((frame, used)) = found else {
            return Ok(None);
        };
        let seen = look(frame);
        self.inbox.drain(..used);
        Ok(Some(seen))
    }
}

/// Sixteen bytes.
fn hexadecimal(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_the_server_writes_them() {
        let key = hexadecimal("000102030405060708090a0b0c0d0eff").expect("a key");
        assert_eq!((key[0], key[1], key[15]), (0, 1, 255));
        assert_eq!(hexadecimal("00"), None);
        assert_eq!(hexadecimal(&"x".repeat(32)), None);
    }
}
