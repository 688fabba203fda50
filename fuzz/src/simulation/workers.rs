//! The workers of a director, without threads: each gets its bursts in turn, and what one hands over another gets.

use super::network::Packet;
use crate::records::{Records, SERVERS_MAX, SERVICES_MAX};
use fastrand::Rng;
use shunt_engine::board::Boards;
use shunt_engine::counters::{Counter, WorkerCounters};
use shunt_engine::owner::KEY_LEN;
use shunt_engine::persist::Templates;
use shunt_engine::tables::{ServerId, Tables};
use shunt_engine::{BURST, Engine, EngineConfig, Expectations, Origin, Tick, Verdict};
use shunt_wire::{Frame, HeapFrame, NicPortId};
use std::collections::VecDeque;

/// Enough for all flows that are alive at a time.
const CONNECTIONS: u32 = 4_096;
const START_MS: u64 = 1_000_000;
/// Time between two rounds in which nothing arrives.
const ROUND_MS: u64 = 100;
const CONTROL_MS: u64 = 2_000;

/// All workers.
pub(super) struct Workers {
    engines: Vec<Engine>,
    records: Records,
    tables: Tables,
    now: Tick,
    pool: Vec<HeapFrame>,
}

impl Workers {
    pub(super) fn new(count: u8) -> Workers {
        let boards = Boards::new(usize::from(count), SERVERS_MAX);
        let (templates, expectations) = (Templates::new(CONNECTIONS), Expectations::new());
        let engine = |worker| {
            Engine::new(EngineConfig {
                worker,
                workers: count,
                hardware_steering: false,
                max_ipv4: CONNECTIONS,
                max_ipv6: CONNECTIONS,
                services_max: SERVICES_MAX as u32,
                boards: boards.for_worker(usize::from(worker)),
                templates: templates.clone(),
                expectations: expectations.clone(),
                counters: WorkerCounters::default(),
                seed: [5, 6, 7, 8],
                owner_key: std::array::from_fn::<u8, KEY_LEN, _>(|at| (at as u8).wrapping_mul(73) ^ 0x5a),
                now: Tick(START_MS),
            })
        };
        let engines = (0..count).map(engine).collect();
        let records = Records::new(boards.clone());
        let tables = records.tables();
        let pool = (0..256).map(|_| fresh()).collect();
        Workers { engines, records, tables, now: Tick(START_MS), pool }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now.0
    }

    pub(super) fn handed_over(&self) -> u64 {
        self.engines.iter().map(|engine| engine.counters().get(Counter::HandedOver)).sum()
    }

    /// A command; it may be refused.
    pub(super) fn command(&mut self, arguments: &[&str], stdin: &str) {
        let (status, _) = self.records.ipvsadm(arguments, stdin);
        assert!([0, 255].contains(&status), "{arguments:?}: {status}");
        self.tables = self.records.tables();
    }

