//! What a configuration names and this machine does not have.

use crate::dataplane::eal_config;
use shunt_control::config::{Config, NicPort};
use std::path::Path;

/// What would keep the director from starting here, though the file is correct: it may be for another machine.
pub fn missing(config: &Config) -> Vec<String> {
    let missing = shunt_dpdk::missing_here(&eal_config(config), &config.workers.cores);
    missing
        .into_iter()
        .map(|error| error.to_string())
        .chain(config.nic_port.iter().filter_map(gone))
        .collect()
}

/// The interface that a NIC port uses, if it does not exist: `af_packet` and `af_xdp` make none.
fn gone(nic_port: &NicPort) -> Option<String> {
    let name = nic_port.interface()?;
    let uses = ["net_af_packet", "net_af_xdp"].iter().any(|driver| nic_port.device.starts_with(driver));
    (uses && !Path::new("/sys/class/net").join(name).exists())
        .then(|| format!("NIC port {}: there is no interface {name}: ip link shows them", nic_port.name))
}
