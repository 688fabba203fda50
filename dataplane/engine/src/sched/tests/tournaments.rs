//! Large services: the tree gives what a scan of the list gives.

use super::director::{Director, service};
use crate::board::{Boards, step};
use crate::sched::ranking::{Standing, View, best};
use crate::sched::tournament::Tournaments;
use crate::sched::{Schedulers, fo, lc, nq, ovf, sed, wlc};
use crate::tables::{Candidate, Family, SchedulerKind, ServerId, Service, ServiceFlags, ServiceId};
use crate::tick::Tick;
use bolero::TypeGenerator;
use std::sync::atomic::Ordering::Relaxed;

type Seen = fn(&Boards, ServerId, i32) -> Standing;

const VIEWS: [(SchedulerKind, Seen); 6] = [
    (SchedulerKind::Lc, |boards, id, weight| lc::Lc.of(boards, id, weight)),
    (SchedulerKind::Wlc, |boards, id, weight| wlc::Wlc.of(boards, id, weight)),
    (SchedulerKind::Sed, |boards, id, weight| sed::Sed.of(boards, id, weight)),
    (SchedulerKind::Nq, |boards, id, weight| nq::Nq.of(boards, id, weight)),
    (SchedulerKind::Fo, |boards, id, weight| fo::Fo.of(boards, id, weight)),
    (SchedulerKind::Ovf, |boards, id, weight| ovf::Ovf.of(boards, id, weight)),
];

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Operation {
    Pick,
    Picks(#[generator(0..50)] usize),
    Load(u8, #[generator(0..4)] u32, #[generator(0..4)] u32),
    Overload(u8, bool),
    Edit(u8, #[generator(0..4)] i32),
    Delete(u8),
    Add(#[generator(0..4)] i32),
    /// Time passes, and other workers change loads that this one is not told of.
    Tick(u8, #[generator(0..4)] u32),
}

fn run(kind: SchedulerKind, view: Seen, count: u32, operations: &[Operation]) {
    let weights: Vec<i32> = (0..count as i32).map(|n| n % 4).collect();
    let mut director = Director::with(kind, &weights);
    for &operation in operations {
        let listed = |director: &Director, n: u8| {
            let servers = &director.service.servers;
            servers.get(usize::from(n) % servers.len().max(1)).map(|server| server.id.0)
        };
        match operation {
            Operation::Pick | Operation::Picks(_) => {
                let count = if let Operation::Picks(count) = operation { count } else { 1 };
                for _ in 0..count {
                    let expected =
                        best(&director.service.servers, &director.boards, view).map(|server| server.id.0);
                    assert_eq!(director.picks(1), [expected], "{kind:?}");
                }
            }
            Operation::Load(n, active, inactive) => director.load(n.into(), active, inactive),
            Operation::Overload(n, overloaded) => director.overload(n.into(), overloaded),
            Operation::Edit(n, weight) => {
                if let Some(n) = listed(&director, n) {
                    director.edit(n, weight, 0, 0);
                }
            }
            Operation::Delete(n) => {
                if let Some(n) = listed(&director, n) {
                    director.delete(n);
                }
            }
            Operation::Add(weight) => {
                let is_listed = |n| director.service.servers.iter().any(|server| server.id.0 == n);
                if let Some(n) = (0..count + 3).find(|&n| !is_listed(n)) {
                    director.add(n, weight, 0, 0);
                }
            }
            // Of larger services it takes several ticks until all loads have been read again.
            Operation::Tick(n, active) if count > 64 => {
                director.load(n.into(), active, 0);
                director.now.0 += 1;
            }
            Operation::Tick(n, active) => {
                let told = std::mem::replace(&mut director.schedulers, Schedulers::new(0, 0, 0));
                director.load(n.into(), active, 0);
                director.schedulers = told;
                director.now.0 += 1;
            }
        }
    }
}

#[test]
fn the_tree_agrees_with_a_scan() {
    bolero::check!().with_type::<Vec<Operation>>().for_each(|operations| {
        for (kind, view) in VIEWS {
            // As many as are read again in one tick, not a power of two.
            run(kind, view, 61, operations);
        }
    });
}

/// More than play in a final, so that a part of them is on stage.
#[test]
fn the_tree_of_a_large_service_agrees_with_a_scan() {
    bolero::check!().with_type::<Vec<Operation>>().for_each(|operations| {
        for (kind, view) in VIEWS {
            run(kind, view, 157, operations);
        }
    });
}

/// From one match to three levels below the final: picks that count, as new connections do, loads that change elsewhere,
/// servers that may not be chosen, all of them now and then.
#[test]
fn trees_of_all_sizes_agree_with_a_scan() {
    let mut random = crate::sched::random::Random::new(13);
    let mut below = |end: u64| random.below(end) as u32;
    for count in [2, 8, 9, 16, 17, 64, 65, 100, 512, 513, 1000, 4096, 4097, 4200] {
        let boards = Boards::new(1, count as usize);
        let mut trees = Tournaments::new(1, count as usize);
        for weight_max in [1, 2, 50] {
            let mut service = large(0, 0, 0);
            for id in 0..count {
                let weight = 1 + below(weight_max) as i32;
                let daddr = [10, 7, 0, 1].into();
                service.link(Candidate { id: ServerId(id), weight, last_weight: weight, daddr, dport: 80 });
            }
            for round in 0..2000 {
                let expected = best(&service.servers, &boards, wlc::Wlc).map(|server| server.id);
                let picked = trees.pick(&service, &boards, Tick(round / 700), wlc::Wlc);
                assert_eq!(picked.map(|server| server.id), expected, "{count} servers, round {round}");
                let other = ServerId(below(count.into()));
                let id = if round % 50 < 40 { expected.unwrap_or(other) } else { other };
                let counts = boards.mine(id).unwrap();
                let active = if round % 7 == 0 { below(3) } else { counts.active.load(Relaxed) + 1 };
                counts.active.store(active, Relaxed);
                trees.counted(&boards, counts, id);
                if round % 300 == 0 {
                    // For a while none is to be chosen.
                    for id in (0..count).map(ServerId) {
                        boards.set_overloaded(id, round % 600 == 0);
                        trees.reconsider(&boards, id);
                    }
                }
            }
        }
    }
}

#[test]
fn a_change_that_nobody_told_of_is_seen_at_the_next_tick() {
    let mut director = Director::with(SchedulerKind::Wlc, &[1; 70]);
    assert_eq!(director.picks(2), [Some(69), Some(68)]);
    let told = std::mem::replace(&mut director.schedulers, Schedulers::new(0, 0, 0));
    director.load(69, 0, 0);
    director.schedulers = told;
    assert_eq!(director.picks(1), [Some(67)]);
    director.now.0 += 1;
    assert_eq!(director.picks(1), [Some(69)]);
}

/// A service of `count` servers from id `first` on.
fn large(id: u32, first: u32, count: u32) -> Service {
    let mut large = service(Family::V4, SchedulerKind::Wlc, ServiceFlags::default());
    large.id = ServiceId(id);
    for n in first..first + count {
        let daddr = [10, 7, (n >> 8) as u8, n as u8].into();
        large.link(Candidate { id: ServerId(n), weight: 1, last_weight: 1, daddr, dport: 80 });
    }
    large
}

#[test]
fn a_full_arena_is_emptied_and_filled_again() {
    let boards = Boards::new(1, 500);
    // Lists that grow are moved, and leave their places behind.
    let mut trees = Tournaments::new(4, 500);
    for round in 0..30 {
        let lists = [
            (0, 0, 70 + round),
            (1, 100, 200 + 3 * round),
            (2, 370, 70),
            (1, 70, 65),
            (2, 370, 2 + 4 * round),
        ];
        for (id, first, count) in lists {
            let service = large(id, first, count);
            let chosen = trees.pick(&service, &boards, Tick(round.into()), wlc::Wlc);
            assert_eq!(chosen.map(|server| server.id.0), Some(first + count - 1));
        }
    }
}

#[test]
fn a_service_larger_than_the_arena_is_scanned() {
    let boards = Boards::new(1, 400);
    let mut trees = Tournaments::new(4, 20);
    let service = large(0, 0, 100);
    trees.counted(&boards, boards.mine(ServerId(3)).unwrap(), ServerId(3));
    assert_eq!(trees.pick(&service, &boards, Tick(0), wlc::Wlc).map(|server| server.id.0), Some(99));
}

/// Servers move between services, whose trees move in a small arena: no change of a load reaches a place that another
/// server has by now.
#[test]
fn servers_that_have_left_do_not_disturb_those_in_their_places() {
    let mut random = crate::sched::random::Random::new(11);
    let mut below = |end: u64| random.below(end) as u32;
    const SERVERS: u32 = 200;
    let boards = Boards::new(1, SERVERS as usize);
    let mut trees = Tournaments::new(3, SERVERS as usize);
    let mut services = [0, 1, 2].map(|id| large(id, 0, 0));
    let mut home = [3; SERVERS as usize];
    let mut picks = 0;
    for _ in 0..100_000 {
        let id = ServerId(below(SERVERS.into()));
        match below(100) {
            0..10 => {
                let here = &mut home[id.0 as usize];
                if *here < 3 {
                    assert!(services[*here].unlink(id));
                }
                *here = below(6) as usize;
                if let Some(service) = services.get_mut(*here) {
                    let weight = below(3) as i32;
                    service.link(Candidate {
                        id,
                        weight,
                        last_weight: weight,
                        daddr: [10, 7, 0, 1].into(),
                        dport: 80,
                    });
                }
            }
            10 => trees.retire(ServiceId(below(3))),
            11..60 => {
                let counts = boards.mine(id).unwrap();
                counts.active.store(below(5), Relaxed);
                trees.counted(&boards, counts, id);
            }
            _ => {
                let service = &services[below(3) as usize];
                let picked = trees.pick(service, &boards, Tick(0), wlc::Wlc);
                let expected = best(&service.servers, &boards, wlc::Wlc);
                assert_eq!(picked.map(|server| server.id), expected.map(|server| server.id));
                picks += u32::from(picked.is_some());
            }
        }
    }
    assert!(picks > 10_000);
}

/// What other workers count is learnt at the tick; until then own changes are counted on top of what was known.
#[test]
fn loads_of_other_workers_are_added_to_own_ones() {
    let mut random = crate::sched::random::Random::new(12);
    let mut below = |end: u64| random.below(end) as u32;
    let boards = Boards::new(2, 40);
    let other = boards.for_worker(1);
    let mut trees = Tournaments::new(1, 40);
    let service = large(0, 0, 40);
    for tick in 0..200 {
        let step_active = |boards: &Boards, id: u32, by: i32| {
            let counts = boards.mine(ServerId(id)).unwrap();
            step(&counts.active, by);
            step(&counts.total, by);
        };
        // Connections that begin with one worker may end with the other.
        for _ in 0..below(20) {
            step_active(&other, below(40), below(5) as i32 - 1);
        }
        for _ in 0..20 {
            let expected = best(&service.servers, &boards, wlc::Wlc).map(|server| server.id);
            let picked = trees.pick(&service, &boards, Tick(tick), wlc::Wlc).map(|server| server.id);
            assert_eq!(picked, expected);
            let id = if below(3) > 0 { picked.unwrap() } else { ServerId(below(40)) };
            if boards.active(id) > 3 {
                step_active(&boards, id.0, -4);
            } else {
                step_active(&boards, id.0, 1);
            }
            trees.counted(&boards, boards.mine(id).unwrap(), id);
        }
    }
}

#[test]
fn a_service_that_takes_turns_has_no_tree_to_keep_up() {
    let mut director = Director::with(SchedulerKind::Wlc, &[1; 3]);
    let service = director.service.id;
    assert_eq!(director.picks(3), [Some(2), Some(1), Some(0)]);
    assert!(director.schedulers.tournaments.keeps_up(service));
    director.reschedule(SchedulerKind::Rr, ServiceFlags::default()).unwrap();
    director.picks(1);
    assert!(!director.schedulers.tournaments.keeps_up(service));
    director.reschedule(SchedulerKind::Wlc, ServiceFlags::default()).unwrap();
    director.load(1, 0, 0);
    assert_eq!(director.picks(1), [Some(1)]);
}

/// Keys hold the place as well, at the cost of bits of the fraction: fractions that are as near as can be stay apart, and
/// of equal ones the first wins. Costs go beyond what keys tell apart, to where all are scanned.
#[test]
fn fractions_next_to_each_other_are_told_apart() {
    let mut random = crate::sched::random::Random::new(7);
    let mut below = |end: u64| random.below(end);
    for (count, rounds) in [(2, 20_000), (3, 20_000), (9, 5_000), (70, 500), (1025, 50)] {
        let boards = Boards::new(1, 1100);
        let mut trees = Tournaments::new(1, 1100);
        for _ in 0..rounds {
            let weight_max = 1 << below(17);
            let weights: Vec<i32> = (0..count).map(|_| 1 + below(weight_max) as i32).collect();
            // All as dear for their weight, but for 1 or 2 in all.
            let each = 1 << below(24);
            let costs: Vec<u64> =
                weights.iter().map(|&weight| each * weight.unsigned_abs() as u64 + 1 + below(2)).collect();
            let mut service = large(0, 0, 0);
            for (id, &weight) in (0..).zip(&weights) {
                let daddr = [10, 7, 0, 1].into();
                service.link(Candidate { id: ServerId(id), weight, last_weight: weight, daddr, dport: 80 });
            }
            let view =
                |_: &Boards, id: ServerId, weight: i32| Standing { cost: costs[id.0 as usize], weight };
            let picked = trees.pick(&service, &boards, Tick(0), view).map(|server| server.id);
            assert_eq!(
                picked,
                best(&service.servers, &boards, view).map(|server| server.id),
                "{costs:?} {weights:?}"
            );
        }
    }
}

/// Weights that no float of 64 bits tells apart exactly: the list is scanned.
#[test]
fn weights_beyond_what_keys_tell_apart_are_scanned() {
    const HUGE: i32 = i32::MAX;
    let mut director = Director::with(SchedulerKind::Sed, &[HUGE - 1, HUGE, HUGE - 2, HUGE - 1, HUGE - 3]);
    let expected = best(&director.service.servers, &director.boards, sed::Sed).map(|server| server.id.0);
    assert_eq!(director.picks(1), [expected]);
    director.edit(1, 1, 0, 0);
    let expected = best(&director.service.servers, &director.boards, sed::Sed).map(|server| server.id.0);
    assert_eq!(director.picks(1), [expected]);
}

/// Costs rise to where keys do not tell them apart, and fall again: keys are trusted only when all are of this time.
#[test]
fn old_keys_are_not_trusted_when_costs_have_fallen() {
    let mut director = Director::with(SchedulerKind::Wlc, &[1 << 20, 1, 1]);
    for (active, ticks) in [(1 << 28, 3), (0, 5), (1 << 28, 1), (2, 4)] {
        director.load(0, active, 0);
        for _ in 0..ticks {
            for _ in 0..20 {
                let expected = best(&director.service.servers, &director.boards, wlc::Wlc);
                let expected = expected.map(|server| server.id.0);
                assert_eq!(director.picks(1), [expected], "{active}");
            }
            director.now.0 += 1;
        }
    }
}
