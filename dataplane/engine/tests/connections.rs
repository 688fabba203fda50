//! Connections over time: states, timeouts, counts, servers that go away, persistence, full tables.

mod common;

use common::{INSIDE, OUTSIDE, Rig, Setup, ip};
use shunt_engine::Verdict;
use shunt_engine::counters::Counter;
use shunt_engine::tables::{ForwardingMethod, Hop, Persistence, SchedulerKind, ServerId, ServiceId};
use shunt_wire::Flags;
use shunt_wire::craft::{Craft, check};
use std::collections::HashSet;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn between(src: &str, dst: &str) -> Craft {
    Craft::between(ip(src), ip(dst)).unwrap()
}

fn request(cport: u16, flags: Flags) -> Craft {
    between("192.0.2.9", "10.0.1.100").tcp(cport, 80, flags)
}

fn reply(cport: u16, flags: Flags) -> Craft {
    between("10.0.2.11", "192.0.2.9").tcp(8080, cport, flags)
}

fn states(rig: &Rig) -> Vec<(&'static str, u64)> {
    rig.connections().iter().map(|info| (info.state_name(), info.expires_ms / 1000)).collect()
}

#[test]
fn a_nat_connection_lives_as_in_the_kernel() {
    let mut rig = Rig::new(&[Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])]);
    let server = ServerId(0);
    rig.outside(request(40_000, Flags::SYN));
    assert_eq!(states(&rig), [("SYN_RECV", 60)]);
    assert_eq!((rig.boards.active(server), rig.boards.total(server)), (1, 1));
    rig.inside(reply(40_000, Flags::SYN | Flags::ACK));
    rig.outside(request(40_000, Flags::ACK));
    assert_eq!(states(&rig), [("ESTABLISHED", 900)]);
    rig.outside(request(40_000, Flags::FIN | Flags::ACK));
    assert_eq!(states(&rig), [("CLOSE_WAIT", 60)]);
    assert_eq!((rig.boards.active(server), rig.boards.total(server)), (0, 1));
    rig.inside(reply(40_000, Flags::FIN | Flags::ACK));
    assert_eq!(states(&rig), [("TIME_WAIT", 120)]);
    rig.wait(119);
    assert_eq!(states(&rig), [("TIME_WAIT", 1)]);
    rig.wait(2);
    assert_eq!((states(&rig), rig.boards.total(server)), (vec![], 0));
    assert_eq!((rig.counter(Counter::NewConnections), rig.counter(Counter::ExpiredConnections)), (1, 1));
}

#[test]
fn traffic_keeps_a_connection_alive_and_silence_ends_it() {
    let mut rig = Rig::new(&[Setup::new(UDP, "10.0.1.100", ForwardingMethod::DirectRouting, &["10.0.2.11"])]);
    for _ in 0..5 {
        rig.outside(between("192.0.2.9", "10.0.1.100").udp(9, 80));
        rig.wait(299);
        assert_eq!(states(&rig), [("UDP", 1)]);
    }
    rig.wait(2);
    assert!(states(&rig).is_empty());
}

#[test]
fn a_syn_reuses_a_closed_connection() {
    let setup = Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11", "10.0.2.12"]);
    let mut rig = Rig::new(&[setup]);
    let first = rig.outside(request(40_000, Flags::SYN)).sent(INSIDE).dst;
    rig.outside(request(40_000, Flags::ACK));
    assert_eq!(
        rig.outside(request(40_000, Flags::SYN)).sent(INSIDE).dst,
        first,
        "not while it is established"
    );
    rig.inside(between(&first.to_string(), "192.0.2.9").tcp(8080, 40_000, Flags::RST));
    assert_eq!(states(&rig), [("CLOSE", 10)]);
    assert_ne!(rig.outside(request(40_000, Flags::SYN)).sent(INSIDE).dst, first, "scheduled anew");
    assert_eq!(states(&rig), [("SYN_RECV", 60)]);
}

