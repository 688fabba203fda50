//! Values that parse but make no sense together.

use super::error::Problem;
use super::{Config, Device, Idle, LocalAddress, NIC_PORTS_MAX, NextHop, NicPort, WORKERS_MAX};
use crate::director::{check_sysctl, rules_of};
use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Largest core number that DPDK and `sched_setaffinity` take.
const CORE_MAX: usize = 1023;
/// IFNAMSIZ less the terminating zero.
const INTERFACE_NAME_LEN_MAX: usize = 15;
/// `sockaddr_un` holds 108 bytes, a terminating zero included. The lock file's name is 5 longer, but is no socket.
const SOCKET_PATH_LEN_MAX: usize = 107;
/// Entries are named by 32-bit indices, and NAT needs two places in the buckets.
const CONNECTIONS_MAX: u32 = 1 << 29;
/// Largest timeout that the kernel could hold in its clock ticks (100 per second, 31 bits).
const TIMEOUT_MAX_S: u32 = i32::MAX as u32 / 100;

/// EAL arguments that would contradict keys of the configuration, and the key to use.
const EAL_CONFLICTS: &[(&str, &str)] = &[
    ("-l", "control.main_core and workers.cores"),
    ("-c", "control.main_core and workers.cores"),
    ("--lcores", "control.main_core and workers.cores"),
    ("--main-lcore", "control.main_core"),
    ("-m", "eal.memory_mb"),
    ("--no-huge", "eal.hugepages"),
    ("--in-memory", "eal.in_memory"),
    ("--file-prefix", "eal.file_prefix"),
    ("--vdev", "nic_port.device"),
    ("-a", "nic_port.device"),
    ("--allow", "nic_port.device"),
];

type Checked = Result<(), Problem>;

fn range<T: PartialOrd + Display>(path: &str, value: T, range: RangeInclusive<T>) -> Checked {
    if range.contains(&value) {
        return Ok(());
    }
    let what = format!("{value} is out of range: write {} to {}", range.start(), range.end());
    Err(Problem::new(path, what))
}

fn ensure(fine: bool, path: impl Into<String>, what: impl FnOnce() -> String) -> Checked {
    if fine { Ok(()) } else { Err(Problem::new(path, what())) }
}

impl Config {
    /// Checks everything that needs no NIC and no hugepage.
    pub(super) fn check(&self) -> Checked {
        self.check_eal()?;
        self.check_workers()?;
        self.check_control()?;
        self.check_sizes()?;
        self.check_state()?;
        self.check_ipvs()?;
        self.check_sync_daemons()?;
        ensure((1..=NIC_PORTS_MAX).contains(&self.nic_port.len()), "nic_port", || {
            format!("{} NIC ports: write 1 to {NIC_PORTS_MAX} sections [[nic_port]]", self.nic_port.len())
        })?;
        let (mut names, mut devices, mut interfaces) = (HashSet::new(), HashSet::new(), HashSet::new());
        for (index, nic_port) in self.nic_port.iter().enumerate() {
            let path = |key: &str| format!("nic_port.{index}.{key}");
            check_nic_port(nic_port, &path, self.workers.cores.len())?;
            let taken =
                |what: &str, by: &str| format!("{what} `{by}' is taken by another NIC port: write another");
            ensure(names.insert(&nic_port.name), path("name"), || taken("name", &nic_port.name))?;
            let device = nic_port.device_name();
            ensure(devices.insert(device.clone()), path("device"), || taken("device", &device))?;
            for (key, interface) in
                [("device", nic_port.interface().map(str::to_owned)), ("twin", nic_port.twin_name())]
            {
                let Some(interface) = interface else { continue };
                ensure(interfaces.insert(interface.clone()), path(key), || taken("interface", &interface))?;
            }
        }
        self.check_static()
    }

    fn check_eal(&self) -> Checked {
        const MEMORY_MIN_MB: u32 = 32;
        const MEMORY_MAX_MB: u32 = 1 << 20;
        if self.eal.memory_mb != 0 {
            range("eal.memory_mb", self.eal.memory_mb, MEMORY_MIN_MB..=MEMORY_MAX_MB)?;
        }
        let prefix = &self.eal.file_prefix;
        ensure(is_word(prefix), "eal.file_prefix", || {
            format!("`{prefix}': write letters, digits, `.', `_' and `-' only")
        })?;
        for (index, argument) in self.eal.extra_args.iter().enumerate() {
            let option = argument.split('=').next().unwrap_or_default();
            if let Some((_, key)) = EAL_CONFLICTS.iter().find(|(conflict, _)| *conflict == option) {
                let path = format!("eal.extra_args.{index}");
                return Err(Problem::new(path, format!("`{option}' contradicts {key}: use that key")));
            }
        }
        Ok(())
    }

