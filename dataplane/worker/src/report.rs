//! What is in force on a NIC port, told in one line.

use shunt_dpdk::{Capabilities, RssReport, RunningNicPort};
use shunt_wire::{MacAddr, NicPortId};
use std::fmt;

/// What is in force on a NIC port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicPortReport {
    /// Its id.
    pub id: NicPortId,
    /// What operators call it.
    pub name: String,
    /// DPDK's name of the device.
    pub device: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Its link-layer address, and that of its twin.
    pub mac: MacAddr,
    /// MTU in bytes of IP packet, also of its twin.
    pub mtu: u16,
    /// Name of the kernel twin.
    pub twin: Option<String>,
    /// Receive queues in use.
    pub rx_queues: usize,
    /// Transmit queues in use.
    pub tx_queues: usize,
    /// Descriptors of each receive and transmit queue.
    pub descriptors: (u16, u16),
    /// RSS in force.
    pub rss: Option<RssReport>,
    /// Number of workers.
    pub workers: usize,
    /// Does the port deliver every packet to the worker that owns its flow? If not, workers hand packets over.
    pub steers: bool,
}

impl NicPortReport {
    pub(crate) fn new(
        running: &RunningNicPort,
        name: String,
        twin: Option<String>,
        queues: (usize, usize),
        workers: usize,
        steers: bool,
    ) -> NicPortReport {
        NicPortReport {
            id: running.id(),
            name,
            device: running.device().to_owned(),
            capabilities: running.capabilities().clone(),
            mac: running.mac(),
            mtu: running.mtu(),
            twin,
            rx_queues: queues.0,
            tx_queues: queues.1,
            descriptors: running.descriptors(),
            rss: running.rss(),
            workers,
            steers,
        }
    }
}

impl fmt::Display for NicPortReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rx_descriptors, tx_descriptors) = self.descriptors;
        write!(f, "NIC port {} ({}, {}): ", self.name, self.device, self.capabilities.driver)?;
        write!(f, "{} rx queues of {rx_descriptors}, ", self.rx_queues)?;
        write!(f, "{} tx queues of {tx_descriptors} for {} workers; ", self.tx_queues, self.workers)?;
        match &self.rss {
            Some(rss) => write!(f, "RSS over {rss}; ")?,
            None => write!(f, "no RSS; ")?,
        }
        let steering = match (self.workers, self.steers) {
            (1, _) => "one worker owns all flows",
            (_, true) => "the NIC steers packets to the owners of their flows",
            (_, false) => "workers hand packets over to the owners of their flows",
        };
        write!(f, "{steering}; ")?;
        if self.tx_queues < self.workers {
            write!(f, "{} of them send through others; ", self.workers - self.tx_queues)?;
        }
        write!(f, "checksums in software; MTU {}; MAC {}; ", self.mtu, mac(self.mac))?;
        match self.capabilities.socket {
            Some(socket) => write!(f, "NUMA node {socket}; ")?,
            None => write!(f, "no NUMA node; ")?,
        }
        match &self.twin {
            Some(twin) => write!(f, "twin {twin}"),
            None => write!(f, "no twin"),
        }
    }
}

fn mac(mac: MacAddr) -> String {
    mac.0.map(|byte| format!("{byte:02x}")).join(":")
}
