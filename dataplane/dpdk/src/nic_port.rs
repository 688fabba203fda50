//! A NIC port: opened, asked what it can do, started.

use crate::error::{DpdkError, check};
use crate::queue::{RxQueue, TxQueue};
use crate::rss::{self, RssKey, RssReport, RssSide};
use crate::{Eal, Mempool};
use dpdk_sys::{rte_eth_conf, rte_eth_dev_info, rte_eth_stats, rte_ether_addr};
use shunt_wire::{MacAddr, NicPortId};
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::sync::Arc;

/// `ENOTSUP` of Linux: the driver has no such function.
const NOT_SUPPORTED: i32 = 95;

/// `EFAULT`: what rte_dev_probe returns if no bus knows the name.
const UNKNOWN_DRIVER: i32 = 14;

/// What a NIC port can do. Nothing of it is required: shunt adapts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Name of the driver, as "net_mlx5".
    pub driver: String,
    /// Most receive queues.
    pub rx_queues_max: u16,
    /// Most transmit queues.
    pub tx_queues_max: u16,
    /// Smallest MTU, bytes of IP packet.
    pub mtu_min: u16,
    /// Largest MTU, bytes of IP packet.
    pub mtu_max: u16,
    /// NUMA node; `None` if the device has none.
    pub socket: Option<u32>,
    /// Can spread packets over its receive queues by a hash.
    pub rss: bool,
    /// Can verify IPv4 header checksums.
    pub rx_ipv4_checksum: bool,
    /// Can write IPv4 header checksums.
    pub tx_ipv4_checksum: bool,
}

/// What is asked of a NIC port.
#[derive(Clone, Debug)]
pub struct NicPortConfig {
    /// Receive queues; fewer if the port has fewer.
    pub rx_queues: u16,
    /// Transmit queues; fewer if the port has fewer.
    pub tx_queues: u16,
    /// Descriptors of each receive queue; adjusted to the port's limits.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue; adjusted to the port's limits.
    pub tx_descriptors: u16,
    /// MTU in bytes of IP packet; cut to the port's limits.
    pub mtu: u16,
    /// Link-layer address; `None` = the port's own.
    pub mac: Option<MacAddr>,
    /// Key of the RSS hash; `None` = the driver's.
    pub rss_key: Option<RssKey>,
    /// What the RSS hash should cover.
    pub rss_side: RssSide,
}

impl Default for NicPortConfig {
    fn default() -> Self {
        NicPortConfig {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: 1500,
            mac: None,
            rss_key: None,
            rss_side: RssSide::Both,
        }
    }
}

/// Counters of a NIC port since it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NicPortStats {
    /// Frames received.
    pub rx_packets: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that the NIC dropped, because nobody fetched them in time.
    pub rx_missed: u64,
    /// Frames that arrived broken.
    pub rx_errors: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
    /// Frames that could not be received for want of buffers.
    pub rx_no_buffer: u64,
}

/// Closes the port when the last handle and the last queue are gone.
#[derive(Debug)]
pub(crate) struct PortGuard {
    port: u16,
    name: String,
    /// Queues refer to it; it must go after the port is closed. Fields drop after `Drop::drop`.
    pool: Option<Mempool>,
    /// DPDK keeps a pointer to it, and drivers read it when the port starts.
    rss_key: Vec<u8>,
    /// The virtual device that was created for the port; null if it is a real one.
    created: *mut dpdk_sys::rte_device,
    eal: Eal,
}

// SAFETY: the pointer is used once, when the guard goes, and DPDK's device list has a lock of its own.
unsafe impl Send for PortGuard {}
// SAFETY: as above; shared references do not touch the pointer.
unsafe impl Sync for PortGuard {}

impl PortGuard {
    #[inline]
    pub(crate) fn id(&self) -> u16 {
        self.port
    }

    fn fail(&self, call: &'static str, code: i32, hint: &str) -> Result<(), DpdkError> {
        check(call, code, format!("NIC port {}: {hint}", self.name))
    }

    fn mac(&self) -> Result<MacAddr, DpdkError> {
        let mut mac = rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: writes the address to `mac`.
        let code = unsafe { dpdk_sys::rte_eth_macaddr_get(self.port, &mut mac) };
        self.fail("rte_eth_macaddr_get", code, "has no link-layer address")?;
        Ok(MacAddr(mac.addr_bytes))
    }
}

