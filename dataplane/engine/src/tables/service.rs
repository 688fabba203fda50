//! A virtual service: what clients address, and how a real server is chosen for them.

use super::server::ServerId;
use crate::sched::SchedulerPlan;
use std::net::IpAddr;
use std::sync::Arc;

/// Names a service for as long as it lives; ids are small and reused after deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// IP address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: &IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// What makes a service unique (spec `connections.md` §1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKey {
    /// Protocol (IP protocol number), virtual address, virtual port (host order; 0 = every port).
    Address {
        /// IP protocol number: TCP 6, UDP 17, SCTP 132.
        protocol: u8,
        /// Virtual address.
        vaddr: IpAddr,
        /// Virtual port, host order; 0 stands for every port.
        vport: u16,
    },
    /// Every packet of the family that carries this firewall mark.
    Fwmark {
        /// Family of the marked packets.
        family: Family,
        /// The mark, never 0.
        mark: u32,
    },
}

impl ServiceKey {
    /// The family of its packets.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            ServiceKey::Address { vaddr, .. } => Family::of(vaddr),
            ServiceKey::Fwmark { family, .. } => *family,
        }
    }

    /// Is it for one port only?
    #[must_use]
    pub const fn has_port(&self) -> bool {
        matches!(self, ServiceKey::Address { vport: 1.., .. })
    }
}

/// The scheduling algorithms (spec `scheduling.md` §0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum SchedulerKind {
    Rr,
    Wrr,
    Lc,
    Wlc,
    Lblc,
    Lblcr,
    Dh,
    Sh,
    Sed,
    Nq,
    Fo,
    Ovf,
    Mh,
    Twos,
    /// No scheduler: the service exists, and no flow ever finds a server.
    None,
}

/// Options of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceFlags {
    /// Each UDP datagram is scheduled by itself.
    pub one_packet: bool,
    /// `sh-fallback`, `mh-fallback`
    pub flag1: bool,
    /// `sh-port`, `mh-port`
    pub flag2: bool,
    /// No scheduler uses it.
    pub flag3: bool,
}

/// Persistence: clients of one network keep their real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Life of an unused template, in seconds.
    pub timeout_s: u32,
    /// IPv4: a netmask in host order (not necessarily contiguous). IPv6: a prefix length, 1..=128.
    pub netmask: u32,
}

/// A real server as a scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which server.
    pub id: ServerId,
    /// Current weight; 0 or less = quiesced.
    pub weight: i32,
    /// The latest weight that was not 0 (for `mh`); 0 if there was none.
    pub last_weight: i32,
    /// Configured address.
    pub daddr: IpAddr,
    /// Configured port, host order.
    pub dport: u16,
}

/// A virtual service. Immutable once published.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// What it matches.
    pub key: ServiceKey,
    /// How a server is chosen.
    pub scheduler: SchedulerKind,
    /// Options.
    pub flags: ServiceFlags,
    /// Persistence, if asked for.
    pub persistence: Option<Persistence>,
    /// Persistence by the Call-ID of SIP.
    pub sip: bool,
    /// The real servers, newest first (spec `scheduling.md` §1).
    pub servers: Arc<[Candidate]>,
    /// What control worked out for the scheduler: tables, history of edits.
    pub plan: SchedulerPlan,
}
