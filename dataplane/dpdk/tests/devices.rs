//! Virtual devices of DPDK, really opened. The EAL can be initialised once per process, so each scenario runs in a
//! process of its own; those that touch network interfaces run in a network namespace of their own, which goes with it.

mod rig;

use rig::{Netns, in_own_process, run, udp_frame, udp_payload};
use shunt_dpdk::{
    Burst, Eal, EalConfig, IovaMode, Mempool, NicPort, NicPortConfig, RxQueue, Started, TxQueue, spawn_pinned,
};
use shunt_wire::{Frame, NicPortId};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const COUNT: u32 = 4095;

fn eal() -> Eal {
    let config = EalConfig { memory_mb: 128, in_memory: true, ..EalConfig::default() };
    Eal::init(&config).expect("DPDK starts without hugepages")
}

fn open(device: &str, config: &NicPortConfig) -> (Mempool, Started) {
    let eal = eal();
    let nic_port = NicPort::open(&eal, device, NicPortId(3)).unwrap();
    let pool = Mempool::create(&eal, "frames", COUNT, config.mtu, None).unwrap();
    assert_eq!(pool.available(), COUNT);
    let started = nic_port.start(config, &pool).unwrap();
    (pool, started)
}

/// Polls until `count` frames have come, or two seconds are over.
fn receive(rx: &mut RxQueue, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let start = Instant::now();
    while frames.len() < count && start.elapsed() < Duration::from_secs(2) {
        let mut burst: Burst<32> = Burst::new();
        rx.burst(&mut burst);
        for frame in burst.iter() {
            assert_eq!(frame.nic_port(), NicPortId(3));
            assert!(frame.is_contiguous());
            frames.push(frame.bytes().to_vec());
        }
    }
    frames
}

fn send(pool: &Mempool, tx: &mut TxQueue, bytes: &[u8]) {
    let mut burst: Burst<4> = Burst::new();
    let mut frame = pool.alloc().unwrap();
    assert!(frame.append(bytes.len()));
    frame.bytes_mut().copy_from_slice(bytes);
    burst.push(frame).unwrap();
    assert_eq!(tx.burst(&mut burst), 1);
    assert!(burst.is_empty());
}

#[test]
fn null_gives_and_takes_from_a_pinned_thread() {
    in_own_process("null_gives_and_takes_from_a_pinned_thread", Netns::Callers, || {
        let eal = eal();
        let nic_port = NicPort::open(&eal, "net_null0,size=100", NicPortId(0)).unwrap();
        let pool = Mempool::create(&eal, "frames", COUNT, 1500, None).unwrap();
        let mut started = nic_port.start(&NicPortConfig::default(), &pool).unwrap();
        let (mut rx, mut tx) = (started.rx.remove(0), started.tx.remove(0));
        let work = move || {
            for _ in 0..1000 {
                let mut burst: Burst<32> = Burst::new();
                assert_eq!(rx.burst(&mut burst), 32);
                assert_eq!(burst[31].bytes().len(), 100);
                let kept = burst.drain().next().unwrap();
                assert!(burst.is_empty());
                assert_eq!(rx.burst(&mut burst), 32);
                assert!(burst.push(kept).is_err());
                assert_eq!(tx.burst(&mut burst), 32);
            }
            std::thread::current().name().map(str::to_owned)
        };
        assert_eq!(spawn_pinned(&eal, "w0", Some(0), work).unwrap().join().as_deref(), Some("w0"));
        assert_eq!(pool.available(), COUNT);
        assert!(spawn_pinned(&eal, "w1", Some(1000), || ()).is_err());
        let again = NicPort::open(&eal, "net_null0", NicPortId(1)).unwrap_err();
        assert!(again.to_string().contains("two NIC ports"), "{again}");
        assert!(Eal::init(&EalConfig::default()).is_err());
    });
}

#[test]
fn ring_keeps_frames_and_says_when_it_is_full() {
    in_own_process("ring_keeps_frames_and_says_when_it_is_full", Netns::Callers, || {
        let (pool, mut started) = open("net_ring0", &NicPortConfig::default());
        let (rx, tx) = (&mut started.rx[0], &mut started.tx[0]);
        let mut frame = pool.alloc().unwrap();
        assert!(frame.append(60));
        frame.bytes_mut().fill(7);
        assert!(frame.prepend(40) && !frame.prepend(4000));
        frame.bytes_mut()[..40].fill(9);
        assert!(frame.trim_front(20) && !frame.trim_front(81));
        frame.truncate(50);
        assert!(!frame.append(9000));
        let bytes = frame.bytes().to_vec();
        assert_eq!(bytes, [[9; 20].as_slice(), &[7; 30]].concat());
        let mut burst: Burst<32> = Burst::new();
        burst.push(frame).unwrap();
        assert_eq!(tx.burst(&mut burst), 1);
        assert_eq!(receive(rx, 1), [bytes]);

        let mut sent = 0;
        loop {
            let mut burst: Burst<32> = Burst::new();
            while !burst.is_full() {
                burst.push(pool.alloc().unwrap()).unwrap();
            }
            let taken = tx.burst(&mut burst);
            sent += taken;
            assert_eq!(burst.len(), 32 - taken);
            if taken < 32 {
                break;
            }
        }
        assert_eq!(pool.available() as usize, COUNT as usize - sent);
        assert_eq!(receive(rx, sent).len(), sent);
        assert_eq!(pool.available(), COUNT);
    });
}

