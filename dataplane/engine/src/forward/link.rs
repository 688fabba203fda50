//! The last step of every method: TTL, size, link-layer addresses.

use crate::counters::Counter;
use crate::packet::Packet;
use crate::tables::{Family, Hop, NextHop};
use crate::verdict::{NeighbourOf, Verdict};
use shunt_wire::checksum::Delta;
use shunt_wire::{Frame, MacAddr};

/// Where a family keeps its TTL or hop limit.
const fn ttl_place(family: Family) -> usize {
    match family {
        Family::V4 => 8,
        Family::V6 => 7,
    }
}

/// The TTL or hop limit of a classified packet.
#[inline]
#[must_use]
pub fn ttl<F: Frame>(packet: &Packet, frame: &F) -> u8 {
    frame.bytes()[usize::from(packet.l3) + ttl_place(packet.family)]
}

/// Lowers the TTL or hop limit by one, and repairs the checksum of IPv4. It must be at least 1.
#[inline]
pub fn decrement_ttl<F: Frame>(packet: &Packet, frame: &mut F) {
    let l3 = usize::from(packet.l3);
    let bytes = frame.bytes_mut();
    bytes[l3 + ttl_place(packet.family)] -= 1;
    if packet.family == Family::V4 {
        let checksum = u16::from_be_bytes([bytes[l3 + 10], bytes[l3 + 11]]);
        bytes[l3 + 10..l3 + 12].copy_from_slice(&Delta::TTL_DECREMENT.apply(checksum).to_be_bytes());
    }
}

/// May an IPv4 packet be cut on its way?
#[inline]
#[must_use]
pub fn dont_fragment<F: Frame>(packet: &Packet, frame: &F) -> bool {
    const DF: u8 = 0x40;
    packet.family == Family::V4 && frame.bytes()[usize::from(packet.l3) + 6] & DF != 0
}

/// Writes the link-layer addresses; a VLAN tag stays as it is.
#[inline]
pub fn address<F: Frame>(next: &NextHop, frame: &mut F) -> Verdict {
    if let Some(head) = frame.bytes_mut().first_chunk_mut() {
        write_macs(next, head);
    }
    Verdict::Transmit(next.nic_port)
}

/// The same for what a frame begins with.
#[inline(always)]
pub fn address_head(next: &NextHop, head: &mut [u8]) -> Verdict {
    if let Some(macs) = head.first_chunk_mut() {
        write_macs(next, macs);
    }
    Verdict::Transmit(next.nic_port)
}

/// Writes both link-layer addresses, in two stores.
#[inline]
fn write_macs(next: &NextHop, head: &mut [u8; 12]) {
    let (MacAddr([a, b, c, d, e, f]), MacAddr([g, h, src_tail @ ..])) = (next.dst_mac, next.src_mac);
    head[..8].copy_from_slice(&[a, b, c, d, e, f, g, h]);
    head[8..].copy_from_slice(&src_tail);
}

/// Sends a finished packet on its way, which leads to `to`.
#[inline]
pub fn send<F: Frame>(hop: &Hop, to: NeighbourOf, frame: &mut F) -> Verdict {
    match hop {
        Hop::Via(next) => address(next, frame),
        Hop::Local => Verdict::Punt(frame.nic_port()),
        Hop::Unresolved => Verdict::AwaitNeighbour(to),
        Hop::Unreachable => Verdict::Drop(Counter::NoRoute),
    }
}
