//! ICMP errors about the director's own tunnel packets over IPv4 (spec `connections.md` §11.3): the client is told, and
//! the path MTU learnt.

use super::answer::{Answer, ICMP_LEN};
use super::relay::{Quoted, checksum_is_right};
use crate::binding;
use crate::conn::{Address, Direction, Index};
use crate::counters::Counter;
use crate::flow::Pass;
use crate::forward::tunnel;
use crate::packet::{IPV4_LEN, Kind, Packet, be16, be32, be128};
use crate::state::{Signal, protocol};
use crate::tables::{Family, ForwardingMethod, Hop, Tables};
use crate::verdict::Verdict;
use shunt_wire::Frame;
use std::net::IpAddr;

/// Smallest MTU that IPv4 knows (RFC 791).
const LEAST: u16 = 68;

/// Looks into the packet that an IPv4 error quotes. If it is a tunnel packet of ours, `packet` gets the tuple of what it
/// carried: a client's request, not reversed.
#[cold]
#[inline(never)]
pub(crate) fn look_inside(tables: &Tables, bytes: &[u8], packet: &mut Packet) {
    let Kind::Error { quoted_l3, quoted_l4, .. } = packet.kind else { return };
    // The quoted tuple is reversed: its source is where the tunnel ends.
    let is_ours = tables.is_real_address(&packet.src_ip()) && is_own(tables, packet.dst_ip());
    let end = usize::from(packet.l3) + usize::from(packet.ip_len);
    let bytes = bytes.get(..end).unwrap_or_default();
    let shim =
        if is_ours { shim_len(packet.protocol, Family::V4, bytes, usize::from(quoted_l4)) } else { None };
    let inner = shim.and_then(|shim| inner_flow(bytes, usize::from(quoted_l4) + shim));
    match inner {
        Some(inner) => {
            packet.kind =
                Kind::Error { tunnelled: true, quoted_l3: inner.l3 as u16, quoted_l4: inner.l4 as u16 };
            (packet.protocol, packet.signal) = (inner.protocol, Signal::Nothing);
            (packet.src, packet.dst) = (inner.src.into(), inner.dst.into());
            (packet.sport, packet.dport) = (inner.sport, inner.dport);
        }
        None if matches!(packet.protocol, protocol::IPIP | protocol::GRE) => packet.kind = Kind::Punt,
        None => {}
    }
    debug_assert!(quoted_l3 < quoted_l4);
}

/// One of the director's own addresses; a rig without a kernel knows those of its NIC ports.
pub(super) fn is_own(tables: &Tables, address: IpAddr) -> bool {
    let of_nic_port = |info: &crate::tables::NicPortInfo| {
        info.address_v4.map(IpAddr::V4) == Some(address) || info.address_v6.map(IpAddr::V6) == Some(address)
    };
    tables.is_local(&address) || tables.nic_ports().iter().any(of_nic_port)
}

/// Length of what stands between the outer header and the inner one. `None`: it is no tunnel of ours.
pub(super) fn shim_len(outer: u8, inner: Family, bytes: &[u8], at: usize) -> Option<usize> {
    const UDP_LEN: usize = 8;
    const GUE_LEN: usize = 4;
    const GRE_CHECKSUM: u16 = 0x8000;
    let (number, ethertype) = match inner {
        Family::V4 => (protocol::IPIP, 0x0800),
        Family::V6 => (protocol::IPV6, 0x86dd),
    };
    match outer {
        protocol::IPIP | protocol::IPV6 => (outer == number).then_some(0),
        protocol::UDP => {
            let gue = bytes.get(at + UDP_LEN..at + UDP_LEN + GUE_LEN)?;
            // Version 0, no control message.
            (gue[0] & 0xe0 == 0 && gue[1] == number)
                .then(|| UDP_LEN + GUE_LEN + usize::from(gue[0] & 0x1f) * 4)
        }
        protocol::GRE => match (be16(bytes, at)?, be16(bytes, at + 2)?) {
            (0, kind) if kind == ethertype => Some(4),
            (GRE_CHECKSUM, kind) if kind == ethertype => Some(8),
            _ => None,
        },
        _ => None,
    }
}

