//! Connections that somebody else made: taken over from a peer or from a state file.

mod common;

use common::{INSIDE, OUTSIDE, Rig, Setup, ip};
use shunt_engine::counters::Counter;
use shunt_engine::tables::{
    Family, ForwardingMethod, Hop, MarkRule, Marks, NextHop, Persistence, Routes, ServerId, ServiceId,
    ServiceKey,
};
use shunt_engine::{ConnectionInfo, InstallFrom, Tally, Verdict, flag};
use shunt_wire::Flags;
use shunt_wire::craft::Craft;

const TCP: u8 = 6;
const SYNC: u32 = flag::SYNC as u32;
const INACTIVE: u32 = flag::INACTIVE as u32;
const PERSISTENCE: Persistence = Persistence { timeout_s: 120, netmask: u32::MAX };

fn between(src: &str, dst: &str) -> Craft {
    Craft::between(ip(src), ip(dst)).unwrap()
}

fn request(cport: u16, flags: Flags) -> Craft {
    between("192.0.2.9", "10.0.1.100").tcp(cport, 80, flags)
}

fn web(method: ForwardingMethod) -> Setup {
    Setup::new(TCP, "10.0.1.100", method, &["10.0.2.11", "10.0.2.12"])
}

fn install(rig: &mut Rig, all: &[ConnectionInfo], from: InstallFrom) -> Tally {
    rig.install(all, from)
}

/// What a master says of an established connection to the first server.
fn told(cport: u16) -> ConnectionInfo {
    ConnectionInfo {
        protocol: TCP,
        family: Family::V4,
        caddr: ip("192.0.2.9"),
        cport,
        vaddr: ip("10.0.1.100"),
        vport: 80,
        daddr: ip("10.0.2.11"),
        dport: 8080,
        state: 1,
        timeout_ms: 900_000,
        expires_ms: 900_000,
        flags: SYNC,
        fwmark: 0,
        in_packets: 3,
        server: ServerId::NONE,
        control: None,
        sequence: None,
        pe_data: None,
    }
}

/// Sorted, with what a restart cannot keep left out.
fn comparable(mut all: Vec<ConnectionInfo>) -> Vec<ConnectionInfo> {
    all.sort_by_key(|info| (info.family, info.is_template(), info.caddr, info.cport, info.vaddr));
    all
}

#[test]
fn a_restart_keeps_everything() {
    let persistent = Setup { persistence: Some(PERSISTENCE), ..web(ForwardingMethod::Nat) };
    let setups = [
        persistent,
        Setup::new(TCP, "10.0.1.101", ForwardingMethod::DirectRouting, &["10.0.2.13"]),
        Setup::new(TCP, "fd00:1::100", ForwardingMethod::Nat, &["fd00:2::11"]),
        // A tunnel to a server of the other family, whose address the entry has no room for.
        Setup::new(TCP, "10.0.1.102", ForwardingMethod::Tunnel, &["fd00:2::14"]),
    ];
    let mut before = Rig::new(&setups);
    for (src, dst) in [
        ("192.0.2.9", "10.0.1.100"),
        ("192.0.2.10", "10.0.1.100"),
        ("192.0.2.9", "10.0.1.101"),
        ("2001:db8::9", "fd00:1::100"),
        ("192.0.2.9", "10.0.1.102"),
    ] {
        before.outside(between(src, dst).tcp(4000, 80, Flags::SYN));
        before.outside(between(src, dst).tcp(4000, 80, Flags::ACK));
    }
    before.wait(30);
    let all = before.connections();
    assert_eq!(all.len(), 7, "5 connections and 2 templates");

    let mut after = Rig::new(&setups);
    after.now.0 = 77_000_000;
    let (templates, connections): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(ConnectionInfo::is_template);
    let mut tally = install(&mut after, &templates, InstallFrom::StateFile);
    tally.add(install(&mut after, &connections, InstallFrom::StateFile));
    assert_eq!(tally, Tally { created: 7, ..Tally::default() });
    assert_eq!(comparable(after.connections()), comparable(all.clone()));
    for server in 0..5 {
        let server = ServerId(server);
        assert_eq!(after.boards.active(server), before.boards.active(server));
        assert_eq!(after.boards.total(server), before.boards.total(server));
    }
    // A second time changes nothing.
    let again = install(&mut after, &all, InstallFrom::StateFile);
    assert_eq!(again, Tally { ignored: 7, ..Tally::default() });
    assert_eq!(comparable(after.connections()), comparable(all));

    // It goes on where it was: time runs out when it would have, and templates outlive their connections.
    after.wait(60);
    let held: Vec<u64> = after
        .connections()
        .iter()
        .filter(|info| info.is_template())
        .map(|info| info.expires_ms / 1000)
        .collect();
    assert_eq!(held, [30, 30]);
    after.wait(900 - 30 - 60 + 1);
    let left = after.connections();
    assert!(left.iter().all(ConnectionInfo::is_template), "{left:?}");
    after.wait(61);
    assert!(after.connections().is_empty());
    assert_eq!((0..5).map(|server| after.boards.total(ServerId(server))).sum::<u32>(), 0);
}

