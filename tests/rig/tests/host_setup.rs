//! `scripts/host-setup` on a made-up machine: a folder with the few files of /sys and /proc that it uses.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/host-setup");
const FREE: &str = "0000:01:00.0";
const BUSY: &str = "0000:01:00.1";
const DISK: &str = "0000:02:00.0";

/// A machine with two NUMA nodes, a NIC that is free, one that is up, and a disk controller.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Machine {
        let root = std::env::temp_dir().join(format!("shunt-host-setup-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let machine = Machine(root);
        for node in 0..2 {
            machine.write(&Self::hugepages(node), "4");
        }
        machine.write("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable:   8388608 kB");
        machine.write("proc/mounts", "none /dev/hugepages hugetlbfs rw 0 0");
        machine.write("proc/cmdline", "quiet");
        fs::create_dir_all(machine.0.join("sys/bus/pci/drivers/vfio-pci")).unwrap();
        for (pci, class, driver) in
            [(FREE, "0x020000", "ixgbe"), (BUSY, "0x020000", "ixgbe"), (DISK, "0x010000", "nvme")]
        {
            let device = format!("sys/bus/pci/devices/{pci}");
            machine.write(&format!("{device}/class"), class);
            machine.write(&format!("{device}/driver_override"), "(null)");
            machine.write(&format!("sys/bus/pci/drivers/{driver}/unbind"), "");
            machine.write(&format!("sys/bus/pci/drivers/{driver}/bind"), "");
            let driver = machine.0.join("sys/bus/pci/drivers").join(driver);
            symlink(driver, machine.0.join(&device).join("driver")).unwrap();
        }
        machine.write("sys/bus/pci/drivers_probe", "");
        fs::create_dir_all(machine.0.join(format!("sys/bus/pci/devices/{BUSY}/net/eth1"))).unwrap();
        machine.write("sys/class/net/eth1/flags", "0x1003");
        machine
    }

    fn hugepages(node: u32) -> String {
        format!("sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap().trim().to_owned()
    }

    /// Runs the script; returns whether it succeeded, and what it said.
    fn run(&self, arguments: &str) -> (bool, String) {
        let mut command = Command::new(SCRIPT);
        let output = command.args(arguments.split(' ')).env("HOST_SETUP_ROOT", &self.0).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    /// All files and what is in them.
    fn picture(&self) -> Vec<(PathBuf, String)> {
        fn walk(folder: &Path, picture: &mut Vec<(PathBuf, String)>) {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.file_type().unwrap() {
                    kind if kind.is_dir() => walk(&entry.path(), picture),
                    kind if kind.is_file() => {
                        picture.push((entry.path(), fs::read_to_string(entry.path()).unwrap()));
                    }
                    _ => {}
                }
            }
        }
        let mut picture = Vec::new();
        walk(&self.0, &mut picture);
        picture.sort();
        picture
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn without_apply_nothing_is_touched() {
    let machine = Machine::new("dry");
    let before = machine.picture();
    let (good, said) = machine.run(&format!("--hugepages 2048 --bind {FREE} --workers 2-4,8"));
    assert!(good, "{said}");
    assert!(said.contains("would write '512'") && said.contains("[2, 3, 4, 8]"), "{said}");
    assert_eq!(machine.picture(), before);
}

#[test]
fn apply_changes_and_undo_changes_back() {
    let machine = Machine::new("apply");
    let (good, said) = machine.run(&format!("--hugepages 2048 --bind {FREE} --apply"));
    assert!(good, "{said}");
    assert_eq!(
        (machine.read(&Machine::hugepages(0)), machine.read(&Machine::hugepages(1))),
        ("512".into(), "512".into())
    );
    assert_eq!(machine.read(&format!("sys/bus/pci/devices/{FREE}/driver_override")), "vfio-pci");
    assert_eq!(machine.read("sys/bus/pci/drivers/ixgbe/unbind"), FREE);
    assert_eq!(machine.read("sys/bus/pci/drivers_probe"), FREE);
    // Once more, with another size: what undo restores stays the machine's own.
    assert!(machine.run("--hugepages 1024 --apply").0);

    let (good, said) = machine.run("--undo --apply");
    assert!(good, "{said}");
    assert_eq!(
        (machine.read(&Machine::hugepages(0)), machine.read(&Machine::hugepages(1))),
        ("4".into(), "4".into())
    );
    assert_eq!(machine.read(&format!("sys/bus/pci/devices/{FREE}/driver_override")), "");
    assert_eq!(machine.read("sys/bus/pci/drivers/ixgbe/bind"), FREE);
    let (good, said) = machine.run("--undo --apply");
    assert!(!good && said.contains("nothing to undo"), "{said}");
}

#[test]
fn nonsense_is_refused_before_anything_is_touched() {
    let machine = Machine::new("nonsense");
    let before = machine.picture();
    for (arguments, reason) in [
        (format!("--bind {BUSY} --apply"), "eth1 is up"),
        (format!("--bind {FREE} --bind {BUSY} --apply"), "eth1 is up"),
        (format!("--bind {DISK} --apply"), "not a network device"),
        ("--bind 0000:09:00.0 --apply".into(), "no device"),
        ("--bind ../../etc --apply".into(), "not a PCI address"),
        ("--hugepages 8000 --apply".into(), "only 8192 MiB"),
        ("--hugepages 2g --apply".into(), "number of MiB"),
        ("--workers 0-3".into(), "core 0"),
        ("--workers two".into(), "list"),
        (format!("--undo --bind {FREE}"), "nothing but --apply"),
        ("--sideways".into(), "host-setup"),
    ] {
        let (good, said) = machine.run(&arguments);
        assert!(!good && said.contains(reason), "{arguments}: {said}");
        assert_eq!(machine.picture(), before, "{arguments}");
    }
}
