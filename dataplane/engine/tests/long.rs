//! Packets that are longer than the way on allows: cut, or answered.

mod common;

use common::{INSIDE, OUTSIDE, Outcome, Rig, Setup, ip};
use shunt_engine::Verdict;
use shunt_engine::counters::Counter;
use shunt_engine::tables::{ForwardingMethod, Hop, NextHop, Routes, ServerId, TunnelKind};
use shunt_wire::Flags;
use shunt_wire::craft::{Checked, Craft};

const TCP: u8 = 6;
const UDP: u8 = 17;
const CLIENT: &str = "192.0.2.9";
const VIP: &str = "10.0.1.100";
const REAL: &str = "10.0.2.11";

fn between(src: &str, dst: &str) -> Craft {
    Craft::between(ip(src), ip(dst)).unwrap()
}

fn datagram(src: &str, dst: &str, len: usize) -> Craft {
    let payload: Vec<u8> = (0..len).map(|n| (n * 7 + n / 256) as u8).collect();
    between(src, dst).udp(40_000, 80).payload(&payload).id(0x1234)
}

fn rig(method: ForwardingMethod, tunnel: TunnelKind, server: &'static str, mtu: u16) -> Rig {
    let setup = Setup { tunnel, mtu, ..Setup::new(UDP, VIP, method, &[server]) };
    Rig::new(&[setup])
}

/// Puts the fragments of one IPv4 packet together: its header without fragment fields, and its data.
fn joined(pieces: &[Outcome], nic_port: shunt_wire::NicPortId, mtu: usize) -> (Vec<u8>, Vec<u8>) {
    assert!(pieces.len() > 1);
    let mut data = Vec::new();
    for (nth, piece) in pieces.iter().enumerate() {
        assert_eq!(piece.verdict, Verdict::Transmit(nic_port));
        let packet = &piece.bytes[14..];
        assert!(
            packet.len() <= mtu && usize::from(u16::from_be_bytes([packet[2], packet[3]])) == packet.len()
        );
        assert_eq!(shunt_wire::checksum::checksum(&packet[..20]), 0, "header checksum");
        let flags = u16::from_be_bytes([packet[6], packet[7]]);
        assert_eq!(usize::from(flags & 0x1fff) * 8, data.len(), "in order, without gaps");
        assert_eq!(flags >> 13, u16::from(nth + 1 < pieces.len()), "MF in all but the last, DF in none");
        assert_eq!(packet[4..6], pieces[0].bytes[18..20], "one identification");
        data.extend(&packet[20..]);
    }
    (pieces[0].bytes[14..34].to_vec(), data)
}

#[test]
fn requests_without_df_are_cut_to_the_mtu_of_the_way_to_the_server() {
    for method in [ForwardingMethod::Nat, ForwardingMethod::DirectRouting] {
        let mut rig = rig(method, TunnelKind::Ipip, REAL, 1000);
        let request = datagram(CLIENT, VIP, 1400);
        let gathered = rig.outside(request.clone());
        let pieces = rig.released(&gathered);
        let (header, data) = joined(&pieces, INSIDE, 1000);
        let nat = method == ForwardingMethod::Nat;
        assert_eq!(header[16..20], if nat { [10, 0, 2, 11] } else { [10, 0, 1, 100] });
        assert_eq!((header[8], &header[4..6]), (63, &[0x12, 0x34][..]));
        assert_eq!(data.len(), 1408);
        assert_eq!(data[8..], request.packet()[28..]);
        assert_eq!(u16::from_be_bytes([data[2], data[3]]), if nat { 8080 } else { 80 });
        assert_eq!(rig.counter(Counter::Released), 2);
        // What fits is not touched.
        rig.outside(datagram(CLIENT, VIP, 972)).sent(INSIDE);
    }
}

#[test]
fn with_df_the_client_is_told() {
    let mut rig = rig(ForwardingMethod::Nat, TunnelKind::Ipip, REAL, 1000);
    let out = rig.outside(datagram(CLIENT, VIP, 973).dont_fragment());
    let sent = out.sent(OUTSIDE);
    assert_eq!((sent.src, sent.dst), (ip("10.0.1.1"), ip(CLIENT)));
    assert_eq!((&out.bytes[34..36], &out.bytes[40..42]), (&[3, 4][..], &1000u16.to_be_bytes()[..]));
}