#[test]
fn packets_follow_what_a_peer_told() {
    let mut rig = Rig::new(&[web(ForwardingMethod::Nat)]);
    // The second server would be picked next, and a bare ACK would not be scheduled at all.
    assert_eq!(install(&mut rig, &[told(4000)], InstallFrom::Peer).created, 1);
    let sent = rig.outside(request(4000, Flags::ACK)).sent(INSIDE);
    assert_eq!(sent.dst, ip("10.0.2.11"));
    assert_eq!(sent.dport, 8080);
    let sent = rig.inside(between("10.0.2.11", "192.0.2.9").tcp(8080, 4000, Flags::ACK)).sent(OUTSIDE);
    assert_eq!(sent.src, ip("10.0.1.100"));
    assert_eq!((rig.boards.active(ServerId(0)), rig.boards.total(ServerId(0))), (1, 1));
    assert_eq!(rig.counter(Counter::NewConnections), 0, "no connection was scheduled");
}

#[test]
fn a_peer_changes_what_is_here() {
    let mut rig = Rig::new(&[web(ForwardingMethod::Nat)]);
    install(&mut rig, &[told(4000)], InstallFrom::Peer);
    let closing = ConnectionInfo {
        state: 7,
        timeout_ms: 60_000,
        expires_ms: 60_000,
        flags: SYNC | INACTIVE,
        ..told(4000)
    };
    assert_eq!(install(&mut rig, &[closing], InstallFrom::Peer).updated, 1);
    let info = &rig.connections()[0];
    assert_eq!((info.state_name(), info.expires_ms), ("CLOSE_WAIT", 60_000));
    assert_eq!((rig.boards.active(ServerId(0)), rig.boards.total(ServerId(0))), (0, 1));
    // Another server: the connection was made anew.
    let other = ConnectionInfo { daddr: ip("10.0.2.12"), ..told(4000) };
    assert_eq!(install(&mut rig, std::slice::from_ref(&other), InstallFrom::Peer).created, 1);
    assert_eq!(rig.connections()[0].daddr, ip("10.0.2.12"));
    assert_eq!((rig.boards.total(ServerId(0)), rig.boards.active(ServerId(1))), (0, 1));
    // The late end of the old one is no news.
    let late = ConnectionInfo { flags: SYNC | INACTIVE, state: 5, ..told(4000) };
    assert_eq!(install(&mut rig, &[late], InstallFrom::Peer).ignored, 1);
    assert_eq!(rig.connections()[0].state_name(), "ESTABLISHED");
    // Without a timeout the protocol's own.
    let old_version = ConnectionInfo { timeout_ms: 0, expires_ms: 0, state: 4, ..other };
    install(&mut rig, &[old_version], InstallFrom::Peer);
    assert_eq!(rig.connections()[0].expires_ms, 120_000);
}

#[test]
fn the_method_is_that_of_our_server() {
    let mut rig = Rig::new(&[web(ForwardingMethod::DirectRouting)]);
    let told = ConnectionInfo { dport: 80, ..told(4000) };
    install(&mut rig, &[told], InstallFrom::Peer);
    let info = &rig.connections()[0];
    assert_eq!(info.flags, SYNC | u32::from(flag::NO_OUTPUT) | ForwardingMethod::DirectRouting as u32);
    assert_eq!(rig.outside(request(4000, Flags::ACK)).sent(INSIDE).dst, ip("10.0.1.100"));
}

