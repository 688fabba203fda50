//! Classification: the one place where a packet's headers are parsed. What comes out are offsets and keys.

use crate::conn::{Address, Tuple};
use crate::counters::Counter;
use crate::state::{Signal, protocol, sctp};
use crate::tables::{Family, Marked, Tables};
use shunt_wire::{Frame, NicPortId};

/// Length of an Ethernet header without tags.
const ETHERNET_LEN: usize = 14;
/// Length of an 802.1Q tag.
const VLAN_LEN: usize = 4;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// Fixed parts of the IP headers.
pub const IPV4_LEN: usize = 20;
/// Fixed part of the IPv6 header.
pub const IPV6_LEN: usize = 40;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// What a packet is to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP, UDP or SCTP with readable ports.
    Flow,
    /// An ICMP error: the tuple is that of the quoted packet *reversed*, so that the look-up of a flow finds it, and
    /// tells by its direction which side reports.
    Error {
        /// Offset of the quoted IP header.
        quoted_l3: u16,
        /// Offset of the quoted transport header.
        quoted_l4: u16,
    },
    /// A fragment without ports, or a first fragment.
    Fragment,
    /// Not load-balanced: for the kernel.
    Punt,
    /// Broken.
    Drop(Counter),
}

/// A classified packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// NIC port that it came from.
    pub nic_port: NicPortId,
    /// Family of the outer header.
    pub family: Family,
    /// Offset of the IP header.
    pub l3: u16,
    /// Offset of the transport header.
    pub l4: u16,
    /// Length of the IP packet in bytes, header included.
    pub ip_len: u16,
    /// IP protocol number of the flow.
    pub protocol: u8,
    /// What the transport header says.
    pub signal: Signal,
    /// Source port, host order.
    pub sport: u16,
    /// Destination port, host order.
    pub dport: u16,
    /// Source address, host order (IPv4 in the low bits).
    pub src: u128,
    /// Destination address.
    pub dst: u128,
}

impl Packet {
    fn of_kind(kind: Kind) -> Packet {
        Packet {
            kind,
            nic_port: NicPortId(0),
            family: Family::V4,
            l3: 0,
            l4: 0,
            ip_len: 0,
            protocol: 0,
            signal: Signal::Nothing,
            sport: 0,
            dport: 0,
            src: 0,
            dst: 0,
        }
    }

    /// The tuple in the type of its family.
    #[inline]
    #[must_use]
    pub fn tuple<A: Address>(&self) -> Tuple<A> {
        Tuple {
            src: A::from_bits(self.src),
            dst: A::from_bits(self.dst),
            sport: self.sport,
            dport: self.dport,
            protocol: self.protocol,
        }
    }

    /// What the rules of firewall marks look at.
    #[must_use]
    pub fn marked(&self) -> Marked {
        Marked {
            src: self.src_ip(),
            dst: self.dst_ip(),
            protocol: self.protocol,
            sport: self.sport,
            dport: self.dport,
            nic_port: self.nic_port,
        }
    }

    /// Source address.
    #[must_use]
    pub fn src_ip(&self) -> std::net::IpAddr {
        match self.family {
            Family::V4 => u32::from_bits(self.src).ip(),
            Family::V6 => self.src.ip(),
        }
    }

    /// Destination address.
    #[must_use]
    pub fn dst_ip(&self) -> std::net::IpAddr {
        match self.family {
            Family::V4 => u32::from_bits(self.dst).ip(),
            Family::V6 => self.dst.ip(),
        }
    }
}

/// A big-endian 16-bit number.
#[inline]
#[must_use]
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

#[inline]
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Parses a frame. Cuts off what lies behind the IP packet (Ethernet padding).
#[inline]
pub fn classify<F: Frame>(tables: &Tables, frame: &mut F) -> Packet {
    let bytes = frame.bytes();
    let Some(header) = bytes.get(..ETHERNET_LEN) else {
        return Packet::of_kind(Kind::Drop(Counter::Malformed));
    };
    // Packets for other hosts are none of our business (spec `connections.md` §2: PACKET_HOST only).
    let mine =
        tables.nic_ports().get(usize::from(frame.nic_port().0)).is_some_and(|info| info.mac.0 == header[..6]);
    if !mine {
        return Packet::of_kind(Kind::Punt);
    }
    let mut ethertype = u16::from_be_bytes([header[12], header[13]]);
    let mut l3 = ETHERNET_LEN;
    for _ in 0..2 {
        if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ {
            let Some(inner) = be16(bytes, l3 + 2) else {
                return Packet::of_kind(Kind::Drop(Counter::Malformed));
            };
            ethertype = inner;
            l3 += VLAN_LEN;
        }
    }
    let mut packet = match ethertype {
        ETHERTYPE_IPV4 => ipv4(bytes, l3),
        ETHERTYPE_IPV6 => ipv6(bytes, l3),
        _ => return Packet::of_kind(Kind::Punt),
    };
    packet.nic_port = frame.nic_port();
    if packet.ip_len > 0 {
        frame.truncate(l3 + usize::from(packet.ip_len));
    }
    packet
}

