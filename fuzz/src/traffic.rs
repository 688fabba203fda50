//! Frames that get far into the engine: packets of every kind for the services of [`crate::director`], to be spoilt by
//! the fuzzer byte by byte.

use shunt_wire::craft::Craft;
use shunt_wire::{Flags, MacAddr, ip_protocol};
use std::net::IpAddr;

const CLIENT_ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 1, 0xfe]);
const OUTSIDE: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const SERVER: MacAddr = MacAddr([2, 0, 0, 0, 2, 0x11]);
const INSIDE: MacAddr = MacAddr([2, 0, 0, 0, 2, 1]);

/// A frame and where it comes from.
#[derive(Clone, Debug)]
pub struct Template {
    /// 0: the clients' side, 1: the servers'.
    pub nic_port: u8,
    /// The frame.
    pub bytes: Vec<u8>,
}

fn between(src: &str, dst: &str) -> Craft {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address of this file");
    Craft::between(address(src), address(dst)).expect("one family")
}

fn client(vaddr: &str) -> Craft {
    let src = if vaddr.contains(':') { "2001:db8::9" } else { "192.0.2.9" };
    between(src, vaddr).macs(CLIENT_ROUTER, OUTSIDE)
}

fn server(address: &str) -> Craft {
    let dst = if address.contains(':') { "2001:db8::9" } else { "192.0.2.9" };
    between(address, dst).macs(SERVER, INSIDE)
}

/// All templates, in an order that committed inputs rely on: add new ones at the end.
#[must_use]
pub fn templates() -> Vec<Template> {
    let (mut outside, mut inside) = (Vec::new(), Vec::new());
    for (vaddr, real) in [("10.0.1.100", "10.0.2.11"), ("fd00:1::100", "fd00:2::11")] {
        for flags in [Flags::SYN, Flags::ACK, Flags::FIN_ACK, Flags::RST, Flags(0)] {
            outside.push(client(vaddr).tcp(2_000, 80, flags).payload(b"x"));
            inside.push(server(real).tcp(8_080, 2_000, flags | Flags::ACK).payload(b"yz"));
        }
        outside.push(client(vaddr).udp(2_000, 53).payload(b"query"));
        outside.push(client(vaddr).udp(2_000, 53).zero_transport_checksum());
        inside.push(server(real).udp(53, 2_000).payload(b"answer"));
        outside.extend([client(vaddr).ttl(1).udp(3_000, 53), client(vaddr).vlan(5).udp(3_000, 53)]);
        let quoted = client(vaddr).tcp(2_000, 80, Flags::ACK).reversed();
        outside.push(
            client(vaddr).icmp(if vaddr.contains(':') { 1 } else { 3 }, 3, 0).payload(&quoted.packet()),
        );
        let quoted = server(real).tcp(8_080, 2_000, Flags::ACK).reversed();
        inside
            .push(server(real).icmp(if real.contains(':') { 1 } else { 3 }, 3, 0).payload(&quoted.packet()));
        outside.push(client(vaddr).extension(ip_protocol::HOP_BY_HOP, &[5, 2, 0, 0, 1, 0]).udp(4_000, 53));
        outside.push(client(vaddr).options(&[7, 7, 4, 0, 0, 0, 0]).tcp(4_000, 80, Flags::SYN));
        outside.push(client(vaddr).protocol(ip_protocol::ESP).payload(&[1; 30]));
    }
    outside.push(client("10.0.1.101").tcp(2_000, 443, Flags::SYN));
    outside.push(client("10.0.1.102").udp(2_000, 5_060).payload(b"INVITE"));
    outside.push(client("10.0.1.102").tcp(2_000, 99, Flags::SYN));
    outside.push(client("10.0.1.100").tcp(2_000, 81, Flags::SYN));
    outside.push(client("fd00:1::101").udp(2_000, 53));
    for chunk in [0, 1, 2, 6, 7, 10, 14] {
        outside.push(client("10.0.1.103").sctp(2_000, 80, chunk).payload(b"data"));
        inside.push(server("10.0.2.11").sctp(80, 2_000, chunk));
    }
    let mut templates: Vec<Template> =
        outside.iter().map(|craft| Template { nic_port: 0, bytes: craft.frame() }).collect();
    templates.extend(inside.iter().map(|craft| Template { nic_port: 1, bytes: craft.frame() }));
    for vaddr in ["10.0.1.100", "10.0.1.102", "fd00:1::100", "fd00:1::101"] {
        let datagram = client(vaddr).udp(2_000, if vaddr.ends_with('2') { 5_060 } else { 53 });
        for frame in datagram.payload(&[7; 300]).fragments(160) {
            templates.push(Template { nic_port: 0, bytes: frame });
        }
    }
    templates.extend(spoken());
    templates
}

/// Packets whose text the engine reads: FTP and SIP; and some that are too long for the way on.
fn spoken() -> Vec<Template> {
    const INVITE: &[u8] = b"INVITE sip:a@b SIP/2.0\r\nFrom: c\r\nCall-ID: 4f@192.0.2.9\r\n\r\n";
    const COMPACT: &[u8] = b"BYE sip:a@b SIP/2.0\r\ni:4f@192.0.2.9\r\n\r\n";
    const LONG: [u8; 1_500] = [7; 1_500];
    let (v4, v6) = ("10.0.1.100", "fd00:1::100");
    let says = |vaddr: &str, text: &str| client(vaddr).tcp(2_000, 21, Flags::ACK).payload(text.as_bytes());
    let answers = |address: &str, sport, text: &str| {
        server(address).tcp(sport, 2_000, Flags::ACK).payload(text.as_bytes())
    };
    let outside = [
        client(v4).tcp(2_000, 21, Flags::SYN),
        client(v6).tcp(2_000, 21, Flags::SYN),
        says(v4, "PORT 192,0,2,9,8,8\r\n"),
        says(v6, "EPRT |2|2001:db8::9|2056|\r\n"),
        client(v4).tcp(2_056, 20, Flags::ACK),
        client(v4).tcp(2_001, 8_080, Flags::SYN),
        client(v6).tcp(2_001, 8_080, Flags::SYN),
        client("10.0.1.103").udp(5_060, 5_060).payload(INVITE),
        client("10.0.1.103").udp(5_061, 5_060).payload(COMPACT),
        client("10.0.1.103").udp(5_060, 5_061).payload(INVITE),
        client("10.0.1.102").udp(2_000, 5_060).payload(&LONG),
        client("10.0.1.102").udp(2_000, 5_060).payload(&LONG[100..]).dont_fragment(),
        client(v6).udp(2_000, 53).payload(&LONG),
    ];
    let inside = [
        answers("10.0.2.11", 21, "227 Entering Passive Mode (10,0,2,11,31,144).\r\n"),
        answers("fd00:2::11", 2_121, "229 Extended Passive (|||8080|)\r\n"),
        server("10.0.2.11").tcp(20, 2_056, Flags::SYN),
        server("10.0.2.11").udp(5_060, 5_060).payload(INVITE),
        server("10.0.2.12").udp(5_060, 5_060).payload(COMPACT),
    ];
    let frames = |crafts: &[Craft], nic_port| -> Vec<Template> {
        crafts.iter().map(|craft| Template { nic_port, bytes: craft.frame() }).collect()
    };
    [frames(&outside, 0), frames(&inside, 1)].concat()
}
