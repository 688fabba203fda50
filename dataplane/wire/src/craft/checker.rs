//! Checks every length and checksum of a frame, as a strict receiver would, and takes tunnels apart.

use crate::checksum;
use crate::ethernet::{EthernetHeader, VlanTag, ether_type};
use crate::ext;
use crate::gre::{self, GreChecksum, GreHeader};
use crate::gue::GueHeader;
use crate::header::Header;
use crate::ip_protocol::{GRE, ICMP, ICMPV6, IPIP, IPV6, SCTP, TCP, UDP};
use crate::ipv4::{self, Ipv4Header};
use crate::ipv6::Ipv6Header;
use crate::sctp;
use crate::tcp::TcpHeader;
use crate::udp::UdpHeader;
use std::fmt;
use std::net::IpAddr;

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The Ethernet header or its tags are cut off.
    LinkHeader,
    /// Neither IPv4 nor IPv6: the EtherType.
    NotIp(u16),
    /// The IP header is cut off, or its version or lengths make no sense.
    IpHeader,
    /// The IPv4 header checksum is wrong.
    IpChecksum,
    /// The chain of IPv6 extension headers makes no sense.
    Extensions(ext::Malformed),
    /// The transport header is cut off, or its lengths make no sense.
    TransportHeader,
    /// The checksum of the transport protocol is wrong.
    TransportChecksum,
    /// UDP over IPv6 has no checksum, which only a tunnel may do (RFC 6935).
    MissingChecksum,
    /// The packet holds no tunnel of a known kind: the IP protocol.
    NotATunnel(u8),
    /// The GUE or GRE header is cut off, or has a version or option that is not known.
    TunnelHeader,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::LinkHeader => out.write_str("the Ethernet header is cut off"),
            Fault::NotIp(ethertype) => write!(out, "EtherType {ethertype:#06x} is not IP"),
            Fault::IpHeader => out.write_str("malformed IP header"),
            Fault::IpChecksum => out.write_str("wrong IPv4 header checksum"),
            Fault::Extensions(malformed) => malformed.fmt(out),
            Fault::TransportHeader => out.write_str("malformed transport header"),
            Fault::TransportChecksum => out.write_str("wrong transport checksum"),
            Fault::MissingChecksum => out.write_str("UDP over IPv6 without a checksum"),
            Fault::NotATunnel(protocol) => write!(out, "IP protocol {protocol} is not a tunnel"),
            Fault::TunnelHeader => out.write_str("malformed tunnel header"),
        }
    }
}

impl std::error::Error for Fault {}

/// A frame whose lengths and checksums are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub traffic_class: u8,
    /// IPv4: DF is set.
    pub dont_fragment: bool,
    /// Identification of IPv4, or of the IPv6 fragment header; else 0.
    pub id: u32,
    /// A fragment, first or later: then the transport header has not been looked at.
    pub is_fragment: bool,
    /// IP protocol of the transport header.
    pub protocol: u8,
    /// Source port of TCP, UDP, SCTP; else 0.
    pub sport: u16,
    /// Destination port of TCP, UDP, SCTP; else 0.
    pub dport: u16,
    /// False if the transport protocol has a checksum and the packet goes without it.
    pub is_checksummed: bool,
    /// Offset of the IP header in the frame.
    pub l3: usize,
    /// Offset of the transport header.
    pub l4: usize,
    /// Offset of what follows the transport header: payload, quoted packet, chunks.
    pub payload: usize,
    /// End of the IP packet; padding may follow.
    pub end: usize,
}

/// Checks a frame that holds an IP packet.
///
/// # Errors
/// The first [`Fault`] from the outside in.
pub fn check(frame: &[u8]) -> Result<Checked, Fault> {
    let checked = check_unless_tunnel(frame)?;
    if checked.protocol == UDP && checked.src.is_ipv6() && !checked.is_checksummed {
        return Err(Fault::MissingChecksum);
    }
    Ok(checked)
}

fn check_unless_tunnel(frame: &[u8]) -> Result<Checked, Fault> {
    let (ethertype, l3) = link(frame)?;
    let mut checked = match ethertype {
        ether_type::IPV4 => check_ipv4(frame, l3)?,
        ether_type::IPV6 => check_ipv6(frame, l3)?,
        other => return Err(Fault::NotIp(other)),
    };
    if !checked.is_fragment {
        check_transport(&frame[..checked.end], &mut checked)?;
    }
    Ok(checked)
}

