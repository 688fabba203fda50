//! What the generator is told, one line of JSON each on its standard input, and what it answers on its standard output.

use serde::{Deserialize, Serialize};

/// An order. Each is answered by one line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Waits until the other side of this vhost-user port is there. Answer: `Done`.
    Connect {
        /// Index of the port.
        port: usize,
    },
    /// Replaces the streams. Answer: `Done`.
    Load {
        /// At most 8; their shares make a burst.
        streams: Vec<Stream>,
    },
    /// Sends every flow of a stream once, without overrunning the director. Answer: `Outcome`.
    Visit {
        /// Index of the port.
        port: usize,
        /// Index of the stream.
        stream: usize,
        /// Notes for this stream, which are replies, to which real server each flow was sent.
        learn_for: Option<usize>,
    },
    /// Sends for a while. Answer: `Outcome`.
    Run(Run),
}

/// How to send.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Index of the port.
    pub port: usize,
    /// How long, ms.
    pub millis: u64,
    /// Packets per second; 0 = as many as are taken.
    pub rate: u64,
    /// Packets under way at most, 0 = any number. Less than a ring holds: then only the director itself can lose one.
    pub window: u64,
    /// Stamps packets and measures how long they take. Polls without pause.
    pub stamp: bool,
}

/// Flows of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// First byte of the clients' IPv4 addresses (sixth of IPv6): tells the flows of streams apart.
    pub network: u8,
    /// Number of flows.
    pub flows: u32,
    /// 4 or 6.
    pub family: u8,
    /// L4 port of the virtual service.
    pub vport: u16,
    /// What a packet is.
    pub payload: Payload,
    /// Which flow comes next.
    pub pattern: Pattern,
    /// Packets come from the real servers, which must have been learnt, and go to the clients of this network. IPv4 only.
    pub replies: bool,
    /// Packets of a burst of 32.
    pub share: usize,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// UDP.
    Udp,
    /// TCP, the first packet of a connection.
    Syn,
    /// TCP, any later packet.
    Ack,
}

/// Which flow comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Any, with equal probability.
    Uniform,
    /// Flow n with a probability in proportion to 1/n.
    Zipf,
    /// One that was not there yet.
    Fresh,
}

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The ports are open, or the order was carried out.
    Done,
    /// What was sent and what came back.
    Outcome(Outcome),
    /// The order could not be carried out.
    Failed(String),
}

/// What was sent and what came back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How long was sent, s.
    pub seconds: f64,
    /// Packets that the port took.
    pub sent: u64,
    /// Packets that came back while it was sent.
    pub received_meanwhile: u64,
    /// Packets that came back, also afterwards.
    pub received: u64,
    /// Of these, such as are not of the generator's making: ICMP, ARP.
    pub foreign: u64,
    /// Sent and received packets of each stream.
    pub streams: Vec<(u64, u64)>,
    /// How long packets were under way.
    pub latency: Option<Latency>,
}

/// How long packets were under way, µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: f64,
    /// 99 % of them.
    pub p99: f64,
    /// 99.9 % of them.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}
