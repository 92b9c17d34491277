//! Why a load run could not be carried out.

use crate::descriptors::TooFewDescriptors;
use std::io;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a load run could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The scenario asks for what cannot be done.
    #[error("this scenario cannot run: {what}")]
    Scenario {
        /// The value and the range to choose from.
        what: String,
    },
    /// TCP failed.
    #[error("no connection to the broker at {address}: {error}; is it listening there?")]
    Connect {
        /// The broker.
        address: SocketAddr,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// TLS failed, or the broker's certificate is not the one to expect.
    #[error(
        "TLS with the broker at {address} failed: {error}; is this its TLS port, and does the CA file \
         lead to its certificate?"
    )]
    Tls {
        /// The broker.
        address: SocketAddr,
        /// What TLS said.
        #[source]
        error: io::Error,
    },
    /// What is to be trusted cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Trust(String),
    /// CONNACK with an error.
    #[error(
        "the broker at {address} refused a client with return code {code} ({}); {}",
        connack_words(*code),
        connack_fix(*code)
    )]
    Refused {
        /// The broker.
        address: SocketAddr,
        /// MQTT 3.1.1 return code, or MQTT 5 reason code.
        code: u8,
    },
    /// A message or subscription was refused with a reason code.
    #[error(
        "the broker refused a message or subscription with reason code 0x{code:02x}{}; look at its \
         limits",
        if *code == 0x97 { " (quota exceeded)" } else { "" }
    )]
    MessageRefused {
        /// Reason code of the acknowledgement.
        code: u8,
    },
    /// SUBACK did not grant what was asked for.
    #[error(
        "the broker did not grant QoS {qos} on `{filter}`; give the user the right to subscribe \
         and publish below `load/`"
    )]
    NotGranted {
        /// The topic filter.
        filter: String,
        /// The QoS that was asked for.
        qos: u8,
    },
    /// No answer while setting up.
    #[error("the broker at {address} did not answer within {} s; look at its log", waited.as_secs())]
    Silent {
        /// The broker.
        address: SocketAddr,
        /// How long we waited.
        waited: Duration,
    },
    /// The broker closed a connection.
    #[error("the broker at {address} closed a connection of the load; look at its log")]
    Closed {
        /// The broker.
        address: SocketAddr,
    },
    /// A socket failed in the middle of the run.
    #[error("a connection of the load broke: {0}; look at the broker's log")]
    Socket(#[source] io::Error),
    /// Another packet than the one the protocol demands.
    #[error("the broker sent something else while {waited_for} was due; is it an MQTT broker?")]
    Unexpected {
        /// The packet that was due.
        waited_for: &'static str,
    },
    /// Bytes that are no MQTT.
    #[error("{0}; is it an MQTT broker?")]
    Broken(String),
    /// A delivery that is not ours.
    #[error(
        "a message of {0} bytes arrived that this run did not send; does another client publish \
         below `load/`?"
    )]
    Foreign(usize),
    /// A delivery to a client that has no filter for it.
    #[error("the broker delivered `{topic}` to a client that did not subscribe to it")]
    Misrouted {
        /// The topic name.
        topic: String,
    },
    /// The command that starts the broker could not be run.
    #[error("`{command}` could not be started: {error}")]
    Command {
        /// The command line.
        command: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The broker that the run started ended by itself.
    #[error("`{command}` ended ({status}) before it served; its last words:\n{last_words}")]
    Ended {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        last_words: String,
    },
    /// The broker that the run started does not serve.
    #[error(
        "`{command}` did not serve on {address} within {} s; is that the port it opens?",
        waited.as_secs()
    )]
    NotReady {
        /// The command line.
        command: String,
        /// Where it was expected.
        address: SocketAddr,
        /// How long we waited.
        waited: Duration,
    },
    /// The process could not be read.
    #[error("the figures of process {pid} cannot be read from /proc: {error}; is the pid right?")]
    Process {
        /// The process.
        pid: u32,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Too few descriptors.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
}

fn connack_words(code: u8) -> &'static str {
    match code {
        1 | 0x84 => "unacceptable protocol version",
        2 | 0x85 => "client identifier rejected",
        3 | 0x88 => "server unavailable",
        4 | 0x86 => "bad user name or password",
        5 | 0x87 => "not authorized",
        0x89 => "server busy",
        0x9f => "connection rate exceeded",
        _ => "no code that this program knows",
    }
}

fn connack_fix(code: u8) -> &'static str {
    match code {
        4 | 5 | 0x86 | 0x87 => "give a user name and password, or let the broker admit anyone",
        3 | 0x88 | 0x89 | 0x9f => "look at its connection limits",
        _ => "look at its log",
    }
}