#[test]
fn without_services_of_the_family_a_closed_connection_is_not_taken_over() {
    let setup = Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"]);
    let mut rig = Rig::new(&[setup]);
    rig.outside(request(40_000, Flags::SYN));
    rig.inside(reply(40_000, Flags::RST));
    assert_eq!(states(&rig), [("CLOSE", 10)]);
    rig.change_server(0, |server| server.available = false);
    rig.tables.remove_service(ServiceId(0));
    assert_eq!(rig.outside(request(40_000, Flags::SYN)).verdict, Verdict::Punt(OUTSIDE));
    assert_eq!(states(&rig), [("CLOSE", 10)], "as IPVS, which then sees no packet");
}

#[test]
fn a_deleted_server_keeps_its_connections_waiting() {
    let mut rig = Rig::new(&[Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])]);
    rig.outside(request(40_000, Flags::SYN));
    rig.change_server(0, |server| server.available = false);
    assert_eq!(rig.outside(request(40_000, Flags::ACK)).verdict, Verdict::Drop(Counter::ServerGone));
    assert_eq!(rig.inside(reply(40_000, Flags::SYN | Flags::ACK)).sent(OUTSIDE).src, ip("10.0.1.100"));
    rig.change_server(0, |server| server.available = true);
    assert_eq!(rig.outside(request(40_000, Flags::ACK)).sent(INSIDE).dst, ip("10.0.2.11"));
}

#[test]
fn with_expire_nodest_conn_a_deleted_server_loses_its_connections() {
    let mut setup = Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"]);
    setup.persistence = Some(Persistence { timeout_s: 100, netmask: u32::MAX });
    let mut rig = Rig::new(&[setup]);
    for cport in 1001..=1600 {
        rig.outside(request(cport, Flags::SYN));
    }
    rig.change_server(0, |server| server.available = false);
    rig.wait(2);
    assert_eq!(states(&rig).len(), 601, "the setting is off");
    rig.change_server(0, |server| server.available = true);
    rig.tables.settings_mut().expire_nodest_conn = true;
    rig.wait(2);
    assert_eq!(states(&rig).len(), 601, "the server is there");
    rig.change_server(0, |server| server.available = false);
    rig.wait(1);
    assert_eq!((states(&rig).len() <= 1, rig.boards.total(ServerId(0))), (true, 0));
    // Templates are looked through one shard per round.
    rig.wait(7);
    assert_eq!(states(&rig), []);
}

/// However many deletions follow each other, all connections are looked at.
#[test]
fn steady_deletions_do_not_hold_the_sweep_up() {
    const CONNECTIONS: u16 = 3_000;
    let services = [("10.0.1.100", "10.0.2.11"), ("10.0.1.101", "10.0.2.12")]
        .map(|(vip, real)| Setup::new(TCP, vip, ForwardingMethod::DirectRouting, &[real]));
    let mut rig = Rig::with_workers(&services, 1, CONNECTIONS.into());
    rig.tables.settings_mut().expire_nodest_conn = true;
    for cport in 0..CONNECTIONS {
        rig.outside(request(1_000 + cport, Flags::SYN)).sent(INSIDE);
    }
    rig.change_server(0, |server| server.available = false);
    for _ in 0..20 {
        let now = rig.now;
        rig.engines[0].expire(&rig.tables, now);
        rig.change_server(1, |server| server.available = true);
        rig.change_server(1, |server| server.available = false);
    }
    assert_eq!(rig.connections().len(), 0);
}

fn from(client: &str, cport: u16) -> Craft {
    between(client, "10.0.1.100").tcp(cport, 80, Flags::SYN)
}

