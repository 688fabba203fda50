//! A seeded simulation: clients and servers talk through a director of several workers while the network loses, doubles
//! and reorders packets, somebody configures, and the clock jumps.
//!
//! What must hold, whatever happens: a flow keeps its server; a persistent client keeps its server; whatever leaves has
//! right checksums; no burst allocates; what was counted in is counted out; at the end nothing is left.

mod network;
mod workers;

use fastrand::Rng;
use network::{Network, Packet};
use shunt_wire::craft::{Checked, Craft, check, decapsulate};
use shunt_wire::{Flags, MacAddr, NicPortId};
use std::collections::HashMap;
use std::net::IpAddr;
use workers::Workers;

/// The services, as `ipvsadm -R` makes them. Servers of each are told apart by their addresses, or where those are not
/// seen (direct routing) by their link-layer addresses.
const SERVICES: &[(&str, u8, u16, &str)] = &[
    ("10.0.1.100", TCP, 80, "-A -t 10.0.1.100:80 -s wlc"),
    ("10.0.1.101", UDP, 53, "-A -u 10.0.1.101:53 -s rr"),
    ("10.0.1.102", TCP, 80, "-A -t 10.0.1.102:80 -s wrr"),
    ("10.0.1.103", TCP, 443, "-A -t 10.0.1.103:443 -s sed -p 300"),
    ("fd00:1::100", TCP, 80, "-A -t [fd00:1::100]:80 -s lc"),
    ("fd00:1::101", UDP, 53, "-A -u [fd00:1::101]:53 -s mh -p 300"),
];

/// The servers of each service: name of the service, method, addresses.
const SERVERS: &[(&str, &str, &[&str])] = &[
    ("-t 10.0.1.100:80", "-m", &["10.0.2.11:8080", "10.0.2.12:8080", "10.0.2.13:80", "10.0.2.14:80"]),
    ("-u 10.0.1.101:53", "-m", &["10.0.2.11:53", "10.0.2.12:54", "10.0.2.15:53"]),
    ("-t 10.0.1.102:80", "-g", &["10.0.2.11:80", "10.0.2.16:80", "10.0.2.17:80"]),
    ("-t 10.0.1.103:443", "-i", &["10.0.2.11:443", "10.0.2.12:443", "10.0.2.18:443"]),
    ("-t [fd00:1::100]:80", "-m", &["[fd00:2::11]:80", "[fd00:2::12]:8080", "[fd00:2::13]:80"]),
    ("-u [fd00:1::101]:53", "-m", &["[fd00:2::14]:53", "[fd00:2::15]:53"]),
];

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Persistence of the services above holds for so long after the last new connection.
const PERSISTENT_MS: u64 = 300_000;
const OUTSIDE: NicPortId = NicPortId(0);
const CLIENT_ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 1, 0xfe]);
const OUTSIDE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const INSIDE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 2, 1]);

/// What tells a flow: client and its port.
type Key = (IpAddr, u16);

/// A conversation.
#[derive(Clone, Debug)]
struct Flow {
    service: usize,
    key: Key,
    /// Where its first packet went. As the server's link-layer address ends.
    server: Option<u8>,
    /// Port and address as the server saw them: what it answers from. NAT only.
    real: Option<(IpAddr, u16)>,
    /// Somebody said goodbye: from now on the ports may be used anew.
    closing: bool,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Packets that reached the director.
    pub received: u64,
    /// Packets that left it.
    pub sent: u64,
    /// Flows that had a server.
    pub flows: u64,
    /// Handed from worker to worker.
    pub handed_over: u64,
    /// Changes of the configuration.
    pub edits: u64,
}

/// The world.
struct Simulation {
    rng: Rng,
    workers: Workers,
    network: Network,
    flows: Vec<Flow>,
    by_key: HashMap<Key, usize>,
    /// Server of each persistent client and service, and when the last new connection came.
    kept: HashMap<(usize, IpAddr), (u8, u64)>,
    next_cport: u16,
    summary: Summary,
}