impl Drop for PortGuard {
    fn drop(&mut self) {
        // Stopping a port that was never started is allowed and does nothing.
        // SAFETY: no queue exists any more (they hold the guard), so nobody polls the port.
        unsafe { dpdk_sys::rte_eth_dev_stop(self.port) };
        // SAFETY: the port is stopped and this is its only guard.
        unsafe { dpdk_sys::rte_eth_dev_close(self.port) };
        self.eal.release(self.port);
        if !self.created.is_null() {
            // SAFETY: nobody else removes the device that we created; its port is closed.
            unsafe { dpdk_sys::rte_dev_remove(self.created) };
        }
    }
}

/// A NIC port that is open and not started.
#[derive(Debug)]
pub struct NicPort {
    guard: PortGuard,
    nic_port: NicPortId,
    info: rte_eth_dev_info,
}

// SAFETY: the device info holds pointers to static data of the driver; all else is Send by itself.
unsafe impl Send for NicPort {}

/// A started port, and its queues.
#[derive(Debug)]
pub struct Started {
    /// For questions about the port.
    pub nic_port: RunningNicPort,
    /// Receive queues, by index.
    pub rx: Vec<RxQueue>,
    /// Transmit queues, by index.
    pub tx: Vec<TxQueue>,
}

/// A handle on a started port. It says what is in force. Several threads may use it.
#[derive(Clone, Debug)]
pub struct RunningNicPort {
    guard: Arc<PortGuard>,
    nic_port: NicPortId,
    capabilities: Capabilities,
    mac: MacAddr,
    mtu: u16,
    descriptors: (u16, u16),
    rss: Option<RssReport>,
}