#[test]
fn without_a_service_the_connection_waits_for_it() {
    let mut rig = Rig::new(&[]);
    install(&mut rig, &[told(4000)], InstallFrom::Peer);
    assert_eq!(rig.connections()[0].server, ServerId::NONE);
    assert_eq!(rig.outside(request(4000, Flags::ACK)).verdict, Verdict::Punt(OUTSIDE), "IPVS is asleep");

    // Another service wakes it: the packet goes where the peer said.
    let mut rig = Rig::new(&[Setup::new(TCP, "10.0.1.101", ForwardingMethod::Nat, &["10.0.2.13"])]);
    install(&mut rig, &[told(4000)], InstallFrom::Peer);
    let hop = Hop::Via(NextHop {
        nic_port: INSIDE,
        mtu: 1500,
        dst_mac: common::server_mac(11),
        src_mac: common::INSIDE_MAC,
    });
    let mut routes = Routes::default();
    routes.insert(ip("10.0.2.0"), 24, hop);
    rig.tables.set_routes(routes);
    let sent = rig.outside(request(4000, Flags::ACK));
    assert_eq!((sent.sent(INSIDE).dst, sent.dst_mac()), (ip("10.0.2.11"), common::server_mac(11)));

    // Its own service: the connection is bound with its next packet.
    let mut rig = Rig::new(&[Setup { vport: 81, ..web(ForwardingMethod::DirectRouting) }]);
    install(&mut rig, &[ConnectionInfo { dport: 80, ..told(4000) }], InstallFrom::Peer);
    assert_eq!(rig.boards.total(ServerId(0)), 0);
    let full = Rig::new(&[web(ForwardingMethod::DirectRouting)]);
    rig.tables = full.tables;
    assert_eq!(rig.outside(request(4000, Flags::ACK)).sent(INSIDE).dst, ip("10.0.1.100"));
    assert_eq!((rig.boards.active(ServerId(0)), rig.boards.total(ServerId(0))), (1, 1));
    // And with the next word of the peer, if that comes first.
    let mut rig = Rig::new(&[]);
    install(&mut rig, &[told(4000)], InstallFrom::Peer);
    rig.tables = Rig::new(&[web(ForwardingMethod::Nat)]).tables;
    install(&mut rig, &[told(4000)], InstallFrom::Peer);
    assert_eq!((rig.connections().len(), rig.boards.active(ServerId(0))), (1, 1));
}

#[test]
fn templates_of_a_peer_lead_to_their_server() {
    let setup = Setup { persistence: Some(PERSISTENCE), ..web(ForwardingMethod::Nat) };
    let mut rig = Rig::new(&[setup]);
    let flags = SYNC | u32::from(flag::TEMPLATE) | INACTIVE;
    let template = ConnectionInfo { cport: 0, timeout_ms: 0, expires_ms: 0, flags, ..told(0) };
    install(&mut rig, &[template], InstallFrom::Peer);
    let info = &rig.connections()[0];
    assert_eq!((info.state_name(), info.expires_ms, info.flags), ("ASSURED", 180_000, flags));
    for cport in 4000..4004 {
        assert_eq!(rig.outside(request(cport, Flags::SYN)).sent(INSIDE).dst, ip("10.0.2.11"));
    }
    // A part of the templates each 0.1 s.
    rig.wait(188);
    assert!(rig.connections().is_empty());
}

#[test]
fn a_full_table_says_so() {
    let mut rig = Rig::with_workers(&[web(ForwardingMethod::Nat)], 1, 2);
    let all: Vec<ConnectionInfo> = (4000..4003).map(told).collect();
    let tally = install(&mut rig, &all, InstallFrom::Peer);
    assert_eq!(tally, Tally { created: 2, no_room: 1, ..Tally::default() });
}

/// A service of mark 5 with two servers of this port.
fn marked(v6: bool, dport: u16) -> Rig {
    let (family, vip, real, netmask) = match v6 {
        true => (Family::V6, "fd00:1::100", ["fd00:2::11", "fd00:2::12"], 128),
        false => (Family::V4, "10.0.1.100", ["10.0.2.11", "10.0.2.12"], u32::MAX),
    };
    let mut rig = Rig::new(&[Setup {
        servers: real.map(|real| (real, dport)).to_vec(),
        persistence: Some(Persistence { netmask, ..PERSISTENCE }),
        ..Setup::new(TCP, vip, ForwardingMethod::DirectRouting, &[])
    }]);
    let mut service = (**rig.tables.service(ServiceId(0)).unwrap()).clone();
    service.key = ServiceKey::Fwmark { family, mark: 5 };
    rig.tables.put_service(service);
    rig.tables.set_marks(Marks::new(vec![MarkRule {
        family,
        source: None,
        destination: None,
        protocol: Some(TCP),
        sports: 0..=u16::MAX,
        dports: 80..=80,
        nic_port: None,
        mark: 5,
    }]));
    rig
}