/// Runs a simulation of that many steps.
///
/// # Panics
/// If anything that must hold does not.
#[must_use]
pub fn run(seed: u64, steps: u64) -> Summary {
    let mut rng = Rng::with_seed(seed);
    let mut workers = Workers::new(rng.u8(1..5));
    let mut setup = String::new();
    for (.., line) in SERVICES {
        setup.push_str(&format!("{line}\n"));
    }
    for (service, method, servers) in SERVERS {
        for server in *servers {
            setup.push_str(&format!("-a {service} -r {server} {method} -w {}\n", rng.u32(1..4)));
        }
    }
    workers.command(&["-R"], &setup);
    let mut simulation = Simulation {
        rng,
        workers,
        network: Network::default(),
        flows: Vec::new(),
        by_key: HashMap::new(),
        kept: HashMap::new(),
        next_cport: 1_024,
        summary: Summary::default(),
    };
    for _ in 0..steps {
        simulation.step();
    }
    simulation.end()
}

impl Simulation {
    fn step(&mut self) {
        self.talk();
        match self.rng.u32(0..1_000) {
            0..4 => self.edit(),
            4 => self.jump(),
            _ => {}
        }
        let ms = self.rng.u64(0..20);
        self.pass(ms);
    }

    /// Time passes; what is due arrives.
    fn pass(&mut self, ms: u64) {
        self.workers.pass(ms);
        let due = self.network.due(self.workers.now_ms());
        self.summary.received += due.len() as u64;
        let sent = self.workers.receive(&mut self.rng, due);
        for (nic_port, bytes) in sent {
            self.summary.sent += 1;
            self.arrive(nic_port, &bytes);
        }
    }

    /// Some end of some flow says something.
    fn talk(&mut self) {
        const FLOWS: usize = 200;
        let live: Vec<usize> =
            (0..self.flows.len()).rev().filter(|&nth| !self.flows[nth].closing).take(FLOWS).collect();
        if live.len() < FLOWS / 2 && self.rng.bool() || live.is_empty() {
            return self.open();
        }
        let nth = live[self.rng.usize(0..live.len())];
        let flow = self.flows[nth].clone();
        let from_server = self.rng.bool() && flow.real.is_some();
        let says = match self.rng.u32(0..100) {
            0..6 => {
                self.flows[nth].closing = true;
                if self.rng.bool() { Flags::FIN_ACK } else { Flags::RST }
            }
            6..30 if flow.server.is_none() => Flags::SYN,
            _ => Flags::ACK,
        };
        let len = if self.rng.u32(0..20) == 0 { 3_000 } else { self.rng.usize(0..600) };
        self.say(&flow, from_server, says, len);
    }

    fn open(&mut self) {
        let service = self.rng.usize(0..SERVICES.len());
        let client = if SERVICES[service].0.contains(':') {
            format!("2001:db8::{:x}", self.rng.u32(1..30))
        } else {
            format!("192.0.2.{}", self.rng.u32(1..30))
        };
        let key = (client.parse().expect("an address"), self.next_cport);
        self.next_cport = self.next_cport.checked_add(1).unwrap_or(1_024);
        let flow = Flow { service, key, server: None, real: None, closing: false };
        self.by_key.insert(key, self.flows.len());
        self.flows.push(flow.clone());
        self.say(&flow, false, Flags::SYN, 0);
    }

