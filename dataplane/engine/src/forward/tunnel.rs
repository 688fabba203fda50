//! Encapsulation: IPIP, GUE and GRE, over either family (spec `forwarding.md` §5).

use super::link;
use crate::counters::Counter;
use crate::packet::{IPV4_LEN, IPV6_LEN, Packet};
use crate::state::protocol::{GRE, IPIP, UDP};
use crate::tables::{Family, Ipip, NextHop, Outer, Server, TunnelChecksum, TunnelKind};
use crate::verdict::Verdict;
use shunt_wire::{Frame, checksum};
use std::net::IpAddr;

const IPV6_IN_IP: u8 = 41;
/// UDP and the GUE header of 4 bytes.
const GUE_LEN: usize = 12;
/// Longest outer header: IPv6, UDP, GUE.
const OUTER_MAX: usize = IPV6_LEN + GUE_LEN;

/// Bytes that encapsulation for this server adds.
#[inline(always)]
#[must_use]
pub fn overhead(server: &Server) -> u16 {
    server.outer.overhead
}

/// What all tunnel packets to this server have in common.
#[must_use]
pub fn outer(server: &Server) -> Outer {
    let outer = if server.daddr.is_ipv4() { IPV4_LEN } else { IPV6_LEN };
    let ipip = match (server.tunnel, server.tunnel_source, server.daddr) {
        (TunnelKind::Ipip, Some(IpAddr::V4(source)), IpAddr::V4(daddr)) => {
            let ([a, b, c, d], [e, f, g, h]) = (source.octets(), daddr.octets());
            let addresses = [a, b, c, d, e, f, g, h];
            let words = addresses.as_chunks().0.iter();
            Some(Ipip { addresses, sum: PROTOCOL + words.map(|&bytes| word(bytes)).sum::<u32>() })
        }
        _ => None,
    };
    Outer { overhead: (outer + shim_len(server)) as u16, ipip }
}

/// A word as it lies in memory: sums of such come out alike in either byte order (RFC 1071 §2 B).
#[inline(always)]
const fn word(bytes: [u8; 2]) -> u32 {
    u16::from_ne_bytes(bytes) as u32
}

/// The protocol of IPIP, in the word that it shares with the TTL.
const PROTOCOL: u32 = word([0, IPIP]);

fn shim_len(server: &Server) -> usize {
    match server.tunnel {
        TunnelKind::Ipip => 0,
        TunnelKind::Gue { .. } => GUE_LEN,
        TunnelKind::Gre if server.tunnel_checksum == TunnelChecksum::None => 4,
        TunnelKind::Gre => 8,
    }
}

/// What the outer header takes from the inner one.
struct Inner {
    traffic_class: u8,
    ttl: u8,
    dont_fragment: bool,
    len: usize,
    protocol: u8,
    ethertype: u16,
}

