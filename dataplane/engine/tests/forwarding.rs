//! Packets through each forwarding method: what goes out, byte for byte where it matters.

mod common;

use common::{INSIDE, INSIDE_MAC, OUTSIDE, ROUTER_MAC, Rig, Setup, ip, server_mac};
use shunt_engine::counters::Counter;
use shunt_engine::tables::{ForwardingMethod, Hop, NextHop, Routes, ServerId, TunnelKind, chosen_next_hop};
use shunt_engine::{NeighbourOf, Verdict};
use shunt_wire::craft::{Craft, Tunnel, check, decapsulate};
use shunt_wire::{Flags, MacAddr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// A client and the service, per family.
const ENDS: [(&str, &str, &str); 2] =
    [("192.0.2.9", "10.0.1.100", "10.0.2.11"), ("2001:db8::9", "fd00:1::100", "fd00:2::11")];

fn between(src: &str, dst: &str) -> Craft {
    Craft::between(ip(src), ip(dst)).unwrap()
}

fn payload(checked: &shunt_wire::craft::Checked, bytes: &[u8]) -> Vec<u8> {
    bytes[checked.payload..checked.end].to_vec()
}

#[test]
fn nat_translates_there_and_back() {
    for (client, vip, real) in ENDS {
        for protocol in [TCP, UDP, SCTP] {
            let mut rig = Rig::new(&[Setup::new(protocol, vip, ForwardingMethod::Nat, &[real])]);
            let make = |src: &str, dst: &str, sport, dport| {
                let craft = between(src, dst);
                match protocol {
                    TCP => craft.tcp(sport, dport, Flags::SYN).payload(b"odd"),
                    UDP => craft.udp(sport, dport).payload(b"odd"),
                    _ => craft.sctp(sport, dport, 1).payload(&[0; 16]),
                }
            };
            let request = make(client, vip, 40_000, 80);
            let out = rig.outside(request.clone());
            let sent = out.sent(INSIDE);
            assert_eq!((sent.src, sent.dst), (ip(client), ip(real)));
            assert_eq!((sent.sport, sent.dport, sent.ttl), (40_000, 8080, 63));
            assert_eq!(out.dst_mac(), server_mac(0));
            let before = check(&request.frame()).unwrap();
            assert_eq!(payload(&sent, &out.bytes), payload(&before, &request.frame()));

            let out = rig.inside(make(real, client, 8080, 40_000));
            let sent = out.sent(OUTSIDE);
            assert_eq!((sent.src, sent.dst), (ip(vip), ip(client)));
            assert_eq!((sent.sport, sent.dport, sent.ttl), (80, 40_000, 63));
            assert_eq!(out.dst_mac(), ROUTER_MAC);
        }
    }
}

/// Replies go to each client by one of two gateways, on either side, in both families.
#[test]
fn several_next_hops_share_the_clients() {
    let gateway = |nic_port, n| {
        let (src_mac, dst_mac) = (INSIDE_MAC, server_mac(n));
        (Hop::Via(NextHop { nic_port, mtu: 1500, dst_mac, src_mac }), 1)
    };
    let hops = [gateway(OUTSIDE, 91), gateway(INSIDE, 92)];
    for (_, vip, real) in ENDS {
        let mut rig = Rig::new(&[Setup::new(UDP, vip, ForwardingMethod::Nat, &[real])]);
        let mut routes = Routes::default();
        routes.insert_several(ip("0.0.0.0"), 0, &hops);
        routes.insert_several(ip("::"), 0, &hops);
        rig.tables.set_routes(routes);
        let mut ways = [0; 2];
        for n in 1..=100 {
            let client = if vip.contains(':') { format!("2001:db8::{n}") } else { format!("192.0.2.{n}") };
            rig.outside(between(&client, vip).udp(40_000, 80)).sent(INSIDE);
            let chosen = chosen_next_hop(ip(&client), [1, 1].into_iter());
            for _ in 0..2 {
                let out = rig.inside(between(real, &client).udp(8080, 40_000));
                assert_eq!(out.sent([OUTSIDE, INSIDE][chosen]).dst, ip(&client));
                assert_eq!(out.dst_mac(), server_mac([91, 92][chosen]));
            }
            ways[chosen] += 1;
        }
        assert!(ways.iter().all(|count| *count > 30), "{ways:?}");
    }
}

#[test]
fn nat_gives_udp_without_a_checksum_a_right_one() {
    let mut rig = Rig::new(&[Setup::new(UDP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])]);
    let out =
        rig.outside(between("192.0.2.9", "10.0.1.100").udp(9, 80).payload(b"x").zero_transport_checksum());
    assert!(out.sent(INSIDE).is_checksummed);
}