fn ipv4(bytes: &[u8], l3: usize) -> Packet {
    let malformed = Packet::of_kind(Kind::Drop(Counter::Malformed));
    let Some(header) = bytes.get(l3..l3 + IPV4_LEN) else { return malformed };
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let ip_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < IPV4_LEN || ip_len < header_len || bytes.len() < l3 + ip_len {
        return malformed;
    }
    if !shunt_wire::checksum::is_valid(&bytes[l3..l3 + header_len]) {
        return Packet::of_kind(Kind::Drop(Counter::BadChecksum));
    }
    let mut packet = Packet {
        kind: Kind::Flow,
        family: Family::V4,
        l3: l3 as u16,
        l4: (l3 + header_len) as u16,
        ip_len: ip_len as u16,
        protocol: header[9],
        src: u128::from(be32(header, 12)),
        dst: u128::from(be32(header, 16)),
        ..malformed
    };
    const MORE_OR_OFFSET: u16 = 0x3fff;
    if u16::from_be_bytes([header[6], header[7]]) & MORE_OR_OFFSET != 0 {
        packet.kind = Kind::Fragment;
        return packet;
    }
    transport(&bytes[..l3 + ip_len], packet)
}

fn ipv6(bytes: &[u8], l3: usize) -> Packet {
    let malformed = Packet::of_kind(Kind::Drop(Counter::Malformed));
    let Some(header) = bytes.get(l3..l3 + IPV6_LEN) else { return malformed };
    let ip_len = IPV6_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || bytes.len() < l3 + ip_len || ip_len > usize::from(u16::MAX) {
        return malformed;
    }
    let bytes = &bytes[..l3 + ip_len];
    let address = |at: usize| u128::from_be_bytes(header[at..at + 16].try_into().unwrap_or_default());
    let mut packet = Packet {
        kind: Kind::Flow,
        family: Family::V6,
        l3: l3 as u16,
        ip_len: ip_len as u16,
        src: address(8),
        dst: address(24),
        ..malformed
    };
    match shunt_wire::ext::walk(header[6], &bytes[l3 + IPV6_LEN..]) {
        Ok(walk) => {
            packet.protocol = walk.protocol;
            packet.l4 = (l3 + IPV6_LEN + walk.offset) as u16;
            // An "atomic fragment" is the whole packet (RFC 6946).
            if walk.fragment.is_some_and(|fragment| fragment.offset != 0 || fragment.more) {
                packet.kind = Kind::Fragment;
                return packet;
            }
            transport(bytes, packet)
        }
        Err(_) => malformed,
    }
}

/// Reads the ports, or the packet that an ICMP error quotes. `bytes` ends where the IP packet does.
#[inline]
fn transport(bytes: &[u8], mut packet: Packet) -> Packet {
    let l4 = usize::from(packet.l4);
    let rest = bytes.get(l4..).unwrap_or_default();
    let needed = match packet.protocol {
        protocol::TCP => 20,
        protocol::UDP => 8,
        // The common header and the first chunk's (spec `connections.md` §4.1).
        protocol::SCTP => 16,
        ICMP if packet.family == Family::V4 => return icmp_v4(bytes, packet),
        ICMPV6 if packet.family == Family::V6 => return icmp_v6(bytes, packet),
        _ => {
            packet.kind = Kind::Punt;
            return packet;
        }
    };
    if rest.len() < needed {
        packet.kind = Kind::Drop(Counter::Malformed);
        return packet;
    }
    packet.sport = u16::from_be_bytes([rest[0], rest[1]]);
    packet.dport = u16::from_be_bytes([rest[2], rest[3]]);
    packet.signal = match packet.protocol {
        protocol::TCP => Signal::Tcp(rest[13]),
        protocol::UDP => Signal::Udp,
        _ => sctp_signal(rest),
    };
    packet
}

