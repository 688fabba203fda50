//! All threads of the data plane, as `main.rs` sees them.

use crate::config::WorkersConfig;
use crate::idle::Rest;
use crate::install::Installer;
use crate::mailbox::Mailbox;
use crate::mesh::{SlowEnds, WorkerEnds, mesh};
use crate::phase::{Phase, SharedPhase};
use crate::profile::Profile;
use crate::report::NicPortReport;
use crate::setup::{self, OpenPort, Queues, Setup};
use crate::slow_path::{SlowPath, WantNeighbour};
use crate::worker::{Exits, TxExit, Worker};
use shunt_dpdk::{Burst, DpdkError, Eal, LcoreThread, Mempool, NicPortStats, RssKey, spawn_pinned};
use shunt_engine::board::Boards;
use shunt_engine::counters::{Counter, WorkerCounters};
use shunt_engine::owner::Owner;
use shunt_engine::persist::Templates;
use shunt_engine::tables::{NicPortInfo, SyncRules, Tables};
use shunt_engine::{
    ConnectionInfo, Engine, EngineConfig, Expectations, Inbox, InstallFrom, Outbox, Tally, Tick,
    announcements,
};
use shunt_publish::{Lagging, Publisher, Reader};
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The workers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No cores or NIC ports, or too many.
    #[error("{0}")]
    Config(&'static str),
    /// A NIC port cannot be opened or started.
    #[error("NIC port {name}: {error}")]
    NicPort {
        /// Its name.
        name: String,
        /// Why.
        error: DpdkError,
    },
    /// Memory or threads.
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
    /// A kernel twin cannot be made.
    #[error("cannot make the twin {name}: {error}; it needs /dev/net/tun, CAP_NET_ADMIN and a free name")]
    Twin {
        /// Name of the TAP interface.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The running data plane. Dropping it stops the threads, frees everything and closes the NIC ports.
pub struct Workers {
    publisher: Publisher<Tables>,
    boards: Boards,
    counters: Vec<WorkerCounters>,
    slow_counters: WorkerCounters,
    mailboxes: Vec<Mailbox>,
    owner: Owner,
    templates: Templates,
    expectations: Expectations,
    /// By worker: what it tells a synchronisation master.
    inboxes: Mutex<Vec<Inbox>>,
    epoch: Instant,
    phase: Arc<SharedPhase>,
    threads: Vec<LcoreThread<()>>,
    /// After the threads: their queues must be gone first, then the last handle closes the port.
    ports: Vec<OpenPort>,
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(StartError::Random)?;
    Ok(bytes)
}

impl Workers {
    /// Opens the NIC ports, makes the twins in the network namespace of the calling thread, and starts all threads. NIC
    /// ports are not read before [`Workers::open`]; the kernel can send through its twins at once.
    ///
    /// `want_neighbour` is called, by the slow path's thread, with each address whose neighbour is to be resolved.
    ///
    /// # Errors
    /// If anything of that fails; what was opened is closed again.
    pub fn start(
        eal: &Eal,
        config: &WorkersConfig,
        want_neighbour: impl Fn(IpAddr) + Send + 'static,
    ) -> Result<Workers, StartError> {
        let workers = config.cores.len();
        if workers == 0 || workers > usize::from(u8::MAX) {
            return Err(StartError::Config("[workers] cores must name 1 to 255 cores"));
        }
        if config.nic_ports.is_empty() || config.nic_ports.len() > usize::from(u8::MAX) {
            return Err(StartError::Config("there must be 1 to 255 [[nic_port]] sections"));
        }
        // Before NIC ports are opened, which takes time.
        config.cores.iter().try_for_each(|core| eal.check_core(*core))?;
        let owner_key: RssKey = random()?;
        let setup = setup::open(eal, config, &owner_key)?;
        Start::new(config, &setup, owner_key)?.threads(eal, config, setup, Box::new(want_neighbour))
    }

    /// One line for each NIC port, and one for what is not as it should be.
    #[must_use]
    pub fn report(&self) -> String {
        self.nic_ports().map(|port| format!("{port}\n")).collect()
    }

    /// What is in force on each NIC port, in the order of the configuration.
    pub fn nic_ports(&self) -> impl Iterator<Item = &NicPortReport> {
        self.ports.iter().map(|port| &port.report)
    }

    /// The NIC's own counters, by index of the NIC port; `None` if there is no such port.
    #[must_use]
    pub fn nic_port_stats(&self, index: usize) -> Option<NicPortStats> {
        Some(self.ports.get(index)?.running.stats())
    }

    /// Is the link of this NIC port up?
    #[must_use]
    pub fn link_up(&self, index: usize) -> bool {
        self.ports.get(index).is_some_and(|port| port.running.link_up())
    }

    /// Publishes a snapshot and returns once every worker and the slow path use it.
    ///
    /// # Errors
    /// [`Lagging`] if that takes longer than `patience`; its reader is the number of the worker, or the number of workers
    /// for the slow path. The snapshot is published all the same.
    pub fn publish(&self, tables: Tables, patience: Duration) -> Result<(), Lagging> {
        let generation = self.publisher.publish(tables);
        self.publisher.wait_observed(generation, patience)
    }

    /// Lets packets in: from now on workers read their NIC ports.
    pub fn open(&self) {
        self.phase.advance(Phase::Open);
    }

    /// Counts and statistics per real server.
    #[must_use]
    pub fn boards(&self) -> &Boards {
        &self.boards
    }

    /// Counters of each worker.
    #[must_use]
    pub fn worker_counters(&self) -> &[WorkerCounters] {
        &self.counters
    }

    /// Counters of the slow path, which keeps a balance of its own.
    #[must_use]
    pub fn slow_path_counters(&self) -> &WorkerCounters {
        &self.slow_counters
    }

    /// Calls `each` for every connection of every worker, in no particular order, until it breaks off. Workers tell them in
    /// small pieces between their bursts.
    pub fn connections(&self, each: &mut dyn FnMut(&ConnectionInfo) -> ControlFlow<()>) {
        let is_over = || self.phase.get() == Phase::Ending;
        let _ = self.mailboxes.iter().try_for_each(|mailbox| mailbox.connections(is_over, each));
    }

    /// Makes the workers take over connections and templates that a peer or a state file tells of, each at the worker
    /// that owns its packets. Returns once all have answered; the order of what concerns one connection is kept.
    /// Templates must come before the connections that they control.
    pub fn install(&self, connections: &mut dyn Iterator<Item = ConnectionInfo>, from: InstallFrom) -> Tally {
        let is_over = || self.phase.get() == Phase::Ending;
        Installer::new(&self.mailboxes, &self.owner, from, is_over).run(connections)
    }

    /// Takes what the workers have to tell a synchronisation master since the last call, as `rules` want it. Workers tell
    /// nothing unless the snapshot in force says that a master runs.
    pub fn announcements(&self, rules: &SyncRules, each: &mut dyn FnMut(ConnectionInfo)) {
        let now = Tick(self.epoch.elapsed().as_millis() as u64);
        for inbox in &mut *self.inboxes.lock().unwrap_or_else(PoisonError::into_inner) {
            inbox.take((&self.templates, &self.expectations), rules, now, &mut *each);
        }
    }

    /// Stops all threads, frees all frames and closes the NIC ports. The same as dropping.
    pub fn stop(self) {}
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.phase.advance(Phase::Ending);
        for thread in self.threads.drain(..) {
            thread.join();
        }
    }
}

/// What all threads share, before they run.
struct Start {
    publisher: Publisher<Tables>,
    readers: Vec<Reader<Tables>>,
    boards: Boards,
    templates: Templates,
    expectations: Expectations,
    counters: Vec<WorkerCounters>,
    mailboxes: Vec<Mailbox>,
    phase: Arc<SharedPhase>,
    epoch: Instant,
    owner_key: RssKey,
    /// Secret of the flow hash, the same for all workers.
    seed: [u64; 4],
    tx_workers: Vec<Vec<usize>>,
    has_twin: Vec<bool>,
    hardware_steering: bool,
}

impl Start {
    fn new(config: &WorkersConfig, setup: &Setup, owner_key: RssKey) -> Result<Start, StartError> {
        let workers = config.cores.len();
        let info = |port: &OpenPort| NicPortInfo {
            mac: port.report.mac,
            other_macs: Vec::new(),
            mtu: port.report.mtu,
            address_v4: None,
            address_v6: None,
        };
        let tables = Tables::new(setup.ports.iter().map(info).collect());
        // The slow path reads too.
        let (publisher, readers) = Publisher::new(tables, workers + 1);
        let seed: [u8; 32] = random()?;
        let word =
            |index: usize| seed[index * 8..][..8].iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        Ok(Start {
            publisher,
            readers,
            boards: Boards::new(workers, config.servers_max as usize),
            templates: Templates::new(config.max_templates),
            expectations: Expectations::new(),
            counters: vec_of(workers, WorkerCounters::default),
            mailboxes: vec_of(workers, Mailbox::new),
            phase: Arc::default(),
            epoch: Instant::now(),
            owner_key,
            seed: [word(0), word(1), word(2), word(3)],
            tx_workers: setup.tx_workers.clone(),
            has_twin: setup.twins.iter().map(Option::is_some).collect(),
            hardware_steering: setup.hardware_steering,
        })
    }

    fn threads(
        mut self,
        eal: &Eal,
        config: &WorkersConfig,
        setup: Setup,
        want_neighbour: WantNeighbour,
    ) -> Result<Workers, StartError> {
        let (ends, slow_ends) = mesh(config.cores.len());
        let slow_counters = WorkerCounters::default();
        let (outboxes, inboxes): (Vec<Outbox>, Vec<Inbox>) =
            (0..config.cores.len()).map(|_| announcements()).unzip();
        let slow_path = self.slow_path(slow_ends, &setup, &slow_counters, want_neighbour);
        let workers: Vec<Worker> = setup
            .queues
            .into_iter()
            .zip(ends)
            .zip(outboxes)
            .enumerate()
            .map(|(index, ((queues, ends), outbox))| {
                let worker = self.worker(index, config, queues, ends, setup.pool.clone());
                Worker { engine: worker.engine.with_outbox(outbox), ..worker }
            })
            .collect();
        // From here on, dropping `running` stops what was started.
        let mut running = Workers {
            publisher: self.publisher,
            boards: self.boards,
            counters: self.counters,
            slow_counters,
            mailboxes: self.mailboxes,
            owner: Owner::new(&self.owner_key, config.cores.len() as u8),
            templates: self.templates,
            expectations: self.expectations,
            inboxes: Mutex::new(inboxes),
            epoch: self.epoch,
            phase: self.phase,
            threads: Vec::new(),
            ports: setup.ports,
        };
        let slow_path = SlowPath { twins: setup.twins, ..slow_path };
        running.threads.push(spawn_pinned(eal, "slow-path", None, move || slow_path.run())?);
        for ((index, worker), &core) in workers.into_iter().enumerate().zip(&config.cores) {
            let name = format!("worker-{index}");
            running.threads.push(spawn_pinned(eal, &name, Some(core), move || worker.run())?);
        }
        Ok(running)
    }

    fn slow_path(
        &mut self,
        ends: SlowEnds,
        setup: &Setup,
        counters: &WorkerCounters,
        want_neighbour: WantNeighbour,
    ) -> SlowPath {
        SlowPath {
            ends,
            twins: Vec::new(),
            tx_worker: self.tx_workers.iter().map(|workers| workers[0]).collect(),
            pool: setup.pool.clone(),
            reader: self.readers.pop().expect("one reader more than workers"),
            counters: counters.clone(),
            want_neighbour,
            phase: self.phase.clone(),
        }
    }

    fn worker(
        &mut self,
        index: usize,
        config: &WorkersConfig,
        queues: Queues,
        ends: WorkerEnds,
        pool: Mempool,
    ) -> Worker {
        let counters = &self.counters[index];
        counters.set(Counter::ConnectionsIpv4Max, u64::from(config.max_ipv4));
        counters.set(Counter::ConnectionsIpv6Max, u64::from(config.max_ipv6));
        let engine = Engine::new(EngineConfig {
            worker: index as u8,
            workers: config.cores.len() as u8,
            hardware_steering: self.hardware_steering,
            max_ipv4: config.max_ipv4,
            max_ipv6: config.max_ipv6,
            services_max: config.services_max,
            boards: self.boards.clone(),
            templates: self.templates.clone(),
            expectations: self.expectations.clone(),
            counters: self.counters[index].clone(),
            seed: self.seed,
            owner_key: self.owner_key,
            now: Tick(0),
        });
        let exit = |(nic_port, queue): (usize, Option<_>)| match queue {
            Some(queue) => TxExit::Queue(queue, Burst::new()),
            None => {
                let workers = &self.tx_workers[nic_port];
                TxExit::Worker(workers[index % workers.len()])
            }
        };
        Worker {
            engine,
            rx: queues.rx,
            from: ends.from,
            exits: Exits {
                tx: queues.tx.into_iter().enumerate().map(exit).collect(),
                to: ends.to,
                slow: ends.slow,
                has_twin: self.has_twin.clone(),
                counters: self.counters[index].clone(),
            },
            pool,
            reader: self.readers.remove(0),
            mailbox: self.mailboxes[index].clone(),
            rest: Rest::new(config.idle),
            profile: Profile::default(),
            phase: self.phase.clone(),
            epoch: self.epoch,
        }
    }
}

fn vec_of<T>(len: usize, make: impl Fn() -> T) -> Vec<T> {
    (0..len).map(|_| make()).collect()
}
