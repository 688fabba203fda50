//! Classification: the one place where a packet's headers are parsed. What comes out are offsets and keys.

use crate::conn::{Address, Tuple};
use crate::counters::Counter;
use crate::engine::Origin;
use crate::icmp;
use crate::state::{Signal, protocol, sctp};
use crate::tables::{Family, Marked, Tables};
use shunt_wire::{Frame, NicPortId};
use std::net::IpAddr;

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
const ESP: u8 = 50;
const AH: u8 = 51;

/// What a packet is to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP, UDP or SCTP with readable ports.
    Flow,
    /// ESP or AH: has no ports and makes no connection, but follows that of its key exchange, UDP port 500 to 500.
    Follower,
    /// An ICMP error: the tuple is that of the quoted packet *reversed*, so that the look-up of a flow finds it, and
    /// tells by its direction which side reports.
    Error {
        /// It quotes a tunnel packet of ours: the tuple is that of the request within, *not* reversed.
        tunnelled: bool,
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
    /// Family of the IP header; of an error about a tunnel packet of ours, that of the request within.
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
    /// A place for a packet to be classified into.
    pub(crate) const EMPTY: Packet = Packet {
        kind: Kind::Punt,
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
    };

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
    pub fn src_ip(&self) -> IpAddr {
        match self.family {
            Family::V4 => u32::from_bits(self.src).ip(),
            Family::V6 => self.src.ip(),
        }
    }

    /// Destination address.
    #[must_use]
    pub fn dst_ip(&self) -> IpAddr {
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

/// An IPv6 address at a place that is known to be there.
pub(crate) fn be128(bytes: &[u8], at: usize) -> u128 {
    u128::from_be_bytes(bytes[at..at + 16].try_into().unwrap_or_default())
}

/// Where the frame's IP packet goes, from the headers as they stand.
#[must_use]
pub fn destination(frame: &[u8]) -> Option<IpAddr> {
    let mut l3 = ETHERNET_LEN;
    while matches!(be16(frame, l3 - 2)?, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
        l3 += VLAN_LEN;
    }
    let header = frame.get(l3..)?;
    match be16(frame, l3 - 2)? {
        ETHERTYPE_IPV4 => Some(header.first_chunk::<IPV4_LEN>().map(|header| be32(header, 16).ip())?),
        ETHERTYPE_IPV6 => Some(header.first_chunk::<IPV6_LEN>().map(|header| be128(header, 24).ip())?),
        _ => None,
    }
}

/// A big-endian 32-bit number at a place that is known to be there.
#[inline]
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Parses a frame into `packet`, field by field where it lies. Cuts off what lies behind the IP packet (padding).
#[inline]
pub fn classify<F: Frame>(tables: &Tables, origin: Origin, frame: &mut F, packet: &mut Packet) {
    packet.ip_len = 0;
    packet.kind = link_layer(tables, origin, frame, packet);
    if let Kind::Error { quoted_l4, .. } = packet.kind {
        match packet.family {
            _ if !quotes_ports(quoted_l4, packet) => packet.kind = without_ports(tables, packet),
            Family::V4 => icmp::look_inside(tables, frame.bytes(), packet),
            Family::V6 => icmp::look_inside_v6(tables, frame.bytes(), packet),
        }
    }
    if packet.ip_len > 0 {
        frame.truncate(usize::from(packet.l3) + usize::from(packet.ip_len));
    }
}

#[inline]
fn link_layer<F: Frame>(tables: &Tables, origin: Origin, frame: &F, packet: &mut Packet) -> Kind {
    let bytes = frame.bytes();
    let Some(header) = bytes.first_chunk::<ETHERNET_LEN>() else { return Kind::Drop(Counter::Malformed) };
    packet.nic_port = frame.nic_port();
    // Packets for other hosts are none of our business (spec `connections.md` §2: PACKET_HOST only).
    let Some(info) = tables.nic_ports().get(usize::from(packet.nic_port.0)) else { return Kind::Punt };
    // What the kernel sends comes from that address instead of going to it.
    let own = if origin.is_kernel() { &header[6..12] } else { &header[..6] };
    if info.own_mac(own).is_none() {
        return Kind::Punt;
    }
    match u16::from_be_bytes([header[12], header[13]]) {
        ETHERTYPE_IPV4 => ipv4(bytes, ETHERNET_LEN, packet),
        ETHERTYPE_IPV6 => ipv6(bytes, ETHERNET_LEN, packet),
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => tagged(bytes, packet),
        _ => Kind::Punt,
    }
}

/// One tag, or two.
fn tagged(bytes: &[u8], packet: &mut Packet) -> Kind {
    let mut l3 = ETHERNET_LEN + VLAN_LEN;
    let mut ethertype = be16(bytes, l3 - 2);
    if ethertype == Some(ETHERTYPE_VLAN) {
        l3 += VLAN_LEN;
        ethertype = be16(bytes, l3 - 2);
    }
    match ethertype {
        Some(ETHERTYPE_IPV4) => ipv4(bytes, l3, packet),
        Some(ETHERTYPE_IPV6) => ipv6(bytes, l3, packet),
        Some(_) => Kind::Punt,
        None => Kind::Drop(Counter::Malformed),
    }
}

#[inline]
fn ipv4(bytes: &[u8], l3: usize, packet: &mut Packet) -> Kind {
    let malformed = Kind::Drop(Counter::Malformed);
    let Some(header) = bytes.get(l3..).and_then(|rest| rest.first_chunk::<IPV4_LEN>()) else {
        return malformed;
    };
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let ip_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < IPV4_LEN || ip_len < header_len || bytes.len() < l3 + ip_len {
        return malformed;
    }
    let sum_is_right = match header_len {
        IPV4_LEN => plain_header_is_valid(header),
        _ => shunt_wire::checksum::is_valid(&bytes[l3..l3 + header_len]),
    };
    if !sum_is_right {
        return Kind::Drop(Counter::BadChecksum);
    }
    packet.family = Family::V4;
    packet.l3 = l3 as u16;
    packet.l4 = (l3 + header_len) as u16;
    packet.ip_len = ip_len as u16;
    packet.protocol = header[9];
    packet.src = u128::from(be32(header, 12));
    packet.dst = u128::from(be32(header, 16));
    const MORE_OR_OFFSET: u16 = 0x3fff;
    if u16::from_be_bytes([header[6], header[7]]) & MORE_OR_OFFSET != 0 {
        return Kind::Fragment;
    }
    transport(&bytes[..l3 + ip_len], packet)
}

/// The checksum of a header without options: its words add up to all ones. In either byte order (RFC 1071 §2 B).
#[inline]
pub fn plain_header_is_valid(header: &[u8; IPV4_LEN]) -> bool {
    let (Some((first, rest)), Some(addresses)) = (header.split_first_chunk(), header.last_chunk()) else {
        return false;
    };
    let middle = rest.first_chunk().map_or(0, |&word| u64::from(u32::from_ne_bytes(word)));
    // What is carried out comes in again at the lower end, as in any sum of ones' complements.
    let add = |one: u64, other: u64| {
        let (sum, carry) = one.overflowing_add(other);
        sum.wrapping_add(u64::from(carry))
    };
    let sum = add(add(u64::from_ne_bytes(*first), u64::from_ne_bytes(*addresses)), middle);
    // Folded it is all ones if it is a multiple of that; it is not 0, because every header has a version. Multiplied by
    // the inverse modulo 2^64, multiples become the smallest numbers there are, and nothing else does.
    const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
    const _: () = assert!(0xffff_u64.wrapping_mul(INVERSE) == 1);
    sum.wrapping_mul(INVERSE) <= u64::MAX / 0xffff
}

fn ipv6(bytes: &[u8], l3: usize, packet: &mut Packet) -> Kind {
    let malformed = Kind::Drop(Counter::Malformed);
    let Some(header) = bytes.get(l3..).and_then(|rest| rest.first_chunk::<IPV6_LEN>()) else {
        return malformed;
    };
    let ip_len = IPV6_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || bytes.len() < l3 + ip_len || ip_len > usize::from(u16::MAX) {
        return malformed;
    }
    let bytes = &bytes[..l3 + ip_len];
    let Ok(walk) = shunt_wire::ext::walk(header[6], &bytes[l3 + IPV6_LEN..]) else { return malformed };
    packet.family = Family::V6;
    packet.l3 = l3 as u16;
    packet.l4 = (l3 + IPV6_LEN + walk.offset) as u16;
    packet.ip_len = ip_len as u16;
    packet.protocol = walk.protocol;
    packet.src = be128(header, 8);
    packet.dst = be128(header, 24);
    // Also an "atomic" one, which is the whole packet (RFC 6946): as in the kernel, its fragment header ends here.
    if walk.fragment.is_some() {
        return Kind::Fragment;
    }
    transport(bytes, packet)
}

/// Reads the ports, or the packet that an ICMP error quotes. `bytes` ends where the IP packet does.
#[inline]
fn transport(bytes: &[u8], packet: &mut Packet) -> Kind {
    let rest = bytes.get(usize::from(packet.l4)..).unwrap_or_default();
    packet.signal = match packet.protocol {
        protocol::TCP if rest.len() >= 20 => Signal::Tcp(rest[13]),
        protocol::UDP if rest.len() >= 8 => Signal::Udp,
        // The common header and the first chunk's (spec `connections.md` §4.1).
        protocol::SCTP if rest.len() >= 16 => sctp_signal(rest),
        protocol::TCP | protocol::UDP | protocol::SCTP => return Kind::Drop(Counter::Malformed),
        ICMP if packet.family == Family::V4 => return icmp_v4(bytes, packet),
        ICMPV6 if packet.family == Family::V6 => return icmp_v6(bytes, packet),
        ESP | AH => return follower(packet),
        _ => return Kind::Punt,
    };
    packet.sport = u16::from_be_bytes([rest[0], rest[1]]);
    packet.dport = u16::from_be_bytes([rest[2], rest[3]]);
    Kind::Flow
}

/// Looked up as a datagram of its key exchange (spec `connections.md` §2).
fn follower(packet: &mut Packet) -> Kind {
    const KEY_EXCHANGE: u16 = 500;
    packet.protocol = protocol::UDP;
    (packet.sport, packet.dport) = (KEY_EXCHANGE, KEY_EXCHANGE);
    packet.signal = Signal::Nothing;
    Kind::Follower
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

fn icmp_v4(bytes: &[u8], packet: &mut Packet) -> Kind {
    let l4 = usize::from(packet.l4);
    let Some(header) = bytes.get(l4..l4 + ICMP_LEN) else { return Kind::Drop(Counter::Malformed) };
    // Unreachable, source quench, time exceeded (spec `connections.md` §11); others are not IPVS's business.
    if !matches!(header[0], 3 | 4 | 11) {
        return Kind::Punt;
    }
    let quoted_l3 = l4 + ICMP_LEN;
    let Some(quoted) = bytes.get(quoted_l3..quoted_l3 + IPV4_LEN) else { return Kind::Punt };
    let header_len = usize::from(quoted[0] & 0x0f) * 4;
    const OFFSET: u16 = 0x1fff;
    let later_fragment = u16::from_be_bytes([quoted[6], quoted[7]]) & OFFSET != 0;
    if quoted[0] >> 4 != 4 || header_len < IPV4_LEN || later_fragment {
        return Kind::Punt;
    }
    let ends = (u128::from(be32(quoted, 12)), u128::from(be32(quoted, 16)));
    quoted_flow(bytes, packet, (quoted_l3, quoted_l3 + header_len), quoted[9], ends)
}

fn icmp_v6(bytes: &[u8], packet: &mut Packet) -> Kind {
    let l4 = usize::from(packet.l4);
    let Some(header) = bytes.get(l4..l4 + ICMP_LEN) else { return Kind::Drop(Counter::Malformed) };
    const FIRST_INFORMATIONAL: u8 = 128;
    if header[0] >= FIRST_INFORMATIONAL {
        return Kind::Punt;
    }
    let quoted_l3 = l4 + ICMP_LEN;
    let Some(quoted) = bytes.get(quoted_l3..quoted_l3 + IPV6_LEN) else { return Kind::Punt };
    if quoted[0] >> 4 != 6 {
        return Kind::Punt;
    }
    let Ok(walk) = shunt_wire::ext::walk(quoted[6], &bytes[quoted_l3 + IPV6_LEN..]) else {
        return Kind::Punt;
    };
    if walk.fragment.is_some_and(|fragment| fragment.offset != 0) {
        return Kind::Punt;
    }
    let offsets = (quoted_l3, quoted_l3 + IPV6_LEN + walk.offset);
    quoted_flow(bytes, packet, offsets, walk.protocol, (be128(quoted, 8), be128(quoted, 24)))
}

/// Fills in the reversed tuple of a quoted packet, of which the first 8 bytes of the transport header are enough.
fn quoted_flow(
    bytes: &[u8],
    packet: &mut Packet,
    offsets: (usize, usize),
    quoted: u8,
    ends: (u128, u128),
) -> Kind {
    let is_flow = matches!(quoted, protocol::TCP | protocol::UDP | protocol::SCTP);
    // Whose errors are looked into further.
    let is_tunnel = matches!(quoted, protocol::IPIP | protocol::GRE)
        || quoted == protocol::IPV6 && packet.family == Family::V6;
    if !is_flow && !is_tunnel {
        return Kind::Punt;
    }
    // Errors that end before the ports are sorted out when the settings are at hand.
    let (sport, dport) = match (be16(bytes, offsets.1), be16(bytes, offsets.1 + 2)) {
        (Some(sport), Some(dport)) => (sport, dport),
        _ if is_flow => (0, 0),
        _ => return Kind::Punt,
    };
    packet.protocol = quoted;
    packet.signal = Signal::Nothing;
    (packet.src, packet.dst) = (ends.1, ends.0);
    (packet.sport, packet.dport) = (dport, sport);
    Kind::Error { tunnelled: false, quoted_l3: offsets.0 as u16, quoted_l4: offsets.1 as u16 }
}

/// Does an ICMP error go on until behind the ports of the packet that it quotes?
fn quotes_ports(quoted_l4: u16, packet: &Packet) -> bool {
    const PORTS_LEN: usize = 4;
    usize::from(quoted_l4) + PORTS_LEN <= usize::from(packet.l3) + usize::from(packet.ip_len)
}

/// An ICMP error that quotes less than the ports is about no flow that is known. As the kernel, which with
/// `schedule_icmp` cannot tell for which service it is, and drops it.
#[cold]
fn without_ports(tables: &Tables, packet: &Packet) -> Kind {
    if tables.settings().schedule_icmp && tables.balances(packet.family) {
        Kind::Drop(Counter::Malformed)
    } else {
        Kind::Punt
    }
}