/// A client's template is told by one director to another one, whose scheduler would pick the other server next.
fn keeps_its_server(rig: &dyn Fn() -> Rig, v6: bool, vport: u16, from: InstallFrom) {
    let (clients, vip) = match v6 {
        true => (["2001:db8::9", "2001:db8::a"], "fd00:1::100"),
        false => (["192.0.2.9", "192.0.2.10"], "10.0.1.100"),
    };
    let opens = |rig: &mut Rig, client, cport| {
        rig.outside(between(client, vip).tcp(cport, vport, Flags::SYN)).dst_mac()
    };
    let (mut before, mut after) = (rig(), rig());
    let theirs = opens(&mut before, clients[0], 4000);
    assert_eq!(opens(&mut after, clients[1], 4000), theirs);
    let mut all = before.connections();
    all.retain(ConnectionInfo::is_template);
    assert_eq!(after.install(&all, from), Tally { created: 1, ..Tally::default() }, "{all:?}");
    let templates = after.connections().into_iter().filter(ConnectionInfo::is_template);
    assert_eq!(comparable(templates.collect())[0], all[0]);
    assert_eq!(opens(&mut after, clients[0], 4001), theirs, "{all:?} {from:?}");
}

#[test]
fn templates_of_marks_keep_their_server() {
    for v6 in [false, true] {
        let told = {
            let mut rig = marked(v6, 0);
            let (client, vip) = if v6 { ("2001:db8::9", "fd00:1::100") } else { ("192.0.2.9", "10.0.1.100") };
            rig.outside(between(client, vip).tcp(4000, 80, Flags::SYN)).sent(INSIDE);
            rig.connections().into_iter().find(ConnectionInfo::is_template).unwrap()
        };
        let address = ip(if v6 { "0:5::" } else { "0.0.0.5" });
        assert_eq!((told.protocol, told.vaddr, told.vport, told.fwmark), (0, address, 0, 5));
        for from in [InstallFrom::Peer, InstallFrom::StateFile] {
            keeps_its_server(&|| marked(v6, 0), v6, 80, from);
        }
    }
}

/// Templates of FTP, of port 0 and of marks have no ports; their servers may have some.
#[test]
fn templates_without_ports_find_their_server_after_a_restart() {
    for v6 in [false, true] {
        keeps_its_server(&|| marked(v6, 8080), v6, 80, InstallFrom::StateFile);
    }
    let of = |vport, servers: &[(&'static str, u16)]| {
        let setup = Setup {
            vport,
            servers: servers.to_vec(),
            persistence: Some(PERSISTENCE),
            ..web(ForwardingMethod::Nat)
        };
        Rig::new(&[setup])
    };
    for (vport, dport) in [(21, 21), (0, 8080)] {
        let rig = || of(vport, &[("10.0.2.11", dport), ("10.0.2.12", dport)]);
        keeps_its_server(&rig, false, 21, InstallFrom::StateFile);
    }
    // Nobody knows which of two it was.
    let mut rig = of(21, &[("10.0.2.11", 21), ("10.0.2.11", 2121)]);
    let flags = u32::from(flag::TEMPLATE) | INACTIVE;
    let template = ConnectionInfo { cport: 0, vport: 0, dport: 0, flags, ..told(0) };
    rig.install(&[template], InstallFrom::StateFile);
    assert_eq!(rig.connections()[0].server, ServerId::NONE);
}

/// Connections of persistent services for all ports keep the client's port, whatever port their server is configured with.
#[test]
fn connections_that_keep_their_ports_find_their_server_after_a_restart() {
    let for_all_ports = || {
        let servers = vec![("10.0.2.11", 8080), ("10.0.2.12", 8080)];
        let persistence = Some(PERSISTENCE);
        Rig::new(&[Setup { vport: 0, servers, persistence, ..web(ForwardingMethod::Nat) }])
    };
    let rigs: [&dyn Fn() -> Rig; 2] = [&|| marked(false, 8080), &for_all_ports];
    for rig in rigs {
        let (mut before, mut after) = (rig(), rig());
        let there = before.outside(request(4000, Flags::SYN)).sent(INSIDE);
        let all = before.connections();
        assert_eq!(all.iter().map(|info| info.dport).collect::<Vec<u16>>(), [80, 0], "{all:?}");
        let (templates, connections) =
            all.iter().cloned().partition::<Vec<_>, _>(ConnectionInfo::is_template);
        install(&mut after, &templates, InstallFrom::StateFile);
        install(&mut after, &connections, InstallFrom::StateFile);
        assert_eq!(comparable(after.connections()), comparable(all));
        assert_eq!(after.outside(request(4000, Flags::SYN)).sent(INSIDE), there);
    }
}
