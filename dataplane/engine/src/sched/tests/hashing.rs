//! The examples of spec `scheduling.md` §9 to §11 and what hashing schedulers promise beyond.

use super::director::Director;
use crate::sched::{dh, hash, mh, sh, siphash};
use crate::tables::{Candidate, Family, SchedulerKind, ServerId, ServiceFlags};
use std::net::IpAddr;

const NAMES: [&str; 3] = ["A", "B", "C"];
const CLIENTS: [[u8; 4]; 5] =
    [[192, 168, 0, 1], [192, 168, 0, 2], [192, 168, 0, 3], [10, 0, 0, 1], [1, 2, 3, 4]];
const VIP: [u8; 4] = [10, 0, 1, 100];

fn name(chosen: Option<u32>) -> &'static str {
    chosen.map_or("–", |n| NAMES[n as usize])
}

fn flags(fallback: bool, with_port: bool) -> ServiceFlags {
    ServiceFlags { flag1: fallback, flag2: with_port, ..ServiceFlags::default() }
}

/// Servers A, B, C as in the examples: 10.1.0.1 to 10.1.0.3, port 80, weights 1, 2, 1; the list is C, B, A.
fn servers() -> Vec<Candidate> {
    [(2, 1), (1, 2), (0, 1)]
        .map(|(n, weight)| Candidate {
            id: ServerId(n),
            weight,
            last_weight: weight,
            daddr: [10, 1, 0, n as u8 + 1].into(),
            dport: 80,
        })
        .into()
}

fn director(kind: SchedulerKind) -> Director {
    let mut director = Director::new(Family::V4, kind);
    for server in servers().into_iter().rev() {
        director.service.link(server);
    }
    director
}

fn by_client(director: &mut Director, cport: u16) -> Vec<&'static str> {
    CLIENTS.map(|client| name(director.ask(client.into(), cport, VIP.into()))).into()
}

#[test]
fn buckets_of_known_addresses() {
    let bucket = |address: [u8; 4], bits| hash::hash_32(hash::fold(Family::V4, address.into()), bits);
    assert_eq!(CLIENTS.map(|client| bucket(client, 8)), [192, 34, 131, 39, 52]);
    assert_eq!([CLIENTS[0], CLIENTS[1], CLIENTS[3]].map(|client| bucket(client, 10)), [769, 136, 159]);
}

#[test]
fn ipv6_addresses_are_folded_to_the_xor_of_their_words() {
    let address: IpAddr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
    assert_eq!(hash::fold(Family::V6, address), 0x2001_0db8 ^ 0x0001_0002 ^ 0x0003_0004 ^ 0x0005_0006);
    assert_eq!(hash::fold(Family::V4, address), 0x2001_0db8);
}

#[test]
fn dh_by_destination() {
    let mut director = Director::with(SchedulerKind::Dh, &[1, 1, 1]);
    let table: Vec<_> =
        dh::table(&director.service.servers).iter().take(6).map(|id| NAMES[id.0 as usize]).collect();
    assert_eq!(table, ["C", "B", "A", "C", "B", "A"]);
    let picks = |director: &mut Director| CLIENTS.map(|vip| name(director.ask(VIP.into(), 9, vip.into())));
    assert_eq!(picks(&mut director), ["C", "B", "A", "C", "B"]);
    // No other server helps out, and weights do not change the table.
    director.overload(1, true);
    assert_eq!(picks(&mut director), ["C", "–", "A", "C", "–"]);
    director.edit(2, 7, 0, 0);
    director.edit(0, 0, 0, 0);
    assert_eq!(picks(&mut director), ["C", "–", "–", "C", "–"]);
}

#[test]
fn sh_fills_its_table_by_weight() {
    let table = sh::table(&servers());
    let start: String = table.iter().take(8).map(|id| NAMES[id.0 as usize]).collect();
    assert_eq!(start, "CBBACBBA");
    let cells = |n| table.iter().filter(|id| id.0 == n).count();
    assert_eq!([cells(0), cells(1), cells(2)], [64, 128, 64]);
}

#[test]
fn sh_by_client() {
    let mut director = director(SchedulerKind::Sh);
    assert_eq!(by_client(&mut director, 50_000), ["C", "B", "A", "A", "C"]);
    director.service.flags = flags(false, true);
    assert_eq!(by_client(&mut director, 50_000), ["B", "A", "C", "C", "B"]);
    director.protocol = 51; // AH has no ports
    assert_eq!(by_client(&mut director, 50_000), ["C", "B", "A", "A", "C"]);
}

#[test]
fn sh_without_fallback_fails_and_with_it_looks_further() {
    let mut director = director(SchedulerKind::Sh);
    director.overload(1, true);
    assert_eq!(by_client(&mut director, 0), ["C", "–", "A", "A", "C"]);
    director.service.flags = flags(true, false);
    assert_eq!(by_client(&mut director, 0), ["C", "C", "A", "A", "C"]);
    director.overload(1, false);
    director.overload(2, true);
    assert_eq!(by_client(&mut director, 0), ["B", "B", "A", "A", "B"]);
    director.overload(1, true);
    director.overload(0, true);
    assert_eq!(by_client(&mut director, 0), ["–"; 5]);
}

#[test]
fn sh_quiesced_server_keeps_a_bucket_per_round() {
    let mut servers = servers();
    servers[1].weight = 0;
    let start: String = sh::table(&servers).iter().take(6).map(|id| NAMES[id.0 as usize]).collect();
    assert_eq!(start, "CBACBA");
}