    fn check_workers(&self) -> Checked {
        let cores = &self.workers.cores;
        ensure((1..=WORKERS_MAX).contains(&cores.len()), "workers.cores", || {
            format!(
                "{} cores: name 1 to {WORKERS_MAX}, one for each worker, such as cores = [1, 2]",
                cores.len()
            )
        })?;
        range("control.main_core", self.control.main_core, 0..=CORE_MAX)?;
        for (index, core) in cores.iter().enumerate() {
            let path = format!("workers.cores.{index}");
            range(&path, *core, 0..=CORE_MAX)?;
            if self.workers.idle == Idle::Sleep {
                continue;
            }
            // A polling worker never gives its core back: another thread there would starve.
            ensure(!cores[..index].contains(core), path.as_str(), || {
                format!(
                    "core {core} is named twice: give each polling worker its own core, or set idle = \"sleep\""
                )
            })?;
            ensure(*core != self.control.main_core, path.as_str(), || {
                format!("core {core} is control.main_core: move one of them, or set workers.idle = \"sleep\"")
            })?;
        }
        Ok(())
    }

    fn check_control(&self) -> Checked {
        let socket = &self.control.socket;
        ensure(socket.is_absolute() && socket.file_name().is_some(), "control.socket", || {
            format!(
                "`{}' is no absolute path of a file: write one like /run/shunt/control.sock",
                socket.display()
            )
        })?;
        ensure(socket.as_os_str().len() <= SOCKET_PATH_LEN_MAX, "control.socket", || {
            format!("longer than {SOCKET_PATH_LEN_MAX} bytes, which is all that a Unix socket takes")
        })?;
        let mode = self.control.mode;
        ensure(mode & !0o777 == 0 && mode & 0o600 == 0o600, "control.mode", || {
            format!("0o{mode:o} is no mode of a socket: write it in octal, such as 0o660 or 0o666")
        })?;
        ensure(self.control.group.as_deref() != Some(""), "control.group", || {
            "empty: name a group, or leave the key out for root alone".to_owned()
        })
    }

    fn check_sizes(&self) -> Checked {
        range("connections.max_ipv4", self.connections.max_ipv4, 0..=CONNECTIONS_MAX)?;
        range("connections.max_ipv6", self.connections.max_ipv6, 0..=CONNECTIONS_MAX)?;
        range("connections.max_templates", self.connections.max_templates, 0..=CONNECTIONS_MAX)?;
        ensure(self.connections.max_ipv4 > 0 || self.connections.max_ipv6 > 0, "connections", || {
            "no room for any connection: set max_ipv4 or max_ipv6 above 0".to_owned()
        })?;
        range("limits.services", self.limits.services, 1..=1 << 20)?;
        range("limits.servers", self.limits.servers, 1..=1 << 24)
    }

    fn check_state(&self) -> Checked {
        const DAY_S: u32 = 86_400;
        range("state.period", self.state.period, 0..=DAY_S)?;
        let Some(file) = &self.state.file else { return Ok(()) };
        ensure(file.is_absolute() && file.file_name().is_some(), "state.file", || {
            format!(
                "`{}': write the absolute path of a file, such as \"/var/lib/shunt/state\"",
                file.display()
            )
        })?;
        // A save renames another file to this name.
        let socket = &self.control.socket;
        let mut lock = socket.clone().into_os_string();
        lock.push(".lock");
        ensure(file != socket && file.as_os_str() != lock, "state.file", || {
            format!("`{}' is the control socket's, or its lock's: write another file", file.display())
        })
    }

    fn check_ipvs(&self) -> Checked {
        let ipvs = &self.ipvs;
        for (name, seconds) in [
            ("ipvs.timeout_tcp", ipvs.timeout_tcp),
            ("ipvs.timeout_tcp_fin", ipvs.timeout_tcp_fin),
            ("ipvs.timeout_udp", ipvs.timeout_udp),
        ] {
            range(name, seconds, 1..=TIMEOUT_MAX_S)?;
        }
        // As the director will take them.
        ipvs.sysctls().into_iter().try_for_each(|(name, value)| {
            check_sysctl(name, &value)
                .map_err(|error| Problem::new(format!("ipvs.{name}"), error.to_string()))
        })
    }

