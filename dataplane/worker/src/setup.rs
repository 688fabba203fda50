//! Opening the NIC ports, and dealing their queues to the workers.

use crate::config::WorkersConfig;
use crate::mesh::frames_in_flight;
use crate::report::NicPortReport;
use crate::twin::Twin;
use crate::waiting::HELD_MAX;
use crate::workers::StartError;
use shunt_dpdk::{
    Eal, Mempool, NicPort, NicPortConfig, RssKey, RssSide, RunningNicPort, RxQueue, Started, TxQueue,
};
use shunt_engine::owner::RETA_LEN;
use shunt_wire::NicPortId;

/// Buffers that a pool's caches may hold back for each thread.
const CACHED: usize = 512;

/// A NIC port in use.
#[derive(Debug)]
pub(crate) struct OpenPort {
    pub(crate) running: RunningNicPort,
    pub(crate) report: NicPortReport,
}

/// The queues of one worker, by NIC port.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    pub(crate) rx: Vec<RxQueue>,
    pub(crate) tx: Vec<Option<TxQueue>>,
}

/// Everything that was opened.
pub(crate) struct Setup {
    pub(crate) ports: Vec<OpenPort>,
    pub(crate) queues: Vec<Queues>,
    /// By NIC port: the workers that have a tx queue of it.
    pub(crate) tx_workers: Vec<Vec<usize>>,
    pub(crate) twins: Vec<Option<Twin>>,
    /// For frames of the kernel.
    pub(crate) pool: Mempool,
    /// Do the NICs steer every packet to the worker that owns its flow?
    pub(crate) hardware_steering: bool,
}

/// The worker that gets queue `queue` of NIC port `nic_port`. Where there is a queue for each worker, the numbers are
/// the same, as NICs deal them; else ports with few queues begin at different workers.
fn worker_for(nic_port: usize, queue: usize, queues: usize, workers: usize) -> usize {
    if queues < workers { (nic_port + queue) % workers } else { queue % workers }
}

pub(crate) fn open(eal: &Eal, config: &WorkersConfig, key: &RssKey) -> Result<Setup, StartError> {
    let workers = config.cores.len();
    let mut closed = Vec::new();
    for (index, spec) in config.nic_ports.iter().enumerate() {
        let fail = |error| StartError::NicPort { name: spec.name.clone(), error };
        closed.push(NicPort::open(eal, &spec.device, NicPortId(index as u8)).map_err(fail)?);
    }
    let pools = pools(eal, config, &closed)?;
    let mut setup = Setup {
        ports: Vec::new(),
        queues: (0..workers).map(|_| Queues::default()).collect(),
        tx_workers: Vec::new(),
        twins: Vec::new(),
        pool: pools[0].1.clone(),
        hardware_steering: true,
    };
    for (index, (nic_port, spec)) in closed.into_iter().zip(&config.nic_ports).enumerate() {
        let socket = nic_port.capabilities().socket;
        let pool = pools.iter().find(|(of, _)| *of == socket).map_or(&setup.pool, |(_, pool)| pool);
        let asked = NicPortConfig {
            tx_queues: workers as u16,
            // A queue that no worker has to itself is of no use.
            rx_queues: spec.config.rx_queues.clamp(1, workers as u16),
            rss_key: Some(*key),
            ..spec.config.clone()
        };
        let fail = |error| StartError::NicPort { name: spec.name.clone(), error };
        let started = nic_port.start(&asked, pool).map_err(fail)?;
        let twin = match &spec.twin {
            None => None,
            Some(name) => {
                let (mac, mtu) = (started.nic_port.mac(), started.nic_port.mtu());
                let fail = |error| StartError::Twin { name: name.clone(), error };
                Some(Twin::create(name, NicPortId(index as u8), mac, mtu).map_err(fail)?)
            }
        };
        setup.twins.push(twin);
        setup.deal(index, spec.name.clone(), spec.twin.clone(), started);
    }
    Ok(setup)
}

impl Setup {
    fn deal(&mut self, index: usize, name: String, twin: Option<String>, started: Started) {
        let Started { nic_port: running, rx, tx } = started;
        let workers = self.queues.len();
        let (rx_len, tx_len) = (rx.len(), tx.len());
        for (queue, rx) in rx.into_iter().enumerate() {
            self.queues[worker_for(index, queue, rx_len, workers)].rx.push(rx);
        }
        let mut tx_workers = Vec::new();
        for worker in &mut self.queues {
            worker.tx.push(None);
        }
        for (queue, tx) in tx.into_iter().enumerate() {
            let worker = worker_for(index, queue, tx_len, workers);
            self.queues[worker].tx[index] = Some(tx);
            tx_workers.push(worker);
        }
        self.tx_workers.push(tx_workers);
        let steers = workers == 1 || steers(&running, rx_len, workers);
        self.hardware_steering &= steers;
        let report = NicPortReport::new(&running, name, twin, (rx_len, tx_len), workers, steers);
        self.ports.push(OpenPort { running, report });
    }
}

/// Does the port deliver every packet to the worker that owns its flow? It must compute the owner hash of the engine:
/// one side, our key, and a table that deals alike.
fn steers(running: &RunningNicPort, rx_queues: usize, workers: usize) -> bool {
    running.rss().is_some_and(|rss| {
        let table = usize::from(rss.reta_len);
        // Both deal in turn. (hash % 128) % workers = (hash % table) % workers for all hashes:
        let same_deal = table == RETA_LEN
            || table > 0 && table.is_multiple_of(workers) && RETA_LEN.is_multiple_of(workers);
        rss.side != RssSide::Both && rss.our_key && same_deal && rx_queues == workers
    })
}

/// One pool for each NUMA node that has a NIC port; each must be able to hold every frame that is on its way.
fn pools(
    eal: &Eal,
    config: &WorkersConfig,
    ports: &[NicPort],
) -> Result<Vec<(Option<u32>, Mempool)>, StartError> {
    let workers = config.cores.len();
    let descriptors = |asked: &NicPortConfig| {
        let rx = usize::from(asked.rx_queues).min(workers) * usize::from(asked.rx_descriptors);
        rx + workers * usize::from(asked.tx_descriptors)
    };
    let in_nics: usize = config.nic_ports.iter().map(|spec| descriptors(&spec.config)).sum();
    let count = in_nics + frames_in_flight(workers) + HELD_MAX + (workers + 2) * CACHED;
    let mtu = config.nic_ports.iter().map(|spec| spec.config.mtu).max().unwrap_or(1500);
    let mut sockets: Vec<Option<u32>> = ports.iter().map(|port| port.capabilities().socket).collect();
    sockets.sort_unstable();
    sockets.dedup();
    // Virtual devices have no node: with one kind of real node beside them, that node's pool serves both.
    if sockets.len() == 2 && sockets[0].is_none() {
        sockets.remove(0);
    }
    let mut pools = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let pool = Mempool::create(eal, &format!("frames-{index}"), count as u32, mtu, socket)?;
        pools.push((socket, pool));
    }
    Ok(pools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_its_own_queue_where_there_are_enough() {
        assert_eq!((0..4).map(|queue| worker_for(1, queue, 4, 4)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        // Two ports with one queue each do not meet on the same worker.
        assert_ne!(worker_for(0, 0, 1, 4), worker_for(1, 0, 1, 4));
    }
}
