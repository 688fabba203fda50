//! The kernel behind the NIC ports: what Linux does with packets that shunt gives to a twin.
//!
//! It stands for Linux, not for shunt: the recordings show one machine, whose stack answered or routed what IPVS left
//! alone. It knows IP forwarding with its ICMP errors, echo, resets of closed TCP ports, refusals of closed UDP ports,
//! and TCP ports that somebody listens on; what it does not know it drops.

use crate::ip::{self, ETHERNET_LEN, Header, IPV4_LEN, IPV6_LEN, Ip, protocol};
use crate::reassembly::Reassembly;
use crate::topology::Topology;
use shunt_engine::tables::{Hop, NextHop};
use shunt_wire::{NicPortId, checksum};
use std::collections::HashSet;
use std::net::IpAddr;

/// Longest ICMP errors (RFC 1812 §4.3.2.3, RFC 4443 §2.4 c).
const ERROR_MAX_V4: usize = 576;
const ERROR_MAX_V6: usize = 1280;
/// "Internetwork control": the type of service of the kernel's ICMP errors. They keep some bits of the packet's.
const ERROR_TOS: u8 = 0xc0;
const ERROR_TOS_KEPT: u8 = 0x1e;
/// Explicit congestion notification, which resets do not answer.
const ECN: u8 = 3;

/// An ICMP error: type, code and second word, for either family.
#[derive(Clone, Copy)]
struct Error {
    v4: (u8, u8),
    v6: (u8, u8),
    v4_word: u32,
    v6_word: u32,
}

impl Error {
    const fn plain(v4: (u8, u8), v6: (u8, u8)) -> Error {
        Error { v4, v6, v4_word: 0, v6_word: 0 }
    }
}

const TIME_EXCEEDED: Error = Error::plain((11, 0), (3, 0));
const NO_ROUTE: Error = Error::plain((3, 0), (1, 0));
const NO_NEIGHBOUR: Error = Error::plain((3, 1), (1, 3));
const PORT_UNREACHABLE: Error = Error::plain((3, 3), (1, 4));
const PROTOCOL_UNREACHABLE: Error = Error { v6_word: IPV6_NEXT_HEADER_AT, ..Error::plain((3, 2), (4, 1)) };
const NO_NEXT_HEADER: u8 = 59;
/// Where IPv6 says what follows: the pointer of "unrecognized next header".
const IPV6_NEXT_HEADER_AT: u32 = 6;

/// A frame that the kernel sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// From this NIC port.
    pub nic_port: NicPortId,
    /// The frame.
    pub frame: Vec<u8>,
    /// Did the kernel make its IP header? Then its identification is the kernel's choice.
    pub made: bool,
}

/// The kernel's stack.
#[derive(Debug, Default)]
pub struct Kernel {
    /// TCP ports that somebody listens on, on every address.
    listening: HashSet<u16>,
    reassembly: Reassembly,
    id: u16,
}