#[test]
fn tunnels_cut_the_outer_packet() {
    for (tunnel, overhead) in
        [(TunnelKind::Ipip, 20), (TunnelKind::Gue { dport: 6080 }, 32), (TunnelKind::Gre, 28)]
    {
        let mut rig = rig(ForwardingMethod::Tunnel, tunnel, REAL, 1000);
        let request = datagram(CLIENT, VIP, 1000);
        let gathered = rig.outside(request.clone());
        let pieces = rig.released(&gathered);
        let (header, data) = joined(&pieces, INSIDE, 1000);
        assert_eq!(header[12..20], [10, 0, 2, 1, 10, 0, 2, 11]);
        let inner = &data[overhead - 20..];
        assert_eq!((inner.len(), inner[8]), (1028, 63));
        assert_eq!(inner[12..], request.packet()[12..]);
        // DF is obeyed, unless the operator says otherwise: then the outer packet has none, and is cut.
        let locked = || datagram(CLIENT, VIP, 1000).dont_fragment();
        assert_eq!(rig.outside(locked()).sent(OUTSIDE).protocol, 1);
        rig.tables.settings_mut().pmtu_disc = false;
        let gathered = rig.outside(locked());
        joined(&rig.released(&gathered), INSIDE, 1000);
    }
}

#[test]
fn ipv4_over_ipv6_is_cut_outside() {
    let mut rig = rig(ForwardingMethod::Tunnel, TunnelKind::Ipip, "fd00:2::11", 1400);
    let gathered = rig.outside(datagram(CLIENT, VIP, 1372));
    let pieces = rig.released(&gathered);
    assert_eq!(pieces.len(), 2);
    let fragments: Vec<&[u8]> = pieces.iter().map(|piece| &piece.bytes[14..]).collect();
    assert!(fragments.iter().all(|packet| packet[6] == 44 && packet.len() <= 1400));
    assert_eq!(fragments[0][44..48], fragments[1][44..48], "one identification");
    let data: usize = fragments.iter().map(|packet| packet.len() - 48).sum();
    assert_eq!(data, 1400, "the whole inner packet");
    // A tunnel that leaves IPv4 less than what every host must take is no way (spec: silent drop).
    let mut rig = self::rig(ForwardingMethod::Tunnel, TunnelKind::Ipip, "fd00:2::11", 1300);
    assert_eq!(rig.outside(datagram(CLIENT, VIP, 1372)).verdict, Verdict::Drop(Counter::TooBig));
}

fn narrow_outside(rig: &mut Rig, mtu: u16) {
    let mac = common::ROUTER_MAC;
    let way = Hop::Via(NextHop { nic_port: OUTSIDE, mtu, dst_mac: mac, src_mac: common::OUTSIDE_MAC });
    let mut routes = Routes::default();
    routes.insert(ip("0.0.0.0"), 0, way);
    routes.insert(ip("::"), 0, way);
    routes.insert(
        ip("10.0.2.0"),
        24,
        Hop::Via(NextHop { nic_port: INSIDE, mtu: 1500, dst_mac: mac, src_mac: mac }),
    );
    rig.tables.set_routes(routes);
}

#[test]
fn replies_are_cut_or_the_server_is_told() {
    let mut rig = rig(ForwardingMethod::Nat, TunnelKind::Ipip, REAL, 1500);
    narrow_outside(&mut rig, 1000);
    rig.outside(datagram(CLIENT, VIP, 10)).sent(INSIDE);
    let from_server = |len| {
        let payload: Vec<u8> = (0..len).map(|n: usize| n as u8).collect();
        between(REAL, CLIENT).udp(8080, 40_000).payload(&payload).id(7)
    };
    let gathered = rig.inside(from_server(1300));
    let (header, data) = joined(&rig.released(&gathered), OUTSIDE, 1000);
    assert_eq!((&header[12..16], data.len()), (&[10, 0, 1, 100][..], 1308));
    let out = rig.inside(from_server(1300).dont_fragment());
    let sent = out.sent(INSIDE);
    assert_eq!((sent.dst, &out.bytes[34..36], &out.bytes[40..42]), (ip(REAL), &[3, 4][..], &[3, 0xe8][..]));
    // Quoted as the server sent it.
    assert_eq!(out.bytes[42 + 12..42 + 16], [10, 0, 2, 11]);
}