#[test]
fn pcap_files_go_in_and_out() {
    in_own_process("pcap_files_go_in_and_out", Netns::Callers, || {
        let directory = std::env::temp_dir().join(format!("shunt-pcap-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (input, output) = (directory.join("in.pcap"), directory.join("out.pcap"));
        let frames: Vec<Vec<u8>> = (0..5).map(|index| vec![index; 60 + usize::from(index)]).collect();
        std::fs::write(&input, rig::pcap(&frames)).unwrap();
        let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
        let (pool, mut started) = open(&device, &NicPortConfig::default());
        let got = receive(&mut started.rx[0], 5);
        assert_eq!(got, frames);
        for frame in got.iter().rev() {
            send(&pool, &mut started.tx[0], frame);
        }
        assert_eq!(started.nic_port.stats().rx_packets, 5);
        assert_eq!(started.nic_port.stats().tx_packets, 5);
        drop(started);
        let written = rig::read_pcap(&std::fs::read(&output).unwrap());
        assert_eq!(written, frames.into_iter().rev().collect::<Vec<_>>());
        std::fs::remove_dir_all(&directory).unwrap();
    });
}

/// The kernel's side of a wire has 10.99.0.1 on `interface` and believes that 10.99.0.2 is behind it.
fn talk_to_the_kernel(interface: &str, pool: &Mempool, started: &mut Started) {
    run(&format!("ip addr add 10.99.0.1/24 dev {interface}"));
    run(&format!("ip link set {interface} up"));
    run(&format!("ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev {interface}"));
    let kernel_mac = rig::mac_of(interface);
    let socket = UdpSocket::bind("10.99.0.1:7000").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    // Drivers may need a moment from start to first frame.
    let mut heard = None;
    for _ in 0..20 {
        socket.send_to(b"question", "10.99.0.2:53").unwrap();
        let mut burst: Burst<32> = Burst::new();
        let start = Instant::now();
        while heard.is_none() && start.elapsed() < Duration::from_millis(100) {
            for rx in &mut started.rx {
                rx.burst(&mut burst);
            }
            heard =
                burst.drain().map(|frame| frame.bytes().to_vec()).find(|frame| udp_payload(frame).is_some());
        }
    }
    let heard = heard.expect("the kernel's datagram arrives");
    assert_eq!(udp_payload(&heard), Some(b"question".as_slice()));
    send(pool, &mut started.tx[0], &udp_frame(kernel_mac, b"answer"));
    let mut buffer = [0; 100];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], from.to_string().as_str()), (b"answer".as_slice(), "10.99.0.2:53"));
}

#[test]
fn tap_reaches_the_kernel() {
    in_own_process("tap_reaches_the_kernel", Netns::Own, || {
        let config = NicPortConfig { rx_queues: 2, tx_queues: 1, mtu: 1400, ..NicPortConfig::default() };
        let (pool, mut started) = open("net_tap0,iface=dtap0", &config);
        assert_eq!(started.rx.len(), started.tx.len());
        assert_eq!(started.nic_port.mac().0, rig::mac_of("dtap0"));
        assert_eq!(started.nic_port.mtu(), 1400);
        assert_eq!(rig::mtu_of("dtap0"), 1400);
        talk_to_the_kernel("dtap0", &pool, &mut started);
        drop(started);
        assert_eq!(pool.available(), COUNT);
    });
}

fn veth() {
    run("ip link add va type veth peer name vb");
    run("ip link set va up");
    // Without it the kernel leaves the checksum of a datagram to a NIC that veth does not have.
    run("ethtool -K vb tx off");
}

#[test]
fn af_packet_reaches_the_kernel() {
    in_own_process("af_packet_reaches_the_kernel", Netns::Own, || {
        veth();
        let config = NicPortConfig { rx_queues: 2, tx_queues: 2, ..NicPortConfig::default() };
        let (pool, mut started) = open("net_af_packet0,iface=va,qpairs=2", &config);
        assert_eq!((started.rx.len(), started.tx.len()), (2, 2));
        talk_to_the_kernel("vb", &pool, &mut started);
    });
}

