//! Crafted frames against `etherparse`, an independent reading of the same standards.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use shunt_wire::craft::{Craft, Fault, Tunnel, check, decapsulate};
use shunt_wire::{Flags, Frame, NicPortId, icmp, icmpv6, ip_protocol, sctp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const VIP_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 100);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100);

fn v4() -> Craft {
    Craft::v4(CLIENT_V4, VIP_V4)
}

fn v6() -> Craft {
    Craft::v6(CLIENT_V6, VIP_V6)
}

fn both() -> [Craft; 2] {
    [v4(), v6()]
}

/// Parses with etherparse and compares checksums with what etherparse computes.
fn second_opinion(frame: &[u8]) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"));
    let net = packet.net.as_ref().expect("an IP packet");
    if let NetSlice::Ipv4(ip) = net {
        let header = ip.header().to_header();
        assert_eq!(header.calc_header_checksum(), header.header_checksum);
    }
    let addresses = |net: &NetSlice| match net {
        NetSlice::Ipv4(ip) => (ip.header().source().to_vec(), ip.header().destination().to_vec()),
        NetSlice::Ipv6(ip) => (ip.header().source().to_vec(), ip.header().destination().to_vec()),
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let (src, dst) = addresses(net);
    let v4 = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).unwrap();
    let v6 = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).unwrap();
    match packet.transport.as_ref().expect("a transport header") {
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            let expected = match net {
                NetSlice::Ipv4(_) => header.calc_checksum_ipv4_raw(v4(&src), v4(&dst), tcp.payload()),
                _ => header.calc_checksum_ipv6_raw(v6(&src), v6(&dst), tcp.payload()),
            };
            assert_eq!(header.checksum, expected.unwrap());
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let expected = match net {
                NetSlice::Ipv4(_) => header.calc_checksum_ipv4_raw(v4(&src), v4(&dst), udp.payload()),
                _ => header.calc_checksum_ipv6_raw(v6(&src), v6(&dst), udp.payload()),
            };
            assert_eq!(header.checksum, expected.unwrap());
        }
        TransportSlice::Icmpv4(icmp) => {
            assert_eq!(icmp.icmp_type().calc_checksum(icmp.payload()), icmp.checksum());
        }
        TransportSlice::Icmpv6(icmp) => assert!(icmp.is_checksum_valid(v6(&src), v6(&dst))),
        TransportSlice::Igmp(_) => panic!("IGMP"),
    }
}

#[test]
fn tcp() {
    for craft in both() {
        let frame =
            craft.tcp(40_000, 80, Flags::SYN).tcp_options(&[2, 4, 5, 0xb4, 1]).payload(b"abc").frame();
        second_opinion(&frame);
        let checked = check(&frame).unwrap();
        assert_eq!((checked.protocol, checked.sport, checked.dport), (ip_protocol::TCP, 40_000, 80));
        assert_eq!(&frame[checked.payload..checked.end], b"abc");
        assert_eq!(checked.payload - checked.l4, 28);
    }
}

#[test]
fn udp_and_its_zeros() {
    for craft in both() {
        let udp = craft.udp(40_000, 53).payload(b"abc");
        second_opinion(&udp.frame());
        assert_eq!(check(&udp.frame()).map(|checked| checked.is_checksummed), Ok(true));
    }
    let unchecked = check(&v4().udp(1, 2).zero_transport_checksum().frame()).unwrap();
    assert!(!unchecked.is_checksummed);
    assert_eq!(check(&v6().udp(1, 2).zero_transport_checksum().frame()), Err(Fault::MissingChecksum));
}

/// One datagram in 65,536 adds up to 0, which is sent as ffff. Walk through all of them.
#[test]
fn udp_checksum_that_would_be_zero() {
    let place = 14 + 20 + 6;
    let mut zeros = 0;
    for word in 0..=u16::MAX {
        let frame = v4().udp(40_000, 53).payload(&word.to_be_bytes()).frame();
        assert_ne!(frame[place..place + 2], [0, 0]);
        if frame[place..place + 2] == [0xff, 0xff] {
            second_opinion(&frame);
            check(&frame).unwrap();
            zeros += 1;
        }
    }
    assert_eq!(zeros, 1);
}

#[test]
fn icmp() {
    let quoted = v4().reversed().udp(53, 40_000).packet();
    let frame = v4().icmp(icmp::kind::UNREACHABLE, icmp::unreachable::PORT, 0).payload(&quoted[..28]).frame();
    second_opinion(&frame);
    let checked = check(&frame).unwrap();
    assert_eq!(&frame[checked.payload..checked.end], &quoted[..28]);
    let frame = v6().icmp(icmpv6::kind::PACKET_TOO_BIG, 0, 1400).payload(&[7; 48]).frame();
    second_opinion(&frame);
    assert_eq!(check(&frame).map(|checked| checked.protocol), Ok(ip_protocol::ICMPV6));
}

