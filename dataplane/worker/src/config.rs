//! What the workers are started with.

use shunt_dpdk::NicPortConfig;

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Idle {
    /// Polls on: lowest latency, and the core is always at 100 %.
    #[default]
    Poll,
    /// Gives the core back, at first for a moment, then for up to 100 µs: for laptops and tests.
    Sleep,
}

/// One NIC port, as the configuration describes it.
#[derive(Clone, Debug)]
pub struct NicPortSpec {
    /// What operators call it.
    pub name: String,
    /// PCI address or virtual device, see [`shunt_dpdk::NicPort::open`].
    pub device: String,
    /// What is asked of it. The number of tx queues is always that of the workers.
    pub config: NicPortConfig,
    /// Name of its kernel twin; `None` = it has none, and what is not load-balanced is dropped.
    pub twin: Option<String>,
}

/// What the workers are started with.
#[derive(Clone, Debug)]
pub struct WorkersConfig {
    /// The cores: one worker is pinned to each. 1 to 255 of them.
    pub cores: Vec<usize>,
    /// What they do when there is nothing to do.
    pub idle: Idle,
    /// The NIC ports; their order gives their ids. At least one, at most 255.
    pub nic_ports: Vec<NicPortSpec>,
    /// IPv4 connections of each worker, at most.
    pub max_ipv4: u32,
    /// IPv6 connections of each worker, at most.
    pub max_ipv6: u32,
    /// Persistence templates of all workers, at most.
    pub max_templates: u32,
    /// Virtual services, at most.
    pub services_max: u32,
    /// Real servers, at most.
    pub servers_max: u32,
}
