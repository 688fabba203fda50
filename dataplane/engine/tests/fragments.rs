//! Fragments of load-balanced packets: gathered, decided on as one, sent on cut as they came.

mod common;

use common::{INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, ROUTER_MAC, Rig, Setup, ip, server_mac};
use shunt_engine::counters::Counter;
use shunt_engine::tables::{ForwardingMethod, ServerId, TunnelKind};
use shunt_engine::{Origin, Verdict};
use shunt_wire::craft::{Checked, Craft, Fault, Tunnel, check, decapsulate};
use shunt_wire::{Flags, Frame, HeapFrame, NicPortId};
use std::collections::VecDeque;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
/// A client, a virtual address and a real server, per family.
const ENDS: [(&str, &str, &str); 2] =
    [("192.0.2.9", "10.0.1.100", "10.0.2.11"), ("2001:db8::9", "fd00:1::100", "fd00:2::11")];

fn between(src: &str, dst: &str) -> Craft {
    Craft::between(ip(src), ip(dst)).unwrap().macs(ROUTER_MAC, OUTSIDE_MAC)
}

fn datagram(protocol: u8, craft: Craft, sport: u16, dport: u16, len: usize) -> Craft {
    let payload: Vec<u8> = (0..len).map(|n| (n * 7 + n / 256) as u8).collect();
    match protocol {
        TCP => craft.tcp(sport, dport, Flags::SYN),
        UDP => craft.udp(sport, dport),
        _ => craft.sctp(sport, dport, 1),
    }
    .payload(&payload)
    .id(0x1234)
}

/// An empty frame of the pool.
fn fresh(nic_port: NicPortId) -> HeapFrame {
    HeapFrame::with_room(&[], nic_port, HeapFrame::HEADROOM, 2048)
}

/// What became of a frame in the end.
#[derive(Clone, Debug)]
struct Sent {
    verdict: Verdict,
    bytes: Vec<u8>,
    worker: usize,
}

/// Carries verdicts out as the worker does, and counts them: the books of every worker must balance.
fn feed(rig: &mut Rig, first: usize, nic_port: NicPortId, frames: &[Vec<u8>]) -> Vec<Sent> {
    let mut waiting: VecDeque<(usize, Origin, HeapFrame)> =
        frames.iter().map(|bytes| (first, Origin::Wire, HeapFrame::new(bytes, nic_port))).collect();
    let mut sent = Vec::new();
    for worker in 0..rig.engines.len() {
        sent.extend(release(rig, worker, &mut waiting));
    }
    while let Some((worker, origin, frame)) = waiting.pop_front() {
        let source = if origin == Origin::Wire { Counter::Received } else { Counter::HandedIn };
        rig.engines[worker].counters().add(source, 1);
        let (mut frames, mut verdicts) = ([frame], [Verdict::Punt(OUTSIDE)]);
        rig.engines[worker].process_burst(&rig.tables, rig.now, origin, &mut frames, &mut verdicts);
        let [frame] = frames;
        sent.extend(carry_out(rig, worker, frame, verdicts[0], &mut waiting));
        sent.extend(release(rig, worker, &mut waiting));
    }
    for engine in &rig.engines {
        assert_eq!(engine.counters().imbalance(), 0);
        assert!(!engine.has_datagrams());
    }
    sent
}

fn release(rig: &mut Rig, worker: usize, waiting: &mut VecDeque<(usize, Origin, HeapFrame)>) -> Vec<Sent> {
    let mut released = Vec::new();
    rig.engines[worker].release(
        &rig.tables,
        rig.now,
        |nic_port| Some(fresh(nic_port)),
        |frame, verdict| {
            released.push((frame, verdict));
        },
    );
    released
        .into_iter()
        .filter_map(|(frame, verdict)| carry_out(rig, worker, frame, verdict, waiting))
        .collect()
}

