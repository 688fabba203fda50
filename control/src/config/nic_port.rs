//! `[[nic_port]]`: one NIC port and its kernel twin.

use super::Mac;
use serde::{Deserialize, Serialize};

/// `[[nic_port]]`. Needs a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicPort {
    /// What operators call it.
    pub name: String,
    /// A PCI address such as `0000:01:00.0`, or a virtual device such as `net_tap0,iface=lan0`.
    pub device: String,
    /// Receive queues; as many as workers by default.
    #[serde(default)]
    pub rx_queues: Option<u16>,
    /// Packets that a receive queue holds.
    #[serde(default = "descriptors")]
    pub rx_descriptors: u16,
    /// Packets that a transmit queue holds.
    #[serde(default = "descriptors")]
    pub tx_descriptors: u16,
    /// MTU in bytes of IP packet.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// Link-layer address to take on; the device's own by default.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// The kernel's side.
    #[serde(default)]
    pub twin: Twin,
}

/// A bigger ring absorbs longer pauses but leaves the cache; 1024 is what DPDK's examples settled on.
fn descriptors() -> u16 {
    1024
}

/// Ethernet.
fn mtu() -> u16 {
    1500
}

/// The TAP interface that is a NIC port's kernel side.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "TwinValue", into = "TwinValue")]
pub enum Twin {
    /// Named `twin-<name of the NIC port>`.
    #[default]
    Default,
    /// Named so.
    Name(String),
    /// There is none.
    None,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "write the name of a TAP interface, or false for none")]
enum TwinValue {
    Wanted(bool),
    Name(String),
}

impl TryFrom<TwinValue> for Twin {
    type Error = String;

    fn try_from(value: TwinValue) -> Result<Twin, String> {
        Ok(match value {
            TwinValue::Wanted(true) => Twin::Default,
            TwinValue::Wanted(false) => Twin::None,
            TwinValue::Name(name) => Twin::Name(name),
        })
    }
}

impl From<Twin> for TwinValue {
    fn from(twin: Twin) -> TwinValue {
        match twin {
            Twin::Default => TwinValue::Wanted(true),
            Twin::Name(name) => TwinValue::Name(name),
            Twin::None => TwinValue::Wanted(false),
        }
    }
}

/// What a NIC port is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// PCI address, perhaps with arguments after a comma: for the EAL's allow list.
    Pci(String),
    /// Driver name and arguments.
    Virtual(String),
}

impl NicPort {
    /// Name of the twin's interface; `None` if there is to be none.
    #[must_use]
    pub fn twin_name(&self) -> Option<String> {
        match &self.twin {
            Twin::Default => Some(format!("twin-{}", self.name)),
            Twin::Name(name) => Some(name.clone()),
            Twin::None => None,
        }
    }

    /// The network interface that the device is said to be or to use (`iface=NAME`).
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        self.device.split(',').find_map(|argument| argument.strip_prefix("iface="))
    }

    /// What the device is called: the first part of [`NicPort::device`], a PCI address in full.
    #[must_use]
    pub fn device_name(&self) -> String {
        let name = self.device.split(',').next().unwrap_or_default();
        match (is_pci_address(name), name.matches(':').count()) {
            (true, 1) => format!("0000:{name}").to_ascii_lowercase(),
            (true, _) => name.to_ascii_lowercase(),
            (false, _) => name.to_owned(),
        }
    }

    /// PCI or virtual?
    #[must_use]
    pub fn device(&self) -> Device {
        let name = self.device.split(',').next().unwrap_or_default();
        if is_pci_address(name) {
            Device::Pci(self.device.clone())
        } else {
            Device::Virtual(self.device.clone())
        }
    }
}

/// `DDDD:BB:DD.F` or `BB:DD.F`, in hexadecimal.
fn is_pci_address(name: &str) -> bool {
    let hex =
        |text: &str, len: usize| text.len() == len && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let Some((front, function)) = name.rsplit_once('.') else { return false };
    let parts: Vec<_> = front.split(':').collect();
    let (domain, rest) = match parts.len() {
        3 => (Some(parts[0]), &parts[1..]),
        2 => (None, &parts[..]),
        _ => return false,
    };
    domain.is_none_or(|domain| hex(domain, 4)) && rest.iter().all(|part| hex(part, 2)) && hex(function, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_told_from_drivers() {
        for pci in ["0000:01:00.0", "01:00.1", "0000:af:1f.7"] {
            assert!(is_pci_address(pci), "{pci}");
        }
        for other in ["net_tap0", "net_af_packet0", "0000:01:00", "00000:01:00.0", "1:0.0", "01:00.x", ""] {
            assert!(!is_pci_address(other), "{other}");
        }
    }
}
