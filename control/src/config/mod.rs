//! The configuration file of `shuntd`: TOML, read once at start and again on SIGHUP.
//!
//! [`Config::load`] reads and checks a file without touching a NIC, a hugepage or the network. Every error is one line
//! that names the file, the line and what to write instead. `configs/reference.toml` documents each key for operators;
//! a test keeps it complete.

mod check;
mod error;
mod ipvs;
mod mac;
mod nic_port;
mod reload;
mod sections;

pub use error::ConfigError;
pub use ipvs::Ipvs;
pub use mac::Mac;
pub use nic_port::{Device, NicPort, Twin};
pub use reload::ReloadDiff;
pub use sections::{
    Connections, Control, Eal, Idle, Limits, LocalAddress, Log, LogLevel, NIC_PORTS_MAX, NextHop, State,
    SyncDaemon, WORKERS_MAX, Workers,
};

use crate::director::Mark;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The whole configuration. Every section but `[workers]` and `[[nic_port]]` has defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// DPDK's environment.
    #[serde(default)]
    pub eal: Eal,
    /// The threads that carry packets.
    pub workers: Workers,
    /// The control socket and core.
    #[serde(default)]
    pub control: Control,
    /// NIC ports; their order gives their ids.
    pub nic_port: Vec<NicPort>,
    /// Sizes of the connection tables.
    #[serde(default)]
    pub connections: Connections,
    /// Bounds on services and servers.
    #[serde(default)]
    pub limits: Limits,
    /// What outlives a restart.
    #[serde(default)]
    pub state: State,
    /// Static next hops, for rigs without a kernel.
    #[serde(default)]
    pub next_hop: Vec<NextHop>,
    /// Static addresses of the director, for rigs without a kernel.
    #[serde(default)]
    pub local_address: Vec<LocalAddress>,
    /// Rules of firewall marks, in order.
    #[serde(default)]
    pub mark: Vec<Mark>,
    /// Settings that the kernel keeps as sysctls.
    #[serde(default)]
    pub ipvs: Ipvs,
    /// Synchronisation daemons that start with shuntd.
    #[serde(default)]
    pub sync_daemon: Vec<SyncDaemon>,
    /// What is logged.
    #[serde(default)]
    pub log: Log,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be read, is no TOML, holds an unknown key or a value that makes no sense.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(&file, &error))?;
        Config::parse(&file, &text)
    }

    /// The same for a text that was read already; `file` is what errors call it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(file: &str, text: &str) -> Result<Config, ConfigError> {
        let config: Config =
            toml::from_str(text).map_err(|error| ConfigError::from_toml(file, text, &error))?;
        config.check().map_err(|problem| ConfigError::from_problem(file, text, &problem))?;
        Ok(config)
    }

    /// One line for `shuntd --check`.
    #[must_use]
    pub fn summary(&self) -> String {
        let nic_ports: Vec<_> = self.nic_port.iter().map(|nic_port| nic_port.name.as_str()).collect();
        format!(
            "NIC ports {}; {} worker(s) on core(s) {:?}; {} IPv4 and {} IPv6 connections each",
            nic_ports.join(", "),
            self.workers.cores.len(),
            self.workers.cores,
            self.connections.max_ipv4,
            self.connections.max_ipv6,
        )
    }

    /// The place of the NIC port of this name.
    #[must_use]
    pub fn nic_port_index(&self, name: &str) -> Option<usize> {
        self.nic_port.iter().position(|nic_port| nic_port.name == name)
    }
}

#[cfg(test)]
mod tests;
