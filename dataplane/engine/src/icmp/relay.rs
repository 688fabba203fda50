//! ICMP errors about connections, translated on their way (spec `connections.md` §11).

use crate::binding;
use crate::conn::{Address, Direction, Index};
use crate::counters::Counter;
use crate::flow::Pass;
use crate::forward::link;
use crate::forward::nat::{self, End};
use crate::packet::Packet;
use crate::tables::{Family, ForwardingMethod, Hop, Marked};
use crate::verdict::{NeighbourOf, Verdict};
use shunt_wire::Frame;
use shunt_wire::checksum::Delta;
use std::net::IpAddr;

/// Where the quoted packet's headers begin in the frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted {
    pub(crate) l3: usize,
    pub(crate) l4: usize,
}

/// IP protocol numbers.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

impl<A: Address> Pass<'_, A> {
    /// An error that quotes a packet of a connection. The quoted tuple was reversed for the look-up, so a `Reply` match
    /// means that a request is quoted: the server's side reports. A `Request` match means that the client's side does.
    pub(crate) fn relay_error<F: Frame>(
        &mut self,
        index: Index,
        direction: Direction,
        quoted: Quoted,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        let nat = self.table.get(index).method() == ForwardingMethod::Nat;
        if nat && !checksum_is_right(packet, frame.bytes()) {
            return Verdict::Drop(Counter::BadChecksum);
        }
        match direction {
            Direction::Reply => self.error_from_server(index, quoted, packet, frame),
            Direction::Request => self.error_from_client(index, quoted, packet, frame),
        }
    }

    fn error_from_server<F: Frame>(
        &mut self,
        index: Index,
        quoted: Quoted,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        let to = outer_destination(packet, frame.bytes());
        let ends_here = !self.origin.is_kernel() && self.tables.is_local(&to);
        // No error is ever sent about an error (RFC 1122 §3.2.2).
        if !self.origin.is_kernel() && !ends_here && link::ttl(packet, frame) <= 1 {
            return Verdict::Drop(Counter::TtlExceeded);
        }
        let conn = self.table.get(index);
        if self.tables.server(conn.server).is_some_and(|server| server.available) {
            binding::count_reply(&self.core.boards, conn.server, packet.ip_len);
        }
        if conn.method() == ForwardingMethod::Nat {
            // Seen from outside: the virtual service reports about a packet that was sent to it.
            let (vaddr, vport) = (conn.vaddr.bits(), conn.vport);
            readdress(packet.family, End::Source, usize::from(packet.l3), vaddr, frame.bytes_mut());
            rewrite_quoted(packet.family, End::Destination, quoted, (vaddr, vport), frame.bytes_mut());
            renew_checksum(packet, frame.bytes_mut());
        }
        if ends_here {
            return Verdict::Punt(frame.nic_port());
        }
        self.send_reply(&self.tables.routes().lookup(to), packet, frame)
    }

    fn error_from_client<F: Frame>(
        &mut self,
        index: Index,
        quoted: Quoted,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        // One that is on its way to somebody else is first routed by the kernel, then by IPVS (spec §11.4).
        let passes_by =
            !self.origin.is_kernel() && !self.tables.is_local(&outer_destination(packet, frame.bytes()));
        if passes_by {
            if link::ttl(packet, frame) <= 1 {
                return Verdict::Drop(Counter::TtlExceeded);
            }
            link::decrement_ttl(packet, frame);
        }
        let conn = self.table.get(index);
        // As in the kernel, errors reach a server that was deleted, as long as its connections live.
        let Some(server) = self.tables.server(conn.server) else {
            return Verdict::Drop(Counter::ServerGone);
        };
        if server.available {
            binding::count_request(&self.core.boards, conn.server, packet.ip_len);
        }
        if server.hop != Hop::Local && link::ttl(packet, frame) <= 1 {
            return Verdict::Drop(Counter::TtlExceeded);
        }
        match conn.method() {
            ForwardingMethod::Nat => {
                // Seen from the server: somebody reports about a packet that the server itself sent.
                let (daddr, dport) = (conn.daddr.bits(), conn.dport);
                readdress(packet.family, End::Destination, usize::from(packet.l3), daddr, frame.bytes_mut());
                rewrite_quoted(packet.family, End::Source, quoted, (daddr, dport), frame.bytes_mut());
                renew_checksum(packet, frame.bytes_mut());
                if server.hop == Hop::Local {
                    return Verdict::Punt(frame.nic_port());
                }
                link::decrement_ttl(packet, frame);
                link::send(&server.hop, NeighbourOf::Server(server.id), frame)
            }
            method => self.forward_by(method, None, server, packet, frame),
        }
    }
}