/// Puts the outer headers around a packet whose TTL has been lowered. `df_mask` is what the outer header takes of the inner
/// one's byte of flags: [`DF`] or nothing; `ip_id` the identification of the latest header of our own; `flow` a hash of the
/// flow, for the source port of GUE.
///
/// # Errors
/// The counter of the drop: no headroom, or no source address to send from.
#[inline(never)]
pub fn encapsulate<F: Frame>(
    packet: &Packet,
    server: &Server,
    (df_mask, ip_id): (u8, &mut u16),
    flow: u32,
    frame: &mut F,
) -> Result<(), Counter> {
    let source = server.tunnel_source.ok_or(Counter::NoRoute)?;
    let inner = inspect(packet, df_mask, frame.bytes());
    let (l2_len, added) = (usize::from(packet.l3), usize::from(overhead(server)));
    if inner.len + added > usize::from(u16::MAX) {
        return Err(Counter::TooBig);
    }
    if !frame.prepend(added) {
        return Err(Counter::Headroom);
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(added..added + l2_len, 0);
    let total = inner.len + added;
    let ethertype: u16 = if server.daddr.is_ipv4() { 0x0800 } else { 0x86dd };
    bytes[l2_len - 2..l2_len].copy_from_slice(&ethertype.to_be_bytes());
    let bytes = &mut bytes[l2_len..l2_len + total];
    let outer_len = match (source, server.daddr) {
        (IpAddr::V4(source), IpAddr::V4(daddr)) => {
            let protocol = outer_protocol(server, &inner);
            let Some(outer) = bytes.first_chunk_mut() else { return Err(Counter::Malformed) };
            let id = if inner.dont_fragment { 0 } else { next_id(ip_id) };
            outer_v4(&inner, total, protocol, id, (source.to_bits(), daddr.to_bits()), outer);
            IPV4_LEN
        }
        (IpAddr::V6(source), IpAddr::V6(daddr)) => {
            outer_v6(&inner, total - IPV6_LEN, outer_protocol(server, &inner), &mut bytes[..IPV6_LEN]);
            bytes[8..24].copy_from_slice(&source.octets());
            bytes[24..40].copy_from_slice(&daddr.octets());
            IPV6_LEN
        }
        _ => return Err(Counter::NoRoute),
    };
    match server.tunnel {
        TunnelKind::Ipip => {}
        TunnelKind::Gue { dport } => gue(&inner, server, outer_len, dport, flow, bytes),
        TunnelKind::Gre => gre(&inner, server.tunnel_checksum, &mut bytes[outer_len..]),
    }
    Ok(())
}

/// IPIP over IPv4 around a plain IPv4 packet (no VLAN tag), whose TTL goes down by one: what [`encapsulate`] makes of it
/// after that, in fewer steps, on its way to `next`.
#[inline(always)]
pub fn ipip<F: Frame>(
    (outer, next): (&Ipip, &NextHop),
    ip_len: u16,
    (df_mask, ip_id): (u8, &mut u16),
    frame: &mut F,
    verdict: &mut Verdict,
) {
    const L3: usize = 14;
    const INNER: usize = L3 + IPV4_LEN;
    const HEAD: usize = INNER + IPV4_LEN;
    if !frame.prepend(IPV4_LEN) {
        *verdict = Verdict::Drop(Counter::Headroom);
        return;
    }
    let Some(head) = frame.bytes_mut().first_chunk_mut::<HEAD>() else {
        *verdict = Verdict::Drop(Counter::Malformed);
        return;
    };
    head[INNER + 8] -= 1;
    let inner_checksum = checksum::after_ttl_decrement([head[INNER + 10], head[INNER + 11]]);
    [head[INNER + 10], head[INNER + 11]] = inner_checksum;
    let inner = &head[INNER..];
    let first = word([VERSION_AND_LEN, outer_traffic_class(inner[1])]);
    let total = u32::from(ip_len.wrapping_add(IPV4_LEN as u16).to_be());
    let fragment = word([inner[6] & df_mask, 0]);
    let id = if fragment == 0 { u32::from(next_id(ip_id).to_be()) } else { 0 };
    let ttl = u32::from(inner[8]);
    let sum = outer.sum + first + total + id + fragment + ttl;
    let ttl = ttl | PROTOCOL;
    let checksum = u32::from(!checksum::fold(u64::from(sum)));
    let words = [word([0x08, 0x00]), first, total, id, fragment, ttl, checksum];
    for (place, word) in (L3 - 2..).step_by(2).zip(words) {
        head[place..place + 2].copy_from_slice(&(word as u16).to_ne_bytes());
    }
    head[L3 + 12..L3 + 20].copy_from_slice(&outer.addresses);
    *verdict = link::address_head(next, head);
}

/// "Don't fragment", in the byte of flags of an IPv4 header.
pub const DF: u8 = 0x40;

const _: () = assert!(OUTER_MAX <= 128, "fits the headroom of an mbuf");

/// Only packets that may be cut need one.
#[inline(always)]
fn next_id(latest: &mut u16) -> u16 {
    *latest = latest.wrapping_add(1);
    *latest
}

fn inspect(packet: &Packet, df_mask: u8, bytes: &[u8]) -> Inner {
    let header = &bytes[usize::from(packet.l3)..];
    let (traffic_class, ttl, dont_fragment, protocol, ethertype) = match packet.family {
        Family::V4 => (header[1], header[8], header[6] & df_mask != 0, IPIP, 0x0800),
        Family::V6 => (header[0] << 4 | header[1] >> 4, header[7], false, IPV6_IN_IP, 0x86dd),
    };
    Inner { traffic_class, ttl, dont_fragment, len: usize::from(packet.ip_len), protocol, ethertype }
}

fn outer_protocol(server: &Server, inner: &Inner) -> u8 {
    match server.tunnel {
        TunnelKind::Ipip => inner.protocol,
        TunnelKind::Gue { .. } => UDP,
        TunnelKind::Gre => GRE,
    }
}

/// DSCP copied; ECN copied, but CE becomes ECT(0) (spec §5.1).
fn outer_traffic_class(inner: u8) -> u8 {
    // CE is both bits, and ECT(0) one less.
    inner - (inner & inner >> 1 & 1)
}

const VERSION_AND_LEN: u8 = 0x45;

/// The word of identification and fragment offset of a packet that may not be cut.
const DONT_FRAGMENT: u32 = 0x4000;

/// Writes an outer IPv4 header, complete. Made of words, so that its checksum costs a few additions.
fn outer_v4(
    inner: &Inner,
    total: usize,
    protocol: u8,
    ip_id: u16,
    (source, daddr): (u32, u32),
    header: &mut [u8; IPV4_LEN],
) {
    let class = outer_traffic_class(inner.traffic_class);
    let first = u32::from(VERSION_AND_LEN) << 24 | u32::from(class) << 16 | total as u32 & 0xffff;
    let second = if inner.dont_fragment { DONT_FRAGMENT } else { u32::from(ip_id) << 16 };
    let third = u32::from(inner.ttl) << 24 | u32::from(protocol) << 16;
    let sum = [first, second, third, source, daddr].iter().map(|&word| u64::from(word)).sum();
    let third = third | u32::from(!checksum::fold(sum));
    for (field, word) in header.as_chunks_mut().0.iter_mut().zip([first, second, third, source, daddr]) {
        *field = word.to_be_bytes();
    }
}

fn outer_v6(inner: &Inner, payload: usize, protocol: u8, header: &mut [u8]) {
    let class = outer_traffic_class(inner.traffic_class);
    header[0] = 0x60 | class >> 4;
    header[1] = class << 4;
    header[2..4].fill(0);
    header[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
    header[6] = protocol;
    header[7] = inner.ttl;
}

/// UDP and GUE, version 0, no options (spec §5.4).
fn gue(inner: &Inner, server: &Server, outer_len: usize, dport: u16, flow: u32, bytes: &mut [u8]) {
    /// The kernel's `ip_local_port_range`; its upper end is never produced.
    const SPORTS: (u32, u32) = (32_768, 60_999);
    let mixed = u64::from(flow ^ flow << 16);
    let sport = SPORTS.0 + ((mixed * u64::from(SPORTS.1 - SPORTS.0)) >> 32) as u32;
    let udp_len = (bytes.len() - outer_len) as u16;
    let udp = &mut bytes[outer_len..];
    udp[0..2].copy_from_slice(&(sport as u16).to_be_bytes());
    udp[2..4].copy_from_slice(&dport.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    udp[6..8].fill(0);
    udp[8..12].copy_from_slice(&[0, inner.protocol, 0, 0]);
    if server.tunnel_checksum == TunnelChecksum::None {
        return;
    }
    let addresses = if outer_len == IPV4_LEN { &bytes[12..20] } else { &bytes[8..40] };
    let pseudo = checksum::sum(addresses) + u64::from(UDP) + u64::from(udp_len);
    let sum = checksum::udp(pseudo, &bytes[outer_len..]);
    bytes[outer_len + 6..outer_len + 8].copy_from_slice(&sum.to_be_bytes());
}

/// GRE, version 0, no key, no sequence number (RFC 2784, spec §5.5).
fn gre(inner: &Inner, option: TunnelChecksum, bytes: &mut [u8]) {
    let checked = option != TunnelChecksum::None;
    bytes[0] = if checked { 0x80 } else { 0 };
    bytes[1] = 0;
    bytes[2..4].copy_from_slice(&inner.ethertype.to_be_bytes());
    if checked {
        bytes[4..8].fill(0);
        let sum = checksum::checksum(bytes);
        bytes[4..6].copy_from_slice(&sum.to_be_bytes());
    }
}