/// The event of the first SCTP chunk (RFC 9260 §3.2: type, flags, length; chunks are padded to 4 bytes).
fn sctp_signal(rest: &[u8]) -> Signal {
    const COMMON_LEN: usize = 12;
    const CHUNK_LEN: u16 = 4;
    let (Some(&first), Some(len)) = (rest.get(COMMON_LEN), be16(rest, COMMON_LEN + 2)) else {
        return Signal::Nothing;
    };
    if len < CHUNK_LEN {
        return Signal::Nothing;
    }
    let second = rest.get(COMMON_LEN + usize::from(len).next_multiple_of(4)).copied();
    Signal::Sctp(sctp::Event::of(first, second))
}

/// Length of the ICMP header, which the quoted packet follows.
const ICMP_LEN: usize = 8;

fn icmp_v4(bytes: &[u8], mut packet: Packet) -> Packet {
    let l4 = usize::from(packet.l4);
    let Some(header) = bytes.get(l4..l4 + ICMP_LEN) else {
        packet.kind = Kind::Drop(Counter::Malformed);
        return packet;
    };
    packet.kind = Kind::Punt;
    // Unreachable, source quench, time exceeded (spec `connections.md` §11); others are not IPVS's business.
    if !matches!(header[0], 3 | 4 | 11) {
        return packet;
    }
    let quoted_l3 = l4 + ICMP_LEN;
    let Some(quoted) = bytes.get(quoted_l3..quoted_l3 + IPV4_LEN) else { return packet };
    let header_len = usize::from(quoted[0] & 0x0f) * 4;
    const OFFSET: u16 = 0x1fff;
    let later_fragment = u16::from_be_bytes([quoted[6], quoted[7]]) & OFFSET != 0;
    if quoted[0] >> 4 != 4 || header_len < IPV4_LEN || later_fragment {
        return packet;
    }
    let ends = (u128::from(be32(quoted, 12)), u128::from(be32(quoted, 16)));
    quoted_flow(bytes, packet, (quoted_l3, quoted_l3 + header_len), quoted[9], ends)
}

fn icmp_v6(bytes: &[u8], mut packet: Packet) -> Packet {
    let l4 = usize::from(packet.l4);
    let Some(header) = bytes.get(l4..l4 + ICMP_LEN) else {
        packet.kind = Kind::Drop(Counter::Malformed);
        return packet;
    };
    packet.kind = Kind::Punt;
    const FIRST_INFORMATIONAL: u8 = 128;
    if header[0] >= FIRST_INFORMATIONAL {
        return packet;
    }
    let quoted_l3 = l4 + ICMP_LEN;
    let Some(quoted) = bytes.get(quoted_l3..quoted_l3 + IPV6_LEN) else { return packet };
    if quoted[0] >> 4 != 6 {
        return packet;
    }
    let Ok(walk) = shunt_wire::ext::walk(quoted[6], &bytes[quoted_l3 + IPV6_LEN..]) else { return packet };
    if walk.fragment.is_some_and(|fragment| fragment.offset != 0) {
        return packet;
    }
    let address = |at: usize| u128::from_be_bytes(quoted[at..at + 16].try_into().unwrap_or_default());
    let offsets = (quoted_l3, quoted_l3 + IPV6_LEN + walk.offset);
    quoted_flow(bytes, packet, offsets, walk.protocol, (address(8), address(24)))
}

/// Fills in the reversed tuple of a quoted packet, of which the first 8 bytes of the transport header are enough.
fn quoted_flow(
    bytes: &[u8],
    mut packet: Packet,
    offsets: (usize, usize),
    quoted: u8,
    ends: (u128, u128),
) -> Packet {
    if !matches!(quoted, protocol::TCP | protocol::UDP | protocol::SCTP) {
        return packet;
    }
    let (Some(sport), Some(dport)) = (be16(bytes, offsets.1), be16(bytes, offsets.1 + 2)) else {
        return packet;
    };
    packet.kind = Kind::Error { quoted_l3: offsets.0 as u16, quoted_l4: offsets.1 as u16 };
    packet.protocol = quoted;
    (packet.src, packet.dst) = (ends.1, ends.0);
    (packet.sport, packet.dport) = (dport, sport);
    packet
}
