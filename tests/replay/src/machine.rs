//! A director without NICs: the real records, the real engine with one worker, a virtual clock, and a kernel twin.

use crate::case::Sent;
use crate::chance;
use crate::kernel::{Emitted, Kernel};
use crate::sync::Host;
use crate::topology::Topology;
use shunt_control::dataplane::{Dataplane, Lagging};
use shunt_control::director::{Director, Limits};
use shunt_engine::board::Boards;
use shunt_engine::counters::{Counter, WorkerCounters};
use shunt_engine::owner::KEY_LEN;
use shunt_engine::persist::Templates;
use shunt_engine::tables::{MarkRule, Marks, SyncRules, Tables};
use shunt_engine::{
    BURST, ConnectionInfo, DumpCursor, Engine, EngineConfig, Expectations, Inbox, InstallFrom, Origin, Tally,
    Tick, Verdict, announcements,
};
use shunt_wire::{Frame, HeapFrame, NicPortId};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bounds: more than any recording needs.
const CONNECTIONS: u32 = 20_000;
const SERVICES: u32 = 1_000;
const SERVERS: usize = 1_000;

/// The kernel's clock ticks every 10 ms (HZ 100); so does this one.
const TICK_MS: u64 = 10;

/// Rounds of a poll loop that look at every connection, after servers were deleted: it takes some milliseconds at most.
const ROUNDS: u32 = 80;

/// The clock at the start of a case: not 0, which hides mistakes.
const START_MS: u64 = 1_000_000;

/// Counters become visible every 2 s (spec `stats.md` §2), which the kernel's timer wheel (HZ 100; 80 ms at this level)
/// makes 2.08 s. When the first time is depends on when IPVS was initialised: in the recordings, shortly before a case
/// starts, which the recorder aligns to a tick.
const ESTIMATE_FIRST_MS: u64 = 1_960;
const ESTIMATE_EVERY_MS: u64 = 2_080;

/// What changes while packets flow.
struct World {
    engine: Engine,
    templates: Templates,
    expectations: Expectations,
    inbox: Inbox,
    tables: Tables,
    marks: Vec<MarkRule>,
    now: Tick,
    /// Deletions of servers after which all connections were looked at.
    swept: u64,
}

/// The only worker: it sees a publication at once.
struct Worker {
    world: Mutex<World>,
    boards: Boards,
    counters: WorkerCounters,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Dataplane for Worker {
    fn publish(&self, mut tables: Tables) -> Result<(), Lagging> {
        let mut world = lock(&self.world);
        tables.set_marks(Marks::new(world.marks.clone()));
        world.tables = tables;
        Ok(())
    }

    fn boards(&self) -> &Boards {
        &self.boards
    }

    fn worker_counters(&self) -> Vec<WorkerCounters> {
        vec![self.counters.clone()]
    }

    fn connections(&self, each: &mut dyn FnMut(&ConnectionInfo) -> ControlFlow<()>) {
        let world = lock(&self.world);
        let mut cursor = Some(DumpCursor::default());
        let mut flow = ControlFlow::Continue(());
        while let Some(from) = cursor.filter(|_| flow.is_continue()) {
            cursor = world.engine.dump(&world.tables, world.now, from, 64, |info, call_id| {
                if flow.is_continue() {
                    flow = each(&info.with_call_id(call_id));
                }
            });
        }
    }

    fn install(&self, connections: &mut dyn Iterator<Item = ConnectionInfo>, from: InstallFrom) -> Tally {
        let mut tally = Tally::default();
        let World { engine, tables, now, .. } = &mut *lock(&self.world);
        for info in connections {
            engine.install(tables, *now, &info, from, &mut tally);
        }
        tally
    }

    fn announcements(&self, rules: &SyncRules, each: &mut dyn FnMut(ConnectionInfo)) {
        let World { inbox, templates, expectations, now, .. } = &mut *lock(&self.world);
        inbox.take((templates, expectations), rules, *now, each);
    }
}

/// A frame that left the machine, or the reason why one did not.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Frames, in order.
    pub sent: Vec<Emitted>,
    /// Names of the counters of dropped packets.
    pub dropped: Vec<&'static str>,
}

/// The director of a case.
pub struct Machine {
    director: Mutex<Director>,
    worker: Arc<Worker>,
    topology: Topology,
    kernel: Kernel,
    sync: Host,
    next_estimate: u64,
}

