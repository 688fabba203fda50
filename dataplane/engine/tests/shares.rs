//! Schedulers on several workers: each worker has a place of its own, and the shares are those of one all the same.

mod common;

use common::{INSIDE, Rig, Setup, ip};
use shunt_engine::sched::SchedulerPlan;
use shunt_engine::tables::{
    Candidate, Family, ForwardingMethod, SchedulerKind, ServerId, Service, ServiceId,
};
use shunt_wire::Flags;
use shunt_wire::craft::Craft;

const TCP: u8 = 6;
const VIP: &str = "10.0.1.100";
const REAL: [&str; 4] = ["10.0.2.11", "10.0.2.12", "10.0.2.13", "10.0.2.14"];
/// Weight 0 takes nothing.
const WEIGHTS: [i32; 4] = [5, 3, 0, 1];
const CONNECTIONS: usize = 9_000;

/// A service with [`WEIGHTS`].
fn weighted(scheduler: SchedulerKind, workers: u8) -> Rig {
    let setup = Setup { scheduler, ..Setup::new(TCP, VIP, ForwardingMethod::Nat, &REAL) };
    let mut rig = Rig::with_workers(&[setup], workers, 16_384);
    let service = rig.tables.service(ServiceId(0)).unwrap().clone();
    let weigh = |candidate: &Candidate| {
        let weight = WEIGHTS[candidate.id.0 as usize];
        Candidate { weight, last_weight: weight, ..*candidate }
    };
    let candidates: Vec<Candidate> = service.servers.iter().map(weigh).collect();
    let plan = SchedulerPlan::init(scheduler, Family::of(&ip(VIP)), &candidates).unwrap();
    rig.tables.put_service(Service { plan, servers: candidates.into(), ..(*service).clone() });
    for (id, weight) in WEIGHTS.into_iter().enumerate() {
        rig.change_server(id as u32, |server| server.weight = weight);
    }
    rig
}

/// One SYN from each of so many clients, on the worker that owns it. Returns what each server got.
fn shares(rig: &mut Rig) -> [u32; 4] {
    for n in 0..CONNECTIONS {
        let client = format!("192.0.{}.{}", 2 + n / 250, 1 + n % 250);
        let syn = Craft::between(ip(&client), ip(VIP)).unwrap().tcp(1_024 + n as u16, 80, Flags::SYN);
        rig.outside(syn).sent(INSIDE);
    }
    assert!(rig.engines.iter().all(|engine| engine.counters().get(NEW) > 0), "all workers have worked");
    std::array::from_fn(|id| rig.boards.active(ServerId(id as u32)))
}

const NEW: shunt_engine::counters::Counter = shunt_engine::counters::Counter::NewConnections;

/// Of all connections, what a server should have, and by how many it may be off.
#[track_caller]
fn assert_shares(scheduler: SchedulerKind, wanted: [usize; 4], off: usize) {
    for workers in [1, 2, 4, 7] {
        let shares = shares(&mut weighted(scheduler, workers));
        assert_eq!(shares.iter().sum::<u32>(), CONNECTIONS as u32);
        let near = shares.iter().zip(wanted).all(|(&share, wanted)| wanted.abs_diff(share as usize) <= off);
        assert!(near, "{scheduler:?}, {workers} workers: {shares:?} instead of {wanted:?}");
    }
}

#[test]
fn shares_go_by_weight_however_many_workers() {
    let by_weight = [5_000, 3_000, 0, 1_000];
    // A round of each worker may be unfinished: at most the weight of a server for each.
    assert_shares(SchedulerKind::Wrr, by_weight, 7 * 5);
    // These see the connections of all workers.
    for scheduler in [SchedulerKind::Wlc, SchedulerKind::Sed, SchedulerKind::Nq] {
        assert_shares(scheduler, by_weight, 5);
    }
    // By chance or by hash: within five standard deviations, and what a server's share of the hash table is off.
    for scheduler in [SchedulerKind::Mh, SchedulerKind::Twos] {
        let off = if scheduler == SchedulerKind::Twos { 1_000 } else { 400 };
        assert_shares(scheduler, by_weight, off);
    }
}

#[test]
fn shares_without_weights_are_even_however_many_workers() {
    let even = [3_000, 3_000, 0, 3_000];
    assert_shares(SchedulerKind::Rr, even, 7);
    assert_shares(SchedulerKind::Lc, even, 1);
}

#[test]
fn spilling_schedulers_spill_the_same_however_many_workers() {
    assert_shares(SchedulerKind::Fo, [CONNECTIONS, 0, 0, 0], 0);
    // As in the kernel, each takes one more active connection than its weight says before the next has its turn.
    for workers in [1, 4] {
        let mut rig = weighted(SchedulerKind::Ovf, workers);
        for n in 0..12 {
            let client = format!("192.0.2.{}", n + 1);
            let syn = Craft::between(ip(&client), ip(VIP)).unwrap().tcp(1_024, 80, Flags::SYN);
            rig.outside(syn).sent(INSIDE);
            // A worker sees what others have counted at the next tick.
            rig.now.0 += 1;
        }
        let held: Vec<u32> = (0..4).map(|id| rig.boards.active(ServerId(id))).collect();
        assert_eq!(held, [6, 4, 0, 2], "{workers} workers");
    }
}
