//! A director on paper: two NIC ports, a service or two, and one engine per worker.
//!
//! ```text
//! clients 192.0.2.0/24, 2001:db8::/32 ─ router 02:..:01:fe ─ port 0 │ director │ port 1 ─ real servers 10.0.2.11.., fd00:2::11..
//! ```
#![allow(dead_code)]

pub mod ftp;

use shunt_engine::board::Boards;
use shunt_engine::counters::{Counter, WorkerCounters};
use shunt_engine::owner::Owner;
use shunt_engine::persist::Templates;
use shunt_engine::sched::SchedulerPlan;
use shunt_engine::tables::{
    Candidate, Family, ForwardingMethod, Hop, NextHop, NicPortInfo, Outer, Persistence, Routes,
    SchedulerKind, Server, ServerId, Service, ServiceFlags, ServiceId, ServiceKey, Tables, TunnelChecksum,
    TunnelKind,
};
use shunt_engine::{
    ConnectionInfo, DumpCursor, Engine, EngineConfig, Expectations, Inbox, InstallFrom, Origin, Tally, Tick,
    Verdict, announcements,
};
use shunt_wire::craft::{Checked, Craft, check};
use shunt_wire::{Frame, HeapFrame, MacAddr, NicPortId};
use std::net::IpAddr;

pub const OUTSIDE: NicPortId = NicPortId(0);
pub const INSIDE: NicPortId = NicPortId(1);
pub const OUTSIDE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
pub const INSIDE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 2, 1]);
pub const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 0xfe]);

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Link-layer address of real server `n`.
pub fn server_mac(n: u32) -> MacAddr {
    MacAddr([2, 0, 0, 0, 2, n as u8])
}

/// A virtual service to be set up.
#[derive(Clone, Debug)]
pub struct Setup {
    pub protocol: u8,
    pub vaddr: &'static str,
    pub vport: u16,
    pub method: ForwardingMethod,
    pub scheduler: SchedulerKind,
    pub servers: Vec<(&'static str, u16)>,
    pub tunnel: TunnelKind,
    pub persistence: Option<Persistence>,
    pub one_packet: bool,
    pub sip: bool,
    pub mtu: u16,
}

impl Setup {
    pub fn new(
        protocol: u8,
        vaddr: &'static str,
        method: ForwardingMethod,
        servers: &[&'static str],
    ) -> Setup {
        let dport = if method == ForwardingMethod::Nat { 8080 } else { 80 };
        Setup {
            protocol,
            vaddr,
            vport: 80,
            method,
            scheduler: SchedulerKind::Rr,
            servers: servers.iter().map(|&server| (server, dport)).collect(),
            tunnel: TunnelKind::Ipip,
            persistence: None,
            one_packet: false,
            sip: false,
            mtu: 1500,
        }
    }
}

/// The director.
pub struct Rig {
    pub tables: Tables,
    pub engines: Vec<Engine>,
    pub boards: Boards,
    pub templates: Templates,
    pub expectations: Expectations,
    /// By worker: what it tells a synchronisation master.
    pub inboxes: Vec<Inbox>,
    pub now: Tick,
    pub max: u32,
}

/// What became of a frame.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    pub bytes: Vec<u8>,
    /// The worker that decided.
    pub worker: usize,
}

impl Outcome {
    /// The packet, sent from this port, all lengths and checksums right.
    pub fn sent(&self, nic_port: NicPortId) -> Checked {
        assert_eq!(self.verdict, Verdict::Transmit(nic_port));
        check(&self.bytes).unwrap()
    }

    /// Has it been sent towards the first server?
    pub fn sent_to_server(&self) {
        assert_eq!((self.verdict, self.dst_mac()), (Verdict::Transmit(INSIDE), server_mac(0)));
    }

    pub fn dst_mac(&self) -> MacAddr {
        MacAddr(self.bytes[..6].try_into().unwrap())
    }
}

pub fn engine(
    worker: u8,
    workers: u8,
    max: u32,
    boards: &Boards,
    (templates, expectations): (&Templates, &Expectations),
    now: Tick,
) -> Engine {
    Engine::new(EngineConfig {
        worker,
        workers,
        hardware_steering: false,
        max_ipv4: max,
        max_ipv6: max,
        services_max: 64,
        boards: boards.clone(),
        templates: templates.clone(),
        expectations: expectations.clone(),
        counters: WorkerCounters::default(),
        seed: [0x1234_5678_9abc_def1, 0x0fed_cba9_8765_4321, 0x5555_aaaa_1111_eeed, 0x9999_3333_7777_cccd],
        owner_key: owner_key(),
        now,
    })
}

fn owner_key() -> [u8; 40] {
    std::array::from_fn(|n| (n as u8).wrapping_mul(73).wrapping_add(41))
}

impl Rig {
    pub fn new(setups: &[Setup]) -> Rig {
        Rig::with_workers(setups, 1, 1024)
    }