fn carry_out(
    rig: &Rig,
    worker: usize,
    frame: HeapFrame,
    verdict: Verdict,
    waiting: &mut VecDeque<(usize, Origin, HeapFrame)>,
) -> Option<Sent> {
    let counter = match verdict {
        Verdict::Transmit(_) => Counter::Transmitted,
        Verdict::HandOver(_) => Counter::HandedOver,
        Verdict::Punt(_) => Counter::Punted,
        Verdict::AwaitNeighbour(_) => Counter::HandedOver,
        Verdict::Gathered => Counter::Gathered,
        Verdict::Drop(counter) => counter,
    };
    rig.engines[worker].counters().add(counter, 1);
    match verdict {
        Verdict::Gathered => None,
        Verdict::HandOver(to) => {
            assert_ne!(usize::from(to), worker);
            waiting.push_back((usize::from(to), Origin::HandOver, frame));
            None
        }
        verdict => Some(Sent { verdict, bytes: frame.bytes().to_vec(), worker }),
    }
}

/// Offset and "more" of a fragment, read independently of the engine.
fn place(frame: &[u8], checked: &Checked) -> (usize, bool) {
    let (at, unit) = if checked.src.is_ipv4() { (checked.l3 + 6, 8) } else { (checked.l4 - 6, 1) };
    let word = u16::from_be_bytes([frame[at], frame[at + 1]]);
    match unit {
        8 => (usize::from(word & 0x1fff) * 8, word & 0x2000 != 0),
        _ => (usize::from(word & !7), word & 1 != 0),
    }
}

/// Puts fragments, in order, together as a receiver would, and checks that each is right by itself.
fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    let (mut whole, mut header_len) = (Vec::new(), 0);
    for (nth, frame) in frames.iter().enumerate() {
        let checked = check(frame).unwrap();
        let (offset, more) = place(frame, &checked);
        assert!(checked.is_fragment && more == (nth + 1 < frames.len()));
        if nth == 0 {
            let end = if checked.src.is_ipv4() { checked.l4 } else { checked.l4 - 8 };
            whole = frame[..end].to_vec();
            header_len = end;
            if checked.src.is_ipv6() {
                // No extension headers but this one in these tests.
                whole[checked.l3 + 6] = frame[checked.l4 - 8];
            }
        }
        assert_eq!(offset, whole.len() - header_len);
        assert_eq!(checked.id, check(&frames[0]).unwrap().id);
        whole.extend_from_slice(&frame[checked.l4..checked.end]);
    }
    let l3 = check(&frames[0]).unwrap().l3;
    let total = whole.len() - l3;
    if whole[l3] >> 4 == 4 {
        whole[l3 + 2..l3 + 4].copy_from_slice(&(total as u16).to_be_bytes());
        whole[l3 + 6..l3 + 8].fill(0);
        whole[l3 + 10..l3 + 12].fill(0);
        let sum = shunt_wire::checksum::checksum(&whole[l3..header_len]);
        whole[l3 + 10..l3 + 12].copy_from_slice(&sum.to_be_bytes());
    } else {
        whole[l3 + 4..l3 + 6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
    }
    whole
}

fn sent_to(sent: &[Sent], nic_port: NicPortId) -> Vec<Vec<u8>> {
    assert!(sent.iter().all(|sent| sent.verdict == Verdict::Transmit(nic_port)), "{sent:?}");
    sent.iter().map(|sent| sent.bytes.clone()).collect()
}

/// The frames in order, in reverse, and the middle first.
fn orders(frames: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let mut reversed = frames.to_vec();
    reversed.reverse();
    let mut rotated = frames.to_vec();
    rotated.rotate_left(frames.len() / 2);
    let odd_first = frames.iter().skip(1).step_by(2).chain(frames.iter().step_by(2)).cloned().collect();
    vec![frames.to_vec(), reversed, rotated, odd_first]
}

fn lengths(frames: &[Vec<u8>]) -> Vec<usize> {
    frames.iter().map(Vec::len).collect()
}

fn data(whole: &[u8]) -> Vec<u8> {
    let checked = check(whole).unwrap();
    whole[checked.payload..checked.end].to_vec()
}

