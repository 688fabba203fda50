//! A connection: one cache line for IPv4, two for IPv6.
//!
//! Everything that a packet of an established flow needs is in the first line: the key, the state, the server, the time
//! stamp and (IPv4) the checksum deltas of NAT.

use super::address::Address;
use super::wheel::Links;
use crate::state::Way;
use crate::tables::{ForwardingMethod, ServerId};
use shunt_wire::checksum::Delta;

/// Index of an entry in its table.
pub type Index = u32;

/// "No entry".
pub const NIL: Index = u32::MAX;

/// Connection flags that shunt keeps or lists; values of spec `connections.md` §1.3.
pub mod flag {
    /// Mask of the forwarding method.
    pub const METHOD: u16 = 0x0007;
    /// Came from a peer that synchronises.
    pub const SYNC: u16 = 0x0020;
    /// In the table. Clear in free entries.
    pub const HASHED: u16 = 0x0040;
    /// No reply packet seen.
    pub const NO_OUTPUT: u16 = 0x0080;
    /// Counted as inactive.
    pub const INACTIVE: u16 = 0x0100;
    /// The server's sequence numbers are shifted. Only in what is told of a connection: the FTP helper knows.
    pub const OUT_SEQUENCE: u16 = 0x0200;
    /// Sequence numbers of one direction or both are shifted.
    pub const SEQUENCE: u16 = 0x0600;
    /// The client's port is not known yet (FTP).
    pub const NO_CPORT: u16 = 0x0800;
    /// Scheduled for this one packet.
    pub const ONE_PACKET: u16 = 0x2000;
    /// Has told its template that the client is real. Shunt's own, never listed.
    pub const PROVEN: u16 = 0x4000;
    /// Persistence template: only in listings, templates have a table of their own.
    pub const TEMPLATE: u16 = 0x1000;
    /// Control connection of FTP: the helper looks at its packets. Shunt's own.
    pub const HELPED: u16 = 0x8000;
    /// Shunt's own flags: never listed, never sent.
    pub const PRIVATE: u16 = PROVEN | HELPED | NOTED;
    /// The note of its last announcement is its own. Shunt's own.
    pub const NOTED: u16 = 0x0010;
}

/// The forwarding method among these flags.
#[inline]
#[must_use]
pub fn method_of(flags: u16) -> ForwardingMethod {
    match flags & flag::METHOD {
        0 => ForwardingMethod::Nat,
        1 => ForwardingMethod::Local,
        2 => ForwardingMethod::Tunnel,
        3 => ForwardingMethod::DirectRouting,
        _ => ForwardingMethod::Bypass,
    }
}

/// The two ends of a packet: where it comes from and where it goes, ports in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// IP protocol number.
    pub protocol: u8,
}

impl<A: Address> Tuple<A> {
    /// Equality in one branch, as the parts nearly always are all alike: what differs is gathered.
    #[inline(always)]
    fn is(&self, other: &Tuple<A>) -> bool {
        let addresses = A::difference((self.dst, self.src), (other.dst, other.src));
        // Side by side, as they lie in memory: one load for both.
        let l4_ports = |of: &Tuple<A>| u64::from(of.sport) << 16 | u64::from(of.dport);
        addresses | (l4_ports(self) ^ l4_ports(other)) | u64::from(self.protocol ^ other.protocol) == 0
    }
}

/// Which way a packet runs through its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    Request,
    /// Server to client.
    Reply,
}

/// A connection. Layout matters: see the assertions below.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Conn<A> {
    /// Virtual address, as in the client's packets.
    pub vaddr: A,
    /// Client. Between the other two: so both ends of a packet lie side by side, whichever way it runs.
    pub caddr: A,
    /// Real server, if it is of the same family; else 0 (tunnels find it by `server`).
    pub daddr: A,
    /// Virtual port.
    pub vport: u16,
    /// Client port.
    pub cport: u16,
    /// Real server's port.
    pub dport: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Protocol state.
    pub state: u8,
    /// Flags, forwarding method included.
    pub flags: u16,
    /// Slot of the timer wheel.
    pub slot: u16,
    /// Bound server.
    pub server: ServerId,
    /// When the last packet came (low bits of a tick, ms).
    pub last_seen: u32,
    /// Life after the last packet, ms.
    pub timeout_ms: u32,
    /// Neighbours in the timer wheel's list, or in the free list.
    pub links: Links,
    /// Handle of the persistence template that controls this connection, or [`NIL`].
    pub control: u32,
    /// Packets from the client.
    pub in_packets: u32,
    /// Mark of the packet that created it.
    pub fwmark: u32,
    /// NAT: one's complement difference of the address rewrite (virtual to real).
    pub address_delta: Delta,
    /// NAT: the same for address and port.
    pub l4_delta: Delta,
    /// The bucket of its requests: what finds its slot when it goes, without a hash.
    pub bucket: u32,
}