    fn check_sync_daemons(&self) -> Checked {
        let mut roles = Vec::new();
        for (index, daemon) in self.sync_daemon.iter().enumerate() {
            let path = |key: &str| format!("sync_daemon.{index}.{key}");
            ensure(!roles.contains(&daemon.role), path("role"), || {
                "there is one already: a director has one master and one backup at most".to_owned()
            })?;
            roles.push(daemon.role);
            let name = &daemon.interface;
            ensure(!name.is_empty() && name.len() <= INTERFACE_NAME_LEN_MAX, path("interface"), || {
                format!("`{name}' is no interface name (1 to {INTERFACE_NAME_LEN_MAX} characters)")
            })?;
            if let Some(group) = daemon.group {
                ensure(group.is_multicast(), path("group"), || {
                    format!("{group} is no multicast group: write 224.0.0.81, for example")
                })?;
            }
            if let Some(maxlen) = daemon.maxlen {
                range(&path("maxlen"), maxlen, 1..=65_507)?;
            }
            if let Some(l4_port) = daemon.l4_port {
                range(&path("l4_port"), l4_port, 1..=u16::MAX)?;
            }
            if let Some(ttl) = daemon.ttl {
                range(&path("ttl"), ttl, 1..=u8::MAX)?;
            }
        }
        Ok(())
    }

    fn check_static(&self) -> Checked {
        let known = |path: String, nic_port: &str| {
            ensure(self.nic_port_index(nic_port).is_some(), path, || {
                let names: Vec<_> = self.nic_port.iter().map(|nic_port| nic_port.name.as_str()).collect();
                format!("there is no NIC port `{nic_port}': write one of {}", names.join(", "))
            })
        };
        let mut prefixes = HashSet::new();
        for (index, NextHop { prefix, nic_port, mac }) in self.next_hop.iter().enumerate() {
            let path = |key: &str| format!("next_hop.{index}.{key}");
            ensure(*prefix == prefix.trunc(), path("prefix"), || {
                format!("{prefix} has bits set beyond its length: write {}", prefix.trunc())
            })?;
            ensure(prefixes.insert(prefix), path("prefix"), || {
                format!("{prefix} is there twice: remove one")
            })?;
            known(path("nic_port"), nic_port)?;
            ensure(mac.is_unicast(), path("mac"), || format!("{mac} is no address of a single host"))?;
        }
        let mut addresses = HashSet::new();
        for (index, LocalAddress { address, nic_port }) in self.local_address.iter().enumerate() {
            let path = |key: &str| format!("local_address.{index}.{key}");
            ensure(!address.is_unspecified() && !address.is_multicast(), path("address"), || {
                format!("{address} is no address of a single host")
            })?;
            ensure(addresses.insert(address), path("address"), || {
                format!("{address} is there twice: remove one")
            })?;
            known(path("nic_port"), nic_port)?;
        }
        let names: Vec<_> = self.nic_port.iter().map(|nic_port| nic_port.name.clone()).collect();
        let rules = rules_of(&self.mark, &names);
        rules
            .map(drop)
            .map_err(|(index, error)| Problem::new(format!("mark.{index}.mark"), error.to_string()))
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn check_nic_port(nic_port: &NicPort, path: &impl Fn(&str) -> String, workers: usize) -> Checked {
    let name = &nic_port.name;
    ensure(is_word(name) && name.len() <= INTERFACE_NAME_LEN_MAX, path("name"), || {
        format!("`{name}': write 1 to {INTERFACE_NAME_LEN_MAX} letters, digits, `.', `_' and `-'")
    })?;
    if let Some(twin) = nic_port.twin_name() {
        ensure(is_word(&twin) && twin.len() <= INTERFACE_NAME_LEN_MAX, path("twin"), || {
            format!(
                "`{twin}' is no interface name (1 to {INTERFACE_NAME_LEN_MAX} letters, digits, `.', `_' and `-'): set twin"
            )
        })?;
    }
    let device = &nic_port.device;
    let name_of_driver = device.split(',').next().unwrap_or_default();
    let virtual_device =
        name_of_driver.starts_with(|first: char| first.is_ascii_alphabetic()) && is_word(name_of_driver);
    ensure(matches!(nic_port.device(), Device::Pci(_)) || virtual_device, path("device"), || {
        format!(
            "`{device}': write a PCI address like \"0000:01:00.0\" or a virtual device like \"net_tap0,iface=lan0\""
        )
    })?;
    let needs_interface = ["net_af_packet", "net_af_xdp"].iter().any(|driver| device.starts_with(driver));
    ensure(nic_port.interface().is_some() || !needs_interface, path("device"), || {
        format!("`{device}' says no interface: write \"{name_of_driver},iface=eth1\"")
    })?;
    if let Some(rx_queues) = nic_port.rx_queues {
        range(&path("rx_queues"), usize::from(rx_queues), 1..=workers)?;
    }
    range(&path("rx_descriptors"), nic_port.rx_descriptors, 64..=32_768)?;
    range(&path("tx_descriptors"), nic_port.tx_descriptors, 64..=32_768)?;
    // 576: every IPv4 host takes that much (RFC 791 §3.1). 9600: the largest frame that common NICs take.
    range(&path("mtu"), nic_port.mtu, 576..=9600)?;
    if let Some(mac) = nic_port.mac {
        ensure(mac.is_unicast(), path("mac"), || format!("{mac} is no address of a single host"))?;
    }
    Ok(())
}
