//! Measurements that are more than rounds at full rate.

use crate::cases::{fresh, udp_service};
use crate::director::{Plan, Service};
use crate::measure::{Measure, alternate, full, plan, row};
use crate::report::{Check, Pair, Row, median};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use shunt_compare::orders::{Latency, Pattern, Payload, Run, Stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// Packets under way at most, where no packet may be lost in the rings: half a ring and a bit.
const WINDOW: u64 = 700;

/// Changes of the tables.
const PUBLICATIONS: u32 = 10_000;

fn uniform(flows: u32, payload: Payload, share: usize) -> Stream {
    Stream { flows, share, pattern: Pattern::Uniform, ..fresh(48, 80, payload) }
}

/// SYNs of ever new clients, seven of eight packets, beside established connections. The table is soon full of half-open
/// ones.
pub fn flood(measure: &mut Measure, scheduler: &'static str, servers: u32) -> Result<Row> {
    const ESTABLISHED: u32 = 100_000;
    const TABLE: u32 = 1 << 20;
    let (rounds, millis, ghz) = (measure.rounds, measure.millis, measure.ghz);
    let rig = measure.rig()?;
    let service = Service { udp: false, ..udp_service(80, scheduler, servers) };
    rig.direct(&plan(vec![service], TABLE, 4))?;
    let opening = uniform(ESTABLISHED, Payload::Syn, 0);
    let established = uniform(ESTABLISHED, Payload::Ack, 4);
    let flood = Stream { share: 28, ..fresh(64, 80, Payload::Syn) };
    rig.establish(&[opening, established, flood], &[(0, None), (1, None)])?;
    let (mut lost, mut syns, mut seconds) = (0, 0, 0.0);
    let run = Run { window: WINDOW, ..full(millis) };
    let mut row = alternate(rig, row("dr", 4, ESTABLISHED, "syn flood"), rounds, ghz, &run, |round| {
        // What a full ring took is the generator's doing: it had no core for a while and then sent too much.
        let (sent, received) = round.outcome.streams[1];
        let in_rings = round.drops.get("tx_ring_full").copied().unwrap_or_default();
        lost += (sent - received).saturating_sub(in_rings);
        syns += round.outcome.streams[2].0;
        seconds += round.outcome.seconds;
        Ok(())
    })?;
    row.checks.push(Check::at_most("established packets lost, but for full rings,", lost as f64, 0.0));
    row.checks.push(Check::at_least("M SYN/s", syns as f64 / seconds / 1e6, 4.0));
    Ok(row)
}

/// Packets under way at 10, 50 and 90 % of the highest rate without loss, beside testpmd at the same rates.
pub fn latency(measure: &mut Measure) -> Result<Row> {
    const FLOWS: u32 = 100_000;
    let (rounds, millis) = (measure.rounds, measure.millis);
    let rig = measure.rig()?;
    rig.direct(&plan(vec![udp_service(80, "rr", 4)], 2 * FLOWS, 4))?;
    rig.establish(&[uniform(FLOWS, Payload::Udp, 32)], &[(0, None)])?;
    let stamped = |rate: f64| Run { rate: rate as u64, stamp: true, ..full(millis.min(1000)) };
    let full_rate = rig.shunt(full(500))?.mpps() * 1e6;
    let mut loss_free = None;
    for percent in [100, 95, 90, 85, 80, 70, 60, 50, 40, 30] {
        let rate = full_rate * f64::from(percent) / 100.0;
        let round = rig.shunt(stamped(rate))?;
        let in_time = round.outcome.sent as f64 >= 0.99 * rate * round.outcome.seconds;
        if round.lost() == 0 && in_time {
            loss_free = Some(rate);
            break;
        }
    }
    let rate = loss_free.context("packets are lost at every rate: are the cores our own?")?;
    let mut row = Row { mpps: rate / 1e6, ..row("dr", 4, FLOWS, "uniform") };
    for load in [10, 50, 90] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let run = stamped(rate * f64::from(load) / 100.0);
            ours.push(rig.shunt(run.clone())?.outcome.latency.context("nothing came back")?);
            theirs.push(rig.testpmd(run)?.outcome.latency.context("nothing came back")?);
        }
        let (ours, theirs) = (medians(&ours), medians(&theirs));
        if load == 50 {
            row.checks.push(Check::at_most("p99 at 50 %, µs", ours.p99, 20.0));
        }
        row.details.insert(format!("µs_at_{load}_percent"), json!({ "shunt": ours, "testpmd": theirs }));
    }
    Ok(row)
}

