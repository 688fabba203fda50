//! What would make DPDK fail, or even end the process, found out before it is called.

use crate::eal::EalConfig;
use crate::error::DpdkError;
use rustix::thread::{CpuSet, sched_getaffinity};
use std::fs;
use std::path::{Path, PathBuf};

const CALL: &str = "rte_eal_init";

/// Checks everything that can be known beforehand.
pub(crate) fn all(config: &EalConfig) -> Result<(), DpdkError> {
    extra_args(&config.extra_args)?;
    config.pci_devices.iter().try_for_each(|device| pci_device(device))?;
    if config.hugepages {
        hugepages(config)?;
    }
    if !config.in_memory {
        runtime_directory(config)?;
    }
    Ok(())
}

/// What of a configuration is not to be had on this machine, as far as it can be seen without touching anything: PCI
/// devices and cores. Hugepages are left out: a running instance may hold those that are missing.
#[must_use]
pub fn missing_here(config: &EalConfig, cores: &[usize]) -> Vec<DpdkError> {
    let allowed = allowed_cores();
    let cores = [config.main_core].into_iter().chain(cores.iter().copied());
    let cores = cores.filter_map(|core| check_core(&allowed, core).err());
    let devices = config.pci_devices.iter().filter_map(|device| pci_device(device).err());
    cores.chain(devices).collect()
}

/// The cores that the calling thread may use.
pub(crate) fn allowed_cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        Err(_) => Vec::new(),
    }
}

pub(crate) fn check_core(allowed: &[usize], core: usize) -> Result<(), DpdkError> {
    if allowed.contains(&core) {
        return Ok(());
    }
    let allowed: Vec<String> = allowed.iter().map(usize::to_string).collect();
    let allowed = allowed.join(", ");
    let hint = format!("core {core} does not exist or is not given to this process, which may use {allowed}");
    Err(DpdkError::foreseen("sched_setaffinity", hint))
}

/// What to say if rte_eal_init fails all the same.
pub(crate) fn blame(config: &EalConfig) -> String {
    let memory = if config.hugepages { "free hugepages (grep Huge /proc/meminfo)" } else { "free memory" };
    let devices = if config.pci_devices.is_empty() { "" } else { ", access to /dev/vfio" };
    format!(
        "DPDK cannot start; check {memory}, permissions{devices} and [eal] extra_args; DPDK's own lines above say more"
    )
}

fn fail<T>(hint: impl Into<String>) -> Result<T, DpdkError> {
    Err(DpdkError::foreseen(CALL, hint))
}

/// The value of a line "HugePages_Free:      12" of /proc/meminfo.
fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Free hugepages of all sizes, in MiB.
fn free_hugepages_mb() -> u64 {
    let sizes = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let free_kb = |path: PathBuf| -> Option<u64> {
        let kb: u64 =
            path.file_name()?.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let free: u64 = fs::read_to_string(path.join("free_hugepages")).ok()?.trim().parse().ok()?;
        Some(kb * free)
    };
    sizes.filter_map(|entry| free_kb(entry.path())).sum::<u64>() / 1024
}

fn hugepages(config: &EalConfig) -> Result<(), DpdkError> {
    let free = free_hugepages_mb();
    let need = u64::from(config.memory_mb).max(1);
    if free < need {
        let default_kb =
            fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo(&text, "Hugepagesize"));
        let pages = (need * 1024).div_ceil(default_kb.unwrap_or(2048));
        return fail(format!(
            "{need} MiB of hugepages are needed and {free} MiB are free: run sysctl -w vm.nr_hugepages={pages} \
             (plus those in use), or set hugepages = false in [eal] for virtual devices"
        ));
    }
    if config.in_memory {
        return Ok(());
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let directories: Vec<&str> = mounts.lines().filter_map(hugetlbfs_of).collect();
    if directories.is_empty() {
        return fail(
            "no hugetlbfs is mounted: run mount -t hugetlbfs none /dev/hugepages, or set in_memory = true in [eal]",
        );
    }
    if !directories.iter().any(|directory| writable(Path::new(directory))) {
        let list = directories.join(", ");
        return fail(format!(
            "no permission to write to {list}: start as root, or give this user the directory"
        ));
    }
    Ok(())
}

