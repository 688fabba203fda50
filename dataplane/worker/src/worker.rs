//! One worker: the poll loop.

use crate::idle::Rest;
use crate::mailbox::Mailbox;
use crate::mesh::{Parcel, SLOW_LEN, SlowParcel};
use crate::phase::{Phase, SharedPhase};
use crate::profile::{Profile, count_burst};
use crate::stall::StallWatch;
use rtrb::{Consumer, Producer};
use shunt_dpdk::{Burst, Mbuf, Mempool, RxQueue, TxQueue};
use shunt_engine::counters::{Counter, WorkerCounters};
use shunt_engine::tables::Tables;
use shunt_engine::{BURST, Engine, Origin, Tick, Verdict};
use shunt_publish::Reader;
use shunt_wire::{Frame, NicPortId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything of a worker's thread.
pub(crate) struct Worker {
    pub(crate) engine: Engine,
    pub(crate) reader: Reader<Tables>,
    pub(crate) rx: Vec<RxQueue>,
    /// From the other workers and the slow path.
    pub(crate) from: Vec<Consumer<Parcel>>,
    pub(crate) exits: Exits,
    /// For fragments, which leave in other frames than they came in.
    pub(crate) pool: Mempool,
    pub(crate) mailbox: Mailbox,
    pub(crate) rest: Rest,
    pub(crate) profile: Profile,
    pub(crate) phase: Arc<SharedPhase>,
    /// When tick 0 was.
    pub(crate) epoch: Instant,
}

/// The ways by which frames leave a worker. Each counts what it takes.
pub(crate) struct Exits {
    /// By NIC port.
    pub(crate) tx: Vec<TxExit>,
    /// By worker; none to itself.
    pub(crate) to: Vec<Option<Producer<Parcel>>>,
    pub(crate) slow: Producer<SlowParcel>,
    /// By NIC port.
    pub(crate) has_twin: Vec<bool>,
    pub(crate) counters: WorkerCounters,
}

/// How frames leave by a NIC port.
// There are a handful of them, and nearly all are the large one.
#[allow(clippy::large_enum_variant)]
pub(crate) enum TxExit {
    /// By our own queue; frames are gathered within a round.
    Queue(TxQueue, Burst<BURST>),
    /// Through the worker that has one.
    Worker(usize),
}

impl Worker {
    /// Works until it is told to stop.
    pub(crate) fn run(mut self) {
        let mut watch = StallWatch::new();
        loop {
            let phase = self.phase.get();
            if phase == Phase::Ending {
                return;
            }
            let begun = self.epoch.elapsed();
            watch.begin(begun, &self.exits.counters);
            let busy = self.round(begun, phase == Phase::Open);
            if self.rest.after(busy) {
                watch.rested();
            }
        }
    }

    /// Everything that is there now, once; from NIC ports only if they are open. Returns whether there was anything.
    fn round(&mut self, begun: Duration, open: bool) -> bool {
        self.profile.round_begins(begun.as_nanos() as u64, &self.exits.counters);
        let now = Tick(begun.as_millis() as u64);
        // The quiescent point: from here on this round uses one snapshot, and older ones may go.
        let tables: &Tables = self.reader.observe();
        let mut pass = Pass { engine: &mut self.engine, exits: &mut self.exits, tables, now };
        let mut frames = 0;
        for queue in self.rx.iter_mut().filter(|_| open) {
            frames += pass.receive(queue);
        }
        for ring in &mut self.from {
            frames += pass.take_over(ring);
        }
        if pass.engine.has_datagrams() {
            pass.release(&self.pool);
        }
        self.exits.flush();
        self.engine.expire(tables, now);
        let served = self.mailbox.serve(&mut self.engine, tables, now);
        let busy = frames > 0 || served;
        self.profile.round_did(busy, |family| self.engine.connections_of(family), &self.exits.counters);
        busy
    }
}

/// One round's view of a worker.
struct Pass<'a> {
    engine: &'a mut Engine,
    exits: &'a mut Exits,
    tables: &'a Tables,
    now: Tick,
}

