//! The fast path decides as the general way does: what it forwards, and what it refuses to touch.
//!
//! A VLAN tag keeps a packet off the fast path and changes nothing else. So each packet goes through two directors that
//! are alike, to one with a tag and to the other without, and whatever comes out of one must come out of the other.

mod common;

use bolero::TypeGenerator;
use common::{INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, Outcome, ROUTER_MAC, Rig, Setup, ip, server_mac};
use shunt_engine::counters::Counter;
use shunt_engine::tables::{ForwardingMethod, Hop, Persistence, ServerId, TunnelKind};
use shunt_wire::Flags;
use shunt_wire::craft::Craft;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Each of them in both families.
const METHODS: [(ForwardingMethod, TunnelKind); 5] = [
    (ForwardingMethod::Nat, TunnelKind::Ipip),
    (ForwardingMethod::DirectRouting, TunnelKind::Ipip),
    (ForwardingMethod::Tunnel, TunnelKind::Ipip),
    (ForwardingMethod::Tunnel, TunnelKind::Gue { dport: 6080 }),
    (ForwardingMethod::Tunnel, TunnelKind::Gre),
];
const ENDS: [(&str, &str, &str); 2] =
    [("192.0.2.9", "10.0.1.100", "10.0.2.11"), ("2001:db8::9", "fd00:1::100", "fd00:2::11")];
