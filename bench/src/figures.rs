//! What the engine does besides established flows: new ones, memory, very many, two workers.

use crate::engine::{cpu_ns, engine, run, shuffled};
use crate::frame::FixedFrame;
use crate::median;
use crate::traffic::{request, tables, tcp};
use shunt_engine::tables::{ForwardingMethod, SchedulerKind, Tables};
use shunt_engine::{BURST, Engine, Origin, Tick, Verdict};
use shunt_wire::NicPortId;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

const NOW: Tick = Tick(1000);
/// Beyond the timeout of UDP, 300 s.
const LATER: Tick = Tick(400_000);
/// Packets that are made at once, without being timed.
const BATCH: u32 = 1 << 20;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Figure {
    /// New flows per second: rr, wlc; 10 and 1,000 servers.
    New,
    /// Bytes per connection, all included.
    Memory,
    /// Very many connections (`--hold`): made, looked up, expired.
    Hold,
    /// One worker, and two at once.
    Workers,
    /// SYNs per second into a full table, a tenth of which is established connections.
    Flood,
    /// New flows per second with 0, 100 and 10,000 rules for firewall marks.
    Marks,
}

/// A figure: what, how much, of what.
pub type Line = (String, f64, &'static str);

pub fn measure(figure: Figure, flows: u32, hold: u32) -> Vec<Line> {
    match figure {
        Figure::New => new_flows(),
        Figure::Memory => [("dr", ForwardingMethod::DirectRouting), ("nat", ForwardingMethod::Nat)]
            .map(|(name, method)| {
                (format!("memory/{name}"), bytes_per_connection(method), "bytes per connection")
            })
            .into(),
        Figure::Hold => hold_many(hold),
        Figure::Workers => scaling(flows),
        Figure::Flood => vec![("flood".to_owned(), 1e3 / flood(1 << 20, 2 << 20), "M SYN/s")],
        Figure::Marks => crate::marks::measure(),
    }
}

/// Nanoseconds per flow into a table that they fill to three quarters.
pub fn into_table(kind: SchedulerKind, servers: u32, flows: u32) -> f64 {
    let tables = tables(4, ForwardingMethod::DirectRouting, kind, servers);
    let packets: Vec<[u8; 64]> = (0..flows).map(|n| request(4, n)).collect();
    let mut engine = engine((flows + flows / 3, 1), (0, 1));
    run(&mut engine, &tables, &packets, u64::from(flows))
}

fn new_flows() -> Vec<Line> {
    const ROUNDS: usize = 7;
    let (rr, wlc) = (SchedulerKind::Rr, SchedulerKind::Wlc);
    let kinds = [(rr, 10), (wlc, 10), (wlc, 1000)];
    // Alternately: what the machine has for us changes from second to second.
    let rounds: Vec<[f64; 3]> =
        (0..ROUNDS).map(|_| kinds.map(|(kind, servers)| 1e3 / into_table(kind, servers, BATCH))).collect();
    let rate = |nth: usize| median(rounds.iter().map(|round| round[nth]));
    let ratio = |one: usize, other: usize| median(rounds.iter().map(|round| round[one] / round[other]));
    [
        ("new/rr/10", rate(0), "M/s"),
        ("new/wlc/10", rate(1), "M/s"),
        ("new/wlc/1000", rate(2), "M/s"),
        ("new/wlc to rr", ratio(1, 0), "times"),
        ("new/1000 to 10", ratio(2, 1), "times"),
    ]
    .map(|(name, value, unit)| (name.to_owned(), value, unit))
    .into()
}

/// Nanoseconds per SYN into a full table, of whose connections a tenth is established and stays.
pub fn flood(connections: u32, syns: u32) -> f64 {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let tables = tables(4, ForwardingMethod::DirectRouting, SchedulerKind::Wlc, 10);
    let established = (connections / 10).next_multiple_of(BURST as u32);
    let mut engine = engine((connections, 1), (0, 1));
    let whole = |packets: &[[u8; 64]]| packets.len().next_multiple_of(BURST) as u64;
    for flags in [SYN, ACK] {
        let packets: Vec<[u8; 64]> = (0..established).map(|n| tcp(n, flags)).collect();
        run(&mut engine, &tables, &packets, whole(&packets));
    }
    let all = established..established + connections + syns;
    let packets: Vec<[u8; 64]> = all.map(|n| tcp(n, SYN)).collect();
    let (fill, flood) = packets.split_at(connections as usize);
    run(&mut engine, &tables, fill, whole(fill));
    assert_eq!(engine.connections(), connections);
    run(&mut engine, &tables, flood, whole(flood))
}

/// By how much the process grows when a table for a million connections is made and filled.
fn bytes_per_connection(method: ForwardingMethod) -> f64 {
    const CONNECTIONS: u32 = 1 << 20;
    let tables = tables(4, method, SchedulerKind::Wlc, 10);
    let mut frames = vec![FixedFrame::new(); BURST];
    let before = resident_bytes();
    let mut engine = engine((CONNECTIONS, 1), (0, 1));
    for first in (0..CONNECTIONS).step_by(BURST) {
        for (frame, n) in frames.iter_mut().zip(first..) {
            frame.load(&request(4, n), NicPortId(0));
        }
        process(&mut engine, &tables, &mut frames, NOW);
    }
    assert_eq!(engine.connections(), CONNECTIONS);
    (resident_bytes() - before) as f64 / f64::from(CONNECTIONS)
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

fn process(engine: &mut Engine, tables: &Tables, frames: &mut [FixedFrame], now: Tick) {
    let mut verdicts = [Verdict::Punt(NicPortId(0)); BURST];
    engine.process_burst(tables, now, Origin::Wire, frames, &mut verdicts);
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Transmit(_))), "all are forwarded");
}