#[test]
fn nat_never_hides_corruption() {
    let mut rig = Rig::new(&[Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])]);
    let out =
        rig.outside(between("192.0.2.9", "10.0.1.100").tcp(9, 80, Flags::SYN).wrong_transport_checksum());
    assert_eq!(out.verdict, Verdict::Transmit(INSIDE));
    assert_eq!(check(&out.bytes), Err(shunt_wire::craft::Fault::TransportChecksum));
}

#[test]
fn direct_routing_changes_nothing_but_ttl_and_macs() {
    for (client, vip, real) in ENDS {
        let mut rig = Rig::new(&[Setup::new(TCP, vip, ForwardingMethod::DirectRouting, &[real])]);
        let out = rig.outside(between(client, vip).tcp(40_000, 80, Flags::SYN).vlan(7));
        let sent = out.sent(INSIDE);
        assert_eq!((sent.src, sent.dst, sent.ttl, sent.dport), (ip(client), ip(vip), 63, 80));
        assert_eq!((out.dst_mac(), &out.bytes[6..12]), (server_mac(0), &INSIDE_MAC.0[..]));
        assert_eq!(out.bytes[12..16], [0x81, 0, 0, 7], "the VLAN tag is kept");
    }
}

#[test]
fn options_and_extension_headers_are_passed_over() {
    let setups = [
        Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"]),
        Setup::new(TCP, "fd00:1::100", ForwardingMethod::Nat, &["fd00:2::11"]),
    ];
    let mut rig = Rig::new(&setups);
    let v4 = between("192.0.2.9", "10.0.1.100").options(&[1, 1, 1, 0]).tcp(40_000, 80, Flags::SYN);
    assert_eq!(rig.outside(v4).sent(INSIDE).dport, 8080);
    let v6 = between("2001:db8::9", "fd00:1::100").extension(60, &[0; 6]).tcp(40_000, 80, Flags::SYN);
    assert_eq!(rig.outside(v6).sent(INSIDE).dport, 8080);
}

/// {4,6} in {4,6} by IPIP, GUE and GRE.
#[test]
fn tunnels_carry_either_family_over_either() {
    let kinds = [
        (TunnelKind::Ipip, Tunnel::Ipip),
        (TunnelKind::Gue { dport: 6080 }, Tunnel::Gue),
        (TunnelKind::Gre, Tunnel::Gre),
    ];
    for (client, vip, _) in ENDS {
        for (_, _, real) in ENDS {
            for (kind, expected) in kinds {
                let setup = Setup { tunnel: kind, ..Setup::new(TCP, vip, ForwardingMethod::Tunnel, &[real]) };
                let mut rig = Rig::new(&[setup]);
                let request =
                    between(client, vip).tcp(40_000, 80, Flags::SYN).payload(b"odd").traffic_class(0x2b);
                let out = rig.outside(request.clone());
                assert_eq!(out.verdict, Verdict::Transmit(INSIDE));
                let opened = decapsulate(&out.bytes).unwrap();
                assert_eq!((opened.tunnel, opened.outer.dst), (expected, ip(real)));
                let source = if ip(real).is_ipv4() { "10.0.2.1" } else { "fd00:2::1" };
                assert_eq!((opened.outer.src, opened.outer.ttl), (ip(source), 63));
                assert_eq!(opened.outer.traffic_class, 0x2a, "CE becomes ECT(0)");
                let inner = check(&opened.inner).unwrap();
                assert_eq!((inner.src, inner.dst, inner.ttl, inner.dport), (ip(client), ip(vip), 63, 80));
                let before = check(&request.frame()).unwrap();
                assert_eq!(payload(&inner, &opened.inner), payload(&before, &request.frame()));
            }
        }
    }
}

#[test]
fn padding_is_not_forwarded() {
    let mut rig = Rig::new(&[Setup::new(UDP, "10.0.1.100", ForwardingMethod::Tunnel, &["10.0.2.11"])]);
    let craft = between("192.0.2.9", "10.0.1.100").udp(9, 80).macs(ROUTER_MAC, common::OUTSIDE_MAC);
    let frame = shunt_wire::HeapFrame::new(&craft.padded_frame(), OUTSIDE);
    let out = rig.pass(&frame);
    assert_eq!(out.bytes.len(), 14 + 20 + 20 + 8);
}