#[test]
fn a_flood_of_long_packets_is_bounded() {
    let mut rig = rig(ForwardingMethod::Nat, TunnelKind::Ipip, REAL, 1000);
    let mut taken = 0;
    let last = loop {
        let out = rig.outside(datagram(CLIENT, VIP, 1400));
        match out.verdict {
            Verdict::Gathered => taken += 1,
            verdict => {
                assert_eq!(verdict, Verdict::Drop(Counter::NoBuffer));
                break Outcome { verdict: Verdict::Gathered, ..out };
            }
        }
    };
    assert!((100..2_000).contains(&taken));
    assert_eq!(rig.released(&last).len(), taken * 2);
    assert_eq!(rig.outside(datagram(CLIENT, VIP, 1400)).verdict, Verdict::Gathered);
}

/// Frag needed about a tunnel packet of ours, from a router on the way.
fn too_big(tunnel_packet: &[u8], mtu: u32) -> Craft {
    let quoted = &tunnel_packet[14..14 + 100];
    between("10.0.2.254", "10.0.2.1").icmp(3, 4, mtu).payload(quoted)
}

#[test]
fn errors_about_tunnels_reach_the_client_and_teach_the_path_mtu() {
    for (tunnel, overhead) in
        [(TunnelKind::Ipip, 20), (TunnelKind::Gue { dport: 6080 }, 32), (TunnelKind::Gre, 28)]
    {
        let setup = Setup { tunnel, ..Setup::new(TCP, VIP, ForwardingMethod::Tunnel, &[REAL]) };
        let mut rig = Rig::with_workers(&[setup], 4, 256);
        let data =
            |len| between(CLIENT, VIP).tcp(40_000, 80, Flags::ACK).payload(&vec![1; len]).dont_fragment();
        rig.outside(between(CLIENT, VIP).tcp(40_000, 80, Flags::SYN)).sent(INSIDE);
        let tunnelled = rig.outside(data(1300)).bytes;
        let out = rig.inside(too_big(&tunnelled, 1200));
        let sent: Checked = out.sent(OUTSIDE);
        assert_eq!((sent.src, sent.dst, sent.protocol), (ip("10.0.2.1"), ip(CLIENT), 1));
        // As the kernel: this first answer still tells the MTU that was believed till now.
        let told = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[40], bytes[41]]));
        assert_eq!((&out.bytes[34..36], told(&out.bytes)), (&[3, 4][..], 1500 - overhead));
        assert_eq!(out.bytes[42 + 12..42 + 20], [192, 0, 2, 9, 10, 0, 1, 100], "quotes the client's packet");
        let refused = rig.outside(data(1300));
        refused.sent(OUTSIDE);
        assert_eq!(told(&refused.bytes), 1200 - overhead);
        rig.outside(data(1160 - overhead)).sent(INSIDE);
        rig.wait(601);
        rig.outside(between(CLIENT, VIP).tcp(40_000, 80, Flags::SYN)).sent(INSIDE);
        rig.outside(data(1300)).sent(INSIDE);
    }
}

#[test]
fn reports_about_packets_that_may_be_cut_are_only_noted() {
    let setup = Setup::new(UDP, VIP, ForwardingMethod::Tunnel, &[REAL]);
    let mut rig = Rig::new(&[setup]);
    let tunnelled = rig.outside(datagram(CLIENT, VIP, 1300)).bytes;
    let mut forged = tunnelled.clone();
    forged[33] = 12;
    assert_eq!(rig.inside(too_big(&forged, 1000)).verdict, Verdict::Punt(INSIDE), "no server of ours");
    let broken = too_big(&tunnelled, 1000).wrong_transport_checksum();
    assert_eq!(rig.inside(broken).verdict, Verdict::Drop(Counter::BadChecksum));
    assert_eq!(rig.inside(too_big(&tunnelled, 1000)).verdict, Verdict::Drop(Counter::PathMtu));
    let gathered = rig.outside(datagram(CLIENT, VIP, 1300));
    joined(&rig.released(&gathered), INSIDE, 1000);
    // A server that comes with the same id starts anew.
    rig.boards.reset(ServerId(0));
    rig.outside(datagram(CLIENT, VIP, 1300)).sent(INSIDE);
}