const MTU: u16 = 600;

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Step {
    Packet(Sent),
    /// The server is deleted, or comes back.
    Server {
        v6: bool,
        udp: bool,
        available: bool,
    },
    /// Its neighbour is lost, or found.
    Neighbour {
        v6: bool,
        udp: bool,
        known: bool,
    },
    Wait(u8),
    /// `ipvsadm --set`.
    Timeouts {
        tcp_s: u8,
        udp_s: u8,
    },
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
struct Sent {
    v6: bool,
    udp: bool,
    client: u8,
    reply: bool,
    flags: u8,
    /// Most packets only acknowledge.
    any_flags: bool,
    ttl: u8,
    len: u8,
    traffic_class: u8,
    dont_fragment: bool,
    zero_checksum: bool,
    wrong_header: u8,
}

/// Two directors that are alike.
struct Twins {
    plain: Rig,
    tagged: Rig,
    method: ForwardingMethod,
}

impl Twins {
    fn new((method, tunnel): (ForwardingMethod, TunnelKind), persistent: bool) -> Twins {
        let setups: Vec<Setup> = [(TCP, 0), (UDP, 0), (TCP, 1), (UDP, 1)]
            .map(|(protocol, family): (u8, usize)| {
                let (_, vip, real) = ENDS[family];
                let mut setup = Setup::new(protocol, vip, method, &[real]);
                (setup.tunnel, setup.mtu) = (tunnel, MTU);
                let netmask = if family == 0 { u32::MAX } else { 128 };
                setup.persistence = persistent.then_some(Persistence { timeout_s: 60, netmask });
                setup
            })
            .into();
        Twins { plain: Rig::new(&setups), tagged: Rig::new(&setups), method }
    }

    fn both(&mut self, mut change: impl FnMut(&mut Rig)) {
        change(&mut self.plain);
        change(&mut self.tagged);
    }

    fn step(&mut self, step: Step) {
        let server = |v6: bool, udp: bool| u32::from(v6) * 2 + u32::from(udp);
        match step {
            Step::Packet(sent) => self.packet(sent),
            Step::Server { v6, udp, available } => self.both(|rig| {
                rig.change_server(server(v6, udp), |server| server.available = available);
            }),
            Step::Neighbour { v6, udp, known } => {
                let via = Rig::new(&[Setup::new(TCP, ENDS[0].1, self.method, &[ENDS[0].2])]);
                let mut hop = via.tables.server(ServerId(0)).map(|server| server.hop);
                if let Some(Hop::Via(next)) = &mut hop {
                    next.mtu = MTU;
                }
                let hop = hop.filter(|_| known).unwrap_or(Hop::Unresolved);
                self.both(|rig| rig.change_server(server(v6, udp), |server| server.hop = hop));
            }
            Step::Wait(seconds) => self.both(|rig| rig.wait(u64::from(seconds % 40))),
            Step::Timeouts { tcp_s, udp_s } => self.both(|rig| {
                let settings = rig.tables.settings_mut();
                (settings.timeout_tcp_s, settings.timeout_udp_s) =
                    (u32::from(tcp_s) + 1, u32::from(udp_s) + 1);
            }),
        }
    }

    fn packet(&mut self, sent: Sent) {
        let craft = sent.craft(self.method);
        let from_inside = sent.reply;
        let nic_port = if from_inside { INSIDE } else { OUTSIDE };
        let macs = if from_inside { (server_mac(0), INSIDE_MAC) } else { (ROUTER_MAC, OUTSIDE_MAC) };
        let craft = craft.macs(macs.0, macs.1);
        let plain = self.plain.pass(&craft.clone().heap_frame(nic_port));
        let tagged = self.tagged.pass(&craft.vlan(7).heap_frame(nic_port));
        assert_eq!(plain.verdict, tagged.verdict, "{sent:?}");
        assert_eq!(untagged(&plain), untagged(&tagged), "{sent:?}");
    }

    fn compare(&self) {
        let seen = |rig: &Rig| {
            let mut connections: Vec<String> =
                rig.connections().iter().map(|info| format!("{info:?}")).collect();
            connections.sort();
            let servers: Vec<_> = (0..4)
                .map(|id| {
                    let id = ServerId(id);
                    let sums = [
                        rig.boards.sum64(id, |counts| &counts.in_packets),
                        rig.boards.sum64(id, |counts| &counts.in_bytes),
                        rig.boards.sum64(id, |counts| &counts.out_packets),
                        rig.boards.sum64(id, |counts| &counts.out_bytes),
                    ];
                    (rig.boards.active(id), rig.boards.total(id), sums)
                })
                .collect();
            let counters: Vec<u64> = Counter::ALL.iter().map(|&counter| rig.counter(counter)).collect();
            (connections, servers, counters)
        };
        assert_eq!(seen(&self.plain), seen(&self.tagged));
    }
}

impl Sent {
    fn craft(&self, method: ForwardingMethod) -> Craft {
        let (client, vip, real) = ENDS[usize::from(self.v6)];
        let nat = method == ForwardingMethod::Nat;
        let cport = 40_000 + u16::from(self.client % 4);
        let (src, dst, sport, dport) = match (self.reply, nat) {
            (false, _) => (client, vip, cport, 80),
            (true, true) => (real, client, 8080, cport),
            (true, false) => (vip, client, 80, cport),
        };
        let flags = if self.any_flags { Flags(self.flags) } else { Flags::ACK };
        let craft = Craft::between(ip(src), ip(dst)).unwrap();
        let mut craft = if self.udp { craft.udp(sport, dport) } else { craft.tcp(sport, dport, flags) };
        // Around the MTU, now and then.
        let len = if self.len < 192 { usize::from(self.len) } else { 300 + usize::from(self.len) };
        craft = craft.payload(&vec![self.flags; len]).traffic_class(self.traffic_class);
        craft = craft.ttl(if self.ttl < 16 { self.ttl % 4 } else { self.ttl });
        if self.dont_fragment {
            craft = craft.dont_fragment();
        }
        if self.zero_checksum && self.udp && !self.v6 {
            craft = craft.zero_transport_checksum();
        }
        if self.wrong_header < 8 && !self.v6 {
            craft = craft.wrong_ip_checksum();
        }
        craft
    }
}

/// The frame without the tag that the general way's packets have.
fn untagged(outcome: &Outcome) -> Vec<u8> {
    let mut bytes = outcome.bytes.clone();
    if bytes.get(12..14) == Some(&[0x81, 0]) {
        bytes.drain(12..16);
    }
    bytes
}

#[test]
fn decides_as_the_general_way_does() {
    bolero::check!().with_type::<(u8, bool, Vec<Step>)>().for_each(|(method, persistent, steps)| {
        let mut twins = Twins::new(METHODS[usize::from(*method) % METHODS.len()], *persistent);
        for &step in steps {
            twins.step(step);
        }
        twins.compare();
    });
}

/// Long-lived flows of every method: here most packets do take the fast path.
#[test]
fn forwards_established_flows_as_the_general_way_does() {
    for method in METHODS {
        let mut twins = Twins::new(method, false);
        let packet = |n: u8, flags: Flags, reply: bool| Sent {
            v6: n & 1 != 0,
            udp: n & 2 != 0,
            client: n >> 2,
            reply,
            flags: flags.0,
            any_flags: true,
            ttl: 64,
            len: n,
            traffic_class: n,
            dont_fragment: n & 4 != 0,
            zero_checksum: n & 8 != 0,
            wrong_header: 255,
        };
        for n in 0..16 {
            twins.packet(packet(n, Flags::SYN, false));
            twins.packet(packet(n, Flags::SYN_ACK, true));
        }
        for n in 0..=255 {
            twins.packet(packet(n, Flags::ACK, false));
            twins.packet(packet(n, Flags::ACK, true));
        }
        twins.compare();
        let transmitted = twins.plain.boards.sum64(ServerId(0), |counts| &counts.in_packets);
        assert_eq!(transmitted, 64 + 4, "a quarter of all packets");
    }
}