impl Default for Machine {
    fn default() -> Self {
        Machine::new()
    }
}

impl Machine {
    /// A machine as each recording found it: addresses and routes, no services.
    #[must_use]
    pub fn new() -> Machine {
        let topology = Topology::recorded();
        let boards = Boards::new(1, SERVERS);
        let counters = WorkerCounters::default();
        let now = Tick(START_MS);
        let (templates, expectations) = (Templates::new(CONNECTIONS), Expectations::new());
        let (outbox, inbox) = announcements();
        let engine = Engine::new(EngineConfig {
            worker: 0,
            workers: 1,
            hardware_steering: false,
            max_ipv4: CONNECTIONS,
            max_ipv6: CONNECTIONS,
            services_max: SERVICES,
            boards: boards.clone(),
            templates: templates.clone(),
            expectations: expectations.clone(),
            counters: counters.clone(),
            // A replay shall be the same each time.
            seed: [
                0x0123_4567_89ab_cdef,
                0xfedc_ba98_7654_3210,
                0x0f1e_2d3c_4b5a_6978,
                0x1122_3344_5566_7788,
            ],
            owner_key: [0x5a; KEY_LEN],
            now,
        })
        .with_outbox(outbox);
        let nic_ports = topology.nic_port_infos();
        let world = World {
            engine,
            templates,
            expectations,
            inbox,
            tables: Tables::new(nic_ports.clone()),
            marks: Vec::new(),
            now,
            swept: 0,
        };
        let worker = Arc::new(Worker { world: Mutex::new(world), boards, counters });
        let limits = Limits { services: SERVICES as usize, servers: SERVERS };
        let mut director = Director::new(worker.clone(), Arc::new(topology.clone()), nic_ports, limits);
        let sync = Host::default();
        director.set_daemon_host(Arc::new(sync.clone()));
        let machine = Machine {
            director: Mutex::new(director),
            worker,
            topology,
            kernel: Kernel::default(),
            sync,
            next_estimate: START_MS + ESTIMATE_FIRST_MS,
        };
        machine.publish_topology();
        machine
    }

    /// The records of services and servers.
    #[must_use]
    pub fn director(&self) -> &Mutex<Director> {
        &self.director
    }

    /// The kernel twin.
    pub fn kernel_mut(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// The network around the director.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Changes the network, as the mirror of the kernel would notice. False if there was nothing to change.
    pub fn change_topology(&mut self, change: impl FnOnce(&mut Topology) -> bool) -> bool {
        let changed = change(&mut self.topology);
        self.publish_topology();
        changed
    }

    fn publish_topology(&self) {
        let mut director = lock(&self.director);
        director.set_nic_ports(self.topology.nic_port_infos());
        director.set_local(self.topology.local().clone());
        director.set_routes(self.topology.routes());
        director.refresh_hops(Arc::new(self.topology.clone()));
        // The worker never lags.
        let _ = director.publish();
    }

    /// The rules that set firewall marks.
    #[must_use]
    pub fn marks(&self) -> Vec<MarkRule> {
        lock(&self.worker.world).marks.clone()
    }

    /// Replaces them.
    pub fn set_marks(&self, marks: Vec<MarkRule>) {
        let mut world = lock(&self.worker.world);
        world.tables.set_marks(Marks::new(marks.clone()));
        world.marks = marks;
    }

    /// All connections and templates.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let mut all = Vec::new();
        self.worker.connections(&mut |info| {
            all.push(info.clone());
            ControlFlow::Continue(())
        });
        all
    }

