//! What goes wrong on machines that are not prepared: each must end in one clear error, never in a crash.

mod rig;

use rig::{Netns, in_own_process, in_own_process_as_nobody};
use shunt_dpdk::{Burst, Eal, EalConfig, Mempool, NicPort, NicPortConfig};
use shunt_wire::{Frame, NicPortId};

fn config() -> EalConfig {
    EalConfig { memory_mb: 64, in_memory: true, ..EalConfig::default() }
}

fn refusal(config: &EalConfig) -> String {
    Eal::init(config).unwrap_err().to_string()
}

#[test]
fn unknown_devices() {
    in_own_process("unknown_devices", Netns::Callers, || {
        let pci = EalConfig { pci_devices: vec!["0000:fe:1f.7".into()], ..config() };
        let text = refusal(&pci);
        assert!(text.contains("there is no PCI device 0000:fe:1f.7"), "{text}");

        let eal = Eal::init(&config()).unwrap();
        for device in ["net_nosuch0", "net_pcap7,rx_pcap=/nowhere/in.pcap", "", "net_tap0,iface=a/b"] {
            assert!(NicPort::open(&eal, device, NicPortId(0)).is_err(), "{device}");
        }
        let text = NicPort::open(&eal, "net_nosuch0", NicPortId(0)).unwrap_err().to_string();
        assert!(text.contains("no driver") && text.contains("net_nosuch0"), "{text}");
        // All of that leaves DPDK in order.
        let nic_port = NicPort::open(&eal, "net_null0", NicPortId(0)).unwrap();
        let pool = Mempool::create(&eal, "frames", 2047, 1500, None).unwrap();
        let mut started = nic_port.start(&NicPortConfig::default(), &pool).unwrap();
        assert_eq!(started.rx[0].burst(&mut Burst::<8>::new()), 8);
        // A closed device can be opened again.
        drop(started);
        assert!(NicPort::open(&eal, "net_null0", NicPortId(1)).is_ok());
    });
}

#[test]
fn a_core_that_is_not_there() {
    in_own_process("a_core_that_is_not_there", Netns::Callers, || {
        let text = refusal(&EalConfig { main_core: 1000, ..config() });
        assert!(text.contains("core 1000"), "{text}");
    });
}

#[test]
fn arguments_that_would_end_the_process() {
    in_own_process("arguments_that_would_end_the_process", Netns::Callers, || {
        for argument in ["-h", "--help", "--log-level=help"] {
            let text = refusal(&EalConfig { extra_args: vec![argument.into()], ..config() });
            assert!(text.contains("extra_args"), "{text}");
        }
        let text = refusal(&EalConfig { extra_args: vec!["--no-such-option".into()], ..config() });
        assert!(text.contains("extra_args"), "{text}");
    });
}

#[test]
fn too_little_memory_for_the_start() {
    in_own_process("too_little_memory_for_the_start", Netns::Callers, || {
        let free_mb = u32::MAX / 4096;
        let text = refusal(&EalConfig { memory_mb: free_mb * 1024, ..config() });
        assert!(text.contains("memory"), "{text}");
    });
}

#[test]
fn too_little_memory_for_the_pool() {
    in_own_process("too_little_memory_for_the_pool", Netns::Callers, || {
        let eal = Eal::init(&EalConfig { memory_mb: 8, ..config() }).unwrap();
        let error = Mempool::create(&eal, "frames", 65_535, 1500, None).unwrap_err().to_string();
        assert!(error.contains("raise memory_mb"), "{error}");
        assert!(Mempool::create(&eal, "frames", 511, 1500, None).is_ok());
    });
}

#[test]
fn no_hugepages() {
    in_own_process("no_hugepages", Netns::Callers, || {
        // More than any machine has.
        let text = refusal(&EalConfig { hugepages: true, memory_mb: 1 << 30, ..config() });
        assert!(text.contains("vm.nr_hugepages="), "{text}");
    });
}

/// Run by the next test in a process of its own.
#[test]
#[ignore = "waits for its standard input to close"]
fn holds_the_file_prefix() {
    let Some(prefix) = rig::holders_prefix() else { return };
    let _eal = Eal::init(&EalConfig { in_memory: false, file_prefix: prefix, ..config() }).unwrap();
    rig::wait_for_stdin_to_close();
}

#[test]
fn somebody_else_has_the_file_prefix() {
    in_own_process("somebody_else_has_the_file_prefix", Netns::Callers, || {
        let prefix = format!("shunt-test-{}", std::process::id());
        let config = EalConfig { in_memory: false, file_prefix: prefix.clone(), ..config() };
        let holder = rig::Holder::start("holds_the_file_prefix", &prefix);
        let text = refusal(&config);
        assert!(text.contains("another process uses DPDK"), "{text}");
        holder.end();
        drop(Eal::init(&config).expect("the prefix is free again"));
        rig::remove_runtime_directory(&prefix);
    });
}

#[test]
fn nobody_may_use_devices_that_need_no_permission() {
    in_own_process_as_nobody("nobody_may_use_devices_that_need_no_permission", || {
        let needs_root =
            EalConfig { hugepages: true, in_memory: false, memory_mb: 1, ..EalConfig::default() };
        let text = refusal(&needs_root);
        assert!(
            text.contains("hugepages") || text.contains("permission") || text.contains("mounted"),
            "{text}"
        );

        let eal = Eal::init(&config()).unwrap();
        assert!(NicPort::open(&eal, "net_tap0", NicPortId(0)).is_err());
        let nic_port = NicPort::open(&eal, "net_null0", NicPortId(0)).unwrap();
        let pool = Mempool::create(&eal, "frames", 2047, 1500, None).unwrap();
        let mut started = nic_port.start(&NicPortConfig::default(), &pool).unwrap();
        let mut burst: Burst<4> = Burst::new();
        assert_eq!(started.rx[0].burst(&mut burst), 4);
        assert_eq!(burst[0].nic_port(), NicPortId(0));
    });
}
