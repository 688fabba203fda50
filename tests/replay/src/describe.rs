//! Frames in one line, for people.

use crate::ip::{ETHERNET_LEN, Ip, protocol};
use std::fmt::Write;
use std::net::IpAddr;

/// A frame: the last two bytes of its destination, then its headers.
#[must_use]
pub fn describe(frame: &[u8]) -> String {
    let mut text = match frame.get(..6) {
        Some(dst) => format!("to {:02x}:{:02x} | ", dst[4], dst[5]),
        None => return format!("{} bytes", frame.len()),
    };
    describe_ip(frame.get(ETHERNET_LEN..).unwrap_or_default(), &mut text);
    text
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

fn describe_ip(packet: &[u8], text: &mut String) {
    // Quoted packets are cut, so nothing here asks for a right length or checksum.
    let version = packet.first().map_or(0, |first| first >> 4);
    let (protocol, header_len, later) = match version {
        4 if packet.len() >= 20 => describe_v4(packet, text),
        6 if packet.len() >= 40 => describe_v6(packet, text),
        _ => {
            let _ = write!(text, "{} bytes that are no IP packet", packet.len());
            return;
        }
    };
    if !later {
        describe_payload(protocol, packet.get(header_len..).unwrap_or_default(), text);
    }
}

fn describe_v4(packet: &[u8], text: &mut String) -> (u8, usize, bool) {
    let address = |at: usize| IpAddr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let (len, id, fragment) = (be16(packet, 2), be16(packet, 4), be16(packet, 6));
    let _ = write!(text, "IP {}>{} ttl={} len={len} id={id}", address(12), address(16), packet[8]);
    for (bit, name) in [(0x4000, "+DF"), (0x2000, "+MF")] {
        if fragment & bit != 0 {
            text.push_str(name);
        }
    }
    let offset = u32::from(fragment & 0x1fff) * 8;
    if offset > 0 {
        let _ = write!(text, "@{offset}");
    }
    if packet[1] != 0 {
        let _ = write!(text, " tos={}", packet[1]);
    }
    (packet[9], usize::from(packet[0] & 15) * 4, offset > 0)
}

fn describe_v6(packet: &[u8], text: &mut String) -> (u8, usize, bool) {
    let address = |at: usize| {
        let bytes: [u8; 16] = packet[at..at + 16].try_into().unwrap_or_default();
        IpAddr::from(bytes)
    };
    let payload = be16(packet, 4);
    let _ = write!(text, "IPv6 {}>{} hlim={} plen={payload}", address(8), address(24), packet[7]);
    let class_and_label = be32(packet, 0) & 0x0fff_ffff;
    if class_and_label != 0 {
        let _ = write!(text, " class-label={class_and_label:x}");
    }
    match Ip::read(packet) {
        Some(ip) => (ip.protocol, ip.header_len, ip.fragment),
        None => (packet[6], 40, false),
    }
}

fn describe_payload(protocol: u8, payload: &[u8], text: &mut String) {
    const IPIP: u8 = 4;
    const IPV6_IN_IP: u8 = 41;
    const GRE: u8 = 47;
    const SCTP: u8 = 132;
    text.push_str(" / ");
    let ports = format!("{}>{}", be16(payload, 0), be16(payload, 2));
    let done = match protocol {
        protocol::TCP => {
            let data = payload.len().saturating_sub(usize::from(payload.get(12).map_or(0, |at| at >> 4)) * 4);
            let flags = payload.get(13).map_or(0, |flags| *flags);
            let names: String = "FSRPAU"
                .chars()
                .enumerate()
                .filter(|(bit, _)| flags >> bit & 1 == 1)
                .map(|(_, name)| name)
                .collect();
            write!(text, "TCP {ports} {names} seq={} ack={} len={data}", be32(payload, 4), be32(payload, 8))
        }
        protocol::UDP => write!(text, "UDP {ports} len={}", be16(payload, 4)),
        SCTP => write!(text, "SCTP {ports} chunk={}", payload.get(12).map_or(0, |kind| *kind)),
        protocol::ICMP | protocol::ICMPV6 => {
            let kind = be16(payload, 0);
            let _ = write!(text, "ICMP type={} code={} word={} / ", kind >> 8, kind & 255, be32(payload, 4));
            let error = if protocol == protocol::ICMP {
                [3, 4, 11, 12].contains(&(kind >> 8))
            } else {
                kind >> 15 == 0
            };
            if error {
                describe_ip(payload.get(8..).unwrap_or_default(), text);
            }
            Ok(())
        }
        IPIP | IPV6_IN_IP => {
            describe_ip(payload, text);
            Ok(())
        }
        GRE => {
            let checked = be16(payload, 0) & 0x8000 != 0;
            let _ = write!(text, "GRE {:04x} {:04x} / ", be16(payload, 0), be16(payload, 2));
            describe_ip(payload.get(if checked { 8 } else { 4 }..).unwrap_or_default(), text);
            Ok(())
        }
        other => write!(text, "protocol {other}, {} bytes", payload.len()),
    };
    debug_assert!(done.is_ok(), "writing to a string does not fail");
}