impl NicPort {
    /// Opens a device: a PCI address of [`crate::EalConfig::pci_devices`] ("0000:01:00.0"), or a virtual device with
    /// its arguments ("net_tap0,iface=lan0"), which is created. Frames will say that they come from `nic_port`.
    ///
    /// # Errors
    /// If there is no such device, its driver refuses it (DPDK's own lines on stderr say why), or it is open already.
    pub fn open(eal: &Eal, device: &str, nic_port: NicPortId) -> Result<NicPort, DpdkError> {
        const PROBE: &str = "rte_dev_probe";
        let name = device.split(',').next().unwrap_or_default().to_owned();
        let zero = |_| DpdkError::foreseen(PROBE, "the name of a device holds no zero byte");
        let c_device = CString::new(device).map_err(zero)?;
        let c_name = CString::new(name.as_str()).map_err(zero)?;
        let is_pci = name.contains(':');
        if name.is_empty() {
            return Err(DpdkError::foreseen(PROBE, "the device of a NIC port is empty"));
        }
        let mut port = 0;
        // SAFETY: reads the name, writes `port`.
        let mut find = || unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut port) };
        if !is_pci && find() != 0 {
            // SAFETY: the EAL is initialised; the string is read only.
            let code = unsafe { dpdk_sys::rte_dev_probe(c_device.as_ptr()) };
            let hint = if code == -UNKNOWN_DRIVER {
                format!(
                    "no driver of DPDK is called like {name}: check the name, and that its Debian package librte-net-… is installed"
                )
            } else {
                format!(
                    "cannot open virtual device {device}: check its arguments and the permissions; DPDK's lines above say more"
                )
            };
            check(PROBE, code, hint)?;
        }
        if find() != 0 {
            let hint = if is_pci {
                format!(
                    "no driver of DPDK took PCI device {name}: is its driver installed (Debian: package librte-net-…)?"
                )
            } else {
                format!("{name} is not a network device")
            };
            return Err(DpdkError::foreseen("rte_eth_dev_get_port_by_name", hint));
        }
        if !eal.claim(port) {
            return Err(DpdkError::foreseen(PROBE, format!("device {name} is used by two NIC ports")));
        }
        let mut guard = PortGuard {
            port,
            name,
            pool: None,
            rss_key: Vec::new(),
            created: std::ptr::null_mut(),
            eal: eal.clone(),
        };
        // SAFETY: all zeros is a valid value of this plain struct.
        let mut info: rte_eth_dev_info = unsafe { std::mem::zeroed() };
        // SAFETY: fills `info`.
        let code = unsafe { dpdk_sys::rte_eth_dev_info_get(port, &mut info) };
        guard.fail("rte_eth_dev_info_get", code, "does not tell what it can do")?;
        if !is_pci {
            guard.created = info.device;
        }
        Ok(NicPort { guard, nic_port, info })
    }

    /// What the port can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let info = &self.info;
        let driver = if info.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: the driver's name is a static string.
            unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
        };
        // SAFETY: any port number will do.
        let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(self.guard.port) };
        Capabilities {
            driver,
            rx_queues_max: info.max_rx_queues,
            tx_queues_max: info.max_tx_queues,
            mtu_min: info.min_mtu,
            mtu_max: self.mtu_max(),
            socket: u32::try_from(socket).ok(),
            rss: rss::choose(info.flow_type_rss_offloads, RssSide::Both).is_some(),
            rx_ipv4_checksum: info.rx_offload_capa & dpdk_sys::SHIM_RX_OFFLOAD_IPV4_CKSUM != 0,
            tx_ipv4_checksum: info.tx_offload_capa & dpdk_sys::SHIM_TX_OFFLOAD_IPV4_CKSUM != 0,
        }
    }

    /// Drivers tell a largest MTU, a largest frame, or both.
    fn mtu_max(&self) -> u16 {
        let by_frame = self.info.max_rx_pktlen.saturating_sub(dpdk_sys::SHIM_ETHER_OVERHEAD);
        self.info.max_mtu.min(u16::try_from(by_frame).unwrap_or(u16::MAX))
    }

    /// Configures and starts the port. Received frames are put into buffers of `pool`, which must have been made for the
    /// MTU and hold at least the descriptors of all receive queues.
    ///
    /// # Errors
    /// If the driver refuses; the port is closed then.
    pub fn start(mut self, config: &NicPortConfig, pool: &Mempool) -> Result<Started, DpdkError> {
        self.guard.pool = Some(pool.clone());
        if pool.frame_room() < usize::from(config.mtu) {
            let hint = format!("the buffers of the pool are too small for an MTU of {}", config.mtu);
            return Err(DpdkError::foreseen("rte_eth_rx_queue_setup", hint));
        }
        let capabilities = self.capabilities();
        let rx_queues = config.rx_queues.min(self.info.max_rx_queues).max(1);
        let tx_queues = config.tx_queues.min(self.info.max_tx_queues).max(1);
        let (rx_queues, tx_queues, rss) = match self.configure(rx_queues, tx_queues, config) {
            Ok(rss) => (rx_queues, tx_queues, rss),
            // Some drivers (tap, memif, vhost) want as many of the one as of the other.
            Err(_) if rx_queues != tx_queues => {
                let queues = rx_queues.min(tx_queues);
                (queues, queues, self.configure(queues, queues, config)?)
            }
            Err(error) => return Err(error),
        };
        let descriptors = self.set_up_queues(rx_queues, tx_queues, config, pool)?;
        let mac = self.set_address(config)?;
        let mtu = self.set_mtu(config.mtu);
        // SAFETY: the port is configured and all its queues are set up.
        let code = unsafe { dpdk_sys::rte_eth_dev_start(self.guard.port) };
        self.guard.fail("rte_eth_dev_start", code, "cannot be started")?;
        // Twins need multicast (ND, routing protocols). Virtual devices without filters do not support it.
        // SAFETY: the port exists.
        unsafe { dpdk_sys::rte_eth_allmulticast_enable(self.guard.port) };
        let rss = rss.map(|report| RssReport { reta_len: self.deal_reta(rx_queues), ..report });
        let queues = (rx_queues, tx_queues);
        let guard = Arc::new(self.guard);
        let nic_port = self.nic_port;
        let (rx, tx) = make_queues(&guard, nic_port, queues, pool);
        let nic_port = RunningNicPort { guard, nic_port, capabilities, mac, mtu, descriptors, rss };
        Ok(Started { nic_port, rx, tx })
    }

    fn configure(
        &mut self,
        rx_queues: u16,
        tx_queues: u16,
        config: &NicPortConfig,
    ) -> Result<Option<RssReport>, DpdkError> {
        // SAFETY: all zeros is valid and means "the default" for each field.
        let mut conf: rte_eth_conf = unsafe { std::mem::zeroed() };
        conf.rxmode.mtu =
            u32::from(config.mtu.clamp(self.info.min_mtu, self.mtu_max().max(self.info.min_mtu)));
        let fast_free = dpdk_sys::SHIM_TX_OFFLOAD_MBUF_FAST_FREE;
        if self.info.tx_offload_capa & fast_free != 0 && self.guard.eal.keep_one_pool() {
            conf.txmode.offloads |= fast_free;
        }
        // The hash looks at no more than 40 bytes of the key; longer ones only must be there.
        let len = usize::from(self.info.hash_key_size);
        let key = config.rss_key.filter(|key| len >= key.len());
        let our_key = key.is_some();
        self.guard.rss_key =
            key.iter().flatten().copied().cycle().take(if our_key { len } else { 0 }).collect();
        let rss = rss::choose(self.info.flow_type_rss_offloads, config.rss_side).filter(|_| rx_queues > 1);
        if let Some((types, _)) = rss {
            conf.rxmode.mq_mode = dpdk_sys::SHIM_MQ_RX_RSS as _;
            conf.rx_adv_conf.rss_conf.rss_hf = types;
            if our_key {
                conf.rx_adv_conf.rss_conf.rss_key = self.guard.rss_key.as_mut_ptr();
                conf.rx_adv_conf.rss_conf.rss_key_len = len as u8;
            }
        }
        // SAFETY: the port is stopped; DPDK copies `conf` and keeps the pointer to the key, which the guard
        // holds until the port is closed.
        let code = unsafe { dpdk_sys::rte_eth_dev_configure(self.guard.port, rx_queues, tx_queues, &conf) };
        let hint =
            format!("does not accept {rx_queues} rx and {tx_queues} tx queues with MTU {}", config.mtu);
        self.guard.fail("rte_eth_dev_configure", code, &hint)?;
        Ok(rss.map(|(types, side)| RssReport { types, side, our_key, reta_len: 0 }))
    }

    fn set_up_queues(
        &mut self,
        rx_queues: u16,
        tx_queues: u16,
        config: &NicPortConfig,
        pool: &Mempool,
    ) -> Result<(u16, u16), DpdkError> {
        let port = self.guard.port;
        let (mut rx_descriptors, mut tx_descriptors) =
            (config.rx_descriptors.max(1), config.tx_descriptors.max(1));
        // SAFETY: writes the two numbers.
        let code = unsafe {
            dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(port, &mut rx_descriptors, &mut tx_descriptors)
        };
        self.guard.fail("rte_eth_dev_adjust_nb_rx_tx_desc", code, "has no descriptors")?;
        // SAFETY: any port number will do. -1 (any node) becomes SOCKET_ID_ANY.
        let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(port) } as u32;
        for queue in 0..rx_queues {
            // SAFETY: the port is configured with this queue; a null configuration means the driver's own; the guard
            // keeps the pool.
            let code = unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(
                    port,
                    queue,
                    rx_descriptors,
                    socket,
                    std::ptr::null(),
                    pool.raw(),
                )
            };
            self.guard.fail("rte_eth_rx_queue_setup", code, "has no memory for a receive queue")?;
        }
        for queue in 0..tx_queues {
            // SAFETY: as above.
            let code = unsafe {
                dpdk_sys::rte_eth_tx_queue_setup(port, queue, tx_descriptors, socket, std::ptr::null())
            };
            self.guard.fail("rte_eth_tx_queue_setup", code, "has no memory for a transmit queue")?;
        }
        Ok((rx_descriptors, tx_descriptors))
    }

    /// Returns the link-layer address in force.
    fn set_address(&self, config: &NicPortConfig) -> Result<MacAddr, DpdkError> {
        let own = self.guard.mac()?;
        let Some(wanted) = config.mac.filter(|&mac| own != mac) else { return Ok(own) };
        let mut mac = rte_ether_addr { addr_bytes: wanted.0 };
        // SAFETY: reads the address.
        let code = unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(self.guard.port, &mut mac) };
        if code == -NOT_SUPPORTED {
            // The address can still be used if the port takes every frame.
            // SAFETY: the port exists.
            let code = unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.guard.port) };
            let hint = "cannot take another link-layer address";
            self.guard.fail("rte_eth_promiscuous_enable", code, hint)?;
        } else {
            let hint = "does not accept the link-layer address";
            self.guard.fail("rte_eth_dev_default_mac_addr_set", code, hint)?;
        }
        Ok(wanted)
    }

    /// Sets the MTU where the driver has it as a setting of its own, and returns what is in force.
    fn set_mtu(&self, wanted: u16) -> u16 {
        let wanted = wanted.clamp(self.info.min_mtu, self.mtu_max().max(self.info.min_mtu));
        let mut mtu = wanted;
        // SAFETY: writes `mtu`.
        unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.guard.port, &mut mtu) };
        // configure() has told DPDK already; drivers of kernel interfaces take it only from here.
        // SAFETY: the port exists.
        let code = unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.guard.port, wanted) };
        if code == 0 { wanted } else { mtu.min(wanted) }
    }

    /// Deals the entries of the redirection table to the queues in turn. Returns their number, or 0 if the port does not
    /// let us; then its own table, which drivers fill alike, stays.
    fn deal_reta(&self, rx_queues: u16) -> u16 {
        let group = dpdk_sys::SHIM_RETA_GROUP_SIZE as usize;
        let len = self.info.reta_size;
        let mut groups: Vec<dpdk_sys::rte_eth_rss_reta_entry64> = (0..usize::from(len).div_ceil(group))
            .map(|index| {
                let first = index * group;
                let used = (usize::from(len) - first).min(group);
                let mut entry = dpdk_sys::rte_eth_rss_reta_entry64 { mask: u64::MAX, reta: [0; 64] };
                if used < group {
                    entry.mask = (1 << used) - 1;
                }
                for (offset, queue) in entry.reta.iter_mut().enumerate() {
                    *queue = ((first + offset) % usize::from(rx_queues)) as u16;
                }
                entry
            })
            .collect();
        if groups.is_empty() {
            return 0;
        }
        // SAFETY: reads `len` entries from the groups, which are that many.
        let code =
            unsafe { dpdk_sys::rte_eth_dev_rss_reta_update(self.guard.port, groups.as_mut_ptr(), len) };
        if code == 0 { len } else { 0 }
    }
}