/// Where the error itself is going; the tuple of its packet is that of the quoted one.
fn outer_destination(packet: &Packet, bytes: &[u8]) -> IpAddr {
    let header = &bytes[usize::from(packet.l3)..];
    match packet.family {
        Family::V4 => <[u8; 4]>::try_from(&header[16..20]).unwrap_or_default().into(),
        Family::V6 => <[u8; 16]>::try_from(&header[24..40]).unwrap_or_default().into(),
    }
}

/// And where it comes from.
fn outer_source(packet: &Packet, bytes: &[u8]) -> IpAddr {
    let header = &bytes[usize::from(packet.l3)..];
    match packet.family {
        Family::V4 => <[u8; 4]>::try_from(&header[12..16]).unwrap_or_default().into(),
        Family::V6 => <[u8; 16]>::try_from(&header[8..24]).unwrap_or_default().into(),
    }
}

/// What the rules of firewall marks see of an error: its own header, not that of the quoted packet. It has no ports.
pub(crate) fn marked(packet: &Packet, bytes: &[u8]) -> Marked {
    Marked {
        src: outer_source(packet, bytes),
        dst: outer_destination(packet, bytes),
        protocol: if packet.family == Family::V4 { ICMP } else { ICMPV6 },
        sport: 0,
        dport: 0,
        nic_port: packet.nic_port,
    }
}

/// Rewrites one end of the quoted packet. Its transport checksum is left alone, as the kernel does.
fn rewrite_quoted(family: Family, end: End, quoted: Quoted, to: (u128, u16), bytes: &mut [u8]) {
    readdress(family, end, quoted.l3, to.0, bytes);
    let place = quoted.l4 + if end == End::Source { 0 } else { 2 };
    bytes[place..place + 2].copy_from_slice(&to.1.to_be_bytes());
}

/// Writes one address of an IP header, whatever it was (an error may come from any router on the way).
fn readdress(family: Family, end: End, l3: usize, to: u128, bytes: &mut [u8]) {
    let value = to.to_be_bytes();
    match family {
        Family::V4 => {
            let place = l3 + if end == End::Source { 12 } else { 16 };
            let delta = Delta::bytes(&bytes[place..place + 4], &value[12..]);
            bytes[place..place + 4].copy_from_slice(&value[12..]);
            nat::adjust_at(bytes, l3 + 10, delta);
        }
        Family::V6 => {
            let place = l3 + if end == End::Source { 8 } else { 24 };
            bytes[place..place + 16].copy_from_slice(&value);
        }
    }
}

/// The checksum over the whole message: ICMPv6 with, ICMP without a pseudo header.
fn message_checksum(packet: &Packet, bytes: &[u8]) -> u16 {
    match packet.family {
        Family::V4 => {
            let end = usize::from(packet.l3) + usize::from(packet.ip_len);
            let message = &bytes[usize::from(packet.l4)..end];
            shunt_wire::checksum::checksum(message)
        }
        Family::V6 => nat::l4_checksum(bytes, packet, ICMPV6),
    }
}

pub(super) fn checksum_is_right(packet: &Packet, bytes: &[u8]) -> bool {
    message_checksum(packet, bytes) == 0
}

fn renew_checksum(packet: &Packet, bytes: &mut [u8]) {
    let place = usize::from(packet.l4) + 2;
    bytes[place..place + 2].fill(0);
    let sum = match message_checksum(packet, bytes) {
        // Either zero is right. The kernel leaves the sum of ICMPv6 to its checksum offload, which sends this one.
        0 if packet.family == Family::V6 => 0xffff,
        sum => sum,
    };
    bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    debug_assert!(packet.family == Family::V6 || bytes[usize::from(packet.l3) + 9] == ICMP);
}