/// EtherType and offset of what follows the Ethernet header and its tags.
fn link(frame: &[u8]) -> Result<(u16, usize), Fault> {
    let mut ethertype = EthernetHeader::at(frame, 0).ok_or(Fault::LinkHeader)?.ethertype.get();
    let mut end = EthernetHeader::LEN;
    while matches!(ethertype, ether_type::VLAN | ether_type::QINQ) {
        ethertype = VlanTag::at(frame, end).ok_or(Fault::LinkHeader)?.ethertype.get();
        end += VlanTag::LEN;
    }
    Ok((ethertype, end))
}

fn check_ipv4(frame: &[u8], l3: usize) -> Result<Checked, Fault> {
    let header = Ipv4Header::well_formed(&frame[l3..]).ok_or(Fault::IpHeader)?;
    if !ipv4::checksum_is_valid(&frame[l3..]) {
        return Err(Fault::IpChecksum);
    }
    let l4 = l3 + header.header_len();
    Ok(Checked {
        src: header.src_addr().into(),
        dst: header.dst_addr().into(),
        ttl: header.ttl,
        traffic_class: header.tos,
        dont_fragment: header.df(),
        id: header.id.get().into(),
        is_fragment: header.is_fragment(),
        protocol: header.protocol,
        sport: 0,
        dport: 0,
        is_checksummed: true,
        l3,
        l4,
        payload: l4,
        end: l3 + usize::from(header.total_len.get()),
    })
}

fn check_ipv6(frame: &[u8], l3: usize) -> Result<Checked, Fault> {
    let header = Ipv6Header::well_formed(&frame[l3..]).ok_or(Fault::IpHeader)?;
    let start = l3 + Ipv6Header::LEN;
    let end = start + usize::from(header.payload_len.get());
    let walk = ext::walk(header.next_header, &frame[start..end]).map_err(Fault::Extensions)?;
    let l4 = start + walk.offset;
    Ok(Checked {
        src: header.src_addr().into(),
        dst: header.dst_addr().into(),
        ttl: header.hop_limit,
        traffic_class: header.traffic_class(),
        dont_fragment: false,
        id: walk.fragment.map_or(0, |fragment| fragment.id),
        is_fragment: walk.fragment.is_some_and(|fragment| !fragment.is_whole()),
        protocol: walk.protocol,
        sport: 0,
        dport: 0,
        is_checksummed: true,
        l3,
        l4,
        payload: l4,
        end,
    })
}

/// Fills in what the transport header says. `packet` is the frame up to the end of the IP packet.
fn check_transport(packet: &[u8], checked: &mut Checked) -> Result<(), Fault> {
    let segment = &packet[checked.l4..];
    let pseudo = pseudo_sum(checked, segment.len());
    let header_len = match (checked.protocol, checked.src) {
        (TCP, _) => {
            let header = TcpHeader::at(segment, 0).ok_or(Fault::TransportHeader)?;
            (checked.sport, checked.dport) = (header.sport.get(), header.dport.get());
            require(checksum::transport_is_valid(pseudo, segment))?;
            header.header_len().max(TcpHeader::LEN)
        }
        (UDP, _) => {
            let header = UdpHeader::at(segment, 0).ok_or(Fault::TransportHeader)?;
            if usize::from(header.datagram_len.get()) != segment.len() {
                return Err(Fault::TransportHeader);
            }
            (checked.sport, checked.dport) = (header.sport.get(), header.dport.get());
            checked.is_checksummed = !header.is_unchecked();
            require(header.is_unchecked() || checksum::transport_is_valid(pseudo, segment))?;
            UdpHeader::LEN
        }
        (SCTP, _) => {
            let header = sctp::SctpHeader::at(segment, 0).ok_or(Fault::TransportHeader)?;
            (checked.sport, checked.dport) = (header.sport.get(), header.dport.get());
            require(sctp::is_valid(segment))?;
            sctp::SctpHeader::LEN
        }
        (ICMP, IpAddr::V4(_)) => {
            require(checksum::is_valid(segment))?;
            8
        }
        (ICMPV6, IpAddr::V6(_)) => {
            require(checksum::transport_is_valid(pseudo, segment))?;
            8
        }
        _ => 0,
    };
    checked.payload = checked.l4 + header_len;
    let data_offset_is_sane = checked.protocol != TCP
        || TcpHeader::at(segment, 0).is_some_and(|header| header.header_len() == header_len);
    if checked.payload > checked.end || !data_offset_is_sane {
        return Err(Fault::TransportHeader);
    }
    Ok(())
}