/// Fill, look-up in random order, expiry.
fn hold_many(connections: u32) -> Vec<Line> {
    let tables = tables(4, ForwardingMethod::DirectRouting, SchedulerKind::Rr, 4);
    let before = resident_bytes();
    let mut engine = engine((connections, 1), (0, 1));
    let mut packets = Vec::new();
    let mut spent = 0.0;
    for first in (0..connections).step_by(BATCH as usize) {
        packets.clear();
        packets.extend((first..connections.min(first + BATCH)).map(|n| request(4, n)));
        let whole = packets.len().next_multiple_of(BURST) as u64;
        spent += run(&mut engine, &tables, &packets, whole) * whole as f64;
    }
    assert_eq!(engine.connections(), connections);
    let bytes = (resident_bytes() - before) as f64 / f64::from(connections);
    let order = shuffled(connections);
    let packets: Vec<[u8; 64]> = order.iter().map(|&n| request(4, n)).collect();
    let look_up = run(&mut engine, &tables, &packets, packets.len() as u64);
    let started = cpu_ns();
    while engine.connections() > 0 {
        engine.expire(&tables, LATER);
    }
    let expiry = (cpu_ns() - started) as f64 / f64::from(connections);
    let name = |what: &str| format!("hold/{connections}/{what}");
    vec![
        (name("made"), f64::from(connections) * 1e3 / spent, "M/s"),
        (name("memory"), bytes, "bytes per connection"),
        (name("forwarded"), 1e3 / look_up, "Mpps"),
        (name("expired"), 1e3 / expiry, "M/s"),
    ]
}

/// Mpps of one worker alone, then of each of two that run at once, each with its own flows.
fn scaling(flows: u32) -> Vec<Line> {
    let one = workers(flows, 1)[0];
    let both = workers(flows, 2);
    vec![
        ("workers/1".to_owned(), one, "Mpps"),
        ("workers/2".to_owned(), both.iter().sum(), "Mpps"),
        ("workers/2 to 1".to_owned(), both.iter().sum::<f64>() / one, "times"),
    ]
}

/// Wall-clock Mpps of so many workers at once. A worker's flows are those of which it says that they are its own.
fn workers(flows: u32, count: u8) -> Vec<f64> {
    const SECONDS: f64 = 1.5;
    let barrier = Barrier::new(usize::from(count));
    let tables = tables(4, ForwardingMethod::DirectRouting, SchedulerKind::Rr, 4);
    let work = |worker: u8| {
        let mut engine = engine((flows, 1), (worker, count));
        let own: Vec<[u8; 64]> = own_packets(&mut engine, &tables, flows);
        let order = shuffled(own.len() as u32);
        let packets: Vec<[u8; 64]> = order.iter().map(|&n| own[n as usize]).collect();
        barrier.wait();
        let (started, mut done) = (Instant::now(), 0);
        while started.elapsed().as_secs_f64() < SECONDS {
            run(&mut engine, &tables, &packets, packets.len() as u64);
            done += packets.len();
        }
        done as f64 / started.elapsed().as_secs_f64() / 1e6
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|worker| scope.spawn(move || work(worker))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no worker panics")).collect()
    })
}

/// Packets of the flows that this worker owns; it knows their connections then.
fn own_packets(engine: &mut Engine, tables: &Tables, flows: u32) -> Vec<[u8; 64]> {
    let mut frames = vec![FixedFrame::new(); BURST];
    let mut own = Vec::new();
    for first in (0..flows).step_by(BURST) {
        let packets: Vec<[u8; 64]> =
            (first..flows.min(first + BURST as u32)).map(|n| request(4, n)).collect();
        for (frame, packet) in frames.iter_mut().zip(&packets) {
            frame.load(packet, NicPortId(0));
        }
        let mut verdicts = [Verdict::Punt(NicPortId(0)); BURST];
        engine.process_burst(tables, NOW, Origin::Wire, &mut frames[..packets.len()], &mut verdicts);
        let is_own = |(_, verdict): &(&[u8; 64], &Verdict)| matches!(verdict, Verdict::Transmit(_));
        own.extend(packets.iter().zip(&verdicts).filter(is_own).map(|(packet, _)| *packet));
    }
    // Whole bursts, and as many for each worker as it has.
    own.truncate(own.len() / BURST * BURST);
    own
}
