//! The workers, as control wants to see them, and what the configuration means for DPDK.

use shunt_control::config::{Config, Device, Idle, LogLevel};
use shunt_control::dataplane::{Dataplane, Lagging};
use shunt_control::mirror::MirrorPort;
use shunt_dpdk::{EalConfig, NicPortConfig};
use shunt_engine::board::Boards;
use shunt_engine::counters::WorkerCounters;
use shunt_engine::tables::{SyncRules, Tables};
use shunt_engine::{ConnectionInfo, InstallFrom, Tally};
use shunt_worker::{NicPortSpec, Workers, WorkersConfig};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::time::Duration;

/// How long a command waits for its change to be in force. A worker needs microseconds; a second means that it is stuck
/// or that its core is taken away.
const PATIENCE: Duration = Duration::from_secs(1);

/// What DPDK's environment is started with.
pub fn eal_config(config: &Config) -> EalConfig {
    let pci = config.nic_port.iter().filter_map(|nic_port| match nic_port.device() {
        Device::Pci(device) => Some(device),
        Device::Virtual(_) => None,
    });
    EalConfig {
        main_core: config.control.main_core,
        memory_mb: config.eal.memory_mb,
        hugepages: config.eal.hugepages,
        in_memory: config.eal.in_memory,
        file_prefix: config.eal.file_prefix.clone(),
        pci_devices: pci.collect(),
        log_level: match config.log.level {
            // DPDK's notices and information are for those who look for a fault.
            LogLevel::Error => shunt_dpdk::LogLevel::Error,
            LogLevel::Warn | LogLevel::Info => shunt_dpdk::LogLevel::Warning,
            LogLevel::Debug => shunt_dpdk::LogLevel::Info,
            LogLevel::Trace => shunt_dpdk::LogLevel::Debug,
        },
        extra_args: config.eal.extra_args.clone(),
        ..EalConfig::default()
    }
}

/// What the workers are started with.
pub fn workers_config(config: &Config) -> WorkersConfig {
    let workers = config.workers.cores.len() as u16;
    let nic_port = |nic_port: &shunt_control::config::NicPort| NicPortSpec {
        name: nic_port.name.clone(),
        device: nic_port.device.clone(),
        config: NicPortConfig {
            rx_queues: nic_port.rx_queues.unwrap_or(workers),
            tx_queues: workers,
            rx_descriptors: nic_port.rx_descriptors,
            tx_descriptors: nic_port.tx_descriptors,
            mtu: nic_port.mtu,
            mac: nic_port.mac.map(|mac| mac.0),
            ..NicPortConfig::default()
        },
        twin: nic_port.twin_name(),
    };
    WorkersConfig {
        cores: config.workers.cores.clone(),
        idle: match config.workers.idle {
            Idle::Poll => shunt_worker::Idle::Poll,
            Idle::Sleep => shunt_worker::Idle::Sleep,
        },
        nic_ports: config.nic_port.iter().map(nic_port).collect(),
        max_ipv4: config.connections.max_ipv4,
        max_ipv6: config.connections.max_ipv6,
        max_templates: config.connections.max_templates,
        services_max: config.limits.services as u32,
        servers_max: config.limits.servers as u32,
    }
}

/// The NIC ports as they came up, for the mirror.
pub fn mirror_ports(workers: &Workers) -> Vec<MirrorPort> {
    let port = |report: &shunt_worker::NicPortReport| MirrorPort {
        mac: report.mac,
        mtu: report.mtu,
        twin: report.twin.clone(),
    };
    workers.nic_ports().map(port).collect()
}

/// [`Dataplane`] over real workers.
pub struct WorkersDataplane(pub Workers);

impl Dataplane for WorkersDataplane {
    fn publish(&self, tables: Tables) -> Result<(), Lagging> {
        self.0
            .publish(tables, PATIENCE)
            .map_err(|lagging| Lagging { worker: lagging.reader, waited: PATIENCE })
    }

    fn open(&self) {
        self.0.open();
    }

    fn boards(&self) -> &Boards {
        self.0.boards()
    }

    fn worker_counters(&self) -> Vec<WorkerCounters> {
        self.0.worker_counters().to_vec()
    }

    fn connections(&self, each: &mut dyn FnMut(&ConnectionInfo) -> ControlFlow<()>) {
        self.0.connections(each);
    }

    fn install(&self, connections: &mut dyn Iterator<Item = ConnectionInfo>, from: InstallFrom) -> Tally {
        self.0.install(connections, from)
    }

    fn announcements(&self, rules: &SyncRules, each: &mut dyn FnMut(ConnectionInfo)) {
        self.0.announcements(rules, each);
    }

    fn slow_path_counters(&self) -> Option<WorkerCounters> {
        Some(self.0.slow_path_counters().clone())
    }

    fn link_up(&self, nic_port: usize) -> bool {
        // To the driver of TAPs one that was moved into another network namespace is down.
        let is_tap = |report: &shunt_worker::NicPortReport| report.device.starts_with("net_tap");
        self.0.nic_ports().nth(nic_port).is_some_and(is_tap) || self.0.link_up(nic_port)
    }

    fn nic_ports(&self) -> String {
        let mut text = String::new();
        for (index, report) in self.0.nic_ports().enumerate() {
            let link = if self.0.link_up(index) { "up" } else { "down" };
            let _ = writeln!(text, "{report}; link {link}");
            let Some(stats) = self.0.nic_port_stats(index) else { continue };
            let counters = [
                ("rx packets", stats.rx_packets),
                ("rx bytes", stats.rx_bytes),
                ("rx missed", stats.rx_missed),
                ("rx errors", stats.rx_errors),
                ("rx no buffer", stats.rx_no_buffer),
                ("tx packets", stats.tx_packets),
                ("tx bytes", stats.tx_bytes),
                ("tx errors", stats.tx_errors),
            ];
            for (name, value) in counters {
                let _ = writeln!(text, "  {name:<14}{value:>16}");
            }
        }
        text
    }
}