/// TCP flags.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl Kernel {
    /// Somebody listens on a TCP port.
    pub fn listen(&mut self, l4_port: u16) {
        self.listening.insert(l4_port);
    }

    /// A frame that shunt punted. Returns what the kernel sends in answer.
    pub fn receive(&mut self, topology: &Topology, nic_port: NicPortId, frame: &[u8]) -> Vec<Emitted> {
        let own_mac = topology.info(nic_port).map(|info| info.mac.0);
        // Other hosts' frames; groups too: nothing in the recordings answers those.
        if frame.get(..6) != own_mac.as_ref().map(|mac| &mac[..]) {
            return Vec::new();
        }
        let packet = frame.get(ETHERNET_LEN..).unwrap_or_default();
        let Some(ip) = Ip::read(packet) else { return Vec::new() };
        let packet = &packet[..ip.len];
        if topology.is_local(&ip.src) || !is_unicast(ip.src) || !is_unicast(ip.dst) {
            return Vec::new();
        }
        if topology.is_local(&ip.dst) {
            // A packet from a wire for the loopback network is "martian".
            return if ip.dst.is_loopback() {
                Vec::new()
            } else {
                self.deliver(topology, nic_port, &ip, packet)
            };
        }
        self.forward(topology, nic_port, &ip, packet)
    }

    fn forward(&mut self, topology: &Topology, nic_port: NicPortId, ip: &Ip, packet: &[u8]) -> Vec<Emitted> {
        if ip.ttl <= 1 {
            return self.error(topology, nic_port, TIME_EXCEEDED, ip, packet);
        }
        let next = match topology.hop(ip.dst) {
            Hop::Via(next) => next,
            Hop::Unresolved => return self.error(topology, nic_port, NO_NEIGHBOUR, ip, packet),
            // The recorded kernel says nothing about IPv4 packets without a route.
            Hop::Unreachable if ip.dst.is_ipv4() => return Vec::new(),
            Hop::Unreachable | Hop::Local => return self.error(topology, nic_port, NO_ROUTE, ip, packet),
        };
        if ip.len > usize::from(next.mtu) {
            if !ip.dont_fragment {
                return Vec::new();
            }
            let mtu = next.mtu.into();
            let too_big = Error { v4: (3, 4), v6: (2, 0), v4_word: mtu, v6_word: mtu };
            return self.error(topology, nic_port, too_big, ip, packet);
        }
        let mut packet = packet.to_vec();
        if ip.dst.is_ipv4() {
            packet[8] -= 1;
            packet[10..12].fill(0);
            let header_len = ip.header_len;
            let sum = checksum::checksum(&packet[..header_len]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            packet[7] -= 1;
        }
        vec![framed(&next, &packet, false)]
    }

    /// A packet for one of the director's own addresses.
    fn deliver(&mut self, topology: &Topology, nic_port: NicPortId, ip: &Ip, packet: &[u8]) -> Vec<Emitted> {
        if ip.fragment {
            // Now it is complete, or it is kept.
            return match self.reassembly.add(ip, packet) {
                Some(whole) => {
                    Ip::read(&whole).map_or(Vec::new(), |ip| self.deliver(topology, nic_port, &ip, &whole))
                }
                None => Vec::new(),
            };
        }
        let payload = &packet[ip.header_len..];
        let known = [protocol::ICMP, protocol::ICMPV6, protocol::TCP, protocol::UDP].contains(&ip.protocol);
        if known && (payload.len() < 8 || !ip.checksum_is_right(payload)) {
            return Vec::new();
        }
        match ip.protocol {
            protocol::ICMP | protocol::ICMPV6 => self.echo(topology, ip, payload),
            protocol::TCP if payload.len() >= 20 => self.tcp(topology, ip, payload),
            protocol::TCP => Vec::new(),
            protocol::UDP => self.error(topology, nic_port, PORT_UNREACHABLE, ip, packet),
            // IPv6 says that nothing follows.
            NO_NEXT_HEADER => Vec::new(),
            _ => self.error(topology, nic_port, PROTOCOL_UNREACHABLE, ip, packet),
        }
    }

    fn echo(&mut self, topology: &Topology, ip: &Ip, message: &[u8]) -> Vec<Emitted> {
        let answer = match (ip.protocol, message[0], message[1]) {
            (protocol::ICMP, 8, 0) => 0,
            (protocol::ICMPV6, 128, 0) => 129,
            _ => return Vec::new(),
        };
        let mut message = message.to_vec();
        message[0] = answer;
        self.send(topology, ip, ip.tos, ip.protocol, message, 2)
    }

    fn tcp(&mut self, topology: &Topology, ip: &Ip, segment: &[u8]) -> Vec<Emitted> {
        let word =
            |at: usize| u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
        let (sequence, acknowledgment, flags) = (word(4), word(8), segment[13]);
        if flags & RST != 0 {
            return Vec::new();
        }
        let dport = u16::from_be_bytes([segment[2], segment[3]]);
        let header_len = usize::from(segment[12] >> 4) * 4;
        let data = segment.len().saturating_sub(header_len) as u32;
        let opens = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let answer = if self.listening.contains(&dport) && flags & (SYN | ACK) == SYN {
            const ISN: u32 = 1;
            const WINDOW: u16 = 64_240;
            const MSS_1460: &[u8] = &[2, 4, 5, 0xb4];
            (ISN, sequence.wrapping_add(1), SYN | ACK, WINDOW, MSS_1460)
        } else if flags & ACK != 0 {
            (acknowledgment, 0, RST, 0, &[][..])
        } else {
            (0, sequence.wrapping_add(opens + data), RST | ACK, 0, &[][..])
        };
        let (sequence, acknowledgment, flags, window, options) = answer;
        let mut bytes = [&segment[2..4], &segment[..2]].concat();
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(acknowledgment.to_be_bytes());
        bytes.extend([(20 + options.len() as u8) << 2, flags]);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        self.send_with_id(topology, ip, ip.tos & !ECN, 0, protocol::TCP, bytes, 16)
    }

    /// Sends an answer to a packet for one of our own addresses.
    fn send(
        &mut self,
        topology: &Topology,
        to: &Ip,
        tos: u8,
        protocol: u8,
        payload: Vec<u8>,
        checksum_at: usize,
    ) -> Vec<Emitted> {
        let id = self.next_id();
        self.send_with_id(topology, to, tos, id, protocol, payload, checksum_at)
    }

    #[allow(clippy::too_many_arguments, reason = "one place builds all answers")]
    fn send_with_id(
        &mut self,
        topology: &Topology,
        to: &Ip,
        tos: u8,
        id: u16,
        protocol: u8,
        payload: Vec<u8>,
        checksum_at: usize,
    ) -> Vec<Emitted> {
        let header = Header { src: to.dst, dst: to.src, protocol, tos, id };
        let packet = ip::write(header, payload, checksum_at);
        match topology.hop(to.src) {
            Hop::Via(next) => vec![framed(&next, &packet, true)],
            Hop::Local | Hop::Unresolved | Hop::Unreachable => Vec::new(),
        }
    }

    /// An ICMP error to the sender of a packet.
    fn error(
        &mut self,
        topology: &Topology,
        nic_port: NicPortId,
        error: Error,
        ip: &Ip,
        packet: &[u8],
    ) -> Vec<Emitted> {
        if is_icmp_error(ip, packet) {
            return Vec::new();
        }
        let v4 = ip.dst.is_ipv4();
        let ((kind, code), word, protocol, tos, longest) = if v4 {
            (
                error.v4,
                error.v4_word,
                protocol::ICMP,
                ip.tos & ERROR_TOS_KEPT | ERROR_TOS,
                ERROR_MAX_V4 - IPV4_LEN,
            )
        } else {
            (error.v6, error.v6_word, protocol::ICMPV6, 0, ERROR_MAX_V6 - IPV6_LEN)
        };
        let mut message = vec![kind, code, 0, 0];
        message.extend(word.to_be_bytes());
        message.extend(packet);
        message.truncate(longest);
        let src = match (topology.is_local(&ip.dst), v4) {
            (true, _) => Some(ip.dst),
            (false, true) => topology.info(nic_port).and_then(|info| info.address_v4).map(IpAddr::V4),
            (false, false) => topology.source_for(ip.src),
        };
        let Some(src) = src else { return Vec::new() };
        self.send(topology, &Ip { dst: src, ..*ip }, tos, protocol, message, 2)
    }

    fn next_id(&mut self) -> u16 {
        self.id = self.id.wrapping_add(1).max(1);
        self.id
    }
}

fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_multicast() && !address.is_broadcast() && address.octets()[0] != 0,
        IpAddr::V6(address) => !address.is_multicast() && !address.is_unspecified(),
    }
}

/// No error is ever sent about an error (RFC 1122 §3.2.2, RFC 4443 §2.4 e).
fn is_icmp_error(ip: &Ip, packet: &[u8]) -> bool {
    let kind = packet.get(ip.header_len).copied().unwrap_or(0);
    match ip.protocol {
        protocol::ICMP => ![0, 8, 13, 14].contains(&kind),
        protocol::ICMPV6 => kind < 128,
        _ => false,
    }
}

fn framed(next: &NextHop, packet: &[u8], made: bool) -> Emitted {
    let ethertype: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    let frame = [&next.dst_mac.0[..], &next.src_mac.0, &ethertype, packet].concat();
    Emitted { nic_port: next.nic_port, frame, made }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::describe;
    use shunt_wire::MacAddr;
    use shunt_wire::craft::Craft;
    use shunt_wire::tcp::Flags;

    fn answers(craft: Craft) -> Vec<String> {
        let (topology, mut kernel) = (Topology::recorded(), Kernel::default());
        let mac = topology.info(NicPortId(0)).unwrap().mac;
        let frame = craft.macs(MacAddr([2, 0, 0, 0, 1, 0xfe]), mac).padded_frame();
        let sent = kernel.receive(&topology, NicPortId(0), &frame);
        sent.iter().map(|sent| describe(&sent.frame)).collect()
    }

    fn from_client(dst: [u8; 4]) -> Craft {
        Craft::v4([192, 0, 2, 9].into(), dst.into())
    }

    #[test]
    fn closed_ports() {
        let syn = from_client([10, 0, 1, 100]).tcp(4000, 80, Flags::SYN).sequence(1000, 0);
        assert_eq!(
            answers(syn),
            [
                "to 01:fe | IP 10.0.1.100>192.0.2.9 ttl=64 len=40 id=0+DF / TCP 80>4000 RA seq=0 ack=1001 len=0"
            ]
        );
        let ack = from_client([10, 0, 1, 100]).tcp(4000, 80, Flags::ACK).sequence(5, 7);
        assert_eq!(
            answers(ack),
            ["to 01:fe | IP 10.0.1.100>192.0.2.9 ttl=64 len=40 id=0+DF / TCP 80>4000 R seq=7 ack=0 len=0"]
        );
        assert_eq!(answers(from_client([10, 0, 1, 100]).tcp(4000, 80, Flags::RST)), [""; 0]);
        let udp = answers(from_client([10, 0, 1, 1]).udp(4000, 53));
        assert!(udp[0].contains("10.0.1.1>192.0.2.9") && udp[0].contains("ICMP type=3 code=3"), "{udp:?}");
    }

    #[test]
    fn forwarding() {
        let udp = |dst, ttl| answers(from_client(dst).ttl(ttl).udp(4000, 53));
        assert!(udp([10, 0, 2, 11], 2)[0].starts_with("to 02:11 | IP 192.0.2.9>10.0.2.11 ttl=1 "));
        let exceeded = udp([10, 0, 2, 11], 1);
        assert!(exceeded[0].contains("10.0.1.1>192.0.2.9") && exceeded[0].contains("ICMP type=11 code=0"));
        assert_eq!(udp([8, 8, 8, 8], 9), [""; 0]);
        assert_eq!(udp([127, 0, 0, 1], 9), [""; 0]);
        assert_eq!(answers(Craft::v4([10, 0, 1, 1].into(), [10, 0, 2, 11].into()).udp(1, 2)), [""; 0]);
    }
}