const _: () = assert!(size_of::<Conn<u32>>() == 64);
const _: () = assert!(size_of::<Conn<u128>>() == 128);
const _: () =
    assert!(std::mem::offset_of!(Conn<u128>, server) == 60, "IPv6: the key and the server share a line");

impl<A: Address> Conn<A> {
    /// An entry that is in no table, for a new flow.
    #[must_use]
    pub fn new(tuple: Tuple<A>, method: ForwardingMethod, server: ServerId, daddr: A, dport: u16) -> Conn<A> {
        let no_output = if method == ForwardingMethod::Nat { 0 } else { flag::NO_OUTPUT };
        Conn {
            caddr: tuple.src,
            vaddr: tuple.dst,
            daddr,
            cport: tuple.sport,
            vport: tuple.dport,
            dport,
            protocol: tuple.protocol,
            state: 0,
            // Every new connection starts as inactive (spec `connections.md` §1.3).
            flags: method as u16 | flag::INACTIVE | no_output,
            slot: 0,
            server,
            last_seen: 0,
            timeout_ms: 3_000,
            links: Links::default(),
            control: NIL,
            in_packets: 0,
            fwmark: 0,
            address_delta: Delta::NONE,
            l4_delta: Delta::NONE,
            bucket: 0,
        }
    }

    /// A free entry.
    #[must_use]
    pub fn vacant() -> Conn<A> {
        let tuple = Tuple { src: A::default(), dst: A::default(), sport: 0, dport: 0, protocol: 0 };
        Conn::new(tuple, ForwardingMethod::Nat, ServerId::NONE, A::default(), 0)
    }

    /// How its packets are forwarded.
    #[inline]
    #[must_use]
    pub fn method(&self) -> ForwardingMethod {
        method_of(self.flags)
    }

    /// Are these flags set?
    #[inline]
    #[must_use]
    pub fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// The way of the client's packets, as the state machine sees it.
    #[inline]
    #[must_use]
    pub fn request_way(&self) -> Way {
        if self.has(flag::NO_OUTPUT) { Way::RequestOnly } else { Way::Request }
    }

    /// The tuple of the client's packets.
    #[inline]
    #[must_use]
    pub fn request(&self) -> Tuple<A> {
        Tuple {
            src: self.caddr,
            dst: self.vaddr,
            sport: self.cport,
            dport: self.vport,
            protocol: self.protocol,
        }
    }

    /// The tuple of the server's packets as they reach the director: NAT servers answer from their own address, all
    /// others from the virtual one (spec §3.3).
    #[inline]
    #[must_use]
    pub fn reply(&self) -> Tuple<A> {
        let nat = self.method() == ForwardingMethod::Nat;
        Tuple {
            src: if nat { self.daddr } else { self.vaddr },
            dst: self.caddr,
            sport: if nat { self.dport } else { self.vport },
            dport: self.cport,
            protocol: self.protocol,
        }
    }

    /// Is it a packet of the server?
    #[inline(always)]
    #[must_use]
    pub fn is_reply(&self, tuple: &Tuple<A>) -> bool {
        self.reply().is(tuple)
    }

    /// Is it a packet of the client? In a free entry none is: no packet is of protocol 0.
    #[inline(always)]
    #[must_use]
    pub fn is_request(&self, tuple: &Tuple<A>) -> bool {
        self.request().is(tuple)
    }

    /// Does a packet belong here, and which way does it run? To a free entry none does: no packet is of protocol 0.
    #[inline]
    #[must_use]
    pub fn matches(&self, tuple: &Tuple<A>) -> Option<Direction> {
        if self.is_request(tuple) {
            return Some(Direction::Request);
        }
        self.is_reply(tuple).then_some(Direction::Reply)
    }

    /// Makes a free entry of it. The rest of it is of no importance.
    #[inline]
    pub fn vacate(&mut self) {
        (self.flags, self.protocol) = (0, 0);
    }

    /// Milliseconds left at `stamp`; 0 or less if it is due.
    #[inline]
    #[must_use]
    pub fn remaining_ms(&self, stamp: u32) -> i64 {
        i64::from(self.timeout_ms) - i64::from(stamp.wrapping_sub(self.last_seen))
    }
}
