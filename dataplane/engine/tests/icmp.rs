//! ICMP errors about NAT connections, translated both ways.

mod common;

use common::{INSIDE, OUTSIDE, Rig, Setup, ip};
use shunt_engine::Verdict;
use shunt_engine::counters::Counter;
use shunt_engine::tables::ForwardingMethod;
use shunt_wire::Flags;
use shunt_wire::craft::{Checked, Craft};

const TCP: u8 = 6;

fn between(src: &str, dst: &str) -> Craft {
    Craft::between(ip(src), ip(dst)).unwrap()
}

struct Side {
    client: &'static str,
    router: &'static str,
    vip: &'static str,
    real: &'static str,
    inside_router: &'static str,
    unreachable: (u8, u8),
}

const SIDES: [Side; 2] = [
    Side {
        client: "192.0.2.9",
        router: "198.51.100.1",
        vip: "10.0.1.100",
        real: "10.0.2.11",
        inside_router: "10.0.2.254",
        unreachable: (3, 3),
    },
    Side {
        client: "2001:db8::9",
        router: "2001:db8:1::1",
        vip: "fd00:1::100",
        real: "fd00:2::11",
        inside_router: "fd00:2::254",
        unreachable: (1, 4),
    },
];

fn established(side: &Side) -> Rig {
    let mut rig = Rig::new(&[Setup::new(TCP, side.vip, ForwardingMethod::Nat, &[side.real])]);
    rig.outside(between(side.client, side.vip).tcp(40_000, 80, Flags::SYN)).sent(INSIDE);
    rig
}

/// An error that quotes this packet, cut to its IP header and 8 bytes.
fn quoting(error: Craft, side: &Side, packet: &Craft) -> Craft {
    let quoted = packet.packet();
    let len = if ip(side.client).is_ipv4() { 28 } else { 48 };
    error.icmp(side.unreachable.0, side.unreachable.1, 0).payload(&quoted[..len])
}

/// Addresses and ports of the quoted packet.
fn quoted(sent: &Checked, bytes: &[u8]) -> (std::net::IpAddr, std::net::IpAddr, u16, u16) {
    let packet = &bytes[sent.payload..];
    let (src, dst, l4): (std::net::IpAddr, std::net::IpAddr, _) = if sent.src.is_ipv4() {
        let address = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap().into();
        (address(12), address(16), 20)
    } else {
        let address = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap().into();
        (address(8), address(24), 40)
    };
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    (src, dst, port(l4), port(l4 + 2))
}

#[test]
fn errors_of_servers_and_inside_routers_speak_of_the_service() {
    for side in &SIDES {
        let mut rig = established(side);
        let as_server_saw_it = between(side.client, side.real).tcp(40_000, 8080, Flags::SYN);
        for reporter in [side.real, side.inside_router] {
            let out = rig.inside(quoting(between(reporter, side.client), side, &as_server_saw_it));
            let sent = out.sent(OUTSIDE);
            assert_eq!((sent.src, sent.dst), (ip(side.vip), ip(side.client)));
            assert_eq!(quoted(&sent, &out.bytes), (ip(side.client), ip(side.vip), 40_000, 80));
        }
    }
}

#[test]
fn errors_of_clients_and_outside_routers_reach_the_server() {
    for side in &SIDES {
        let mut rig = established(side);
        let as_client_saw_it = between(side.vip, side.client).tcp(80, 40_000, Flags::ACK);
        for reporter in [side.client, side.router] {
            let out = rig.outside(quoting(between(reporter, side.vip), side, &as_client_saw_it));
            let sent = out.sent(INSIDE);
            assert_eq!((sent.src, sent.dst), (ip(reporter), ip(side.real)));
            assert_eq!(quoted(&sent, &out.bytes), (ip(side.real), ip(side.client), 8080, 40_000));
        }
    }
}

#[test]
fn errors_about_nothing_known_are_the_kernels() {
    for side in &SIDES {
        let mut rig = established(side);
        let unknown = between(side.vip, side.client).tcp(80, 40_001, Flags::ACK);
        let out = rig.outside(quoting(between(side.client, side.vip), side, &unknown));
        assert_eq!(out.verdict, Verdict::Punt(OUTSIDE));
        let known = between(side.vip, side.client).tcp(80, 40_000, Flags::ACK);
        let broken = quoting(between(side.client, side.vip), side, &known).wrong_transport_checksum();
        assert_eq!(rig.outside(broken).verdict, Verdict::Drop(Counter::BadChecksum));
    }
}

/// Errors are steered like the flow that they quote.
#[test]
fn errors_reach_the_worker_that_owns_the_flow() {
    let side = &SIDES[0];
    let setup = Setup::new(TCP, side.vip, ForwardingMethod::Nat, &[side.real]);
    let mut rig = Rig::with_workers(&[setup], 4, 256);
    for cport in 1000..1040u16 {
        rig.outside(between(side.client, side.vip).tcp(cport, 80, Flags::SYN)).sent(INSIDE);
        let seen = between(side.client, side.real).tcp(cport, 8080, Flags::SYN);
        let out = rig.inside(quoting(between(side.real, side.client), side, &seen));
        assert_eq!(out.sent(OUTSIDE).src, ip(side.vip));
    }
}

#[test]
fn with_schedule_icmp_an_error_makes_its_connection() {
    for side in &SIDES {
        let mut rig = Rig::new(&[Setup::new(TCP, side.vip, ForwardingMethod::Nat, &[side.real])]);
        let lost = between(side.vip, side.client).tcp(80, 40_000, Flags::ACK);
        let error = || quoting(between(side.router, side.vip), side, &lost);
        assert_eq!(rig.outside(error()).verdict, Verdict::Punt(OUTSIDE));
        rig.tables.settings_mut().schedule_icmp = true;
        let sent = rig.outside(error());
        let checked = sent.sent(INSIDE);
        assert_eq!((checked.src, checked.dst), (ip(side.router), ip(side.real)));
        assert_eq!(quoted(&checked, &sent.bytes), (ip(side.real), ip(side.client), 8080, 40_000));
        let entries = rig.connections();
        assert_eq!((entries.len(), entries[0].state_name(), entries[0].expires_ms), (1, "NONE", 3000));
        assert_eq!(rig.counter(Counter::NewConnections), 1);
    }
}
