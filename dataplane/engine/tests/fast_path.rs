//! The fast path decides as the general way does: what it forwards, what it lets in, and what it refuses to touch.
//!
//! A VLAN tag keeps a packet off the fast path and changes nothing else. So each packet goes through two directors that
//! are alike, to one with a tag and to the other without, and whatever comes out of one must come out of the other.

mod common;

use bolero::TypeGenerator;
use common::{INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, Outcome, ROUTER_MAC, Rig, Setup, ip, server_mac};
use shunt_engine::counters::Counter;
use shunt_engine::sched::SchedulerPlan;
use shunt_engine::tables::{
    Candidate, Family, ForwardingMethod, Hop, MarkRule, Marks, Persistence, SchedulerKind, Server, ServerId,
    Service, ServiceId, ServiceKey, Settings, Tables, TunnelKind,
};
use shunt_engine::{Origin, Verdict};
use shunt_wire::craft::Craft;
use shunt_wire::{Flags, MacAddr};

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
/// Client, virtual address, first real server.
const ENDS: [(&str, &str, &str); 2] =
    [("192.0.2.9", "10.0.1.100", "10.0.2.11"), ("2001:db8::9", "fd00:1::100", "fd00:2::11")];
/// Two more real servers.
const MORE: [[&str; 2]; 2] = [["10.0.2.12", "10.0.2.13"], ["fd00:2::12", "fd00:2::13"]];
/// One nobody has, and one of the director's own.
const MARTIANS: [[&str; 2]; 2] = [["127.0.0.9", "10.0.1.1"], ["::1", "fd00:1::1"]];
const MTU: u16 = 600;
const SCHEDULERS: [SchedulerKind; 8] = [
    SchedulerKind::Rr,
    SchedulerKind::Wrr,
    SchedulerKind::Wlc,
    SchedulerKind::Lc,
    SchedulerKind::Sed,
    SchedulerKind::Sh,
    SchedulerKind::Mh,
    SchedulerKind::None,
];

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
    /// Another setting, or back.
    Setting {
        which: u8,
        on: bool,
    },
    /// An upper threshold, or none.
    Threshold {
        server: u8,
        upper: u8,
    },
    /// Rules that mark packets of this protocol, for whom there may be a service; or none.
    Marks {
        udp: bool,
        mark: Option<u8>,
    },
}