#[test]
fn nat_there_and_back_in_any_order() {
    for (client, vip, real) in ENDS {
        for protocol in [TCP, UDP, SCTP] {
            let mut rig = Rig::new(&[Setup::new(protocol, vip, ForwardingMethod::Nat, &[real])]);
            let request = datagram(protocol, between(client, vip), 40_000, 80, 5_000);
            let reply = datagram(protocol, between(real, client), 8080, 40_000, 3_001)
                .macs(server_mac(0), INSIDE_MAC);
            for frames in orders(&request.fragments(1_300)) {
                let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &frames), INSIDE);
                assert_eq!(lengths(&out), lengths(&request.fragments(1_300)));
                let whole = join(&out);
                let checked = check(&whole).unwrap();
                assert_eq!((checked.src, checked.dst), (ip(client), ip(real)));
                assert_eq!((checked.sport, checked.dport, checked.ttl), (40_000, 8080, 63));
                assert_eq!(check(&out[0]).unwrap().id, 0x1234);
                assert_eq!((&whole[..6], data(&whole)), (&server_mac(0).0[..], data(&request.frame())));
            }
            for frames in orders(&reply.fragments(576)) {
                let out = sent_to(&feed(&mut rig, 0, INSIDE, &frames), OUTSIDE);
                assert_eq!(lengths(&out), lengths(&reply.fragments(576)));
                let whole = join(&out);
                let checked = check(&whole).unwrap();
                assert_eq!((checked.src, checked.dst), (ip(vip), ip(client)));
                assert_eq!((checked.sport, checked.dport, checked.ttl), (80, 40_000, 63));
                assert_eq!(data(&whole), data(&reply.frame()));
            }
            // One connection; four packets, not sixteen.
            let packets = rig.boards.sum64(ServerId(0), |counts| &counts.in_packets);
            let bytes = rig.boards.sum64(ServerId(0), |counts| &counts.in_bytes);
            let ip_len = request.packet().len() as u64;
            assert_eq!((rig.connections().len(), packets, bytes), (1, 4, 4 * ip_len));
        }
    }
}

#[test]
fn a_tcp_header_may_be_spread_over_several_fragments() {
    for (client, vip, real) in ENDS {
        let mut rig = Rig::new(&[Setup::new(TCP, vip, ForwardingMethod::Nat, &[real])]);
        let request = datagram(TCP, between(client, vip), 40_000, 80, 40);
        for frames in orders(&request.fragments(1)) {
            assert_eq!(frames.len(), 8);
            let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &frames), INSIDE);
            assert_eq!(lengths(&out), lengths(&request.fragments(1)));
            let checked = check(&join(&out)).unwrap();
            assert_eq!((checked.dst, checked.dport), (ip(real), 8080));
        }
    }
}

#[test]
fn udp_without_a_checksum_gets_one_over_all_fragments() {
    let mut rig = Rig::new(&[Setup::new(UDP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])]);
    let request = datagram(UDP, between("192.0.2.9", "10.0.1.100"), 9, 80, 3_000).zero_transport_checksum();
    let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &request.fragments(1_500)), INSIDE);
    assert!(check(&join(&out)).unwrap().is_checksummed);
}

#[test]
fn direct_routing_changes_nothing_but_ttl_and_macs() {
    for (client, vip, real) in ENDS {
        let mut rig = Rig::new(&[Setup::new(UDP, vip, ForwardingMethod::DirectRouting, &[real])]);
        let request = datagram(UDP, between(client, vip), 40_000, 80, 4_000).vlan(7);
        let expected = request.clone().ttl(63).macs(INSIDE_MAC, server_mac(0)).fragments(1_500);
        for frames in orders(&request.fragments(1_500)) {
            assert_eq!(sent_to(&feed(&mut rig, 0, OUTSIDE, &frames), INSIDE), expected);
        }
    }
}

#[test]
fn tunnels_carry_the_datagram_and_are_cut_themselves() {
    let kinds = [
        (TunnelKind::Ipip, Tunnel::Ipip),
        (TunnelKind::Gue { dport: 6080 }, Tunnel::Gue),
        (TunnelKind::Gre, Tunnel::Gre),
    ];
    for (client, vip, _) in ENDS {
        for (_, _, real) in ENDS {
            for (kind, tunnel) in kinds {
                let setup = Setup::new(UDP, vip, ForwardingMethod::Tunnel, &[real]);
                let mut rig = Rig::new(&[Setup { tunnel: kind, ..setup }]);
                let request = datagram(UDP, between(client, vip), 40_000, 80, 5_000);
                for frames in orders(&request.fragments(1_300)) {
                    let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &frames), INSIDE);
                    // As the kernel: only IPv4 in IPv4 remembers how large the fragments were.
                    let longest = if ip(vip).is_ipv4() && ip(real).is_ipv4() { 1_314 } else { 1_514 };
                    assert!(out.len() >= 4 && lengths(&out).iter().all(|&len| len <= longest));
                    let outer = join(&out);
                    let checked = check(&outer).unwrap();
                    assert_eq!((checked.dst, checked.ttl), (ip(real), 63));
                    let opened = decapsulate(&outer).unwrap();
                    assert_eq!(opened.tunnel, tunnel);
                    let inner = check(&opened.inner).unwrap();
                    assert_eq!((inner.dst, inner.dport, inner.ttl), (ip(vip), 80, 63));
                    assert_eq!(data(&opened.inner), data(&request.frame()));
                }
            }
        }
    }
}