    /// A packet of a flow sets out.
    fn say(&mut self, flow: &Flow, from_server: bool, flags: Flags, len: usize) {
        const MTU: usize = 1_400;
        let (vaddr, protocol, vport, _) = SERVICES[flow.service];
        let (src, sport, dst, dport, nic_port) = match (from_server, flow.real) {
            (true, Some((real, dport))) => (real, dport, flow.key.0, flow.key.1, NicPortId(1)),
            _ => (flow.key.0, flow.key.1, vaddr.parse().expect("an address"), vport, OUTSIDE),
        };
        let macs = match nic_port {
            OUTSIDE => (CLIENT_ROUTER, OUTSIDE_MAC),
            _ => (MacAddr([2, 0, 0, 0, 2, flow.server.unwrap_or(0)]), INSIDE_MAC),
        };
        let craft = Craft::between(src, dst).expect("one family").macs(macs.0, macs.1).id(self.rng.u16(1..));
        let craft = if protocol == TCP { craft.tcp(sport, dport, flags) } else { craft.udp(sport, dport) };
        let craft = craft.payload(&vec![7; len]);
        for bytes in craft.fragments(MTU) {
            self.network.send(&mut self.rng, self.workers.now_ms(), Packet { nic_port, bytes });
        }
    }

    /// A packet that left the director reaches somebody.
    fn arrive(&mut self, nic_port: NicPortId, bytes: &[u8]) {
        let outer = check(bytes).unwrap_or_else(|fault| panic!("{fault}: {bytes:02x?}"));
        if nic_port == OUTSIDE || outer.is_fragment || outer.protocol == 1 || outer.protocol == 58 {
            return;
        }
        let opened = decapsulate(bytes).ok().map(|tunnel| tunnel.inner);
        let inner = opened.as_deref().map_or(Ok(outer), check).expect("a sound packet in the tunnel");
        if inner.is_fragment {
            return;
        }
        self.at_server(bytes[5], &inner);
    }

    fn at_server(&mut self, server: u8, packet: &Checked) {
        let Some(&nth) = self.by_key.get(&(packet.src, packet.sport)) else {
            panic!("nobody sent {packet:?}");
        };
        let flow = &mut self.flows[nth];
        let (vaddr, _, _, line) = SERVICES[flow.service];
        let translated = vaddr.parse() != Ok(packet.dst);
        if let Some(before) = flow.server {
            assert!(before == server || flow.closing, "{flow:?} is at {server:x} now: {packet:?}");
            return;
        }
        flow.server = Some(server);
        flow.real = translated.then_some((packet.dst, packet.dport));
        self.summary.flows += 1;
        if line.contains(" -p ") {
            let (key, now) = ((flow.service, flow.key.0), self.workers.now_ms());
            if let Some((kept, last)) = self.kept.insert(key, (server, now)) {
                let holds = now < last + PERSISTENT_MS && !flow.closing;
                assert!(!holds || kept == server, "client {} went from {kept:x} to {server:x}", key.1);
            }
        }
    }

    /// Somebody configures.
    fn edit(&mut self) {
        self.summary.edits += 1;
        let (service, method, servers) = SERVERS[self.rng.usize(0..SERVERS.len())];
        let server = servers[self.rng.usize(0..servers.len())];
        let weight = self.rng.u32(0..5).to_string();
        let line = match self.rng.u32(0..10) {
            // Its flows find it again, or nobody; its persistent clients another.
            0..2 => {
                self.kept.clear();
                format!("-d {service} -r {server}")
            }
            2..5 => format!("-a {service} -r {server} {method} -w {weight}"),
            _ => format!("-e {service} -r {server} {method} -w {weight}"),
        };
        let words: Vec<&str> = line.split(' ').collect();
        self.workers.command(&words, "");
    }

    /// The clock jumps: a little, or so far that no flow survives.
    fn jump(&mut self) {
        if self.rng.u32(0..4) > 0 {
            let ms = self.rng.u64(1_000..20_000);
            return self.workers.pass(ms);
        }
        self.workers.pass(1_000_000);
        self.kept.clear();
        self.network.clear();
        for flow in &mut self.flows {
            flow.closing = true;
        }
    }

    /// All fall silent. Nothing may remain.
    fn end(mut self) -> Summary {
        const SILENCE_MS: u64 = 1_300_000;
        self.pass(10_000);
        self.workers.pass(SILENCE_MS);
        self.workers.assert_empty();
        self.summary.handed_over = self.workers.handed_over();
        self.summary
    }
}