/// How the directors are set up.
#[derive(Clone, Copy, Debug, Default, TypeGenerator)]
struct Variety {
    method: u8,
    scheduler: u8,
    servers: u8,
    persistent: bool,
    one_packet: bool,
    /// Tables of eight connections, which are soon full.
    small: bool,
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
struct Sent {
    v6: bool,
    udp: bool,
    client: u8,
    /// Low ones are from where nobody should send, and from a server.
    source: u8,
    /// To another port, for which there is no service.
    elsewhere: bool,
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
    fn new(variety: Variety) -> Twins {
        let (method, tunnel) = METHODS[usize::from(variety.method) % METHODS.len()];
        let setups: Vec<Setup> = [(TCP, 0), (UDP, 0), (TCP, 1), (UDP, 1)]
            .map(|(protocol, family): (u8, usize)| {
                let (_, vip, real) = ENDS[family];
                let servers = [real, MORE[family][0], MORE[family][1]];
                let mut setup =
                    Setup::new(protocol, vip, method, &servers[..=usize::from(variety.servers) % 3]);
                (setup.tunnel, setup.mtu) = (tunnel, MTU);
                setup.scheduler = SCHEDULERS[usize::from(variety.scheduler) % SCHEDULERS.len()];
                setup.one_packet = variety.one_packet && protocol == UDP;
                let netmask = if family == 0 { u32::MAX } else { 128 };
                setup.persistence = variety.persistent.then_some(Persistence { timeout_s: 60, netmask });
                setup
            })
            .into();
        let max = if variety.small { 8 } else { 1024 };
        let rig = || {
            let mut rig = Rig::with_workers(&setups, 1, max);
            rig.tables.set_local(MARTIANS.iter().map(|[_, own]| ip(own)).collect());
            add_marked_service(&mut rig.tables);
            rig
        };
        Twins { plain: rig(), tagged: rig(), method }
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
            Step::Setting { which, on } => self.both(|rig| set(rig.tables.settings_mut(), which, on)),
            Step::Threshold { server, upper } => self.both(|rig| {
                let mut ids: Vec<u32> = rig.tables.servers().map(|server| server.id.0).collect();
                ids.sort_unstable();
                rig.change_server(ids[usize::from(server) % ids.len()], |server| {
                    server.upper_threshold = u32::from(upper % 4);
                });
            }),
            Step::Marks { udp, mark } => self.both(|rig| rig.tables.set_marks(marks(udp, mark))),
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
            let servers: Vec<_> = (0..=40)
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
        let (mut client, vip, real) = ENDS[usize::from(self.v6)];
        // Now and then the data port of FTP.
        let mut cport = if self.client % 64 == 63 { 20 } else { 40_000 + u16::from(self.client % 16) };
        match self.source {
            0..8 if !self.reply => client = MARTIANS[usize::from(self.v6)][usize::from(self.source) % 2],
            8..16 if !self.reply => (client, cport) = (real, 8080),
            _ => {}
        }
        let nat = method == ForwardingMethod::Nat;
        let (src, dst, sport, dport) = match (self.reply, nat) {
            (false, _) => (client, vip, cport, if self.elsewhere { 81 } else { 80 }),
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

/// A service for mark 1, like the first one, with a server of its own.
fn add_marked_service(tables: &mut Tables) {
    let (id, server) = (ServiceId(40), ServerId(40));
    let like = tables.service(ServiceId(0)).unwrap().as_ref().clone();
    let candidate = Candidate { id: server, ..like.servers[0] };
    tables.put_server(Server {
        id: server,
        service: id,
        ..tables.server(like.servers[0].id).unwrap().clone()
    });
    tables.put_service(Service {
        id,
        key: ServiceKey::Fwmark { family: Family::V4, mark: 1 },
        plan: SchedulerPlan::init(like.scheduler, Family::V4, &[candidate]).unwrap(),
        servers: [candidate].into(),
        ..like
    });
}

fn set(settings: &mut Settings, which: u8, on: bool) {
    match which % 8 {
        0 => settings.ftp_port = if on { 80 } else { 21 },
        1 => settings.secure_tcp = if on { 3 } else { 0 },
        2 => (settings.drop_packet, settings.am_droprate) = (if on { 3 } else { 0 }, 2),
        3 => settings.nat_icmp_send = on,
        4 => settings.sloppy_tcp = on,
        5 => settings.expire_nodest_conn = on,
        6 => settings.conn_reuse_mode = u32::from(on),
        _ => settings.pmtu_disc = on,
    }
}

fn marks(udp: bool, mark: Option<u8>) -> Marks {
    let rule = |family| MarkRule {
        family,
        source: None,
        destination: None,
        protocol: Some(if udp { UDP } else { TCP }),
        sports: 0..=u16::MAX,
        dports: 80..=81,
        nic_port: None,
        mark: u32::from(mark.unwrap_or_default() % 2),
    };
    Marks::new(if mark.is_some() { vec![rule(Family::V4), rule(Family::V6)] } else { Vec::new() })
}

/// Frames to a virtual MAC of the NIC port are for the director, by the fast path if a burst is all of them, and by the
/// general way among others.
#[test]
fn frames_to_another_address_of_the_port_are_balanced() {
    const VIRTUAL: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 0x33]);
    const STRANGE: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 0x34]);
    let [client, vip, real] = <[&str; 3]>::from(ENDS[0]);
    let mut rig = Rig::new(&[Setup::new(TCP, vip, ForwardingMethod::Nat, &[real])]);
    let mut ports = rig.tables.nic_ports().to_vec();
    ports[0].other_macs = vec![VIRTUAL];
    rig.tables.set_nic_ports(ports);
    let frame = |to, flags| {
        let packet = Craft::between(ip(client), ip(vip)).unwrap().tcp(4000, 80, flags);
        packet.macs(ROUTER_MAC, to).heap_frame(OUTSIDE)
    };
    for (to, verdict) in [
        (VIRTUAL, Verdict::Transmit(INSIDE)),
        (OUTSIDE_MAC, Verdict::Transmit(INSIDE)),
        (STRANGE, Verdict::Punt(OUTSIDE)),
    ] {
        for flags in [Flags::SYN, Flags::ACK] {
            assert_eq!(rig.pass(&frame(to, flags)).verdict, verdict, "{to:?}");
        }
    }
    let mut frames = [VIRTUAL, OUTSIDE_MAC, VIRTUAL].map(|to| frame(to, Flags::ACK));
    let mut verdicts = [Verdict::Punt(OUTSIDE); 3];
    let now = rig.now;
    rig.engines[0].process_burst(&rig.tables, now, Origin::Wire, &mut frames, &mut verdicts);
    assert_eq!(verdicts, [Verdict::Transmit(INSIDE); 3]);
}

#[test]
fn decides_as_the_general_way_does() {
    bolero::check!().with_type::<(Variety, Vec<Step>)>().for_each(|(variety, steps)| {
        let mut twins = Twins::new(*variety);
        for &step in steps {
            twins.step(step);
        }
        twins.compare();
    });
}

/// Clients come and go: here most packets open a connection.
#[test]
fn lets_in_whom_the_general_way_lets_in() {
    let opening = |udp: bool, client: u8, v6: bool| Sent {
        v6,
        udp,
        client,
        source: client,
        elsewhere: client % 32 == 5,
        reply: false,
        flags: Flags::SYN.0,
        any_flags: true,
        ttl: 64,
        len: client / 2,
        traffic_class: client,
        dont_fragment: true,
        zero_checksum: false,
        wrong_header: 255,
    };
    bolero::check!().with_type::<(Variety, Vec<(u8, Option<Step>)>)>().for_each(|(variety, steps)| {
        let mut twins = Twins::new(*variety);
        for &(number, step) in steps {
            twins.packet(opening(number & 1 != 0, number >> 1, number & 2 != 0));
            if let Some(step) = step {
                twins.step(step);
            }
        }
        twins.compare();
    });
}

/// Long-lived flows of every method: here most packets do take the fast path.
#[test]
fn forwards_established_flows_as_the_general_way_does() {
    for method in 0..METHODS.len() as u8 {
        let mut twins = Twins::new(Variety { method, ..Variety::default() });
        let packet = |n: u8, flags: Flags, reply: bool| Sent {
            v6: n & 1 != 0,
            udp: n & 2 != 0,
            client: n >> 2 & 3,
            source: 255,
            elsewhere: false,
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
