//! A real server and the way to it.

use super::service::ServiceId;
use crate::forward::tunnel;
use shunt_wire::{MacAddr, NicPortId};
use std::net::IpAddr;

/// Names a real server (a pair of service and address). Reused only after no connection names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u32);

impl ServerId {
    /// "No server": a bypass entry, or a synchronised one whose server is unknown.
    pub const NONE: ServerId = ServerId(u32::MAX);
}

/// How packets reach a real server. The numbers are those of IPVS connection flags (spec `connections.md` §1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ForwardingMethod {
    /// Network address translation ("masquerading").
    Nat = 0,
    /// The director itself.
    Local = 1,
    /// IPIP, GUE or GRE.
    Tunnel = 2,
    /// Only the link-layer address changes.
    DirectRouting = 3,
    /// No server: to the packet's own destination.
    Bypass = 4,
}

/// Encapsulation of a tunnel server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TunnelKind {
    /// IP in IP.
    Ipip,
    /// Generic UDP encapsulation to this UDP port (host order).
    Gue {
        /// Destination UDP port, host order, not 0.
        dport: u16,
    },
    /// Generic routing encapsulation.
    Gre,
}

/// Checksum options of GUE and GRE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TunnelChecksum {
    /// None.
    None,
    /// Of the whole payload.
    Full,
    /// Remote checksum offload (GUE).
    Remote,
}

/// The link-layer way to a neighbour. 16 bytes, of which the first 12 are those that a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct NextHop {
    /// Destination address of the frame.
    pub dst_mac: MacAddr,
    /// Source address of the frame: the NIC port's own.
    pub src_mac: MacAddr,
    /// Path MTU in bytes of IP packet.
    pub mtu: u16,
    /// NIC port to leave by.
    pub nic_port: NicPortId,
}

/// Where packets for an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// To a neighbour whose link-layer address is known.
    Via(NextHop),
    /// To the director itself.
    Local,
    /// A route exists, but the neighbour's link-layer address is not known yet.
    Unresolved,
    /// No route.
    Unreachable,
}

impl Hop {
    /// The longest IP packet that may go this way, bytes. `u16::MAX` where it is not known.
    #[inline]
    #[must_use]
    pub fn mtu(&self) -> u16 {
        match self {
            Hop::Via(next) => next.mtu,
            Hop::Local | Hop::Unresolved | Hop::Unreachable => u16::MAX,
        }
    }
}

/// What all tunnel packets to a server have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outer {
    /// Bytes that encapsulation adds.
    pub overhead: u16,
    /// If it is IPIP over IPv4.
    pub ipip: Option<Ipip>,
}

/// The constant part of an outer header of IPIP over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipip {
    /// Source and destination address, as they stand in the header.
    pub addresses: [u8; 8],
    /// Sum of their 16-bit words and the protocol's, as these lie in memory.
    pub sum: u32,
}

/// A real server. Immutable once published. What a packet or a new flow asks of it, but for tunnels, is in the first line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Upper connection threshold; 0 = none.
    pub upper_threshold: u32,
    /// The way to it, resolved by control.
    pub hop: Hop,
    /// Configured port, host order; 0 = the packet's own.
    pub dport: u16,
    /// How packets reach it.
    pub method: ForwardingMethod,
    /// False once it was deleted: connections may still name it (spec `connections.md` §7.3).
    pub available: bool,
    /// Configured address.
    pub daddr: IpAddr,
    /// Checksum option of the tunnel.
    pub tunnel_checksum: TunnelChecksum,
    /// Encapsulation, for [`ForwardingMethod::Tunnel`].
    pub tunnel: TunnelKind,
    /// Weight; 0 = quiesced.
    pub weight: i32,
    /// The service that it belongs to (its last one, if deleted).
    pub service: ServiceId,
    /// Lower connection threshold; 0 = three quarters of the upper one.
    pub lower_threshold: u32,
    /// What all tunnel packets to it have in common: [`Server::prepared`] works it out from the rest.
    pub outer: Outer,
    /// Source address of tunnel headers: what routing selects for `daddr`. `None` if the director has none.
    pub tunnel_source: Option<IpAddr>,
}

const _: () =
    assert!(std::mem::offset_of!(Server, outer) == 64, "the first line is what nearly all packets ask for");
const _: () = assert!(size_of::<Server>() == 128, "two cache lines");

impl Server {
    /// With what follows from the other fields. [`Tables::put_server`](super::Tables::put_server) does it.
    #[must_use]
    pub fn prepared(mut self) -> Server {
        self.outer = tunnel::outer(&self);
        self
    }
}
