//! The kernel's part in synchronisation: multicast sockets on interfaces, and threads that wake up now and then. What
//! the daemons themselves do is shunt's.

use crate::ip::{self, ETHERNET_LEN, Header, Ip, protocol};
use crate::kernel::Emitted;
use crate::topology::Topology;
use shunt_control::director::{Errno, Refusal};
use shunt_control::sync::{
    Backup, DaemonConfig, DaemonHost, DaemonParts, Master, Role, Running, Sending, decode,
};
use shunt_engine::Tick;
use shunt_wire::checksum;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A daemon that runs, with the options that its sockets were opened with.
struct Daemon<T> {
    config: DaemonConfig,
    it: T,
}

#[derive(Default)]
struct Daemons {
    master: Option<Daemon<Master>>,
    backup: Option<Daemon<Backup>>,
    /// When the master's threads wake up next; 0 = they have just been started.
    wake_ms: u64,
}

/// Where the daemons of a machine run. Clones share it.
#[derive(Clone, Default)]
pub struct Host {
    daemons: Arc<Mutex<Daemons>>,
}

/// Dropped when the daemon is stopped.
struct Stop {
    host: Host,
    role: Role,
}

impl Running for Stop {}

impl Drop for Stop {
    fn drop(&mut self) {
        match self.role {
            Role::Master => self.host.lock().master = None,
            Role::Backup => self.host.lock().backup = None,
        }
    }
}

/// MTU of the interfaces of the recordings.
const MTU: u32 = 1500;

impl DaemonHost for Host {
    fn mtu(&self, interface: &str) -> Result<u32, Refusal> {
        if ["eth0", "eth1"].contains(&interface) { Ok(MTU) } else { Err(Errno::Enodev.into()) }
    }

    fn start(&self, parts: DaemonParts) -> Result<Box<dyn Running>, Refusal> {
        let (config, role) = (parts.config.clone(), parts.config.role);
        match role {
            Role::Master => {
                let master = Daemon { config, it: Master::new(parts) };
                let mut daemons = self.lock();
                (daemons.master, daemons.wake_ms) = (Some(master), 0);
            }
            Role::Backup => self.lock().backup = Some(Daemon { config, it: Backup::new(parts) }),
        }
        Ok(Box::new(Stop { host: self.clone(), role }))
    }
}

/// When a thread that goes to sleep for a second wakes up: at this level the kernel's timers (HZ 100) fire every 80 ms,
/// and never early. The phase is that of the recorded machine.
fn next_wake_ms(now_ms: u64) -> u64 {
    (now_ms + 1_040) / 80 * 80 + 40
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, Daemons> {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the master gather; if its threads wake up now, returns the frames that they send.
    pub fn tick(&self, topology: &Topology, now_ms: u64) -> Vec<Emitted> {
        let mut daemons = self.lock();
        let mut wake_ms = daemons.wake_ms;
        let Some(Daemon { config, it: master }) = &mut daemons.master else { return Vec::new() };
        let mut sent = Vec::new();
        master.gather(Tick(now_ms));
        if wake_ms == 0 {
            wake_ms = next_wake_ms(now_ms);
        } else if now_ms >= wake_ms {
            wake_ms = next_wake_ms(now_ms);
            master.flush(Tick(now_ms), |socket, datagram| {
                sent.extend(frame(topology, config, socket as u16, datagram));
                Sending::Sent
            });
        }
        daemons.wake_ms = wake_ms;
        sent
    }

    /// A frame that shunt left to the kernel: the backup hears it if it is for its group.
    pub fn hear(&self, frame: &[u8]) {
        let Some(Daemon { config, it: backup }) = &mut self.lock().backup else { return };
        let Some((group, dport, message)) = message(frame) else { return };
        let ports = config.l4_port..config.l4_port.saturating_add(config.sockets);
        if group == config.group && ports.contains(&dport) {
            backup.receive(message);
        }
    }
}

/// What an intact UDP datagram says, and to whom: address and port.
fn message(frame: &[u8]) -> Option<(IpAddr, u16, &[u8])> {
    let ip = Ip::read(frame.get(ETHERNET_LEN..)?).filter(|ip| ip.protocol == protocol::UDP)?;
    let datagram = frame[ETHERNET_LEN..].get(ip.header_len..ip.len)?;
    if datagram.len() < UDP_LEN || !ip.checksum_is_right(datagram) {
        return None;
    }
    let dport = u16::from_be_bytes([datagram[2], datagram[3]]);
    let len = usize::from(u16::from_be_bytes([datagram[4], datagram[5]]));
    Some((ip.dst, dport, datagram.get(UDP_LEN..len)?))
}

/// The records of messages to several ports of one group, sorted. `None` if it is one port, or anything else.
pub fn told_by_several<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Option<Vec<String>> {
    let (mut ports, mut told) = (HashSet::new(), Vec::new());
    for frame in frames {
        let (group, dport, message) = message(frame)?;
        let received = decode(message, 0).ok().filter(|received| group.is_multicast() && !received.broken)?;
        ports.insert(dport);
        told.extend(received.connections.iter().map(|info| format!("{info:?}")));
    }
    told.sort_unstable();
    (ports.len() > 1).then_some(told)
}

const UDP_LEN: usize = 8;

/// What the kernel makes of a datagram for an IPv4 group.
fn frame(topology: &Topology, config: &DaemonConfig, socket: u16, datagram: &[u8]) -> Option<Emitted> {
    /// The kernel chooses source port and identification; recordings mark both as volatile.
    const SPORT: u16 = 40_000;
    const ID: u16 = 1;
    let nic_port = topology.nic_port(&config.interface)?;
    let info = topology.info(nic_port)?;
    let (IpAddr::V4(group), Some(src)) = (config.group, info.address_v4) else { return None };
    let mut udp = [SPORT.to_be_bytes(), (config.l4_port + socket).to_be_bytes()].concat();
    udp.extend(((UDP_LEN + datagram.len()) as u16).to_be_bytes());
    udp.extend([0; 2]);
    udp.extend(datagram);
    let header = Header { src: src.into(), dst: group.into(), protocol: protocol::UDP, tos: 0, id: ID };
    let mut packet = ip::write(header, udp, 6);
    packet[8] = config.ttl;
    packet[10..12].fill(0);
    let sum = checksum::checksum(&packet[..ip::IPV4_LEN]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let frame = [&group_mac(group)[..], &info.mac.0, &[0x08, 0x00], &packet].concat();
    Some(Emitted { nic_port, frame, made: true })
}

/// RFC 1112 §6.4.
fn group_mac(group: Ipv4Addr) -> [u8; 6] {
    let [_, b, c, d] = group.octets();
    [0x01, 0x00, 0x5e, b & 0x7f, c, d]
}