/// The queues of a started port: each once.
fn make_queues(
    guard: &Arc<PortGuard>,
    nic_port: NicPortId,
    (rx_queues, tx_queues): (u16, u16),
    pool: &Mempool,
) -> (Vec<RxQueue>, Vec<TxQueue>) {
    let rx = |queue| RxQueue {
        port: guard.clone(),
        queue,
        nic_port,
        _pool: pool.clone(),
        one_thread: PhantomData,
    };
    let tx = |queue| TxQueue { port: guard.clone(), queue, nic_port, one_thread: PhantomData };
    ((0..rx_queues).map(rx).collect(), (0..tx_queues).map(tx).collect())
}

impl RunningNicPort {
    /// Which of the configuration's NIC ports it is.
    #[must_use]
    pub fn id(&self) -> NicPortId {
        self.nic_port
    }

    /// DPDK's name for it: PCI address or name of the virtual device.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.guard.name
    }

    /// What it can do.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Its link-layer address.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// MTU in force, bytes of IP packet.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Descriptors of each receive and each transmit queue.
    #[must_use]
    pub fn descriptors(&self) -> (u16, u16) {
        self.descriptors
    }

    /// RSS, if it is in force.
    #[must_use]
    pub fn rss(&self) -> Option<RssReport> {
        self.rss
    }

    /// Is the link up?
    #[must_use]
    pub fn link_up(&self) -> bool {
        // SAFETY: the port exists.
        unsafe { dpdk_sys::shim_link_up(self.guard.port) }
    }

    /// Speed of the link in Mbit/s; 0 or `u32::MAX` if the device has none.
    #[must_use]
    pub fn link_mbps(&self) -> u32 {
        // SAFETY: the port exists.
        unsafe { dpdk_sys::shim_link_mbps(self.guard.port) }
    }

    /// The driver's counters; zeros if it has none.
    #[must_use]
    pub fn stats(&self) -> NicPortStats {
        // SAFETY: all zeros is a valid value of this plain struct.
        let mut raw: rte_eth_stats = unsafe { std::mem::zeroed() };
        // SAFETY: fills `raw`.
        unsafe { dpdk_sys::rte_eth_stats_get(self.guard.port, &mut raw) };
        NicPortStats {
            rx_packets: raw.ipackets,
            tx_packets: raw.opackets,
            rx_bytes: raw.ibytes,
            tx_bytes: raw.obytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            tx_errors: raw.oerrors,
            rx_no_buffer: raw.rx_nombuf,
        }
    }
}