#[test]
fn a_smaller_mtu_cuts_ipv4_and_tells_ipv6() {
    let setup = |index: usize| {
        let (_, vip, real) = ENDS[index];
        Setup { mtu: 1_300, ..Setup::new(UDP, vip, ForwardingMethod::Nat, &[real]) }
    };
    let mut rig = Rig::new(&[setup(0), setup(1)]);
    let request = datagram(UDP, between(ENDS[0].0, ENDS[0].1), 40_000, 80, 4_000);
    let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &request.fragments(1_500)), INSIDE);
    assert!(out.len() == 4 && lengths(&out).iter().all(|&len| len <= 1_314));
    assert_eq!(data(&join(&out)), data(&request.frame()));

    let request = datagram(UDP, between(ENDS[1].0, ENDS[1].1), 40_000, 80, 4_000);
    let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &request.fragments(1_500)), OUTSIDE);
    let [answer] = &out[..] else { panic!("{out:?}") };
    let checked = check(answer).unwrap();
    assert_eq!((checked.dst, checked.protocol, answer[checked.l4]), (ip(ENDS[1].0), 58, 2));
    assert_eq!(answer[checked.l4 + 4..checked.l4 + 8], 1_300u32.to_be_bytes());
}

#[test]
fn duplicates_are_dropped_and_do_no_harm() {
    for (client, vip, real) in ENDS {
        let mut rig = Rig::new(&[Setup::new(UDP, vip, ForwardingMethod::Nat, &[real])]);
        let frames = datagram(UDP, between(client, vip), 40_000, 80, 3_000).fragments(1_000);
        let twice: Vec<Vec<u8>> =
            frames[..frames.len() - 1].iter().flat_map(|one| [one.clone(), one.clone()]).collect();
        let dropped = feed(&mut rig, 0, OUTSIDE, &twice);
        assert!(dropped.iter().all(|sent| sent.verdict == Verdict::Drop(Counter::Fragment)));
        assert_eq!(dropped.len(), frames.len() - 1);
        let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &frames[frames.len() - 1..]), INSIDE);
        assert_eq!(check(&join(&out)).unwrap().dst, ip(real));
    }
}

/// A fragment by hand.
fn piece(craft: Craft, offset: u16, more: bool, len: usize) -> Vec<u8> {
    craft.protocol(UDP).payload(&vec![9; len]).fragment(offset, more, 77).frame()
}

#[test]
fn an_overlap_or_contradiction_discards_the_datagram() {
    for (client, vip, real) in ENDS {
        let craft = || between(client, vip);
        // Each case: the first two fragments, and one that does not fit them.
        let cases = [
            [piece(craft(), 0, true, 800), piece(craft(), 808, true, 800), piece(craft(), 792, true, 24)],
            [piece(craft(), 800, true, 800), piece(craft(), 0, true, 400), piece(craft(), 0, true, 808)],
            [piece(craft(), 0, true, 400), piece(craft(), 800, true, 400), piece(craft(), 0, true, 1_200)],
            [piece(craft(), 0, true, 400), piece(craft(), 800, false, 400), piece(craft(), 800, false, 500)],
            [piece(craft(), 0, true, 400), piece(craft(), 800, false, 400), piece(craft(), 1_200, true, 8)],
            [piece(craft(), 0, true, 400), piece(craft(), 800, true, 400), piece(craft(), 400, false, 100)],
        ];
        for case in cases {
            let mut rig = Rig::new(&[Setup::new(UDP, vip, ForwardingMethod::Nat, &[real])]);
            assert!(feed(&mut rig, 0, OUTSIDE, &case[..2]).is_empty());
            let dropped = feed(&mut rig, 0, OUTSIDE, &case[2..]);
            assert_eq!(dropped.len(), 1);
            assert_eq!(rig.counter(Counter::Fragment), 3);
            // Nothing is left: nobody is told of it later either.
            rig.wait(70);
            assert!(feed(&mut rig, 0, OUTSIDE, &[]).is_empty());
        }
    }
}