#[test]
fn sctp_chunks() {
    for craft in both() {
        let frame = craft
            .sctp(40_000, 80, sctp::chunk::DATA)
            .chunk_before(sctp::chunk::COOKIE_ECHO, b"cookie")
            .payload(b"12345")
            .frame();
        let checked = check(&frame).unwrap();
        assert_eq!((checked.sport, checked.dport), (40_000, 80));
        // RFC 9260 §3.2: the length does not count the padding.
        let chunks = &frame[checked.payload..checked.end];
        assert_eq!(chunks, b"\x0a\0\0\x0acookie\0\0\0\0\0\x0912345\0\0\0");
    }
}

#[test]
fn tags_and_padding() {
    let frame = v4().qinq(100).vlan(7).udp(1, 2).padded_frame();
    assert_eq!(frame.len(), 60);
    second_opinion(&frame);
    let checked = check(&frame).unwrap();
    assert_eq!((checked.l3, checked.end), (22, 50));
    assert_eq!(frame[12..14], [0x88, 0xa8]);
    assert_eq!(frame[16..18], [0x81, 0x00]);
}

#[test]
fn ip_fields_and_options() {
    let craft = v4().traffic_class(0xb9).ttl(3).id(7).dont_fragment().options(&[7, 7, 4, 0, 0, 0, 0, 1, 0]);
    let frame = craft.tcp(1, 2, Flags::ACK).frame();
    second_opinion(&frame);
    let checked = check(&frame).unwrap();
    assert_eq!((checked.traffic_class, checked.ttl, checked.id, checked.dont_fragment), (0xb9, 3, 7, true));
    assert_eq!(checked.l4 - checked.l3, 32);
    assert_eq!((checked.src, checked.dst), (IpAddr::V4(CLIENT_V4), IpAddr::V4(VIP_V4)));
}

#[test]
fn extension_headers() {
    let craft = v6()
        .flow_label(0x12345)
        .extension(ip_protocol::HOP_BY_HOP, &[5, 2, 0, 0])
        .extension(ip_protocol::ROUTING, &[4, 0, 0, 0, 0, 0, 0])
        .extension(ip_protocol::AH, &[0; 14])
        .extension(ip_protocol::DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
    let frame = craft.udp(40_000, 53).payload(b"abc").frame();
    second_opinion(&frame);
    let checked = check(&frame).unwrap();
    assert_eq!((checked.protocol, checked.sport, checked.dport), (ip_protocol::UDP, 40_000, 53));
    assert_eq!(checked.l4 - checked.l3, 40 + 8 + 16 + 16 + 8);
}

#[test]
fn fragments_put_together_are_the_packet() {
    let payload: Vec<u8> = (0..3000u16).map(|index| index as u8).collect();
    for craft in [v4().options(&[1; 4]), v6().extension(ip_protocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])] {
        let craft = craft.udp(40_000, 53).payload(&payload).id(99);
        let whole = craft.frame();
        let checked = check(&whole).unwrap();
        let fragments = craft.fragments(1280);
        assert_eq!(fragments.len(), 3);
        let mut together = Vec::new();
        for fragment in &fragments {
            let checked = check(fragment).unwrap();
            assert!(checked.is_fragment && checked.end - checked.l3 <= 1280);
            assert_eq!((checked.id, checked.protocol), (99, ip_protocol::UDP));
            let parsed = SlicedPacket::from_ethernet(fragment).unwrap();
            assert!(parsed.is_ip_payload_fragmented());
            together.extend_from_slice(&fragment[checked.l4..checked.end]);
        }
        assert_eq!(together, &whole[checked.l4..]);
        assert_eq!(craft.fragments(4000), [whole]);
    }
}

#[test]
fn one_fragment_by_hand() {
    let frame = v6().fragment(1240, false, 5).protocol(ip_protocol::TCP).payload(b"tail").frame();
    let checked = check(&frame).unwrap();
    assert!(checked.is_fragment);
    assert_eq!((checked.id, &frame[checked.l4..]), (5, b"tail".as_slice()));
    let atomic = v6().fragment(0, false, 5).tcp(1, 2, Flags::SYN).frame();
    assert!(!check(&atomic).unwrap().is_fragment);
}

#[test]
fn tunnels() {
    for inner in both() {
        let inner = inner.ttl(9).tcp(40_000, 80, Flags::SYN).payload(b"abc");
        for outer in both() {
            let outer = outer.vlan(7);
            for (frame, tunnel, is_checksummed) in [
                (outer.clone().ipip(&inner).frame(), Tunnel::Ipip, true),
                (outer.clone().gue(50_000, 6080, &inner).frame(), Tunnel::Gue, true),
                (
                    outer.clone().zero_transport_checksum().gue(50_000, 6080, &inner).frame(),
                    Tunnel::Gue,
                    false,
                ),
                (outer.clone().gre(true, &inner).frame(), Tunnel::Gre, true),
                (outer.clone().gre(false, &inner).frame(), Tunnel::Gre, false),
            ] {
                let taken = decapsulate(&frame).unwrap();
                assert_eq!((taken.tunnel, taken.outer.is_checksummed), (tunnel, is_checksummed));
                assert_eq!(taken.inner, inner.clone().vlan(7).frame());
                assert_eq!(check(&taken.inner).map(|checked| checked.ttl), Ok(9));
            }
        }
    }
    assert_eq!(decapsulate(&v4().tcp(1, 2, Flags::SYN).frame()), Err(Fault::NotATunnel(ip_protocol::TCP)));
}