    /// Milliseconds since the start of the case.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        lock(&self.worker.world).now.0 - START_MS
    }

    /// Lets time pass until this many milliseconds after the start; does nothing if it is later already.
    pub fn advance_to(&mut self, until_ms: u64) -> Output {
        let until = START_MS + until_ms;
        let mut output = Output::default();
        let mut now = lock(&self.worker.world).now.0;
        while now < until {
            now = until.min(now + TICK_MS);
            if now >= self.next_estimate {
                self.next_estimate += ESTIMATE_EVERY_MS;
                // The worker never lags.
                let _ = lock(&self.director).tick(Tick(now));
            }
            let mut world = lock(&self.worker.world);
            let World { engine, tables, now: clock, swept, .. } = &mut *world;
            *clock = Tick(now);
            let rounds =
                if std::mem::replace(swept, tables.deletions()) == tables.deletions() { 1 } else { ROUNDS };
            for _ in 0..rounds {
                engine.expire(tables, *clock);
            }
            drop(world);
            for emitted in self.sync.tick(&self.topology, now - START_MS) {
                self.inject(emitted, &mut output);
            }
        }
        self.release(&[], &mut output);
        output
    }

    /// Lets the next pick by chance be the recorded one, if chance can lead there: see [`chance`].
    pub fn foresee(&mut self, nic_port: NicPortId, frame: &[u8], sent: &[Sent]) {
        let World { engine, tables, .. } = &mut *lock(&self.worker.world);
        if let Some(seed) = chance::seed(tables, &self.worker.boards, nic_port, frame, sent) {
            engine.reseed(seed);
        }
    }

    /// Frames arrive back to back at a NIC port.
    pub fn receive(&mut self, nic_port: NicPortId, frames: &[&[u8]]) -> Output {
        let mut output = Output::default();
        for burst in frames.chunks(BURST) {
            let mut heap: Vec<HeapFrame> =
                burst.iter().map(|bytes| HeapFrame::new(bytes, nic_port)).collect();
            let mut verdicts = [Verdict::Drop(Counter::Malformed); BURST];
            {
                let World { engine, tables, now, .. } = &mut *lock(&self.worker.world);
                engine.process_burst(tables, *now, Origin::Wire, &mut heap, &mut verdicts);
            }
            for ((frame, before), verdict) in heap.iter().zip(burst).zip(verdicts) {
                self.carry_out(before, frame.bytes(), verdict, &mut output);
            }
            self.release(burst.last().copied().unwrap_or_default(), &mut output);
        }
        output
    }

    /// Sends on the fragments of datagrams that have become complete, with the one that was received last, or were
    /// given up.
    fn release(&mut self, last: &[u8], output: &mut Output) {
        const TAILROOM: usize = 2_048;
        let mut released = Vec::new();
        {
            let World { engine, tables, now, .. } = &mut *lock(&self.worker.world);
            let fresh = |nic_port| Some(HeapFrame::with_room(&[], nic_port, HeapFrame::HEADROOM, TAILROOM));
            engine.release(tables, *now, fresh, |frame: HeapFrame, verdict| released.push((frame, verdict)));
        }
        for (frame, verdict) in released {
            self.carry_out(last, frame.bytes(), verdict, output);
        }
    }

    /// A frame of the kernel twin: the engine sees it on its way out.
    fn inject(&mut self, emitted: Emitted, output: &mut Output) {
        let mut frames = [HeapFrame::new(&emitted.frame, emitted.nic_port)];
        let mut verdicts = [Verdict::Drop(Counter::Malformed)];
        {
            let World { engine, tables, now, .. } = &mut *lock(&self.worker.world);
            engine.process_burst(tables, *now, Origin::Twin, &mut frames, &mut verdicts);
        }
        match verdicts[0] {
            Verdict::Transmit(nic_port) => {
                output.sent.push(Emitted { nic_port, frame: frames[0].bytes().to_vec(), ..emitted });
            }
            Verdict::Drop(counter) => output.dropped.push(counter.name()),
            other => output.dropped.push(match other {
                Verdict::Punt(_) => "punted, though it came from the kernel",
                _ => "held, though it came from the kernel",
            }),
        }
    }

    /// What the poll loop does with a verdict.
    fn carry_out(&mut self, before: &[u8], frame: &[u8], verdict: Verdict, output: &mut Output) {
        match verdict {
            Verdict::Transmit(nic_port) => {
                let made = crate::rules::header_is_new(before, frame);
                output.sent.push(Emitted { nic_port, frame: frame.to_vec(), made });
            }
            Verdict::Punt(nic_port) => {
                self.sync.hear(frame);
                for emitted in self.kernel.receive(&self.topology, nic_port, frame) {
                    self.inject(emitted, output);
                }
            }
            // All neighbours are permanent, so one that is missing stays so.
            Verdict::AwaitNeighbour(_) => output.dropped.push(Counter::NoNeighbour.name()),
            Verdict::Drop(counter) => output.dropped.push(counter.name()),
            Verdict::Gathered => {}
            Verdict::HandOver(_) => output.dropped.push("handed over, though there is one worker"),
        }
    }
}