#[test]
fn mh_table_of_the_example() {
    let offset_and_skip = |n: u8| {
        let word = hash::fold(Family::V4, [10, 1, 0, n].into()) + 80;
        let hash = |key| siphash::siphash13(word, key);
        (hash(2_654_435_761), hash(2_654_446_892))
    };
    assert_eq!(offset_and_skip(3), (0x41cf_f02c, 0x41ba_9d68));
    assert_eq!(offset_and_skip(2), (0x9682_8d0d, 0x86f5_fc4b));
    assert_eq!(offset_and_skip(1), (0x17c8_7ac9, 0x6148_7d80));
    let table = mh::table(Family::V4, &servers()).unwrap();
    let start: String = table.iter().take(12).map(|id| NAMES[id.0 as usize]).collect();
    assert_eq!(start, "CBCBCBCBBABA");
    let cells = |n| table.iter().filter(|id| id.0 == n).count();
    assert_eq!([cells(0), cells(1), cells(2)], [1023, 2046, 1024]);
}

#[test]
fn mh_by_client() {
    let mut director = director(SchedulerKind::Mh);
    assert_eq!(by_client(&mut director, 50_000), ["B", "C", "A", "A", "A"]);
    director.service.flags = flags(false, true);
    let table = mh::table(Family::V4, &servers()).unwrap();
    let cells = [1805, 39, 1084, 2318, 1140];
    assert_eq!(by_client(&mut director, 50_000), cells.map(|cell: usize| NAMES[table[cell].0 as usize]));
}

#[test]
fn mh_fallback() {
    let mut director = director(SchedulerKind::Mh);
    director.service.flags = flags(true, false);
    director.overload(1, true);
    assert_eq!(by_client(&mut director, 0), ["A", "C", "A", "A", "A"]);
    director.overload(1, false);
    director.overload(2, true);
    assert_eq!(by_client(&mut director, 0), ["B", "B", "A", "A", "A"]);
    director.service.flags = flags(false, false);
    assert_eq!(by_client(&mut director, 0), ["B", "–", "A", "A", "A"]);
    director.service.flags = flags(true, false);
    director.overload(0, true);
    director.overload(1, true);
    assert_eq!(by_client(&mut director, 0), ["–"; 5]);
}

#[test]
fn mh_quiescing_a_server_moves_nobody_else() {
    let mut director = director(SchedulerKind::Mh);
    let before: Vec<_> = director.service.plan.cells().to_vec();
    let mut quiesced = director.service.servers[1];
    quiesced.weight = 0;
    assert!(director.service.edit(quiesced));
    assert_eq!(director.service.plan.cells(), before);
    assert_eq!(by_client(&mut director, 0), ["–", "C", "A", "A", "A"]);
}

#[test]
fn mh_server_that_never_had_a_weight_has_no_cell() {
    let mut servers = servers();
    (servers[0].weight, servers[0].last_weight) = (0, 0);
    let table = mh::table(Family::V4, &servers).unwrap();
    assert!(table.iter().all(|id| id.0 != 2));
    for server in &mut servers {
        server.last_weight = 0;
    }
    assert!(mh::table(Family::V4, &servers).unwrap().is_empty());
}

#[test]
fn mh_refuses_more_servers_than_cells() {
    let crowd: Vec<_> = (0..4094)
        .map(|n| Candidate {
            id: ServerId(n),
            daddr: IpAddr::from([10, 9, (n >> 8) as u8, n as u8]),
            ..servers()[0]
        })
        .collect();
    assert!(mh::table(Family::V4, &crowd).is_err());
    let full = mh::table(Family::V4, &crowd[1..]).unwrap();
    assert!((1..4094).all(|n| full.iter().filter(|id| id.0 == n).count() == 1));

    let mut director = Director::new(Family::V4, SchedulerKind::Rr);
    director.service.servers = crowd.clone().into();
    assert!(director.reschedule(SchedulerKind::Mh, ServiceFlags::default()).is_err());
    assert_eq!(director.service.scheduler, SchedulerKind::Rr);
    assert_eq!(director.service.plan.kind(), SchedulerKind::Rr);

    // One too many, added later: the table stays, and the new server gets nothing.
    let mut director = Director::new(Family::V4, SchedulerKind::Rr);
    director.service.servers = crowd[1..].into();
    director.reschedule(SchedulerKind::Mh, ServiceFlags::default()).unwrap();
    let before = director.service.plan.cells().to_vec();
    director.service.link(crowd[0]);
    assert_eq!(director.service.plan.cells(), before);
    assert!(director.ask(CLIENTS[0].into(), 0, VIP.into()).is_some_and(|n| n > 0));
}

#[test]
fn mh_moves_few_clients_when_a_server_leaves() {
    let all: Vec<_> = (0..20)
        .map(|n| Candidate { id: ServerId(n), daddr: IpAddr::from([10, 9, 0, n as u8]), ..servers()[0] })
        .collect();
    let before = mh::table(Family::V4, &all).unwrap();
    for gone in 0..20 {
        let rest: Vec<_> = all.iter().copied().filter(|server| server.id.0 != gone).collect();
        let after = mh::table(Family::V4, &rest).unwrap();
        let moved = before.iter().zip(after.iter()).filter(|(old, new)| old != new && old.0 != gone).count();
        // Maglev (Eisenbud 2016, §5.3): a table 100 times the number of servers moves few beyond those it must.
        assert!(moved < mh::CELLS / 20, "{moved} cells moved when server {gone} left");
    }
}