fn medians(rounds: &[Latency]) -> Latency {
    let of = |field: fn(&Latency) -> f64| median(rounds.iter().map(field).collect());
    Latency { p50: of(|l| l.p50), p99: of(|l| l.p99), p999: of(|l| l.p999), max: of(|l| l.max) }
}

/// The tables change, one publication after the other, while packets flow as fast as shuntd takes them.
pub fn publish(measure: &mut Measure) -> Result<Row> {
    const FLOWS: u32 = 100_000;
    let ghz = measure.ghz;
    let folder = measure.place.folder.clone();
    let rig = measure.rig()?;
    let service = udp_service(80, "wlc", 10);
    rig.direct(&plan(vec![service.clone()], 2 * FLOWS, 4))?;
    rig.establish(&[uniform(FLOWS, Payload::Udp, 32)], &[(0, None)])?;
    let run = Run { window: WINDOW, ..full(1000) };
    let quiet = rig.shunt(run.clone())?.mpps();
    rig.director().go_on();
    let mut control = rig.director().control(&folder)?;
    let done = Arc::new(AtomicBool::new(false));
    let finished = done.clone();
    let changes = spawn(move || -> Result<f64> {
        let started = Instant::now();
        let result = (0..PUBLICATIONS)
            .try_for_each(|n| control.ask(&service.reweigh(n % 10, 1 + n % 7), "").map(drop));
        finished.store(true, Relaxed);
        result.map(|()| started.elapsed().as_secs_f64())
    });
    let mut rounds = Vec::new();
    while !done.load(Relaxed) {
        // It pauses between rounds, and the changes with it.
        rounds.push(rig.shunt(run.clone())?);
        rig.director().go_on();
    }
    let seconds = changes.join().map_err(|_| anyhow::anyhow!("the changes ended early"))??;
    ensure!(!rounds.is_empty(), "the changes were over before a packet was sent");
    let lost: u64 = rounds.iter().map(|round| round.lost()).sum();
    let quiets = vec![quiet; rounds.len()];
    let pair = |(round, quiet): (&crate::rig::Round, f64)| Pair {
        mpps: round.mpps(),
        ceiling_mpps: Some(quiet),
        lost: round.lost(),
    };
    let mpps = median(rounds.iter().map(|round| round.mpps()).collect());
    let cycles = rounds.iter().map(|round| round.busy_nanos as f64 * ghz / round.received.max(1) as f64);
    let mut row = Row {
        mpps,
        ceiling_mpps: Some(quiet),
        ratio: Some(mpps / quiet),
        cycles_per_packet: Some(median(cycles.collect())),
        rounds: rounds.iter().zip(quiets).map(pair).collect(),
        ..row("dr", 4, FLOWS, "uniform")
    };
    row.details.insert("publications_per_second".to_owned(), json!(f64::from(PUBLICATIONS) / seconds));
    row.checks.push(Check::at_most(&format!("lost over {PUBLICATIONS} publications"), lost as f64, 0.0));
    Ok(row)
}

/// Workers that sleep when there is nothing to do, beside those that poll.
pub fn idle(measure: &mut Measure) -> Result<Row> {
    const FLOWS: u32 = 1000;
    let rig = measure.rig()?;
    let mut row = row("dr", 4, FLOWS, "1000 pps");
    let mut shares = Vec::new();
    for idle in ["poll", "sleep"] {
        let plan = Plan { idle, ..plan(vec![udp_service(80, "rr", 4)], 4 * FLOWS, 4) };
        rig.direct(&plan)?;
        rig.establish(&[uniform(FLOWS, Payload::Udp, 32)], &[(0, None)])?;
        sleep(Duration::from_millis(100));
        let (before, started) = (rig.director().worker_seconds()?, Instant::now());
        sleep(Duration::from_secs(2));
        let share = (rig.director().worker_seconds()? - before) / started.elapsed().as_secs_f64();
        let round = rig.shunt(Run { rate: 1000, stamp: true, ..full(1500) })?;
        row.details.insert(
            idle.to_owned(),
            json!({ "core_share": share, "latency_us_at_1000_pps": round.outcome.latency, "lost": round.lost() }),
        );
        row.mpps = round.mpps();
        shares.push(share);
        if idle == "sleep" {
            let p99 = round.outcome.latency.map_or(f64::INFINITY, |latency| latency.p99);
            row.checks.push(Check::at_most("share of the core without traffic", share, 0.2));
            row.checks.push(Check::at_most("p99 of the way, woken, µs", p99, 400.0));
        }
    }
    Ok(row)
}