    /// Time passes without packets.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now.0 + ms;
        while self.now.0 < until {
            let before = self.now.0;
            self.now = Tick(until.min(before + ROUND_MS));
            if before / CONTROL_MS != self.now.0 / CONTROL_MS {
                self.records.tick(self.now);
                self.tables = self.records.tables();
            }
            for worker in 0..self.engines.len() {
                let (engine, tables, now) = (&mut self.engines[worker], &self.tables, self.now);
                let allocated = allocation_counter::measure(|| engine.expire(tables, now));
                assert_eq!(allocated.count_total, 0, "expiry allocates");
                if self.engines[worker].has_datagrams() {
                    // Given up: what leaves is an error to the sender, at most.
                    self.release(worker, &mut [], &mut Vec::new());
                }
            }
        }
    }

    /// Packets arrive, each at any worker. Returns what is sent.
    pub(super) fn receive(&mut self, rng: &mut Rng, packets: Vec<Packet>) -> Vec<(NicPortId, Vec<u8>)> {
        let mut queues: Vec<VecDeque<(Origin, HeapFrame)>> = vec![VecDeque::new(); self.engines.len()];
        for Packet { nic_port, bytes } in packets {
            let frame = HeapFrame::with_room(&bytes, nic_port, HeapFrame::HEADROOM, 128);
            queues[rng.usize(0..self.engines.len())].push_back((Origin::Wire, frame));
        }
        let mut sent = Vec::new();
        while let Some(worker) = queues.iter().position(|queue| !queue.is_empty()) {
            let origin = queues[worker][0].0;
            let mut burst = Vec::new();
            while burst.len() < BURST && queues[worker].front().is_some_and(|(of, _)| *of == origin) {
                burst.extend(queues[worker].pop_front().map(|(_, frame)| frame));
            }
            self.burst(worker, origin, burst, &mut queues, &mut sent);
            self.release(worker, &mut queues, &mut sent);
        }
        sent
    }

    fn burst(
        &mut self,
        worker: usize,
        origin: Origin,
        mut burst: Vec<HeapFrame>,
        queues: &mut [VecDeque<(Origin, HeapFrame)>],
        sent: &mut Vec<(NicPortId, Vec<u8>)>,
    ) {
        let mut verdicts = [Verdict::HandOver(u8::MAX); BURST];
        let (engine, tables, now) = (&mut self.engines[worker], &self.tables, self.now);
        let source = if origin == Origin::HandOver { Counter::HandedIn } else { Counter::Received };
        engine.counters().add(source, burst.len() as u64);
        let allocated = allocation_counter::measure(|| {
            engine.process_burst(tables, now, origin, &mut burst, &mut verdicts);
        });
        assert_eq!(allocated.count_total, 0, "a burst allocates");
        for (frame, verdict) in burst.into_iter().zip(verdicts) {
            self.carry_out(worker, origin, frame, verdict, queues, sent);
        }
    }

    /// Datagrams that have become complete.
    fn release(
        &mut self,
        worker: usize,
        queues: &mut [VecDeque<(Origin, HeapFrame)>],
        sent: &mut Vec<(NicPortId, Vec<u8>)>,
    ) {
        let mut released = Vec::new();
        let Workers { engines, tables, now, pool, .. } = self;
        engines[worker].release(
            tables,
            *now,
            |_| pool.pop(),
            |frame, verdict| released.push((frame, verdict)),
        );
        for (frame, verdict) in released {
            self.pool.push(fresh());
            self.carry_out(worker, Origin::Wire, frame, verdict, queues, sent);
        }
    }

    fn carry_out(
        &mut self,
        worker: usize,
        origin: Origin,
        frame: HeapFrame,
        verdict: Verdict,
        queues: &mut [VecDeque<(Origin, HeapFrame)>],
        sent: &mut Vec<(NicPortId, Vec<u8>)>,
    ) {
        // As the poll loop counts.
        let counters = self.engines[worker].counters();
        match verdict {
            Verdict::Transmit(nic_port) => {
                counters.add(Counter::Transmitted, 1);
                sent.push((nic_port, frame.bytes().to_vec()));
            }
            Verdict::HandOver(to) => {
                assert!(origin != Origin::HandOver && usize::from(to) != worker, "handed over again");
                counters.add(Counter::HandedOver, 1);
                queues[usize::from(to)].push_back((Origin::HandOver, frame));
            }
            Verdict::Punt(_) => counters.add(Counter::Punted, 1),
            Verdict::Gathered => counters.add(Counter::Gathered, 1),
            Verdict::Drop(counter) => counters.add(counter, 1),
            Verdict::AwaitNeighbour { .. } => counters.add(Counter::NoNeighbour, 1),
        }
    }

    /// Nothing is left of all that happened, and nothing was lost on the way.
    pub(super) fn assert_empty(&mut self) {
        for engine in &self.engines {
            assert_eq!(engine.counters().imbalance(), 0, "packets in and out");
            assert!(!engine.has_datagrams());
        }
        let connections: u32 = self.engines.iter().map(Engine::connections).sum();
        assert_eq!(connections, 0, "connections remain");
        let boards = self.records.boards();
        for server in (0..SERVERS_MAX as u32).map(ServerId) {
            let templates = boards.sum(server, |counts| &counts.persistent);
            let counts = (boards.active(server), boards.total(server), templates);
            assert_eq!(counts, (0, 0, 0), "active, all and templates of {server:?}");
        }
    }
}

fn fresh() -> HeapFrame {
    HeapFrame::with_room(&[], NicPortId(0), HeapFrame::HEADROOM, 2_048)
}