#[test]
fn fragments_that_make_no_sense_are_dropped() {
    for (client, vip, real) in ENDS {
        let mut rig = Rig::new(&[Setup::new(UDP, vip, ForwardingMethod::Nat, &[real])]);
        let frames = [
            piece(between(client, vip), 0, true, 0),
            piece(between(client, vip), 65_528, false, 100),
            // As many as the largest datagram, but the header does not fit in front of them.
            piece(between(client, vip), 65_504, false, 31),
        ];
        let dropped = feed(&mut rig, 0, OUTSIDE, &frames);
        assert!(dropped.iter().all(|sent| sent.verdict == Verdict::Drop(Counter::Malformed)), "{dropped:?}");
        assert_eq!(dropped.len(), 3);
    }
}

#[test]
fn who_sends_half_a_datagram_is_told() {
    for ((client, vip, real), seconds) in ENDS.into_iter().zip([30, 60]) {
        let mut rig = Rig::new(&[Setup::new(UDP, vip, ForwardingMethod::Nat, &[real])]);
        let frames = datagram(UDP, between(client, vip), 40_000, 80, 3_000).fragments(576);
        // The second datagram lacks its first fragment: nobody is told.
        let others = datagram(UDP, between(client, vip), 40_000, 80, 3_000).id(0x4321).fragments(576);
        assert!(feed(&mut rig, 0, OUTSIDE, &frames[..2]).is_empty());
        assert!(feed(&mut rig, 0, OUTSIDE, &others[1..]).is_empty());
        rig.wait(seconds - 1);
        assert!(feed(&mut rig, 0, OUTSIDE, &[]).is_empty());
        rig.wait(2);
        let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &[]), OUTSIDE);
        let [answer] = &out[..] else { panic!("{out:?}") };
        let checked = check(answer).unwrap();
        assert_eq!((checked.src.is_ipv4(), checked.dst), (ip(vip).is_ipv4(), ip(client)));
        let kind = if checked.src.is_ipv4() { 11 } else { 3 };
        assert_eq!((answer[checked.l4], answer[checked.l4 + 1]), (kind, 1));
        let quoted = &frames[0][14..];
        let told = &answer[checked.l4 + 8..checked.end];
        assert!(told.len() >= 548 && quoted.starts_with(told));
        assert_eq!(rig.counter(Counter::FragmentTimeout), 2 + others.len() as u64 - 1);
        // The late rest begins anew, and is silent.
        assert!(feed(&mut rig, 0, OUTSIDE, &frames[2..]).is_empty());
        rig.wait(seconds + 1);
        assert!(feed(&mut rig, 0, OUTSIDE, &[]).is_empty());
    }
}

#[test]
fn a_flood_does_not_keep_others_out() {
    let (client, vip, real) = ENDS[0];
    let mut rig = Rig::new(&[Setup::new(UDP, vip, ForwardingMethod::Nat, &[real])]);
    for n in 0..20_000u32 {
        let source = format!("198.51.{}.{}", n >> 8 & 0xff, n & 0xff);
        let craft = || between(&source, vip).protocol(UDP).payload(&[0; 1_400]);
        let offset = if n % 2 == 0 { 0 } else { 1_400 };
        assert!(feed(&mut rig, 0, OUTSIDE, &[craft().fragment(offset, true, n).frame()]).is_empty());
        if n % 1_000 == 999 {
            let request = datagram(UDP, between(client, vip), n as u16, 80, 8_000);
            let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &request.fragments(1_500)), INSIDE);
            assert_eq!(data(&join(&out)), data(&request.frame()));
        }
    }
    assert!(rig.counter(Counter::FragmentsFull) > 15_000);
    // Many tiny fragments of one datagram are no way in either.
    let tiny: Vec<Vec<u8>> = (0..200).map(|n| piece(between(client, vip), n * 16, true, 8)).collect();
    feed(&mut rig, 0, OUTSIDE, &tiny);
    assert!(rig.counter(Counter::Fragment) > 128);
}

