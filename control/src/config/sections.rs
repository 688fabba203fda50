//! The small sections of the configuration.

use super::Mac;
use crate::director::prefix;
use crate::sync::{DaemonOptions, Role};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// The redirection table that spreads flows has 128 entries; more workers than that would get none.
pub const WORKERS_MAX: usize = 128;
/// NIC ports of one director. DPDK itself stops at 32 (RTE_MAX_ETHPORTS).
pub const NIC_PORTS_MAX: usize = 32;

/// `[eal]`: DPDK's environment. Needs a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Eal {
    /// Memory for packets in MiB, taken at start. 0: 64 MiB without hugepages, as much as is needed with them.
    pub memory_mb: u32,
    /// Packets live in hugepages. Real NICs need them, virtual devices do not.
    pub hugepages: bool,
    /// Leave no files behind in hugetlbfs and in /var/run/dpdk.
    pub in_memory: bool,
    /// Tells this process from other DPDK processes if `in_memory` is false.
    pub file_prefix: String,
    /// Further arguments of rte_eal_init, for experts.
    pub extra_args: Vec<String>,
}

impl Default for Eal {
    fn default() -> Self {
        Eal {
            memory_mb: 0,
            hugepages: true,
            in_memory: true,
            file_prefix: "shunt".to_owned(),
            extra_args: Vec::new(),
        }
    }
}

/// What a worker does when there are no packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Keep polling: the lowest latency, and the core is always busy.
    #[default]
    Poll,
    /// Sleep for a moment after empty polls: for laptops and tests.
    Sleep,
}

/// `[workers]`: the threads that carry packets. Needs a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workers {
    /// One worker is pinned to each of these cores.
    pub cores: Vec<usize>,
    /// What they do when there are no packets.
    #[serde(default)]
    pub idle: Idle,
}

/// `[control]`: how operators reach the daemon. Needs a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Path of the control socket.
    pub socket: PathBuf,
    /// Mode of the socket: who may write to it may connect.
    pub mode: u32,
    /// Group whose members may change things. None: root only.
    pub group: Option<String>,
    /// The core of everything that is not a worker.
    pub main_core: usize,
}

impl Default for Control {
    fn default() -> Self {
        Control { socket: "/run/shunt/control.sock".into(), mode: 0o660, group: None, main_core: 0 }
    }
}

/// `[connections]`: sizes of the connection tables, taken at start. Needs a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    /// IPv4 connections of each worker; about 80 bytes each.
    pub max_ipv4: u32,
    /// IPv6 connections of each worker; about 144 bytes each.
    pub max_ipv6: u32,
    /// Persistence templates of all workers together.
    pub max_templates: u32,
}

impl Default for Connections {
    fn default() -> Self {
        Connections { max_ipv4: 1_048_576, max_ipv6: 262_144, max_templates: 262_144 }
    }
}

/// `[limits]`: bounds on what operators may add. Needs a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Virtual services.
    pub services: usize,
    /// Real servers, deleted ones with living connections included; 64 bytes each per worker.
    pub servers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { services: 32_768, servers: 262_144 }
    }
}

/// `[state]`: what outlives a restart. Needs a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// Services and connections are kept in this file. None: a restarted shuntd is empty.
    pub file: Option<PathBuf>,
    /// Seconds between two writings; 0: only at the stop.
    pub period: u32,
}

impl Default for State {
    fn default() -> Self {
        State { file: None, period: 10 }
    }
}

/// `[[next_hop]]`: a static way to the addresses of a prefix. Re-read on SIGHUP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextHop {
    /// The prefix; 0.0.0.0/0 and ::/0 are the rest of the world.
    #[serde(deserialize_with = "prefix::deserialize")]
    pub prefix: IpNet,
    /// Name of the NIC port to leave by.
    pub nic_port: String,
    /// Link-layer address of the neighbour.
    pub mac: Mac,
}

/// `[[local_address]]`: an address of the director itself. Re-read on SIGHUP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalAddress {
    /// The address.
    pub address: IpAddr,
    /// Name of the NIC port whose packets use it as source (ICMP errors, tunnel headers).
    pub nic_port: String,
}

/// `[[sync_daemon]]`: a synchronisation daemon that starts with shuntd, as `ipvsadm --start-daemon` would start it. Needs
/// a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncDaemon {
    /// What it does.
    pub role: Role,
    /// Name of the kernel's interface: a twin, or any other.
    pub interface: String,
    /// Only daemons with the same number listen to each other; 0 of a backup = to all.
    #[serde(default)]
    pub syncid: u8,
    /// Bytes of a message; left out = what fits into the interface's packets.
    pub maxlen: Option<u16>,
    /// Multicast group; left out = 224.0.0.81.
    pub group: Option<IpAddr>,
    /// First UDP port; left out = 8848.
    pub l4_port: Option<u16>,
    /// TTL or hop limit of messages; left out = 1.
    pub ttl: Option<u8>,
}

impl SyncDaemon {
    /// As the director was asked for it.
    #[must_use]
    pub fn of(role: Role, options: DaemonOptions) -> SyncDaemon {
        let DaemonOptions { interface, syncid, maxlen, group, l4_port, ttl } = options;
        SyncDaemon { role, interface, syncid, maxlen, group, l4_port, ttl }
    }

    /// As the director wants it.
    #[must_use]
    pub fn options(&self) -> DaemonOptions {
        let SyncDaemon { role: _, interface, syncid, maxlen, group, l4_port, ttl } = self;
        DaemonOptions {
            interface: interface.clone(),
            syncid: *syncid,
            maxlen: *maxlen,
            group: *group,
            l4_port: *l4_port,
            ttl: *ttl,
        }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// `[log]`: what is written to stderr. Re-read on SIGHUP.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// This severity and worse.
    pub level: LogLevel,
}