#[test]
fn persistence_holds_for_the_network_until_it_runs_out() {
    let persistence = Some(Persistence { timeout_s: 100, netmask: 0xffff_ff00 });
    let setup = Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11", "10.0.2.12"]);
    let mut rig = Rig::new(&[Setup { persistence, ..setup }]);
    let first = rig.outside(from("192.0.2.9", 1)).sent(INSIDE).dst;
    for n in 10..20 {
        let same = rig.outside(from(&format!("192.0.2.{n}"), n)).sent(INSIDE).dst;
        assert_eq!(same, first);
    }
    assert_ne!(rig.outside(from("198.51.100.1", 1)).sent(INSIDE).dst, first);
    assert_eq!(rig.boards.sum(ServerId(0), |counts| &counts.persistent), 1);
    let templates: Vec<_> = rig.connections().into_iter().filter(|info| info.flags & 0x1000 != 0).collect();
    assert_eq!(templates.len(), 2);
    assert!(
        templates
            .iter()
            .all(|info| info.state_name() == "NONE" && info.vaddr == ip("10.0.1.100") && info.cport == 0)
    );
    // SYN_RECV ends after 60 s, the templates 100 s after their last connection came.
    rig.wait(110);
    assert!(rig.connections().is_empty());
    assert_eq!(rig.boards.sum(ServerId(0), |counts| &counts.persistent), 0);
}