#[test]
fn jumbo_fragments_take_several_cells() {
    let (client, vip, real) = ENDS[0];
    let mut rig = Rig::new(&[Setup { mtu: 9_000, ..Setup::new(UDP, vip, ForwardingMethod::Nat, &[real]) }]);
    let request = datagram(UDP, between(client, vip), 40_000, 80, 60_000);
    for frames in orders(&request.fragments(9_000)) {
        // The rig's NIC ports have an MTU of 1,500, so they are cut anew.
        let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &frames), INSIDE);
        assert!(lengths(&out).iter().all(|&len| len <= 1_514));
        assert_eq!(data(&join(&out)), data(&request.frame()));
    }
}

#[test]
fn what_is_not_load_balanced_goes_to_the_kernel_as_it_came() {
    for (client, vip, real) in ENDS {
        let mut rig = Rig::new(&[Setup::new(UDP, vip, ForwardingMethod::Nat, &[real])]);
        // Another port of a virtual address: gathered, as its first fragment tells.
        let frames = datagram(UDP, between(client, vip), 40_000, 81, 3_000).fragments(1_000);
        let out = feed(&mut rig, 0, OUTSIDE, &frames);
        assert!(out.iter().all(|sent| sent.verdict == Verdict::Punt(OUTSIDE)));
        assert_eq!(out.iter().map(|sent| sent.bytes.clone()).collect::<Vec<_>>(), frames);
        // An address that is nobody's: at once.
        let elsewhere = if ip(vip).is_ipv4() { "10.9.9.9" } else { "fd00:9::9" };
        let frames = datagram(UDP, between(client, elsewhere), 40_000, 80, 3_000).fragments(1_000);
        let out = feed(&mut rig, 0, OUTSIDE, &frames[1..2]);
        assert_eq!((out.len(), out[0].verdict), (1, Verdict::Punt(OUTSIDE)));
        assert_eq!(out[0].bytes, frames[1]);
    }
}

#[test]
fn congestion_and_options_survive() {
    let (client, vip, real) = ENDS[0];
    let mut rig = Rig::new(&[Setup::new(UDP, vip, ForwardingMethod::DirectRouting, &[real])]);
    let craft = |class| datagram(UDP, between(client, vip), 40_000, 80, 2_000).traffic_class(class);
    let (capable, met) = (craft(2).fragments(1_000), craft(3).fragments(1_000));
    let mixed = [capable[0].clone(), met[1].clone(), capable[2].clone()];
    let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &mixed), INSIDE);
    assert!(out.iter().all(|frame| check(frame).unwrap().traffic_class == 3));
    let contradiction = [craft(0).fragments(1_000)[0].clone(), met[1].clone(), met[2].clone()];
    let out = feed(&mut rig, 0, OUTSIDE, &contradiction);
    assert!(out.is_empty() && rig.counter(Counter::Fragment) == 3);

    let request = craft(0).options(&[7, 3, 4, 1]);
    let out = sent_to(&feed(&mut rig, 0, OUTSIDE, &request.fragments(1_000)), INSIDE);
    assert_eq!((out[0][34..38].to_vec(), out[1][34..38].to_vec()), (vec![7, 3, 4, 1], vec![1; 4]));
}

#[test]
fn fragments_find_the_worker_of_their_flow() {
    let setups = ENDS.map(|(_, vip, real)| Setup::new(UDP, vip, ForwardingMethod::Nat, &[real]));
    let mut rig = Rig::with_workers(&setups, 4, 1024);
    for (client, vip, real) in ENDS {
        for n in 0..32u16 {
            let request = datagram(UDP, between(client, vip), 40_000 + n, 80, 3_000).id(n);
            let frames = request.fragments(1_500);
            // The unfragmented packet tells whose the flow is.
            let whole =
                feed(&mut rig, 0, OUTSIDE, &[datagram(UDP, between(client, vip), 40_000 + n, 80, 9).frame()]);
            for (nth, frames) in orders(&frames).into_iter().enumerate() {
                let sent = feed(&mut rig, nth % 4, OUTSIDE, &frames);
                assert!(sent.iter().all(|sent| sent.worker == whole[0].worker));
                let out = sent_to(&sent, INSIDE);
                assert_eq!(check(&join(&out)).unwrap().sport, 40_000 + n);
            }
            let reply = datagram(UDP, between(real, client), 8080, 40_000 + n, 3_000)
                .id(n)
                .macs(server_mac(0), INSIDE_MAC);
            let sent = feed(&mut rig, usize::from(n) % 4, INSIDE, &reply.fragments(1_500));
            assert!(sent.iter().all(|sent| sent.worker == whole[0].worker));
            assert_eq!(check(&join(&sent_to(&sent, OUTSIDE))).unwrap().sport, 80);
        }
    }
    assert_eq!(rig.connections().len(), 64);
    // Some were gathered at home, and none made more than two hops.
    let fragments = rig.counter(Counter::Received);
    let hops = rig.counter(Counter::HandedOver);
    assert!(hops > fragments / 2 && hops < 2 * fragments, "{hops} of {fragments}");
}