/// What a tunnel packet carried.
struct Inner {
    l3: usize,
    l4: usize,
    protocol: u8,
    src: u32,
    dst: u32,
    sport: u16,
    dport: u16,
}

fn inner_flow(bytes: &[u8], l3: usize) -> Option<Inner> {
    let header = bytes.get(l3..l3 + IPV4_LEN)?;
    let l4 = l3 + usize::from(header[0] & 0x0f) * 4;
    const OFFSET: u16 = 0x1fff;
    let later_fragment = be16(header, 6)? & OFFSET != 0;
    let known = matches!(header[9], protocol::TCP | protocol::UDP | protocol::SCTP);
    if header[0] >> 4 != 4 || l4 < l3 + IPV4_LEN || later_fragment || !known {
        return None;
    }
    let (sport, dport) = (be16(bytes, l4)?, be16(bytes, l4 + 2)?);
    let (src, dst) = (be32(header, 12), be32(header, 16));
    Some(Inner { l3, l4, protocol: header[9], src, dst, sport, dport })
}

impl<A: Address> Pass<'_, A> {
    /// An error about a tunnel packet that carried a request of this connection.
    #[cold]
    #[inline(never)]
    pub(crate) fn relay_tunnelled<F: Frame>(
        &mut self,
        (index, direction): (Index, Direction),
        inner: Quoted,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        let conn = self.table.get(index);
        let icmp = usize::from(packet.l4);
        let is_ipv6 = frame.bytes()[usize::from(packet.l3)] >> 4 == 6;
        let quoted = &frame.bytes()[icmp + ICMP_LEN..];
        let tunnel_end: IpAddr = if is_ipv6 { be128(quoted, 24).ip() } else { be32(quoted, 16).ip() };
        let server = self.tables.server(conn.server).filter(|server| {
            direction == Direction::Request
                && conn.method() == ForwardingMethod::Tunnel
                && server.daddr == tunnel_end
        });
        let Some(server) = server else { return Verdict::Punt(frame.nic_port()) };
        if is_ipv6 {
            return self.learn_from_v6(server, packet, frame);
        }
        if !checksum_is_right(packet, frame.bytes()) {
            return Verdict::Drop(Counter::BadChecksum);
        }
        let message = &frame.bytes()[icmp..];
        let (kind, code, mut word) = (message[0], message[1], be32(message, 4));
        let dont_fragment = frame.bytes()[inner.l3 + 6] & 0x40 != 0;
        if (kind, code) == (3, 4) {
            let known = match &server.hop {
                Hop::Via(next) => self.path_mtu(ForwardingMethod::Tunnel, server, next.mtu),
                _ => word as u16,
            };
            self.core.boards.path_mtus().learn(server.id, word as u16, self.now);
            if !dont_fragment {
                return Verdict::Drop(Counter::PathMtu);
            }
            let added = tunnel::overhead(server);
            word = u32::from(if known > LEAST + added { known - added } else { known });
        }
        let Some(quoted) = strip(inner, packet, frame) else { return Verdict::Drop(Counter::Malformed) };
        binding::count_reply(&self.core.boards, server.id, quoted.ip_len);
        self.answer(Answer::Relayed { kind, code, word }, Counter::Malformed, &quoted, frame)
    }
}

/// Makes a frame that is an ICMP error into one with the packet that the innermost quoted header begins.
fn strip<F: Frame>(inner: Quoted, packet: &Packet, frame: &mut F) -> Option<Packet> {
    let l2_len = usize::from(packet.l3);
    let removed = inner.l3 - l2_len;
    frame.bytes_mut().copy_within(..l2_len, removed);
    frame.trim_front(removed).then(|| Packet {
        kind: Kind::Flow,
        l4: (inner.l4 - removed) as u16,
        // As much as is quoted, whatever its header says.
        ip_len: (frame.bytes().len() - l2_len) as u16,
        ..*packet
    })
}