/// A client's next connection may land on any worker.
#[test]
fn a_template_goes_with_a_connection_of_the_same_timeout() {
    let mut setup = Setup::new(UDP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"]);
    setup.persistence = Some(Persistence { timeout_s: 300, netmask: u32::MAX });
    let mut rig = Rig::new(&[setup]);
    // Many: each is looked at once a second, some just when it is due.
    for host in 1..=100 {
        rig.outside(between(&format!("192.0.2.{host}"), "10.0.1.100").udp(40_000, 80));
    }
    assert_eq!(rig.connections().len(), 200);
    rig.wait(299);
    for _ in 0..400 {
        rig.now.0 += 10;
        rig.engines[0].expire(&rig.tables, rig.now);
    }
    assert_eq!(rig.connections().len(), 0, "none stays for another minute");
}

#[test]
fn persistence_holds_across_workers() {
    let persistence = Some(Persistence { timeout_s: 100, netmask: u32::MAX });
    let servers = ["10.0.2.11", "10.0.2.12", "10.0.2.13"];
    let setup =
        Setup { persistence, ..Setup::new(TCP, "10.0.1.100", ForwardingMethod::DirectRouting, &servers) };
    let mut rig = Rig::with_workers(&[setup], 3, 1024);
    let outs: Vec<_> = (1000..1060).map(|cport| rig.outside(from("192.0.2.9", cport))).collect();
    let workers: HashSet<usize> = outs.iter().map(|out| out.worker).collect();
    assert_eq!(workers.len(), 3, "the connections are spread");
    assert!(outs.iter().all(|out| out.dst_mac() == outs[0].dst_mac()), "and all go to one server");
}

#[test]
fn one_packet_services_keep_nothing() {
    let setup = Setup::new(UDP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11", "10.0.2.12"]);
    let mut rig = Rig::new(&[Setup { one_packet: true, ..setup }]);
    let servers: Vec<_> =
        (0..4).map(|_| rig.outside(between("192.0.2.9", "10.0.1.100").udp(9, 80)).sent(INSIDE).dst).collect();
    assert!(servers[0] != servers[1] && servers[0] == servers[2] && servers[1] == servers[3]);
    assert!(rig.connections().is_empty());
    let answer = rig.inside(between("10.0.2.11", "192.0.2.9").udp(8080, 9));
    assert_eq!(answer.verdict, Verdict::Punt(INSIDE), "not translated");
    assert_eq!(rig.boards.sum64(ServerId(0), |counts| &counts.conns), 2);
}

/// Half-open connections make room; established ones never do.
#[test]
fn a_flood_of_syns_leaves_established_connections_alone() {
    let setup = Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"]);
    let mut rig = Rig::with_workers(&[setup], 1, 64);
    for cport in 0..32 {
        rig.outside(request(cport + 100, Flags::SYN));
        rig.outside(request(cport + 100, Flags::ACK));
    }
    let mut refused = 0;
    for n in 0..10_000u32 {
        let client = format!("198.51.{}.{}", 100 + n / 5000, n % 250);
        let out = rig.outside(between(&client, "10.0.1.100").tcp(1000 + (n / 250) as u16, 80, Flags::SYN));
        match out.verdict {
            Verdict::Transmit(_) => {}
            Verdict::Drop(Counter::ConnTableFull) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    // Half of the table is full of connections that stay, all in one place: the search goes on elsewhere.
    assert!(refused < 100, "{refused}");
    for cport in 0..32 {
        assert_eq!(rig.outside(request(cport + 100, Flags::ACK)).sent(INSIDE).dst, ip("10.0.2.11"));
    }
    assert_eq!(states(&rig).iter().filter(|(state, _)| *state == "ESTABLISHED").count(), 32);
}

/// Where no round of the poll loop has come between, the packet that finds the table full looks for what is due itself.
#[test]
fn what_is_due_makes_room_in_a_full_table() {
    let setup = Setup::new(UDP, "10.0.1.100", ForwardingMethod::DirectRouting, &["10.0.2.11"]);
    let mut rig = Rig::with_workers(&[setup], 1, 8);
    let new = |cport| between("192.0.2.9", "10.0.1.100").udp(cport, 80);
    for cport in 1..9 {
        rig.outside(new(cport)).sent(INSIDE);
    }
    rig.now.0 += 299_000;
    assert_eq!(rig.outside(new(9)).verdict, Verdict::Drop(Counter::ConnTableFull), "none is due");
    rig.now.0 += 2_000;
    rig.outside(new(9)).sent(INSIDE);
    assert_eq!(states(&rig), [("UDP", 300)], "and nothing else");
}

#[test]
fn a_full_table_still_serves_hashed_direct_routing() {
    let servers = ["10.0.2.11", "10.0.2.12"];
    let hashed = Setup::new(UDP, "10.0.1.100", ForwardingMethod::DirectRouting, &servers);
    let nat = Setup::new(UDP, "10.0.1.101", ForwardingMethod::Nat, &["10.0.2.13"]);
    let mut rig = Rig::with_workers(&[Setup { scheduler: SchedulerKind::Sh, ..hashed }, nat], 1, 8);
    for cport in 0..8 {
        rig.outside(between("192.0.2.9", "10.0.1.100").udp(cport + 1, 80));
    }
    let packet = || between("192.0.2.77", "10.0.1.100").udp(5, 80);
    let first = rig.outside(packet());
    first.sent(INSIDE);
    assert_eq!(rig.outside(packet()).dst_mac(), first.dst_mac());
    assert_eq!(rig.counter(Counter::Untracked), 2);
    let nat = rig.outside(between("192.0.2.77", "10.0.1.101").udp(5, 80));
    assert_eq!(nat.verdict, Verdict::Drop(Counter::ConnTableFull));
}

/// Any worker may receive any packet, requests and NAT replies alike: the owner decides.
#[test]
fn every_packet_reaches_the_worker_that_owns_its_flow() {
    let setups = [
        Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"]),
        Setup::new(TCP, "fd00:1::100", ForwardingMethod::Nat, &["fd00:2::11"]),
    ];
    for (client, vip, real) in
        [("192.0.2.9", "10.0.1.100", "10.0.2.11"), ("2001:db8::9", "fd00:1::100", "fd00:2::11")]
    {
        let mut rig = Rig::with_workers(&setups, 4, 1024);
        let mut owners = HashSet::new();
        for cport in 1000..1100u16 {
            let there =
                between(client, vip).tcp(cport, 80, Flags::SYN).macs(common::ROUTER_MAC, common::OUTSIDE_MAC);
            let back = between(real, client).tcp(8080, cport, Flags::SYN | Flags::ACK);
            let back = back.macs(common::server_mac(0), common::INSIDE_MAC);
            let owner = rig.pass_on(usize::from(cport) % 4, &there.heap_frame(OUTSIDE)).worker;
            let out = rig.pass_on(usize::from(cport / 4) % 4, &back.heap_frame(INSIDE));
            assert_eq!((out.worker, out.sent(OUTSIDE).sport), (owner, 80));
            owners.insert(owner);
        }
        assert_eq!((owners.len(), rig.connections().len()), (4, 100));
    }
}

/// What was opened goes on to reach the worker that has it when its service is deleted: that drops it, as the kernel does,
/// and no other gives it to a stack that would reset it.
#[test]
fn connections_of_a_deleted_service_stay_with_their_worker() {
    for first in 0..4 {
        let services = [("10.0.1.100", "10.0.2.11"), ("10.0.1.101", "10.0.2.12")]
            .map(|(vip, real)| Setup::new(TCP, vip, ForwardingMethod::DirectRouting, &[real]));
        let mut rig = Rig::with_workers(&services, 4, 256);
        let frame = |flags| {
            let packet = between("192.0.2.9", "10.0.1.100").tcp(4000, 80, flags);
            packet.macs(common::ROUTER_MAC, common::OUTSIDE_MAC).heap_frame(OUTSIDE)
        };
        for flags in [Flags::SYN, Flags::ACK] {
            assert_eq!(rig.pass_on(first, &frame(flags)).verdict, Verdict::Transmit(INSIDE));
        }
        rig.change_server(0, |server| server.available = false);
        rig.tables.remove_service(ServiceId(0));
        assert_eq!(rig.pass_on(first, &frame(Flags::ACK)).verdict, Verdict::Drop(Counter::ServerGone));
    }
}

/// Connections of IPv6 go in time, however many of IPv4 are due, and these as fast as they come.
#[test]
fn both_families_expire_under_a_flood_of_one() {
    const A_ROUND: u32 = 96;
    let services = [("10.0.1.100", "10.0.2.11"), ("fd00:1::100", "fd00:2::11")]
        .map(|(vip, real)| Setup::new(UDP, vip, ForwardingMethod::DirectRouting, &[real]));
    let mut rig = Rig::with_workers(&services, 1, 300_000);
    rig.tables.settings_mut().timeout_udp_s = 1;
    rig.outside(between("2001:db8::9", "fd00:1::100").udp(5, 80)).sent(INSIDE);
    for round in 0..2_500 {
        for n in round * A_ROUND..(round + 1) * A_ROUND {
            let client = std::net::Ipv4Addr::from_bits(0xc000_0000 + (n >> 4)).to_string();
            rig.outside(between(&client, "10.0.1.100").udp(1000 + (n & 15) as u16, 80)).sent(INSIDE);
        }
        rig.now.0 += 1;
        let now = rig.now;
        rig.engines[0].expire(&rig.tables, now);
    }
    assert_eq!(rig.engines[0].connections_of(6), 0);
    // Those of a second, and of the 256 ms by which they may be late.
    assert!(rig.engines[0].connections_of(4) <= 1_300 * A_ROUND, "{}", rig.engines[0].connections_of(4));
}

#[test]
fn drop_packet_loses_one_new_connection_in_so_many() {
    let mut rig = Rig::new(&[Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])]);
    rig.tables.settings_mut().am_droprate = 4;
    rig.outside(request(4000, Flags::SYN)).sent(INSIDE);
    rig.tables.settings_mut().drop_packet = 3;
    let lost: Vec<u16> = (5000..5010)
        .filter(|&cport| {
            rig.outside(request(4000, Flags::ACK)).sent(INSIDE);
            rig.outside(request(cport, Flags::SYN)).verdict == Verdict::Drop(Counter::DropPacket)
        })
        .collect();
    assert_eq!(lost, [5000, 5004, 5008]);
    assert_eq!(rig.outside(request(1, Flags::ACK)).verdict, Verdict::Punt(OUTSIDE), "makes no connection");
}

#[test]
fn esp_and_ah_follow_their_key_exchange() {
    const ESP: u8 = 50;
    const AH: u8 = 51;
    let mut setup = Setup::new(UDP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"]);
    (setup.vport, setup.servers[0].1) = (500, 500);
    let mut rig = Rig::new(&[setup]);
    let there = |protocol| between("192.0.2.9", "10.0.1.100").protocol(protocol).payload(b"secret payload");
    assert_eq!(rig.outside(there(ESP)).verdict, Verdict::Punt(OUTSIDE), "no key exchange yet");
    rig.outside(between("192.0.2.9", "10.0.1.100").udp(500, 500)).sent(INSIDE);
    for protocol in [ESP, AH] {
        rig.wait(200);
        let sent = rig.outside(there(protocol));
        assert_eq!(sent.verdict, Verdict::Transmit(INSIDE));
        assert!(sent.bytes.ends_with(b"secret payload"), "only the address changes");
        assert_eq!(sent.bytes[30..34], [10, 0, 2, 11]);
        assert_eq!(states(&rig), [("UDP", 300)]);
    }
    let back = rig.inside(between("10.0.2.11", "192.0.2.9").protocol(ESP).payload(b"secret payload"));
    assert_eq!((back.verdict, &back.bytes[26..30]), (Verdict::Transmit(OUTSIDE), &[10, 0, 1, 100][..]));
    let other = between("192.0.2.10", "10.0.1.100").protocol(ESP).payload(b"secret payload");
    assert_eq!(rig.outside(other).verdict, Verdict::Punt(OUTSIDE));
}

#[test]
fn answers_that_claim_a_local_address_are_martians() {
    let mut rig = Rig::new(&[Setup::new(TCP, "10.0.1.100", ForwardingMethod::DirectRouting, &["10.0.2.11"])]);
    rig.outside(request(4000, Flags::SYN)).sent(INSIDE);
    let answer = || between("10.0.1.100", "192.0.2.9").tcp(80, 4000, Flags::SYN | Flags::ACK);
    rig.inside(answer()).sent(OUTSIDE);
    rig.tables.set_local([ip("10.0.1.100")].into_iter().collect());
    assert_eq!(rig.inside(answer()).verdict, Verdict::Punt(INSIDE));
    for source in ["10.0.1.100", "127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.5", "255.255.255.255"] {
        let syn = between(source, "10.0.1.100").tcp(4001, 80, Flags::SYN);
        assert_eq!(rig.outside(syn).verdict, Verdict::Punt(OUTSIDE), "{source}");
    }
}

#[test]
fn a_template_that_nobody_may_join_is_shown_disabled() {
    let mut setup = Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11", "10.0.2.12"]);
    setup.persistence = Some(Persistence { timeout_s: 100, netmask: u32::MAX });
    let mut rig = Rig::new(&[setup]);
    rig.outside(request(4000, Flags::SYN));
    let first = rig.connections().iter().find(|info| info.state_name() == "NONE").unwrap().server;
    rig.change_server(first.0, |server| server.available = false);
    rig.outside(request(4001, Flags::SYN));
    let mut templates: Vec<_> = rig
        .connections()
        .iter()
        .filter(|info| info.state_name() == "NONE")
        .map(|info| (info.vport, info.dport))
        .collect();
    templates.sort_unstable();
    assert_eq!(templates, [(80, 8080), (u16::MAX, u16::MAX)]);
}

#[test]
fn a_server_that_is_the_director_itself_answers_through_its_kernel() {
    for workers in [1, 3] {
        let setup = Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.1.1"]);
        let mut rig = Rig::with_workers(&[setup], workers, 1024);
        rig.change_server(0, |server| server.hop = Hop::Local);
        let there = rig.outside(request(4000, Flags::SYN));
        assert_eq!(there.verdict, Verdict::Punt(OUTSIDE));
        assert_eq!(check(&there.bytes).unwrap().dst, ip("10.0.1.1"), "the kernel gets it translated");
        let answer = between("10.0.1.1", "192.0.2.9").ttl(1).tcp(8080, 4000, Flags::SYN | Flags::ACK);
        let back = rig.kernel_sends(answer).sent(OUTSIDE);
        assert_eq!((back.src, back.sport, back.ttl), (ip("10.0.1.100"), 80, 1), "not forwarded: sent");
        let other =
            rig.kernel_sends(between("10.0.1.1", "192.0.2.9").tcp(22, 4000, Flags::ACK)).sent(OUTSIDE);
        assert_eq!((other.src, other.sport), (ip("10.0.1.1"), 22));
    }
}