fn require(checksum_is_right: bool) -> Result<(), Fault> {
    if checksum_is_right { Ok(()) } else { Err(Fault::TransportChecksum) }
}

fn pseudo_sum(checked: &Checked, len: usize) -> u64 {
    match (checked.src, checked.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            checksum::pseudo_v4(src.octets(), dst.octets(), checked.protocol, len as u16)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            checksum::pseudo_v6(src.octets(), dst.octets(), checked.protocol, len as u32)
        }
        // Both come from one header.
        _ => 0,
    }
}

/// The kind of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// IP in IP, any families.
    Ipip,
    /// GUE, variant 0; its UDP ports are in [`Decapsulated::outer`].
    Gue,
    /// GRE; [`Checked::is_checksummed`] says whether it had a checksum.
    Gre,
}

/// A tunnel packet taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decapsulated {
    /// The outer packet.
    pub outer: Checked,
    /// How the inner packet was wrapped.
    pub tunnel: Tunnel,
    /// The inner packet behind the outer frame's link header, so that it can be checked in turn.
    pub inner: Vec<u8>,
}

/// Checks a tunnel packet's outer headers, and unwraps the inner packet, which is not checked.
///
/// # Errors
/// The first [`Fault`] of the outer headers.
pub fn decapsulate(frame: &[u8]) -> Result<Decapsulated, Fault> {
    let mut outer = check_unless_tunnel(frame)?;
    let packet = &frame[..outer.end];
    let (tunnel, ethertype, start) = match outer.protocol {
        IPIP => (Tunnel::Ipip, ether_type::IPV4, outer.l4),
        IPV6 => (Tunnel::Ipip, ether_type::IPV6, outer.l4),
        UDP => unwrap_gue(packet, outer.payload)?,
        GRE => unwrap_gre(packet, &mut outer)?,
        other => return Err(Fault::NotATunnel(other)),
    };
    let mut inner = packet[..outer.l3].to_vec();
    inner[outer.l3 - 2..].copy_from_slice(&ethertype.to_be_bytes());
    inner.extend_from_slice(packet.get(start..).ok_or(Fault::TunnelHeader)?);
    Ok(Decapsulated { outer, tunnel, inner })
}

fn unwrap_gue(packet: &[u8], at: usize) -> Result<(Tunnel, u16, usize), Fault> {
    let header = GueHeader::at(packet, at).ok_or(Fault::TunnelHeader)?;
    let ethertype = match header.protocol {
        IPIP => ether_type::IPV4,
        IPV6 => ether_type::IPV6,
        _ => return Err(Fault::TunnelHeader),
    };
    if header.variant() != 0 || header.is_control() || header.flags.get() != 0 {
        return Err(Fault::TunnelHeader);
    }
    Ok((Tunnel::Gue, ethertype, at + header.header_len()))
}

fn unwrap_gre(packet: &[u8], outer: &mut Checked) -> Result<(Tunnel, u16, usize), Fault> {
    let header = GreHeader::at(packet, outer.l4).ok_or(Fault::TunnelHeader)?;
    outer.is_checksummed = header.flags_and_version.get() == gre::CHECKSUM_PRESENT;
    if !outer.is_checksummed && header.flags_and_version.get() != 0 {
        return Err(Fault::TunnelHeader);
    }
    if outer.is_checksummed {
        let field = GreChecksum::at(packet, outer.l4 + GreHeader::LEN).ok_or(Fault::TunnelHeader)?;
        if field.reserved.get() != 0 {
            return Err(Fault::TunnelHeader);
        }
        require(checksum::is_valid(&packet[outer.l4..]))?;
    }
    Ok((Tunnel::Gre, header.ethertype.get(), outer.l4 + header.header_len()))
}