#[test]
fn af_xdp_reaches_the_kernel() {
    in_own_process("af_xdp_reaches_the_kernel", Netns::Own, || {
        veth();
        let (pool, mut started) = open("net_af_xdp0,iface=va", &NicPortConfig::default());
        talk_to_the_kernel("vb", &pool, &mut started);
    });
}

#[test]
fn hugepages_serve() {
    in_own_process("hugepages_serve", Netns::Own, || {
        let Some(_pages) = rig::Hugepages::reserve(64) else {
            return eprintln!("hugepages_serve: skipped, the kernel has no 64 hugepages to give");
        };
        let config = EalConfig { memory_mb: 64, in_memory: true, hugepages: true, ..EalConfig::default() };
        let eal = Eal::init(&config).unwrap();
        let pool = Mempool::create(&eal, "frames", COUNT, 1500, None).unwrap();
        let nic_port = NicPort::open(&eal, "net_null0", NicPortId(3)).unwrap();
        let mut started = nic_port.start(&NicPortConfig::default(), &pool).unwrap();
        assert!(receive(&mut started.rx[0], 100).len() >= 100);
    });
}

/// The far end of a wire between two processes: sends every frame back with its bytes reversed.
fn reflect(device: &str, extra_args: &[&str]) {
    let config = EalConfig {
        memory_mb: 128,
        in_memory: true,
        iova_mode: IovaMode::Virtual,
        extra_args: extra_args.iter().map(|&argument| argument.to_owned()).collect(),
        ..EalConfig::default()
    };
    let eal = Eal::init(&config).unwrap();
    let nic_port = NicPort::open(&eal, device, NicPortId(0)).unwrap();
    let pool = Mempool::create(&eal, "frames", COUNT, 1500, None).unwrap();
    let mut started = nic_port.start(&NicPortConfig::default(), &pool).unwrap();
    let ready = std::thread::spawn(rig::wait_for_stdin_to_close);
    while !ready.is_finished() {
        let mut burst: Burst<32> = Burst::new();
        if started.rx[0].burst(&mut burst) == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
        for frame in burst.iter_mut() {
            frame.bytes_mut().reverse();
        }
        started.tx[0].burst(&mut burst);
    }
}

#[test]
#[ignore = "the far end of the next test"]
fn virtio_user_reflects() {
    if let Some(socket) = rig::holders_prefix() {
        // vhost maps the frontend's memory by its file descriptors: few files, please.
        reflect(&format!("net_virtio_user0,path={socket}"), &["--single-file-segments"]);
    }
}

#[test]
fn vhost_and_virtio_user_talk() {
    in_own_process("vhost_and_virtio_user_talk", Netns::Callers, || {
        let socket = std::env::temp_dir().join(format!("shunt-vhost-{}", std::process::id()));
        let (pool, mut started) =
            open(&format!("net_vhost0,iface={}", socket.display()), &NicPortConfig::default());
        let far = rig::Holder::start("virtio_user_reflects", socket.to_str().unwrap());
        expect_reflection(&pool, &mut started);
        far.end();
    });
}

#[test]
#[ignore = "the far end of the next test"]
fn memif_reflects() {
    if let Some(socket) = rig::holders_prefix() {
        reflect(&format!("net_memif0,role=client,socket={socket},socket-abstract=no"), &[]);
    }
}

#[test]
fn memif_talks() {
    in_own_process("memif_talks", Netns::Callers, || {
        let socket = std::env::temp_dir().join(format!("shunt-memif-{}", std::process::id()));
        let device = format!("net_memif0,role=server,socket={},socket-abstract=no", socket.display());
        let (pool, mut started) = open(&device, &NicPortConfig::default());
        let far = rig::Holder::start("memif_reflects", socket.to_str().unwrap());
        expect_reflection(&pool, &mut started);
        far.end();
        let _ = std::fs::remove_file(&socket);
    });
}

fn expect_reflection(pool: &Mempool, started: &mut Started) {
    let frame: Vec<u8> = (0..100).collect();
    let back: Vec<u8> = (0..100).rev().collect();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let mut burst: Burst<4> = Burst::new();
        let mut fresh = pool.alloc().unwrap();
        assert!(fresh.append(100));
        fresh.bytes_mut().copy_from_slice(&frame);
        burst.push(fresh).unwrap();
        started.tx[0].burst(&mut burst);
        std::thread::sleep(Duration::from_millis(10));
        let mut burst: Burst<32> = Burst::new();
        if started.rx[0].burst(&mut burst) > 0 {
            assert_eq!(burst[0].bytes(), back);
            return;
        }
    }
    panic!("nothing came back");
}
