//! The measurements.

use crate::frame::FixedFrame;
use crate::traffic::{client, request, tables, udp};
use shunt_engine::board::Boards;
use shunt_engine::counters::WorkerCounters;
use shunt_engine::persist::Templates;
use shunt_engine::tables::{ForwardingMethod, SchedulerKind, Tables};
use shunt_engine::{BURST, Engine, EngineConfig, Expectations, Origin, Tick, Verdict};
use shunt_wire::NicPortId;
use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;

/// What is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// Direct routing, established flows.
    #[value(name = "dr")]
    DirectRouting,
    /// IPIP.
    Tunnel,
    /// NAT, requests.
    Nat,
    /// NAT, replies.
    #[value(name = "reply")]
    NatReply,
    /// Direct routing, IPv6.
    #[value(name = "dr6")]
    DirectRouting6,
    /// NAT, requests, IPv6.
    #[value(name = "nat6")]
    Nat6,
    /// New flows only, by `wlc` to 10 servers.
    New,
    /// The same by `rr`.
    NewRr,
    /// By `wlc` to 1,000 servers.
    NewWide,
    /// SYNs into a full table.
    Flood,
}

impl Case {
    pub fn name(self) -> &'static str {
        match self {
            Case::DirectRouting => "dr",
            Case::Tunnel => "tunnel",
            Case::Nat => "nat",
            Case::NatReply => "reply",
            Case::DirectRouting6 => "dr6",
            Case::Nat6 => "nat6",
            Case::New => "new",
            Case::NewRr => "new-rr",
            Case::NewWide => "new-wide",
            Case::Flood => "flood",
        }
    }

    /// Are there established flows to measure? Others are figures, cases only for callgrind.
    pub fn is_established(self) -> bool {
        !matches!(self, Case::New | Case::NewRr | Case::NewWide | Case::Flood)
    }
}

/// With room for so many connections of IPv4 and of IPv6; worker 0 of 1, or as `workers` says.
pub fn engine((max_ipv4, max_ipv6): (u32, u32), workers: (u8, u8)) -> Engine {
    Engine::new(EngineConfig {
        worker: workers.0,
        workers: workers.1,
        // Each thread is given its own flows.
        hardware_steering: true,
        max_ipv4,
        max_ipv6,
        services_max: 16,
        boards: Boards::new(usize::from(workers.1), 2048),
        templates: Templates::new(64),
        expectations: Expectations::new(),
        counters: WorkerCounters::default(),
        seed: [0x1234_5678_9abc_def1, 0x0fed_cba9_8765_4321, 0x5555_aaaa_1111_eeed, 0x9999_3333_7777_cccd],
        owner_key: [0x6d; 40],
        now: Tick(1000),
    })
}

/// Packets in random order over all flows; at most 2 M, so that they stay a small part of memory traffic.
pub fn shuffled(flows: u32) -> Vec<u32> {
    let count = flows.clamp(1 << 16, 1 << 21);
    let mut state = 1u64;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            (((state >> 32) * u64::from(flows)) >> 32) as u32
        })
        .collect()
}

/// Nanoseconds per packet of what `each` does with bursts of these packets, over and over; copying included.
pub fn bursts(packets: &[[u8; 64]], total: u64, mut each: impl FnMut(&mut [FixedFrame])) -> f64 {
    let mut frames = vec![FixedFrame::new(); BURST];
    let started = cpu_ns();
    let mut done = 0;
    'all: loop {
        for burst in packets.chunks_exact(BURST) {
            for (frame, packet) in frames.iter_mut().zip(burst) {
                frame.load(packet, NicPortId(0));
            }
            each(&mut frames);
            done += BURST as u64;
            if done >= total {
                break 'all;
            }
        }
    }
    (cpu_ns() - started) as f64 / done as f64
}

/// Nanoseconds per packet of established flows.
pub fn measure(case: Case, flows: u32) -> Box<dyn FnMut(u64) -> f64> {
    let method = match case {
        Case::Tunnel => ForwardingMethod::Tunnel,
        Case::Nat | Case::Nat6 | Case::NatReply => ForwardingMethod::Nat,
        _ => ForwardingMethod::DirectRouting,
    };
    let family = if matches!(case, Case::DirectRouting6 | Case::Nat6) { 6 } else { 4 };
    let tables = tables(family, method, SchedulerKind::Lc, 4);
    let room = if family == 4 { (flows, 1) } else { (1, flows) };
    let mut engine = engine(room, (0, 1));
    let requests: Vec<[u8; 64]> = (0..flows).map(|n| request(family, n)).collect();
    run(&mut engine, &tables, &requests, u64::from(flows).next_multiple_of(BURST as u64));
    let order = shuffled(flows);
    let packets: Vec<[u8; 64]> = if case == Case::NatReply {
        let servers = bound_servers(&engine, &tables);
        order.iter().map(|&n| udp((servers[&client(n)], 8080), client(n))).collect()
    } else {
        order.iter().map(|&n| requests[n as usize]).collect()
    };
    drop(requests);
    Box::new(move |total| run(&mut engine, &tables, &packets, total))
}

/// Which server each client was given.
fn bound_servers(engine: &Engine, tables: &Tables) -> HashMap<([u8; 4], u16), [u8; 4]> {
    let mut servers = HashMap::new();
    let mut cursor = Some(shunt_engine::DumpCursor::default());
    while let Some(place) = cursor {
        cursor = engine.dump(tables, Tick(1000), place, 1 << 20, |info, _| {
            if let (IpAddr::V4(caddr), IpAddr::V4(daddr)) = (info.caddr, info.daddr) {
                servers.insert((caddr.octets(), info.cport), daddr.octets());
            }
        });
    }
    servers
}

/// Nanoseconds per packet of a set of packets, over and over.
pub fn run(engine: &mut Engine, tables: &Tables, packets: &[[u8; 64]], total: u64) -> f64 {
    let mut verdicts = [Verdict::Punt(NicPortId(0)); BURST];
    let packets: std::borrow::Cow<'_, [[u8; 64]]> = if packets.len().is_multiple_of(BURST) {
        packets.into()
    } else {
        let mut padded = packets.to_vec();
        padded.resize(packets.len().next_multiple_of(BURST), packets[0]);
        padded.into()
    };
    let mut wrong = 0u64;
    let spent = bursts(&packets, total, |frames| {
        engine.process_burst(tables, Tick(1000), Origin::Wire, frames, &mut verdicts);
        wrong += verdicts.iter().filter(|verdict| !matches!(verdict, Verdict::Transmit(_))).count() as u64;
        black_box(frames);
    });
    assert_eq!(wrong, 0, "every packet must be forwarded");
    spent
}

/// Time that this thread had a processor, in ns: what others do on the machine does not count.
pub fn cpu_ns() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    let time = time.expect("every Linux has this clock");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