#[test]
fn without_buffers_fragments_are_dropped_and_counted() {
    let (client, vip, real) = ENDS[0];
    let mut rig = Rig::new(&[Setup::new(UDP, vip, ForwardingMethod::Nat, &[real])]);
    let request = datagram(UDP, between(client, vip), 40_000, 80, 3_000);
    let mut frames: Vec<HeapFrame> =
        request.fragments(1_500).iter().map(|bytes| HeapFrame::new(bytes, OUTSIDE)).collect();
    let mut verdicts = [Verdict::Punt(OUTSIDE); 3];
    let engine = &mut rig.engines[0];
    engine.process_burst(&rig.tables, rig.now, Origin::Wire, &mut frames, &mut verdicts);
    assert_eq!(verdicts, [Verdict::Gathered; 3]);
    let mut count = 0;
    engine.release(&rig.tables, rig.now, |_| None::<HeapFrame>, |_, _| count += 1);
    assert_eq!((count, rig.counter(Counter::NoBuffer), rig.counter(Counter::Released)), (0, 3, 3));
}

/// One fragment of a hostile sender.
#[derive(Clone, Copy, Debug, bolero::TypeGenerator)]
struct Hostile {
    v6: bool,
    from_server: bool,
    more: bool,
    id: u8,
    /// In units of 8 bytes.
    offset: u8,
    len: u8,
    tos: u8,
    tags: u8,
    seconds: u8,
    method: u8,
}

/// Any fragments: nothing panics, every book balances, and what is sent on is right by itself.
#[test]
fn any_fragments_are_survived() {
    let methods = [ForwardingMethod::Nat, ForwardingMethod::DirectRouting, ForwardingMethod::Tunnel];
    bolero::check!().with_type::<Vec<Hostile>>().for_each(|all| {
        let method = all.first().map_or(0, |first| usize::from(first.method) % methods.len());
        let mut rig = Rig::new(&ENDS.map(|(_, vip, real)| Setup::new(UDP, vip, methods[method], &[real])));
        for one in all {
            let (client, vip, real) = ENDS[usize::from(one.v6)];
            let (src, dst) = if one.from_server { (real, client) } else { (client, vip) };
            // Ports 80 in both directions are a service's, and its server's.
            let payload = [0, 80].repeat(128);
            // Most fit their neighbours, so that datagrams become complete now and then.
            let len = if one.len < 200 { usize::from(one.len % 4) * 8 } else { usize::from(one.len) };
            let mut craft = between(src, dst)
                .protocol(UDP)
                .payload(&payload[..len])
                .traffic_class(one.tos)
                .fragment(u16::from(one.offset % 4) * 8, one.more, u32::from(one.id % 3));
            for tag in 0..one.tags % 3 {
                craft = craft.vlan(u16::from(tag) + 1);
            }
            let nic_port = if one.from_server { INSIDE } else { OUTSIDE };
            let craft = if one.from_server { craft.macs(server_mac(0), INSIDE_MAC) } else { craft };
            for sent in feed(&mut rig, 0, nic_port, &[craft.frame()]) {
                if let Verdict::Transmit(_) = sent.verdict {
                    // The transport checksum is not ours to mend.
                    let fault = check(&sent.bytes).err();
                    assert!(matches!(fault, None | Some(Fault::TransportChecksum | Fault::TransportHeader)));
                }
            }
            rig.wait(u64::from(one.seconds % 8));
        }
        rig.wait(61);
        feed(&mut rig, 0, OUTSIDE, &[]);
    });
}