#[test]
fn faults_are_found() {
    for craft in both() {
        let transports = [
            craft.clone().tcp(1, 2, Flags::SYN),
            craft.clone().udp(1, 2),
            craft.clone().sctp(1, 2, sctp::chunk::INIT),
            craft.clone().icmp(128, 0, 1),
        ];
        for craft in transports {
            assert_eq!(
                check(&craft.clone().wrong_transport_checksum().frame()),
                Err(Fault::TransportChecksum)
            );
        }
        let inner = v4().tcp(1, 2, Flags::SYN);
        let gre = craft.gre(true, &inner).wrong_transport_checksum();
        assert_eq!(decapsulate(&gre.frame()), Err(Fault::TransportChecksum));
    }
    assert_eq!(check(&v4().tcp(1, 2, Flags::SYN).wrong_ip_checksum().frame()), Err(Fault::IpChecksum));
    assert_eq!(
        check(&v4().protocol(ip_protocol::TCP).payload(b"short").frame()),
        Err(Fault::TransportHeader)
    );
    assert_eq!(check(&[0; 14]), Err(Fault::NotIp(0)));
}

/// In a whole frame every single flipped bit of the IPv4 packet is noticed; the checksums see to that.
#[test]
fn every_flipped_bit_is_found() {
    for craft in both() {
        let good = craft.tcp(40_000, 80, Flags::ACK).payload(b"payload").frame();
        let checked = check(&good).unwrap();
        for bit in checked.l4 * 8..checked.end * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bad).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn reversed_is_the_answer() {
    for craft in both() {
        let craft = craft.udp(40_000, 53);
        let (there, back) = (craft.frame(), craft.clone().reversed().frame());
        let (one, other) = (check(&there).unwrap(), check(&back).unwrap());
        assert_eq!(
            (one.src, one.dst, one.sport, one.dport),
            (other.dst, other.src, other.dport, other.sport)
        );
        assert_eq!((&there[..6], &there[6..12]), (&back[6..12], &back[..6]));
        assert_eq!(craft.reversed().reversed().frame(), there);
    }
}

#[test]
fn a_frame_for_the_engine() {
    let craft = v4().tcp(1, 2, Flags::SYN);
    let frame = craft.heap_frame(NicPortId(1));
    assert_eq!((frame.bytes(), frame.nic_port()), (craft.frame().as_slice(), NicPortId(1)));
}

/// Nothing that a wire can bring makes the checker panic, and what it accepts lies within the frame.
#[test]
fn any_bytes() {
    bolero::check!().with_type::<(u8, Vec<u8>)>().for_each(|(shape, bytes)| {
        let mut frame = match shape % 4 {
            0 => v4().tcp(1, 2, Flags::SYN).frame(),
            1 => v6().extension(ip_protocol::DESTINATION_OPTIONS, &[0; 6]).udp(1, 2).frame(),
            2 => v6().gue(1, 6080, &v4().udp(3, 4)).frame(),
            _ => v4().gre(true, &v6().udp(3, 4)).frame(),
        };
        // Random bytes over some of a good frame come further than random bytes alone.
        for change in bytes.chunks_exact(2) {
            let place = usize::from(change[0]) % frame.len();
            frame[place] = change[1];
        }
        let _ = decapsulate(&frame);
        if let Ok(checked) = check(&frame) {
            assert!(checked.l3 <= checked.l4 && checked.l4 <= checked.payload);
            assert!(checked.payload <= checked.end && checked.end <= frame.len());
        }
        let _ = (check(bytes), decapsulate(bytes));
    });
}

/// Whatever is asked for comes back from both parsers.
#[test]
fn any_request() {
    type Request = ([u8; 16], [u8; 16], (u16, u16), u8, (u8, u8), Vec<u8>);
    bolero::check!().with_type::<Request>().for_each(|(src, dst, ends, shape, (ttl, class), payload)| {
        let craft = if shape & 1 == 0 {
            let v4 = |bytes: &[u8; 16]| Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
            Craft::v4(v4(src), v4(dst))
        } else {
            Craft::v6((*src).into(), (*dst).into())
        };
        let craft = craft.ttl(*ttl).traffic_class(*class).payload(payload);
        let craft =
            if shape & 2 == 0 { craft.tcp(ends.0, ends.1, Flags(*shape)) } else { craft.udp(ends.0, ends.1) };
        let frame = craft.frame();
        second_opinion(&frame);
        let checked = check(&frame).unwrap();
        assert_eq!((checked.sport, checked.dport), *ends);
        assert_eq!((checked.ttl, checked.traffic_class), (*ttl, *class));
        assert_eq!(&frame[checked.payload..checked.end], payload);
    });
}