/// Packet too big about a tunnel packet of ours, from a router on the way over IPv6.
fn too_big_v6(tunnel_packet: &[u8], mtu: u32) -> Craft {
    between("fd00:2::fe", "fd00:2::1").icmp(2, 0, mtu).payload(&tunnel_packet[14..14 + 120])
}

/// The MTU that an ICMP or ICMPv6 error tells.
fn told(bytes: &[u8]) -> usize {
    let at = if bytes[14] >> 4 == 4 { 40 } else { 60 };
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

#[test]
fn reports_about_tunnels_over_ipv6_teach_the_path_mtu() {
    for (vip, client) in [(VIP, CLIENT), ("fd00:1::100", "2001:db8::9")] {
        for (tunnel, overhead) in
            [(TunnelKind::Ipip, 40), (TunnelKind::Gue { dport: 6080 }, 52), (TunnelKind::Gre, 48)]
        {
            let servers = &["fd00:2::11"];
            let setup = Setup { tunnel, ..Setup::new(TCP, vip, ForwardingMethod::Tunnel, servers) };
            let mut rig = Rig::with_workers(&[setup], 4, 256);
            let data =
                |len| between(client, vip).tcp(40_000, 80, Flags::ACK).payload(&vec![1; len]).dont_fragment();
            rig.outside(between(client, vip).tcp(40_000, 80, Flags::SYN)).sent(INSIDE);
            let tunnelled = rig.outside(data(1370)).bytes;
            let report = too_big_v6(&tunnelled, 1400);
            let broken = report.clone().wrong_transport_checksum();
            assert_eq!(rig.inside(broken).verdict, Verdict::Drop(Counter::BadChecksum));
            assert_eq!(rig.inside(report).verdict, Verdict::Drop(Counter::PathMtu));
            let refused = rig.outside(data(1370));
            refused.sent(OUTSIDE);
            assert_eq!(told(&refused.bytes), 1400 - overhead, "{vip} {tunnel:?}");
            // No report makes a tunnel narrower than what every way must carry, headers apart.
            assert_eq!(rig.inside(too_big_v6(&tunnelled, 100)).verdict, Verdict::Drop(Counter::PathMtu));
            let refused = rig.outside(data(1370));
            assert_eq!(told(&refused.bytes), 1280, "{vip} {tunnel:?}");
            rig.wait(601);
            rig.outside(between(client, vip).tcp(40_000, 80, Flags::SYN)).sent(INSIDE);
            rig.outside(data(1370)).sent(INSIDE);
        }
    }
}

#[test]
fn other_reports_over_ipv6_are_the_kernel_s() {
    let mut rig = Rig::new(&[Setup::new(TCP, "fd00:1::100", ForwardingMethod::Tunnel, &["fd00:2::11"])]);
    let (client, vip) = ("2001:db8::9", "fd00:1::100");
    rig.outside(between(client, vip).tcp(40_000, 80, Flags::SYN)).sent(INSIDE);
    let tunnelled = rig.outside(between(client, vip).tcp(40_000, 80, Flags::ACK).payload(&[1; 200])).bytes;
    let mut elsewhere = tunnelled.clone();
    elsewhere[14 + 39] = 0x12;
    assert_eq!(rig.inside(too_big_v6(&elsewhere, 1400)).verdict, Verdict::Punt(INSIDE), "no server of ours");
    let mut unknown = tunnelled.clone();
    unknown[14 + 80] ^= 1;
    assert_eq!(rig.inside(too_big_v6(&unknown, 1400)).verdict, Verdict::Punt(INSIDE), "no such connection");
    let unreachable = between("fd00:2::fe", "fd00:2::1").icmp(1, 3, 0).payload(&tunnelled[14..]);
    assert_eq!(rig.inside(unreachable).verdict, Verdict::Punt(INSIDE), "not about size");
    for len in 0..90 {
        let cut = between("fd00:2::fe", "fd00:2::1").icmp(2, 0, 1400).payload(&tunnelled[14..14 + len]);
        let verdict = rig.inside(cut).verdict;
        let known = if len < 84 { Verdict::Punt(INSIDE) } else { Verdict::Drop(Counter::PathMtu) };
        assert_eq!(verdict, known, "{len} bytes quoted");
    }
}