impl Pass<'_> {
    /// One burst from a NIC port.
    #[inline]
    fn receive(&mut self, queue: &mut RxQueue) -> usize {
        let mut burst: Burst<BURST> = Burst::new();
        let received = queue.burst(&mut burst);
        if received > 0 {
            self.exits.counters.add(Counter::Received, received as u64);
            count_burst(received, &self.exits.counters);
            self.process(&mut burst, Origin::Wire);
        }
        received
    }

    /// One burst from another thread.
    #[inline]
    fn take_over(&mut self, ring: &mut Consumer<Parcel>) -> usize {
        let (mut flows, mut answers, mut injected) = (Burst::new(), Burst::new(), Burst::new());
        let (mut taken, mut of_kernel): (usize, usize) = (0, 0);
        while taken < BURST {
            let Ok(parcel) = ring.pop() else { break };
            taken += 1;
            // The loop's condition keeps room for all of them.
            let _ = match parcel {
                Parcel::Process(frame) => flows.push(frame),
                Parcel::ProcessTwin(frame) => answers.push(frame),
                Parcel::Inject(frame) => {
                    of_kernel += 1;
                    injected.push(frame)
                }
                Parcel::Transmit(frame, nic_port) => {
                    self.exits.transmit(frame, nic_port);
                    Ok(())
                }
            };
        }
        if taken == 0 {
            return 0;
        }
        self.exits.counters.add(Counter::HandedIn, (taken - of_kernel) as u64);
        self.exits.counters.add(Counter::Injected, of_kernel as u64);
        let bursts = [(flows, Origin::HandOver), (answers, Origin::TwinHandOver), (injected, Origin::Twin)];
        for (mut burst, origin) in bursts {
            if !burst.is_empty() {
                self.process(&mut burst, origin);
            }
        }
        taken
    }

    #[inline]
    fn process(&mut self, burst: &mut Burst<BURST>, origin: Origin) {
        self.exits.keep_contiguous(burst);
        let mut verdicts = [Verdict::Drop(Counter::Malformed); BURST];
        self.engine.process_burst(self.tables, self.now, origin, burst, &mut verdicts);
        if burst.is_full() && self.exits.transmit_whole(burst, &verdicts) {
            return;
        }
        for (frame, verdict) in burst.drain().zip(verdicts) {
            match verdict {
                Verdict::Transmit(nic_port) => self.exits.transmit(frame, nic_port),
                rarer => self.exits.carry_out(self.tables, frame, origin, rarer),
            }
        }
    }

    /// Sends on the fragments of datagrams that have become complete, or were given up.
    #[cold]
    fn release(&mut self, pool: &Mempool) {
        let fresh = |nic_port| {
            let mut frame = pool.alloc()?;
            frame.set_nic_port(nic_port);
            Some(frame)
        };
        let exits = &mut *self.exits;
        self.engine.release(self.tables, self.now, fresh, |frame, verdict| {
            exits.carry_out(self.tables, frame, Origin::Wire, verdict);
        });
    }
}

impl Exits {
    /// The engine wants frames in one piece, and buffers are as large as the MTU; what is larger is dropped.
    #[inline]
    fn keep_contiguous(&mut self, burst: &mut Burst<BURST>) {
        if burst.iter().all(Mbuf::is_contiguous) {
            return;
        }
        let before = burst.len();
        burst.retain(|frame| frame.is_contiguous() || frame.linearize());
        self.counters.add(Counter::TooBig, (before - burst.len()) as u64);
    }

