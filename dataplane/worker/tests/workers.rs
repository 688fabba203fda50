//! Workers over virtual devices: packets in, packets out, and every one of them counted.
//!
//! Each scenario has a process (and, where it needs interfaces, a network namespace) of its own.

#[path = "../../dpdk/tests/rig/mod.rs"]
mod rig;

use rig::{Netns, in_own_process, run};
use shunt_dpdk::{Eal, EalConfig, NicPortConfig};
use shunt_engine::counters::{Counter, WorkerCounters};
use shunt_engine::sched::SchedulerPlan;
use shunt_engine::tables::{
    Candidate, Family, ForwardingMethod, Hop, NextHop, NicPortInfo, Outer, Routes, SchedulerKind, Server,
    ServerId, Service, ServiceFlags, ServiceId, ServiceKey, Tables, TunnelChecksum, TunnelKind,
};
use shunt_engine::{ConnectionInfo, InstallFrom};
use shunt_wire::craft::{Craft, check};
use shunt_wire::{Flags, MacAddr, NicPortId};
use shunt_worker::{Idle, NicPortSpec, Workers, WorkersConfig};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PATIENCE: Duration = Duration::from_secs(1);
const TCP: u8 = 6;
/// What DPDK gives to its first pcap device.
const PCAP_MAC: MacAddr = MacAddr([2, 0x70, 0x63, 0x61, 0x70, 0]);

fn eal() -> Eal {
    let config = EalConfig { memory_mb: 256, in_memory: true, ..EalConfig::default() };
    Eal::init(&config).unwrap()
}

fn port(name: &str, device: String, twin: Option<&str>) -> NicPortSpec {
    NicPortSpec {
        name: name.into(),
        device,
        config: NicPortConfig {
            rx_queues: 8,
            rx_descriptors: 512,
            tx_descriptors: 512,
            ..NicPortConfig::default()
        },
        twin: twin.map(str::to_owned),
    }
}

fn config(workers: usize, nic_ports: Vec<NicPortSpec>) -> WorkersConfig {
    let cores = std::thread::available_parallelism().unwrap().get();
    WorkersConfig {
        cores: (0..workers).map(|worker| worker % cores).collect(),
        idle: Idle::Sleep,
        nic_ports,
        max_ipv4: 4096,
        max_ipv6: 1024,
        max_templates: 1024,
        services_max: 16,
        servers_max: 64,
    }
}

fn server_mac(index: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, index])
}

fn via(index: u8) -> Hop {
    Hop::Via(NextHop {
        nic_port: NicPortId(1),
        mtu: 1500,
        dst_mac: server_mac(index),
        src_mac: MacAddr([2, 0, 0, 0, 0, 1]),
    })
}

/// A service on the VIP, round robin over servers 10.0.0.1, 10.0.0.2, … by direct routing.
fn tables(workers: &Workers, hops: &[Hop]) -> Tables {
    let info = |port: &shunt_worker::NicPortReport| NicPortInfo {
        mac: port.mac,
        other_macs: Vec::new(),
        mtu: port.mtu,
        address_v4: None,
        address_v6: None,
    };
    let mut tables = Tables::new(workers.nic_ports().map(info).collect());
    let mut routes = Routes::default();
    let mut candidates = Vec::new();
    for (index, &hop) in hops.iter().enumerate() {
        let daddr: IpAddr = [10, 0, 0, index as u8 + 1].into();
        let id = ServerId(index as u32);
        candidates.push(Candidate { id, weight: 1, last_weight: 1, daddr, dport: 80 });
        routes.insert(daddr, 32, hop);
        tables.put_server(Server {
            hop,
            method: ForwardingMethod::DirectRouting,
            available: true,
            tunnel: TunnelKind::Ipip,
            tunnel_checksum: TunnelChecksum::None,
            weight: 1,
            id,
            service: ServiceId(0),
            dport: 80,
            daddr,
            tunnel_source: None,
            upper_threshold: 0,
            lower_threshold: 0,
            outer: Outer::default(),
        });
    }
    tables.put_service(Service {
        id: ServiceId(0),
        key: ServiceKey::Address { protocol: TCP, vaddr: VIP.into(), vport: 80 },
        scheduler: SchedulerKind::Rr,
        flags: ServiceFlags::default(),
        persistence: None,
        sip: false,
        plan: SchedulerPlan::init(SchedulerKind::Rr, Family::V4, &candidates).unwrap(),
        servers: candidates.into(),
    });
    tables.set_local([VIP.into()].into_iter().collect());
    tables.set_routes(routes);
    tables
}

