//! DPDK's environment: memory, devices, threads. One per process.

use crate::error::{DpdkError, check};
use crate::precheck::{self, allowed_cores, check_core};
use std::ffi::{CString, c_char, c_int};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// How much DPDK tells on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    #[default]
    Warning,
    Notice,
    Info,
    Debug,
}

impl LogLevel {
    const fn number(self) -> u32 {
        match self {
            LogLevel::Error => 4,
            LogLevel::Warning => 5,
            LogLevel::Notice => 6,
            LogLevel::Info => 7,
            LogLevel::Debug => 8,
        }
    }
}

/// The addresses that devices use for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IovaMode {
    /// DPDK chooses.
    #[default]
    Auto,
    /// Physical addresses.
    Physical,
    /// Virtual addresses.
    Virtual,
}

/// What the EAL is started with.
#[derive(Clone, Debug, Default)]
pub struct EalConfig {
    /// The core of the calling thread, which is pinned to it.
    pub main_core: usize,
    /// Memory for DPDK in MiB, taken at start. 0 = 64 MiB without hugepages; what is needed, when it is needed, with.
    pub memory_mb: u32,
    /// Memory comes from hugepages. Real NICs need them; virtual devices do not.
    pub hugepages: bool,
    /// No files in hugetlbfs and in the runtime directory: nothing is left behind, and no mounted hugetlbfs is needed.
    pub in_memory: bool,
    /// Names this process among others that use DPDK. Empty = "rte".
    pub file_prefix: String,
    /// PCI devices to open, each "0000:01:00.0" or "0000:01:00.0,key=value". Empty: the PCI bus is not looked at.
    pub pci_devices: Vec<String>,
    /// Addresses of memory for devices.
    pub iova_mode: IovaMode,
    /// How much DPDK tells.
    pub log_level: LogLevel,
    /// Further arguments of rte_eal_init, for experts. A wrong one makes DPDK end the process.
    pub extra_args: Vec<String>,
}

impl EalConfig {
    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["shuntd", "--no-telemetry", "-l"].map(str::to_owned).to_vec();
        arguments.push(self.main_core.to_string());
        arguments.push(format!("--log-level={}", self.log_level.number()));
        if self.memory_mb > 0 {
            arguments.extend(["-m".to_owned(), self.memory_mb.to_string()]);
        }
        if !self.hugepages {
            arguments.push("--no-huge".to_owned());
        }
        if self.in_memory {
            // The EAL has two words for it, and refuses the wrong one.
            let option = if self.hugepages { "--in-memory" } else { "--no-shconf" };
            arguments.push(option.to_owned());
        }
        if !self.file_prefix.is_empty() && !self.in_memory {
            arguments.push(format!("--file-prefix={}", self.file_prefix));
        }
        match self.iova_mode {
            IovaMode::Auto => {}
            IovaMode::Physical => arguments.push("--iova-mode=pa".to_owned()),
            IovaMode::Virtual => arguments.push("--iova-mode=va".to_owned()),
        }
        if self.pci_devices.is_empty() {
            arguments.push("--no-pci".to_owned());
        }
        for device in &self.pci_devices {
            arguments.extend(["-a".to_owned(), device.clone()]);
        }
        arguments.extend(self.extra_args.iter().cloned());
        arguments
    }
}

#[derive(Debug, Default)]
struct Taken {
    /// DPDK ids of NIC ports that were opened: one handle each.
    nic_ports: Vec<u16>,
    pools: u32,
    /// A port counts on there being one pool only.
    one_pool: bool,
}

#[derive(Debug)]
struct Guard {
    /// Cores that the process could use before DPDK pinned its main thread.
    cores: Vec<usize>,
    taken: Mutex<Taken>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: ports, pools and threads hold the guard, so all of them are gone.
        unsafe { dpdk_sys::rte_eal_cleanup() };
    }
}

/// Proof that the EAL is initialised. Clones share it; the last one cleans it up.
#[derive(Clone, Debug)]
pub struct Eal {
    guard: Arc<Guard>,
}

static INITIALISED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Initialises the EAL. The calling thread becomes DPDK's main lcore and is pinned to `main_core`; threads that it
    /// starts afterwards inherit that, unless they are pinned elsewhere.
    ///
    /// # Errors
    /// If it was initialised before in this process (also if it failed or was cleaned up since: DPDK cannot be started
    /// twice), or if memory, permissions or devices do not allow it; the hint says what to do.
    pub fn init(config: &EalConfig) -> Result<Eal, DpdkError> {
        const CALL: &str = "rte_eal_init";
        let cores = allowed_cores();
        check_core(&cores, config.main_core)?;
        precheck::all(config)?;
        let arguments = config
            .arguments()
            .into_iter()
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| DpdkError::foreseen(CALL, "an EAL argument holds a zero byte"))?;
        if INITIALISED.swap(true, SeqCst) {
            return Err(DpdkError::foreseen(CALL, "DPDK can be initialised once per process"));
        }
        // DPDK permutes argv and keeps pointers into the strings, so they must never go.
        let mut argv: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
        argv.push(std::ptr::null_mut());
        let argv: &'static mut [*mut c_char] = argv.leak();
        let argc = (argv.len() - 1) as c_int;
        // SAFETY: no argument; must come before rte_eal_init, whose own choice is stderr and syslog.
        unsafe { dpdk_sys::shim_log_to_stderr() };
        // SAFETY: argv holds argc C strings and a null pointer, and all live for ever; INITIALISED makes it the only call.
        let code = unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) };
        check(CALL, code, precheck::blame(config))?;
        // SAFETY: any number will do.
        unsafe { dpdk_sys::rte_log_set_global_level(config.log_level.number()) };
        Ok(Eal { guard: Arc::new(Guard { cores, taken: Mutex::default() }) })
    }

    /// Version of the DPDK library that runs, as "DPDK 22.11.0".
    #[must_use]
    pub fn version() -> String {
        // SAFETY: returns a static string.
        let version = unsafe { dpdk_sys::rte_version() };
        // SAFETY: as above.
        unsafe { std::ffi::CStr::from_ptr(version) }.to_string_lossy().into_owned()
    }

    /// Fails if a thread of this process cannot be pinned to the core.
    ///
    /// # Errors
    /// [`DpdkError`], which names the cores that can be had.
    pub fn check_core(&self, core: usize) -> Result<(), DpdkError> {
        check_core(&self.guard.cores, core)
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        // A poisoned lock guards plain lists, which are valid at every step.
        self.guard.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Claims a NIC port; false if somebody has it.
    pub(crate) fn claim(&self, nic_port: u16) -> bool {
        let mut taken = self.taken();
        let free = !taken.nic_ports.contains(&nic_port);
        if free {
            taken.nic_ports.push(nic_port);
        }
        free
    }

    /// Gives a NIC port back, once it is closed: DPDK reuses ids.
    pub(crate) fn release(&self, nic_port: u16) {
        self.taken().nic_ports.retain(|&taken| taken != nic_port);
    }

    /// Counts a new pool.
    pub(crate) fn count_pool(&self) -> Result<(), DpdkError> {
        let mut taken = self.taken();
        if taken.one_pool {
            let hint =
                "a NIC port frees buffers in the belief that there is one pool only; make all pools first";
            return Err(DpdkError::foreseen("rte_pktmbuf_pool_create", hint));
        }
        taken.pools += 1;
        Ok(())
    }

    /// Is there one pool only? If so, there will never be another.
    pub(crate) fn keep_one_pool(&self) -> bool {
        let mut taken = self.taken();
        taken.one_pool |= taken.pools == 1;
        taken.one_pool
    }
}