#[test]
fn what_is_not_balanced_goes_to_the_kernel_unchanged() {
    let mut rig = Rig::new(&[Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])]);
    let packets = [
        between("192.0.2.9", "10.0.1.100").tcp(40_000, 81, Flags::SYN),
        between("192.0.2.9", "10.0.1.100").tcp(40_000, 80, Flags::ACK),
        between("192.0.2.9", "10.0.1.100").tcp(40_000, 80, Flags::SYN | Flags::RST),
        between("192.0.2.9", "10.0.1.100").udp(40_000, 80),
        between("192.0.2.9", "10.0.1.100").icmp(8, 0, 1),
        between("192.0.2.9", "10.0.1.100").protocol(50).payload(&[0; 20]),
        between("2001:db8::9", "fd00:1::100").icmp(135, 0, 0).payload(&[0; 16]),
    ];
    for craft in packets {
        let before = craft.clone().macs(ROUTER_MAC, common::OUTSIDE_MAC).frame();
        let out = rig.outside(craft);
        assert_eq!((out.verdict, out.bytes), (Verdict::Punt(OUTSIDE), before));
    }
    let craft =
        between("192.0.2.9", "10.0.1.100").tcp(40_000, 80, Flags::SYN).macs(ROUTER_MAC, MacAddr([2; 6]));
    assert_eq!(rig.pass(&craft.heap_frame(OUTSIDE)).verdict, Verdict::Punt(OUTSIDE), "another host's frame");
    assert!(rig.connections().is_empty());
}

#[test]
fn broken_packets_are_counted_drops() {
    let mut rig = Rig::new(&[Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])]);
    let syn = between("192.0.2.9", "10.0.1.100").tcp(40_000, 80, Flags::SYN);
    assert_eq!(rig.outside(syn.clone().wrong_ip_checksum()).verdict, Verdict::Drop(Counter::BadChecksum));
    let whole = syn.macs(ROUTER_MAC, common::OUTSIDE_MAC).frame();
    for len in 0..whole.len() {
        let out = rig.pass(&shunt_wire::HeapFrame::new(&whole[..len], OUTSIDE));
        let expected =
            if len < 6 { vec![Counter::Malformed] } else { vec![Counter::Malformed, Counter::BadChecksum] };
        assert!(
            expected.iter().any(|&counter| out.verdict == Verdict::Drop(counter)),
            "{len}: {:?}",
            out.verdict
        );
    }
    assert!(rig.connections().is_empty());
}

#[test]
fn without_a_server_the_client_is_told() {
    for (client, vip, _) in ENDS {
        let mut rig = Rig::new(&[Setup::new(TCP, vip, ForwardingMethod::Nat, &[])]);
        let out = rig.outside(between(client, vip).tcp(40_000, 80, Flags::SYN).payload(&[7; 1000]));
        let sent = out.sent(OUTSIDE);
        let expected = if ip(client).is_ipv4() { (1, [3, 3]) } else { (58, [1, 4]) };
        assert_eq!((sent.protocol, [out.bytes[sent.l4], out.bytes[sent.l4 + 1]]), expected);
        assert_eq!(sent.dst, ip(client));
        assert!(sent.end - sent.l3 <= if ip(client).is_ipv4() { 576 } else { 1280 });
        assert_eq!(rig.counter(Counter::Answered), 1);
    }
}

#[test]
fn a_flood_of_errors_is_bounded() {
    let mut rig = Rig::new(&[Setup::new(UDP, "10.0.1.100", ForwardingMethod::Nat, &[])]);
    let answered = (0..200)
        .filter(|&n| {
            let out = rig.outside(between("192.0.2.9", "10.0.1.100").udp(n + 1000, 80));
            out.verdict == Verdict::Transmit(OUTSIDE)
        })
        .count();
    assert_eq!(answered, 50);
    assert_eq!(
        rig.outside(between("192.0.2.9", "10.0.1.100").udp(1, 80)).verdict,
        Verdict::Drop(Counter::NoRealServer)
    );
}

#[test]
fn ttl_and_size_are_answered() {
    let setup =
        Setup { mtu: 1400, ..Setup::new(UDP, "10.0.1.100", ForwardingMethod::Tunnel, &["10.0.2.11"]) };
    let mut rig = Rig::new(&[setup]);
    let out = rig.outside(between("192.0.2.9", "10.0.1.100").udp(9, 80).ttl(1));
    let sent = out.sent(OUTSIDE);
    assert_eq!((sent.protocol, out.bytes[sent.l4]), (1, 11));
    let large = between("192.0.2.9", "10.0.1.100").udp(9, 80).payload(&[0; 1360]).dont_fragment();
    let out = rig.outside(large);
    let sent = out.sent(OUTSIDE);
    let mtu = u16::from_be_bytes([out.bytes[sent.l4 + 6], out.bytes[sent.l4 + 7]]);
    assert_eq!((out.bytes[sent.l4], out.bytes[sent.l4 + 1], mtu), (3, 4, 1380));
    assert_eq!(sent.traffic_class, 0xc0);
}

#[test]
fn an_unresolved_next_hop_keeps_the_packet_ready() {
    let mut rig = Rig::new(&[Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])]);
    rig.change_server(0, |server| server.hop = Hop::Unresolved);
    let out = rig.outside(between("192.0.2.9", "10.0.1.100").tcp(40_000, 80, Flags::SYN));
    assert_eq!(out.verdict, Verdict::AwaitNeighbour(NeighbourOf::Server(ServerId(0))));
    assert_eq!(check(&out.bytes).unwrap().dst, ip("10.0.2.11"), "already translated");
}
