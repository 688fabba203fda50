//! IP packets that the kernel twin reads and writes.

use shunt_wire::{checksum, ext};
use std::net::IpAddr;

/// Length of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;
/// Length of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Length of an IPv6 header.
pub const IPV6_LEN: usize = 40;

/// IP protocol numbers.
pub mod protocol {
    #![allow(missing_docs)]
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
}

/// The headers of an IP packet, as far as the kernel twin reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Protocol of the payload, behind IPv6 extension headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Length of all headers before the payload.
    pub header_len: usize,
    /// Length of the whole packet.
    pub len: usize,
    /// Is it a fragment?
    pub fragment: bool,
    /// One without a transport header?
    pub is_later_fragment: bool,
    /// Must routers not fragment it? Always so in IPv6.
    pub dont_fragment: bool,
}

impl Ip {
    /// Reads the headers of a packet; `None` if they are broken.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Ip> {
        match packet.first()? >> 4 {
            4 => Ip::read_v4(packet),
            6 => Ip::read_v6(packet),
            _ => None,
        }
    }

    fn read_v4(packet: &[u8]) -> Option<Ip> {
        let header = packet.get(..IPV4_LEN)?;
        let header_len = usize::from(header[0] & 15) * 4;
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let sound = header_len >= IPV4_LEN && len >= header_len && packet.len() >= len;
        if !sound || !checksum::is_valid(&packet[..header_len]) {
            return None;
        }
        let address = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).map(IpAddr::from).ok();
        Some(Ip {
            src: address(12)?,
            dst: address(16)?,
            protocol: header[9],
            ttl: header[8],
            tos: header[1],
            header_len,
            len,
            fragment: u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0,
            is_later_fragment: u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0,
            dont_fragment: header[6] & 0x40 != 0,
        })
    }

    fn read_v6(packet: &[u8]) -> Option<Ip> {
        let header = packet.get(..IPV6_LEN)?;
        let len = IPV6_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let walk = ext::walk(header[6], packet.get(IPV6_LEN..len)?).ok()?;
        let address = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).map(IpAddr::from).ok();
        Some(Ip {
            src: address(8)?,
            dst: address(24)?,
            protocol: walk.protocol,
            ttl: header[7],
            tos: header[0] << 4 | header[1] >> 4,
            header_len: IPV6_LEN + walk.offset,
            len,
            fragment: walk.fragment.is_some_and(|fragment| fragment.offset != 0 || fragment.more),
            is_later_fragment: walk.fragment.is_some_and(|fragment| fragment.offset != 0),
            dont_fragment: true,
        })
    }

    /// Is the checksum of a TCP, UDP or ICMP payload right? `payload` is all of it.
    #[must_use]
    pub fn checksum_is_right(&self, payload: &[u8]) -> bool {
        match self.protocol {
            protocol::ICMP => checksum::is_valid(payload),
            protocol::UDP if payload.len() >= 8 && payload[6..8] == [0, 0] => self.src.is_ipv4(),
            _ => checksum::transport_is_valid(
                pseudo(self.src, self.dst, self.protocol, payload.len()),
                payload,
            ),
        }
    }
}

/// What a header of the kernel's own says.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// IPv4 identification; the DF bit is set where it is 0, as the kernel does.
    pub id: u16,
}

/// The kernel's default TTL and hop limit.
const TTL: u8 = 64;

/// A packet of the kernel's own. `checksum_at` is the place of the payload's checksum, which is worked out here.
#[must_use]
pub fn write(header: Header, mut payload: Vec<u8>, checksum_at: usize) -> Vec<u8> {
    payload[checksum_at..checksum_at + 2].fill(0);
    let sum = match header.protocol {
        protocol::ICMP => checksum::checksum(&payload),
        _ => checksum::transport(pseudo(header.src, header.dst, header.protocol, payload.len()), &payload),
    };
    payload[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
    let len = payload.len();
    let mut packet = match (header.src, header.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let flags = if header.id == 0 { 0x40 } else { 0 };
            let [len_high, len_low] = u16::try_from(IPV4_LEN + len).unwrap_or(u16::MAX).to_be_bytes();
            let [id_high, id_low] = header.id.to_be_bytes();
            let mut bytes = vec![
                0x45,
                header.tos,
                len_high,
                len_low,
                id_high,
                id_low,
                flags,
                0,
                TTL,
                header.protocol,
                0,
                0,
            ];
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            let sum = checksum::checksum(&bytes);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes
        }
        (src, dst) => {
            let [len_high, len_low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
            let (class_high, class_low) = (0x60 | header.tos >> 4, header.tos << 4);
            let mut bytes = vec![class_high, class_low, 0, 0, len_high, len_low, header.protocol, TTL];
            bytes.extend(octets(src));
            bytes.extend(octets(dst));
            bytes
        }
    };
    packet.append(&mut payload);
    packet
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The sum of the pseudo header.
#[must_use]
pub fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u64 {
    checksum::sum(&octets(src)) + checksum::sum(&octets(dst)) + u64::from(protocol) + len as u64
}