    #[inline(never)]
    fn carry_out(&mut self, tables: &Tables, frame: Mbuf, origin: Origin, verdict: Verdict) {
        match verdict {
            Verdict::Transmit(nic_port) => self.transmit(frame, nic_port),
            Verdict::HandOver(worker) if origin.is_kernel() => {
                self.hand_over(usize::from(worker), Parcel::ProcessTwin(frame));
            }
            Verdict::HandOver(worker) => self.hand_over(usize::from(worker), Parcel::Process(frame)),
            Verdict::Punt(nic_port) => {
                if self.has_twin.get(usize::from(nic_port.0)) == Some(&true) {
                    self.give_to_slow_path(SlowParcel::Punt(frame, nic_port), Counter::Punted);
                } else {
                    self.counters.add(Counter::NoTwin, 1);
                }
            }
            Verdict::AwaitNeighbour(of) => match of.address(tables, frame.bytes()) {
                // What waits leaves room for what the kernel has to hear: the neighbour's answer, for one.
                Some(_) if self.slow.slots() <= SLOW_LEN / 2 => self.counters.add(Counter::PuntFull, 1),
                Some(address) => {
                    self.give_to_slow_path(SlowParcel::Await(frame, address), Counter::HandedOver);
                }
                None => self.counters.add(Counter::NoNeighbour, 1),
            },
            Verdict::Gathered => self.counters.add(Counter::Gathered, 1),
            Verdict::Drop(counter) => self.counters.add(counter, 1),
        }
    }

    /// Sends a full burst as it is, if all of it leaves by one NIC port for which nothing has been gathered. Returns whether
    /// it was so.
    #[inline]
    fn transmit_whole(&mut self, burst: &mut Burst<BURST>, verdicts: &[Verdict; BURST]) -> bool {
        let Verdict::Transmit(nic_port) = verdicts[0] else { return false };
        let all_leave = verdicts.iter().all(|&verdict| verdict == Verdict::Transmit(nic_port));
        match self.tx.get_mut(usize::from(nic_port.0)) {
            Some(TxExit::Queue(queue, gathered)) if all_leave && gathered.is_empty() => {
                flush(queue, burst, &self.counters);
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn transmit(&mut self, frame: Mbuf, nic_port: NicPortId) {
        match self.tx.get_mut(usize::from(nic_port.0)) {
            Some(TxExit::Queue(queue, burst)) => {
                if burst.is_full() {
                    flush(queue, burst, &self.counters);
                }
                // There is room now.
                let _ = burst.push(frame);
            }
            Some(&mut TxExit::Worker(worker)) => self.hand_over(worker, Parcel::Transmit(frame, nic_port)),
            // A next hop that names a NIC port we do not have.
            None => self.counters.add(Counter::NoRoute, 1),
        }
    }

    #[inline]
    fn hand_over(&mut self, worker: usize, parcel: Parcel) {
        let ring = self.to.get_mut(worker).and_then(Option::as_mut);
        let taken = ring.is_some_and(|ring| ring.push(parcel).is_ok());
        self.counters.add(if taken { Counter::HandedOver } else { Counter::HandOverFull }, 1);
    }

    #[inline]
    fn give_to_slow_path(&mut self, parcel: SlowParcel, counter: Counter) {
        let taken = self.slow.push(parcel).is_ok();
        self.counters.add(if taken { counter } else { Counter::PuntFull }, 1);
    }

    /// Sends what has been gathered.
    #[inline]
    fn flush(&mut self) {
        for exit in &mut self.tx {
            if let TxExit::Queue(queue, burst) = exit {
                flush(queue, burst, &self.counters);
            }
        }
    }
}

/// What the NIC does not take at once is dropped: waiting would only move the queue into our memory.
#[inline]
fn flush(queue: &mut TxQueue, burst: &mut Burst<BURST>, counters: &WorkerCounters) {
    if burst.is_empty() {
        return;
    }
    let taken = queue.burst(burst);
    counters.add(Counter::Transmitted, taken as u64);
    if !burst.is_empty() {
        counters.add(Counter::TxRingFull, burst.len() as u64);
        burst.clear();
    }
}