    pub fn with_workers(setups: &[Setup], workers: u8, max: u32) -> Rig {
        let info = |mac, v4: &str, v6: &str| NicPortInfo {
            mac,
            other_macs: Vec::new(),
            mtu: 1500,
            address_v4: Some(v4.parse().unwrap()),
            address_v6: Some(v6.parse().unwrap()),
        };
        let ports =
            vec![info(OUTSIDE_MAC, "10.0.1.1", "fd00:1::1"), info(INSIDE_MAC, "10.0.2.1", "fd00:2::1")];
        let mut tables = Tables::new(ports);
        let router =
            Hop::Via(NextHop { nic_port: OUTSIDE, mtu: 1500, dst_mac: ROUTER_MAC, src_mac: OUTSIDE_MAC });
        let mut routes = Routes::default();
        routes.insert(ip("0.0.0.0"), 0, router);
        routes.insert(ip("::"), 0, router);
        tables.set_routes(routes);
        let boards = Boards::new(usize::from(workers), 256);
        let (templates, expectations) = (Templates::new(1024), Expectations::new());
        let now = Tick(10_000);
        let (mut engines, mut inboxes) = (Vec::new(), Vec::new());
        for n in 0..workers {
            let (outbox, inbox) = announcements();
            let engine = engine(n, workers, max, &boards, (&templates, &expectations), now);
            engines.push(engine.with_outbox(outbox));
            inboxes.push(inbox);
        }
        let mut rig = Rig { tables, engines, boards, templates, expectations, inboxes, now, max };
        let mut next = 0;
        for (id, setup) in setups.iter().enumerate() {
            rig.add(id as u32, &mut next, setup);
        }
        rig
    }

    fn add(&mut self, id: u32, next: &mut u32, setup: &Setup) {
        let vaddr = ip(setup.vaddr);
        let (mut candidates, mut servers) = (Vec::new(), Vec::new());
        for (daddr, dport) in &setup.servers {
            let (daddr, id_of_server) = (ip(daddr), ServerId(*next));
            *next += 1;
            candidates
                .insert(0, Candidate { id: id_of_server, weight: 1, last_weight: 1, daddr, dport: *dport });
            let source = if daddr.is_ipv4() { ip("10.0.2.1") } else { ip("fd00:2::1") };
            let hop = NextHop {
                nic_port: INSIDE,
                mtu: setup.mtu,
                dst_mac: server_mac(id_of_server.0),
                src_mac: INSIDE_MAC,
            };
            servers.push(Server {
                hop: Hop::Via(hop),
                method: setup.method,
                available: true,
                tunnel: setup.tunnel,
                tunnel_checksum: TunnelChecksum::Full,
                weight: 1,
                id: id_of_server,
                service: ServiceId(id),
                dport: *dport,
                daddr,
                tunnel_source: Some(source),
                upper_threshold: 0,
                lower_threshold: 0,
                outer: Outer::default(),
            });
        }
        self.tables.put_service(Service {
            id: ServiceId(id),
            key: ServiceKey::Address { protocol: setup.protocol, vaddr, vport: setup.vport },
            scheduler: setup.scheduler,
            flags: ServiceFlags { one_packet: setup.one_packet, ..ServiceFlags::default() },
            persistence: setup.persistence,
            sip: setup.sip,
            plan: SchedulerPlan::init(setup.scheduler, Family::of(&vaddr), &candidates).unwrap(),
            servers: candidates.into(),
        });
        servers.into_iter().for_each(|server| self.tables.put_server(server));
    }

    /// Changes one server and publishes.
    pub fn change_server(&mut self, id: u32, change: impl FnOnce(&mut Server)) {
        let mut server = self.tables.server(ServerId(id)).unwrap().clone();
        change(&mut server);
        self.tables.put_server(server);
    }

    /// A burst of one on worker `first`, handed over as it asks.
    pub fn pass_on(&mut self, first: usize, frame: &HeapFrame) -> Outcome {
        self.pass_from((Origin::Wire, Origin::HandOver), first, frame)
    }