/// The directory of a line of /proc/mounts, if it is a hugetlbfs.
fn hugetlbfs_of(line: &str) -> Option<&str> {
    let mut fields = line.split(' ').skip(1);
    let (directory, kind) = (fields.next()?, fields.next()?);
    (kind == "hugetlbfs").then_some(directory)
}

fn writable(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Where DPDK keeps its run-time files: /var/run/dpdk for root, else under XDG_RUNTIME_DIR or /tmp
/// (`eal_create_runtime_dir`). `RUNTIME_DIRECTORY` (systemd) comes first.
fn runtime_root() -> PathBuf {
    let from = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = from("RUNTIME_DIRECTORY").unwrap_or_else(|| {
        if rustix::process::getuid().is_root() {
            PathBuf::from("/var/run")
        } else {
            from("XDG_RUNTIME_DIR").unwrap_or_else(|| PathBuf::from("/tmp"))
        }
    });
    root.join("dpdk")
}

fn runtime_directory(config: &EalConfig) -> Result<(), DpdkError> {
    let prefix = if config.file_prefix.is_empty() { "rte" } else { config.file_prefix.as_str() };
    if prefix.contains('/') || prefix.contains('%') {
        return fail(format!("file_prefix = \"{prefix}\" in [eal] must not contain '/' or '%'"));
    }
    let root = runtime_root();
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !writable(existing) {
        return fail(format!(
            "no permission to write to {}: start as root, set XDG_RUNTIME_DIR, or set in_memory = true in [eal]",
            existing.display()
        ));
    }
    // DPDK's primary process keeps a lock on this file; a second one would end in a panic or in shared memory.
    let lock = root.join(prefix).join("config");
    if let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(&lock) {
        // Taken and, with the file, given back at once.
        if rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return fail(format!(
                "another process uses DPDK with file_prefix = \"{prefix}\" ({} is locked): choose another file_prefix \
                 in [eal], or in_memory = true",
                lock.display()
            ));
        }
    }
    Ok(())
}

/// Arguments at which DPDK prints something and ends the process with success.
fn extra_args(arguments: &[String]) -> Result<(), DpdkError> {
    let ends = ["-h", "--help", "--log-level=help"];
    match arguments.iter().find(|argument| ends.contains(&argument.as_str())) {
        Some(argument) => fail(format!("{argument} has no place in extra_args in [eal]")),
        None => Ok(()),
    }
}

fn pci_device(device: &str) -> Result<(), DpdkError> {
    let address = device.split(',').next().unwrap_or_default();
    let path = Path::new("/sys/bus/pci/devices").join(address);
    if address.is_empty() || !path.exists() {
        return fail(format!(
            "there is no PCI device {address}: dpdk-devbind.py --status lists them, as 0000:01:00.0"
        ));
    }
    // Mellanox/NVIDIA and a few others work beside their kernel driver; for the rest only userspace I/O will do.
    let driver = fs::read_link(path.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("none");
    let usable = ["vfio-pci", "uio_pci_generic", "igb_uio", "mlx4_core", "mlx5_core", "mana"];
    if !usable.contains(&driver) {
        return fail(format!(
            "PCI device {address} is bound to driver {driver}: run dpdk-devbind.py --bind=vfio-pci {address}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_files() {
        let text = "MemTotal:  100 kB\nHugePages_Free:      12\nHugepagesize:       2048 kB\n";
        assert_eq!(meminfo(text, "Hugepagesize"), Some(2048));
        assert_eq!(meminfo(text, "HugePages_Free"), Some(12));
        assert_eq!(meminfo(text, "HugePages"), None);
        assert_eq!(hugetlbfs_of("none /mnt/huge hugetlbfs rw 0 0"), Some("/mnt/huge"));
        assert_eq!(hugetlbfs_of("none /run tmpfs rw 0 0"), None);
    }
}
