//! ICMP that belongs to no flow: errors about packets that the director never saw, or about those of a flow but for
//! somebody else, and echoes.

use super::services::Configuration;
use super::{chance, client, pick};
use crate::scenario::{ErrorKind, Flow, Message, Passing, Protocol, Quote, Side, Tunnel, TunnelKind};
use fastrand::Rng;
use std::net::{IpAddr, SocketAddr};

/// A port of no flow.
const STRANGER: u16 = 4_999;

pub(super) fn generate(rng: &mut Rng, configuration: &Configuration, flows: &[Flow]) -> Passing {
    let flow = pick(rng, flows);
    let is_v4 = flow.vaddr.is_ipv4();
    let from = pick(rng, &[Side::Client, Side::Server]);
    let servers: Vec<SocketAddr> =
        configuration.server_ends().filter(|server| server.is_ipv4() == is_v4).collect();
    let server = if servers.is_empty() { some_server(rng, is_v4) } else { pick(rng, &servers) };
    let (message, answers_to) = if chance(rng, 15) {
        let payload = pick(rng, &[0, 1, 56, 1_000]);
        (Message::Echo { answer: chance(rng, 30), payload }, None)
    } else {
        let quote = if chance(rng, 25) { in_tunnel(rng, &flow, server) } else { quote(rng, &flow, server) };
        let quoted = pick(rng, &[0, 4, 7, 8, 20, 500, 500]);
        let sender = quote.tunnel.map_or(quote.src, |tunnel| tunnel.src);
        // The kernel's UDP learns the path MTU from any report of its own datagrams, shunt from those that quote a packet of
        // a connection (docs/DIFFERENCES.md).
        let is_gue = quote.tunnel.is_some_and(|tunnel| tunnel.kind == TunnelKind::Gue);
        let kind = match error_kind(rng) {
            ErrorKind::TooBig(_) if is_gue => ErrorKind::Host,
            kind => kind,
        };
        (Message::Error { kind, quote, quoted }, Some(sender))
    };
    let dst = match answers_to {
        Some(sender) if chance(rng, 70) && !is_redirected(from, sender) => sender,
        _ => anybody(rng, from, &flow, server),
    };
    let ttl = pick(rng, &[64, 64, 64, 64, 1, 2, 3]);
    Passing { from, src: reporter(rng, from, is_v4), dst, ttl, atomic: !is_v4 && chance(rng, 15), message }
}

fn error_kind(rng: &mut Rng) -> ErrorKind {
    let kinds = [
        ErrorKind::Port,
        ErrorKind::Host,
        ErrorKind::Time,
        ErrorKind::TooBig(1_300),
        ErrorKind::Parameter,
        ErrorKind::Odd,
    ];
    pick(rng, &kinds)
}

/// One on the wire that it comes from: the kernel would take others for forged.
fn reporter(rng: &mut Rng, from: Side, is_v4: bool) -> IpAddr {
    match (from, is_v4) {
        (Side::Client, _) if chance(rng, 60) => client(rng, is_v4),
        (Side::Client, true) => [10, 0, 1, 254].into(),
        (Side::Client, false) => [0xfd00, 1, 0, 0, 0, 0, 0, 0xfe].into(),
        (Side::Server, true) => pick(rng, &[[10, 0, 2, 254], [10, 0, 2, 11], [10, 0, 3, 7]]).into(),
        (Side::Server, false) => [0xfd00, pick(rng, &[2, 3]), 0, 0, 0, 0, 0, pick(rng, &[0xfe, 0x11])].into(),
    }
}

fn some_server(rng: &mut Rng, is_v4: bool) -> SocketAddr {
    let address: IpAddr = if is_v4 {
        [10, 0, 2, pick(rng, &[11, 18])].into()
    } else {
        [0xfd00, 2, 0, 0, 0, 0, 0, pick(rng, &[0x11, 0x18])].into()
    };
    (address, STRANGER).into()
}

/// The director's own address towards the servers.
fn director(is_v4: bool) -> IpAddr {
    if is_v4 { [10, 0, 2, 1].into() } else { [0xfd00, 2, 0, 0, 0, 0, 0, 1].into() }
}

fn anybody(rng: &mut Rng, from: Side, flow: &Flow, server: SocketAddr) -> IpAddr {
    let is_v4 = flow.vaddr.is_ipv4();
    let all = [
        flow.vaddr,
        flow.vaddr,
        director(is_v4),
        server.ip(),
        some_server(rng, is_v4).ip(),
        client(rng, is_v4),
        client(rng, is_v4),
    ];
    let fair: Vec<IpAddr> = all.into_iter().filter(|dst| !is_redirected(from, *dst)).collect();
    pick(rng, &fair)
}

/// Would a packet leave by the wire that it came from? The kernel then tells IPv6 senders of the shorter way, which is
/// its stack's affair and cannot be turned off.
fn is_redirected(from: Side, dst: IpAddr) -> bool {
    let IpAddr::V6(dst) = dst else { return false };
    match (from, dst.segments()) {
        (Side::Client, [0x2001, ..]) => true,
        (Side::Server, [0xfd00, 2 | 3, ..]) => dst != director(false),
        _ => false,
    }
}

/// A packet of either direction, on either side of the director. Most are of no connection.
fn quote(rng: &mut Rng, flow: &Flow, server: SocketAddr) -> Quote {
    let is_v4 = flow.vaddr.is_ipv4();
    let cport = if chance(rng, 35) { flow.cport } else { STRANGER };
    let (client_end, vip) = ((flow.caddr, cport), (flow.vaddr, flow.vport));
    let server = (server.ip(), if server.port() == 0 { flow.vport } else { server.port() });
    let stranger = (client(rng, is_v4), STRANGER);
    let ends = [
        (vip, client_end),
        (client_end, vip),
        (server, client_end),
        (client_end, server),
        (stranger, client_end),
        (client_end, stranger),
        (server, stranger),
        (stranger, server),
    ];
    let ((src, sport), (dst, dport)) = pick(rng, &ends);
    let protocol = if chance(rng, 80) { flow.protocol } else { pick(rng, &[Protocol::Tcp, Protocol::Udp]) };
    Quote { src, sport, dst, dport, protocol, atomic: !is_v4 && chance(rng, 15), tunnel: None }
}

/// A packet that the director sent through a tunnel, of no connection. What is said about those of connections changes
/// path MTUs, which are known to differ (docs/DIFFERENCES.md).
fn in_tunnel(rng: &mut Rng, flow: &Flow, server: SocketAddr) -> Quote {
    let src = director(flow.vaddr.is_ipv4());
    let kind = pick(rng, &[TunnelKind::Ipip, TunnelKind::Gue, TunnelKind::Gre(false), TunnelKind::Gre(true)]);
    Quote {
        src: flow.caddr,
        sport: STRANGER,
        dst: flow.vaddr,
        dport: flow.vport,
        protocol: flow.protocol,
        atomic: false,
        tunnel: Some(Tunnel { src, dst: server.ip(), kind }),
    }
}