    fn pass_from(&mut self, origins: (Origin, Origin), first: usize, frame: &HeapFrame) -> Outcome {
        let mut frames = [frame.clone()];
        let mut verdicts = [Verdict::Punt(OUTSIDE)];
        let engine = &mut self.engines[first];
        engine.process_burst(&self.tables, self.now, origins.0, &mut frames, &mut verdicts);
        let Verdict::HandOver(owner) = verdicts[0] else {
            return Outcome { verdict: verdicts[0], bytes: frames[0].bytes().to_vec(), worker: first };
        };
        assert_eq!(frames[0].bytes(), frame.bytes(), "handed over as it came");
        assert_ne!(usize::from(owner), first);
        let engine = &mut self.engines[usize::from(owner)];
        engine.process_burst(&self.tables, self.now, origins.1, &mut frames, &mut verdicts);
        assert!(!matches!(verdicts[0], Verdict::HandOver(_)), "handed over once at most");
        Outcome { verdict: verdicts[0], bytes: frames[0].bytes().to_vec(), worker: usize::from(owner) }
    }

    /// A packet that the director's own kernel sends to the outside.
    pub fn kernel_sends(&mut self, craft: Craft) -> Outcome {
        let frame = craft.macs(OUTSIDE_MAC, ROUTER_MAC).heap_frame(OUTSIDE);
        self.pass_from((Origin::Twin, Origin::TwinHandOver), 0, &frame)
    }

    pub fn pass(&mut self, frame: &HeapFrame) -> Outcome {
        self.pass_on(0, frame)
    }

    /// A packet from outside.
    pub fn outside(&mut self, craft: Craft) -> Outcome {
        self.pass(&craft.macs(ROUTER_MAC, OUTSIDE_MAC).heap_frame(OUTSIDE))
    }

    /// A packet from the servers' side.
    pub fn inside(&mut self, craft: Craft) -> Outcome {
        self.pass(&craft.macs(server_mac(0), INSIDE_MAC).heap_frame(INSIDE))
    }

    /// What leaves in the end for a packet that was gathered, by the worker that did.
    pub fn released(&mut self, gathered: &Outcome) -> Vec<Outcome> {
        assert_eq!(gathered.verdict, Verdict::Gathered);
        let worker = gathered.worker;
        let mut all = Vec::new();
        assert!(self.engines[worker].has_datagrams());
        self.engines[worker].release(
            &self.tables,
            self.now,
            |nic_port| Some(HeapFrame::with_room(&[], nic_port, HeapFrame::HEADROOM, 2048)),
            |frame: HeapFrame, verdict| {
                all.push(Outcome { verdict, bytes: frame.bytes().to_vec(), worker });
            },
        );
        assert!(!self.engines[worker].has_datagrams());
        all
    }

    pub fn wait(&mut self, seconds: u64) {
        // As the poll loop would: many short rounds.
        for _ in 0..seconds * 10 {
            self.now.0 += 100;
            for engine in &mut self.engines {
                engine.expire(&self.tables, self.now);
            }
        }
    }

    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let mut all = Vec::new();
        for engine in &self.engines {
            let mut cursor = Some(DumpCursor::default());
            while let Some(place) = cursor {
                cursor = engine.dump(&self.tables, self.now, place, 7, |info, call_id| {
                    all.push(info.with_call_id(call_id));
                });
            }
        }
        all
    }

    /// Connections that somebody else made, each at the worker that owns its packets; templates at the first.
    pub fn install(&mut self, all: &[ConnectionInfo], from: InstallFrom) -> Tally {
        let owner = Owner::new(&owner_key(), self.engines.len() as u8);
        let mut tally = Tally::default();
        for info in all {
            let worker = match info.caddr {
                _ if info.is_template() => 0,
                IpAddr::V4(caddr) => owner.of(caddr.to_bits(), info.cport),
                IpAddr::V6(caddr) => owner.of(caddr.to_bits(), info.cport),
            };
            let engine = &mut self.engines[usize::from(worker)];
            engine.install(&self.tables, self.now, info, from, &mut tally);
        }
        tally
    }

    /// What workers have told a synchronisation master since the last call.
    pub fn told(&mut self) -> Vec<ConnectionInfo> {
        let (mut told, rules) = (Vec::new(), self.tables.settings().sync);
        for inbox in &mut self.inboxes {
            inbox.take((&self.templates, &self.expectations), &rules, self.now, |info| told.push(info));
        }
        told
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.engines.iter().map(|engine| engine.counters().get(counter)).sum()
    }
}
