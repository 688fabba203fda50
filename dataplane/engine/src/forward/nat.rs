//! NAT: addresses and ports rewritten in place, checksums updated by a difference that was worked out once per
//! connection (spec `forwarding.md` §3, RFC 1624).

use super::link;
use crate::conn::{Address, Conn};
use crate::fast::{Plain, Read};
use crate::packet::{Kind, Packet};
use crate::state::protocol;
use crate::tables::{Family, NextHop};
use crate::verdict::Verdict;
use shunt_wire::checksum::Delta;
use shunt_wire::{Frame, checksum};

/// Which end of the packet is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Requests: the destination.
    Destination,
    /// Replies: the source.
    Source,
}

/// Works out the differences of a new NAT connection: virtual to real.
pub fn prepare<A: Address>(conn: &mut Conn<A>) {
    let address = address_delta(conn.vaddr, conn.daddr);
    conn.address_delta = address;
    conn.l4_delta = address.and(Delta::word(conn.vport, conn.dport));
}

/// What it does to a checksum when one address becomes another.
#[must_use]
fn address_delta<A: Address>(old: A, new: A) -> Delta {
    Delta::bytes(&old.bits().to_be_bytes(), &new.bits().to_be_bytes())
}

/// What to write, and what it does to the checksums.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite<A> {
    end: End,
    address: A,
    l4_port: u16,
    address_delta: Delta,
    l4_delta: Delta,
    ports_differ: bool,
}

impl<A: Address> Rewrite<A> {
    /// Client to server.
    #[inline(always)]
    #[must_use]
    pub fn request(conn: &Conn<A>) -> Rewrite<A> {
        Rewrite {
            end: End::Destination,
            address: conn.daddr,
            l4_port: conn.dport,
            address_delta: conn.address_delta,
            l4_delta: conn.l4_delta,
            ports_differ: conn.vport != conn.dport,
        }
    }

    /// Server to client: the differences with the other sign.
    #[inline(always)]
    #[must_use]
    pub fn reply(conn: &Conn<A>) -> Rewrite<A> {
        Rewrite {
            end: End::Source,
            address: conn.vaddr,
            l4_port: conn.vport,
            address_delta: -conn.address_delta,
            l4_delta: -conn.l4_delta,
            ports_differ: conn.vport != conn.dport,
        }
    }

    /// Rewrites a plain packet and lowers its TTL: the same as [`Rewrite::apply`] after that, in fewer steps, on its way to
    /// `next`.
    #[inline(always)]
    pub fn apply_plain<F: Frame>(&self, plain: &Plain<A>, next: &NextHop, frame: &mut F) -> Verdict
    where
        A: Read,
    {
        let bytes = frame.bytes_mut();
        A::readdress(bytes, self.end, self.address, self.l4_port, self.address_delta);
        let verdict = link::address_head(next, bytes);
        let is_tcp = plain.protocol == protocol::TCP;
        let place = A::L4 + if is_tcp { 16 } else { 6 };
        let Some(field) = bytes.get_mut(place..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
            return verdict;
        };
        let checksum = self.l4_delta.apply_field(*field);
        if is_tcp {
            *field = checksum;
        } else if *field != [0, 0] {
            *field = udp_field(checksum);
        } else {
            self.sum_plain(plain, frame);
        }
        verdict
    }

    /// A datagram without a checksum gets one.
    #[cold]
    #[inline(never)]
    fn sum_plain<F: Frame>(&self, plain: &Plain<A>, frame: &mut F)
    where
        A: Read,
    {
        self.udp_checksum(&plain.packet(frame.nic_port()), frame.bytes_mut());
    }

    /// Rewrites a classified packet.
    #[inline]
    pub fn apply<F: Frame>(&self, packet: &Packet, frame: &mut F) {
        let bytes = frame.bytes_mut();
        self.write_address(usize::from(packet.l3), bytes);
        if packet.kind == Kind::Follower {
            return;
        }
        let l4 = usize::from(packet.l4);
        let place = l4 + if self.end == End::Destination { 2 } else { 0 };
        bytes[place..place + 2].copy_from_slice(&self.l4_port.to_be_bytes());
        match packet.protocol {
            protocol::TCP => adjust_at(bytes, l4 + 16, self.l4_delta),
            protocol::UDP => self.udp_checksum(packet, bytes),
            protocol::SCTP if self.ports_differ => {
                let end = usize::from(packet.l3) + usize::from(packet.ip_len);
                shunt_wire::sctp::set_checksum(&mut bytes[l4..end]);
            }
            _ => {}
        }
    }

    /// Writes the address and repairs the IPv4 header checksum.
    #[inline]
    fn write_address(&self, l3: usize, bytes: &mut [u8]) {
        let value = self.address.bits().to_be_bytes();
        match A::FAMILY {
            Family::V4 => {
                let place = l3 + if self.end == End::Destination { 16 } else { 12 };
                bytes[place..place + 4].copy_from_slice(&value[12..]);
                adjust_at(bytes, l3 + 10, self.address_delta);
            }
            Family::V6 => {
                let place = l3 + if self.end == End::Destination { 24 } else { 8 };
                bytes[place..place + 16].copy_from_slice(&value);
            }
        }
    }

    /// UDP: "no checksum" becomes a full one, as the kernel does; a computed 0 is sent as 0xffff (RFC 768).
    #[inline]
    fn udp_checksum(&self, packet: &Packet, bytes: &mut [u8]) {
        let place = usize::from(packet.l4) + 6;
        let old = [bytes[place], bytes[place + 1]];
        if old != [0, 0] {
            let new = udp_field(self.l4_delta.apply_field(old));
            return bytes[place..place + 2].copy_from_slice(&new);
        }
        let new = match l4_checksum(bytes, packet, packet.protocol) {
            0 => 0xffff,
            sum => sum,
        };
        bytes[place..place + 2].copy_from_slice(&new.to_be_bytes());
    }
}

/// UDP's field for a computed checksum: 0 is sent as 0xffff (RFC 768).
#[inline]
fn udp_field(checksum: [u8; 2]) -> [u8; 2] {
    if checksum == [0, 0] { [0xff, 0xff] } else { checksum }
}

/// Applies a difference to a checksum field.
#[inline]
pub fn adjust_at(bytes: &mut [u8], place: usize, delta: Delta) {
    let new = delta.apply_field([bytes[place], bytes[place + 1]]);
    bytes[place..place + 2].copy_from_slice(&new);
}

/// The checksum of the transport part of a packet, with its pseudo header; the field itself counts as it stands.
#[must_use]
pub fn l4_checksum(bytes: &[u8], packet: &Packet, protocol: u8) -> u16 {
    let (l3, l4) = (usize::from(packet.l3), usize::from(packet.l4));
    let end = l3 + usize::from(packet.ip_len);
    let addresses = match packet.family {
        Family::V4 => &bytes[l3 + 12..l3 + 20],
        Family::V6 => &bytes[l3 + 8..l3 + 40],
    };
    let pseudo = checksum::sum(addresses) + u64::from(protocol) + (end - l4) as u64;
    checksum::transport(pseudo, &bytes[l4..end])
}
