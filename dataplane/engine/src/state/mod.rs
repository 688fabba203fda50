//! Protocol state: which state follows a packet, how long the connection then lives, and whether it counts as active.

pub mod sctp;
pub mod tcp;

use crate::tables::Settings;

/// IP protocol numbers that are balanced.
pub mod protocol {
    /// TCP
    pub const TCP: u8 = 6;
    /// UDP
    pub const UDP: u8 = 17;
    /// SCTP
    pub const SCTP: u8 = 132;
    /// IPv4 in IP
    pub const IPIP: u8 = 4;
    /// IPv6 in IP
    pub const IPV6: u8 = 41;
    /// Generic routing encapsulation
    pub const GRE: u8 = 47;
}

/// The direction that a state table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Client to server.
    Request,
    /// Server to client.
    Reply,
    /// Client to server, on a connection whose replies do not pass through the director.
    RequestOnly,
}

/// What the transport header says to the state machine: TCP flags, or an SCTP event; `None` if it could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The flags byte of TCP.
    Tcp(u8),
    /// UDP has no states.
    Udp,
    /// What the first SCTP chunk means.
    Sctp(sctp::Event),
    /// No chunk could be read: no transition.
    Nothing,
}

/// Longest life that a time stamp of 32 bits can tell, in milliseconds: 31 days. A longer one would never be over.
pub const TIMEOUT_MAX_MS: u32 = 31 * 24 * 3600 * 1000;

/// A life in milliseconds, [`TIMEOUT_MAX_MS`] at most.
#[must_use]
pub fn life_ms(seconds: u32) -> u32 {
    seconds.saturating_mul(1000).min(TIMEOUT_MAX_MS)
}

/// Timeouts in milliseconds, precomputed from the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    tcp_ms: [u32; 11],
    sctp_ms: [u32; 14],
    udp_ms: u32,
}

impl Timeouts {
    /// From the settings in force.
    #[must_use]
    pub fn new(settings: &Settings) -> Timeouts {
        let mut tcp_ms = tcp::TIMEOUTS_S.map(|seconds| seconds * 1000);
        tcp_ms[usize::from(tcp::ESTABLISHED)] = life_ms(settings.timeout_tcp_s);
        tcp_ms[usize::from(tcp::FIN_WAIT)] = life_ms(settings.timeout_tcp_fin_s);
        Timeouts {
            tcp_ms,
            sctp_ms: sctp::TIMEOUTS_S.map(|seconds| seconds * 1000),
            udp_ms: life_ms(settings.timeout_udp_s),
        }
    }

    /// Life of an established TCP connection.
    #[inline]
    #[must_use]
    pub fn established_tcp(&self) -> u32 {
        self.tcp_ms[tcp::ESTABLISHED as usize]
    }

    /// Life of a UDP flow.
    #[inline]
    #[must_use]
    pub fn udp(&self) -> u32 {
        self.udp_ms
    }

    /// Life of a TCP connection in this state.
    #[inline(always)]
    #[must_use]
    pub fn tcp(&self, state: u8) -> u32 {
        self.tcp_ms.get(usize::from(state)).copied().unwrap_or(self.tcp_ms[0])
    }

    /// Life of a connection of this protocol in this state.
    #[inline]
    #[must_use]
    pub fn of(&self, protocol: u8, state: u8) -> u32 {
        match protocol {
            protocol::TCP => self.tcp(state),
            protocol::SCTP => self.sctp_ms.get(usize::from(state)).copied().unwrap_or(self.sctp_ms[0]),
            _ => self.udp_ms,
        }
    }
}

/// The state after a packet.
#[inline]
#[must_use]
pub fn next(state: u8, way: Way, signal: Signal, secure_tcp: bool) -> u8 {
    match signal {
        Signal::Tcp(flags) => tcp::next(state, way, flags, secure_tcp),
        Signal::Sctp(event) => sctp::next(state, way, event),
        Signal::Udp | Signal::Nothing => state,
    }
}

/// Does a connection of this protocol in this state count as active (spec `connections.md` §5)?
#[inline]
#[must_use]
pub fn is_active(protocol: u8, state: u8) -> bool {
    match protocol {
        protocol::TCP => tcp::is_active(state),
        protocol::SCTP => sctp::is_active(state),
        _ => false,
    }
}

/// The state's name as listings print it (spec `cli.md` §13).
#[must_use]
pub fn name(protocol: u8, state: u8) -> &'static str {
    let names: &[&'static str] = match protocol {
        protocol::TCP => &tcp::NAMES,
        protocol::SCTP => &sctp::NAMES,
        protocol::UDP => &["UDP"],
        _ => &["NONE"],
    };
    names.get(usize::from(state)).copied().unwrap_or("ERR!")
}