/// Clients 198.51.100.x, each with one SYN.
fn syns(count: u8) -> Vec<Vec<u8>> {
    let macs = (MacAddr([2, 0, 0, 0, 0, 99]), PCAP_MAC);
    let syn = |client| {
        let ends = Craft::v4([198, 51, 100, client].into(), VIP);
        ends.macs(macs.0, macs.1).tcp(40_000, 80, Flags::SYN).frame()
    };
    (0..count).map(|client| AsRef::<[u8]>::as_ref(&syn(client)).to_vec()).collect()
}

struct Files {
    directory: PathBuf,
}

impl Files {
    fn new() -> Files {
        let directory = std::env::temp_dir().join(format!("shunt-worker-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Files { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn read(&self, name: &str) -> Vec<Vec<u8>> {
        rig::read_pcap(&std::fs::read(self.path(name)).unwrap())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn all(workers: &Workers) -> impl Iterator<Item = &WorkerCounters> {
    workers.worker_counters().iter().chain([workers.slow_path_counters()])
}

fn sum(workers: &Workers, counter: Counter) -> u64 {
    all(workers).map(|counters| counters.get(counter)).sum()
}

fn wait_until(what: &str, workers: &Workers, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > Duration::from_secs(5) {
            for (index, counters) in all(workers).enumerate() {
                for &counter in Counter::ALL.iter().filter(|&&counter| counters.get(counter) > 0) {
                    println!("{index} {} {}", counter.name(), counters.get(counter));
                }
            }
            panic!("{what} does not come true");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Everybody's books balance. A reader may look while a round is under way, so it looks again.
fn expect_balance(workers: &Workers) {
    wait_until("the balance", workers, || all(workers).all(|counters| counters.imbalance() == 0));
    wait_until("what was handed over", workers, || {
        sum(workers, Counter::HandedOver) == sum(workers, Counter::HandedIn)
    });
}

fn forward_by_direct_routing(workers_len: usize) {
    let files = Files::new();
    let eal = eal();
    std::fs::write(files.path("in.pcap"), rig::pcap(&syns(100))).unwrap();
    let ports = vec![
        port("clients", format!("net_pcap0,rx_pcap={}", files.path("in.pcap")), None),
        port("servers", format!("net_pcap1,tx_pcap={}", files.path("out.pcap")), None),
    ];
    let workers = Workers::start(&eal, &config(workers_len, ports), |_| {}).unwrap();
    println!("{}", workers.report());
    assert_eq!(workers.report().lines().count(), 2);
    workers.publish(tables(&workers, &[via(1), via(2)]), PATIENCE).unwrap();
    workers.open();
    wait_until("100 packets sent", &workers, || sum(&workers, Counter::Transmitted) == 100);
    // Each worker's counts are seen after its round; the one that received may still be in its.
    expect_balance(&workers);
    wait_until("100 packets received", &workers, || sum(&workers, Counter::Received) == 100);
    assert_eq!(sum(&workers, Counter::NewConnections), 100);
    if workers_len > 1 {
        assert!(sum(&workers, Counter::HandedOver) > 0, "one queue feeds all workers");
        let busy =
            workers.worker_counters().iter().filter(|counters| counters.get(Counter::NewConnections) > 0);
        assert_eq!(busy.count(), workers_len);
    }

    let mut clients = Vec::new();
    workers.connections(&mut |connection| {
        assert_eq!((connection.vaddr, connection.vport), (VIP.into(), 80));
        clients.push(connection.caddr);
        ControlFlow::Continue(())
    });
    let mut told = 0;
    workers.connections(&mut |_| {
        told += 1;
        if told < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(told, 3, "who has heard enough is told no more, by no worker");
    clients.sort();
    let expected: Vec<IpAddr> = (0..100).map(|client| [198, 51, 100, client].into()).collect();
    assert_eq!(clients, expected);

    workers.stop();
    let sent = files.read("out.pcap");
    assert_eq!(sent.len(), 100);
    let to = |index| sent.iter().filter(|frame| frame[..6] == server_mac(index).0).count();
    assert_eq!(to(1) + to(2), 100);
    // Each worker takes its turns by itself.
    assert!(to(1).abs_diff(to(2)) <= workers_len, "{} {}", to(1), to(2));
    sent.iter().for_each(|frame| assert_eq!(check(frame).unwrap().dport, 80));
}

#[test]
fn one_worker_forwards() {
    in_own_process("one_worker_forwards", Netns::Callers, || forward_by_direct_routing(1));
}

#[test]
fn three_workers_share_one_queue() {
    in_own_process("three_workers_share_one_queue", Netns::Callers, || forward_by_direct_routing(3));
}

#[test]
fn frames_wait_for_their_neighbour() {
    in_own_process("frames_wait_for_their_neighbour", Netns::Callers, || {
        let files = Files::new();
        let eal = eal();
        std::fs::write(files.path("in.pcap"), rig::pcap(&syns(10))).unwrap();
        let ports = vec![
            port("clients", format!("net_pcap0,rx_pcap={}", files.path("in.pcap")), None),
            port("servers", format!("net_pcap1,tx_pcap={}", files.path("out.pcap")), None),
        ];
        let (tell, wanted) = mpsc::channel();
        let want = move |address| tell.send(address).unwrap();
        let workers = Workers::start(&eal, &config(1, ports), want).unwrap();
        workers.publish(tables(&workers, &[Hop::Unresolved, Hop::Unresolved]), PATIENCE).unwrap();
        workers.open();
        let mut asked: Vec<IpAddr> = (0..2).map(|_| wanted.recv_timeout(PATIENCE).unwrap()).collect();
        asked.sort();
        assert_eq!(asked, [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])]);
        assert_eq!(sum(&workers, Counter::Transmitted), 0);

        // One neighbour answers, the other does not.
        workers.publish(tables(&workers, &[via(1), Hop::Unresolved]), PATIENCE).unwrap();
        workers.open();
        wait_until("5 packets sent", &workers, || sum(&workers, Counter::Transmitted) == 5);
        wait_until("5 given up", &workers, || sum(&workers, Counter::NoNeighbour) == 5);
        expect_balance(&workers);
        assert!(wanted.try_recv().is_err(), "one question for each neighbour");
        workers.stop();
        let sent = files.read("out.pcap");
        assert_eq!(sent.len(), 5);
        for frame in &sent {
            assert_eq!((&frame[..6], &frame[6..12]), (&server_mac(1).0[..], &[2, 0, 0, 0, 0, 1][..]));
        }
    });
}

#[test]
fn the_kernel_talks_through_its_twin() {
    in_own_process("the_kernel_talks_through_its_twin", Netns::Own, || {
        let far = rig::FarNetns::new();
        run("ip link add va type veth peer name vb");
        run(&format!("ip link set vb netns {}", far.pid()));
        run("ip link set va up");
        far.run("ip addr add 10.99.0.2/24 dev vb");
        far.run("ip link set vb up");
        far.run("ethtool -K vb tx off");
        let eal = eal();
        let ports = vec![port("lan", "net_af_packet0,iface=va,qpairs=2".into(), Some("twin-lan"))];
        let workers = Workers::start(&eal, &config(2, ports), |_| {}).unwrap();
        println!("{}", workers.report());
        let report = workers.nic_ports().next().unwrap();
        assert_eq!(rig::mac_of("twin-lan"), report.mac.0);
        assert_eq!(rig::mac_of("va"), report.mac.0);
        run("ip addr add 10.99.0.1/24 dev twin-lan");
        workers.publish(tables(&workers, &[]), PATIENCE).unwrap();
        workers.open();
        // ARP and UDP, both ways.
        let socket = UdpSocket::bind("10.99.0.1:7000").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let echo = far.spawn("socat UDP4-LISTEN:7 PIPE");
        let mut buffer = [0; 2000];
        let answered = (0..5).any(|_| {
            socket.send_to(&[7; 1400], "10.99.0.2:7").unwrap();
            // The echo may not listen yet, and refuse.
            matches!(socket.recv_from(&mut buffer), Ok((1400, _)))
        });
        drop(echo);
        assert!(answered);
        // A question for the neighbour and the datagram one way, the answers the other way. What else the kernel says
        // depends on when it says it. A worker's counts are seen after its round, the datagram in the midst of it.
        wait_until("what the kernel sent", &workers, || sum(&workers, Counter::Injected) >= 2);
        wait_until("what the kernel got", &workers, || sum(&workers, Counter::Punted) >= 2);
        expect_balance(&workers);
        workers.stop();
        assert!(
            std::process::Command::new("ip")
                .args(["link", "show", "twin-lan"])
                .output()
                .unwrap()
                .stdout
                .is_empty()
        );
    });
}

#[test]
fn without_a_twin_all_else_is_dropped_and_counted() {
    in_own_process("without_a_twin_all_else_is_dropped_and_counted", Netns::Callers, || {
        let eal = eal();
        let ports = vec![port("null", "net_null0".into(), None)];
        let workers = Workers::start(&eal, &config(1, ports), |_| {}).unwrap();
        workers.publish(tables(&workers, &[]), PATIENCE).unwrap();
        workers.open();
        wait_until("many frames", &workers, || sum(&workers, Counter::Received) > 10_000);
        let counters = workers.worker_counters()[0].clone();
        workers.stop();
        assert_eq!(counters.imbalance(), 0);
        assert_eq!(counters.get(Counter::Transmitted), 0);
        let dropped = counters.get(Counter::NoTwin) + counters.get(Counter::Malformed);
        assert_eq!(dropped, counters.get(Counter::Received));
    });
}

/// An established connection of client `nth`, as a state file tells of it.
fn told(nth: u32) -> ConnectionInfo {
    ConnectionInfo {
        protocol: TCP,
        family: Family::V4,
        caddr: Ipv4Addr::from_bits(0x0a80_0000 + nth).into(),
        cport: 4000,
        vaddr: VIP.into(),
        vport: 80,
        daddr: [10, 0, 0, 1].into(),
        dport: 80,
        state: 1,
        timeout_ms: 900_000,
        expires_ms: 900_000,
        flags: ForwardingMethod::DirectRouting as u32,
        fwmark: 0,
        in_packets: 3,
        server: ServerId::NONE,
        control: None,
        sequence: None,
        pe_data: None,
    }
}

#[test]
fn a_full_table_is_listed_between_bursts() {
    in_own_process("a_full_table_is_listed_between_bursts", Netns::Callers, || {
        const CONNECTIONS: u32 = 65_536;
        const LISTINGS: u64 = 10;
        let eal = eal();
        let config = WorkersConfig {
            max_ipv4: CONNECTIONS,
            ..config(1, vec![port("null", "net_null0".into(), None)])
        };
        let workers = Workers::start(&eal, &config, |_| {}).unwrap();
        workers.publish(tables(&workers, &[via(0)]), PATIENCE).unwrap();
        let tally = workers.install(&mut (0..CONNECTIONS).map(told), InstallFrom::StateFile);
        assert_eq!((tally.created, tally.no_room), (CONNECTIONS, 0));
        workers.open();
        wait_until("many frames", &workers, || sum(&workers, Counter::Received) > 10_000);
        // A listing in one piece would be a round of some milliseconds, each time. A virtual machine whose host is busy
        // sees some long rounds that nobody in it caused, but not at every attempt.
        let attempts = || list_while_frames_come(&workers, LISTINGS, CONNECTIONS);
        assert!((0..3).any(|_| attempts() < LISTINGS));
    });
}

/// So many listings of so many connections, one after another: how many rounds of the worker became long by them.
fn list_while_frames_come(workers: &Workers, listings: u64, connections: u32) -> u64 {
    let counts =
        || [Counter::LongRounds, Counter::PreemptedRounds, Counter::Received].map(|one| sum(workers, one));
    let (before, begun) = (counts(), Instant::now());
    for _ in 0..listings {
        let mut clients = HashSet::new();
        workers.connections(&mut |info| {
            assert!(clients.insert(info.caddr), "told twice: {}", info.caddr);
            ControlFlow::Continue(())
        });
        assert_eq!(clients.len(), connections as usize);
    }
    let after = counts();
    let [long, preempted, received] = std::array::from_fn(|nth| after[nth] - before[nth]);
    println!(
        "{listings} listings of {connections} connections in {:.2?}, while {received} frames came: {long} long rounds, \
         {preempted} in which the kernel took the core away",
        begun.elapsed()
    );
    assert!(received > 10_000, "{received}");
    long
}

#[test]
fn a_device_that_is_not_there_ends_the_start() {
    in_own_process("a_device_that_is_not_there_ends_the_start", Netns::Callers, || {
        let eal = eal();
        let ports = vec![port("a", "net_null0".into(), None), port("b", "net_nosuch0".into(), None)];
        let error = Workers::start(&eal, &config(1, ports), |_| {}).err().unwrap().to_string();
        assert!(error.starts_with("NIC port b: no driver"), "{error}");
        let error = Workers::start(&eal, &config(0, Vec::new()), |_| {}).err().unwrap().to_string();
        assert!(error.contains("cores"), "{error}");
        let ports = vec![port("c", "net_null1".into(), None)];
        let workers = Workers::start(&eal, &config(1, ports), |_| {}).unwrap();
        workers.publish(tables(&workers, &[]), PATIENCE).unwrap();
        workers.open();
        wait_until("frames", &workers, || sum(&workers, Counter::Received) > 100);
    });
}
