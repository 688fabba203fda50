//! What a synchronisation master is told of, packet by packet (spec `sync.md` §4).

mod common;

use common::{OUTSIDE, Rig, Setup, ip};
use shunt_engine::counters::Counter;
use shunt_engine::tables::{ForwardingMethod, Persistence, SyncRules};
use shunt_engine::{ConnectionInfo, Verdict, flag};
use shunt_wire::Flags;
use shunt_wire::craft::Craft;

const TCP: u8 = 6;
const UDP: u8 = 17;
const PERSISTENCE: Option<Persistence> = Some(Persistence { timeout_s: 120, netmask: u32::MAX });

struct Master {
    rig: Rig,
}

impl Master {
    fn new(setups: &[Setup], rules: SyncRules) -> Master {
        let mut rig = Rig::new(setups);
        rig.tables.settings_mut().sync = SyncRules { master: true, ..rules };
        Master { rig }
    }

    fn told(&mut self) -> Vec<ConnectionInfo> {
        self.rig.told()
    }

    /// State and number of packets of what a client's packet made the worker tell.
    fn after(&mut self, packet: Craft) -> Vec<(&'static str, u32)> {
        self.rig.outside(packet);
        self.told().iter().map(|info| (info.state_name(), info.in_packets)).collect()
    }
}

fn between(src: &str, dst: &str) -> Craft {
    Craft::between(ip(src), ip(dst)).unwrap()
}

fn tcp(flags: Flags) -> Craft {
    between("192.0.2.9", "10.0.1.100").tcp(4000, 80, flags)
}

fn web(method: ForwardingMethod) -> Setup {
    Setup::new(TCP, "10.0.1.100", method, &["10.0.2.11"])
}

#[test]
fn the_third_packet_and_each_end() {
    let mut master = Master::new(&[web(ForwardingMethod::DirectRouting)], SyncRules::default());
    assert_eq!(master.after(tcp(Flags::SYN)), []);
    assert_eq!(master.after(tcp(Flags::ACK)), []);
    assert_eq!(master.after(tcp(Flags::ACK)), [("ESTABLISHED", 3)]);
    assert_eq!(master.after(tcp(Flags::ACK)), []);
    assert_eq!(master.after(tcp(Flags::FIN | Flags::ACK)), [("FIN_WAIT", 5)]);
    assert_eq!(master.after(tcp(Flags::ACK)), [], "the peer knows");
    assert_eq!(master.after(tcp(Flags::RST)), [("CLOSE", 7)]);
    // A state that is no news, but the third packet: SYN_RECV is never told.
    let other = |flags| between("192.0.2.9", "10.0.1.100").tcp(4001, 80, flags);
    for _ in 0..3 {
        assert_eq!(master.after(other(Flags::SYN)), []);
    }
    assert_eq!(master.rig.counter(Counter::Announced), 3);
}

#[test]
fn a_new_connection_in_an_old_place_begins_anew() {
    let mut master = Master::new(&[web(ForwardingMethod::DirectRouting)], SyncRules::default());
    for flags in [Flags::SYN, Flags::ACK, Flags::RST] {
        master.rig.outside(tcp(flags));
    }
    assert_eq!(master.told().len(), 1);
    // CLOSE is reused; were the note still there, the same end would be no news.
    assert_eq!(master.after(tcp(Flags::SYN)), []);
    assert_eq!(master.after(tcp(Flags::RST)), []);
    master.rig.wait(120);
    assert_eq!(master.after(tcp(Flags::SYN)), []);
    assert_eq!(master.after(tcp(Flags::ACK)), []);
    assert_eq!(master.after(tcp(Flags::RST)), [("CLOSE", 3)]);
}

#[test]
fn udp_needs_no_state() {
    let setup = Setup::new(UDP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"]);
    let mut master = Master::new(&[setup], SyncRules::default());
    let told: Vec<usize> =
        (0..53).map(|_| master.after(between("192.0.2.9", "10.0.1.100").udp(4000, 80)).len()).collect();
    let nth: Vec<usize> = (1..).zip(told).filter(|(_, told)| *told == 1).map(|(nth, _)| nth).collect();
    assert_eq!(nth, [3, 53]);
}

#[test]
fn templates_with_each_packet_of_theirs() {
    let setup = Setup { persistence: PERSISTENCE, ..web(ForwardingMethod::Nat) };
    let mut master = Master::new(std::slice::from_ref(&setup), SyncRules::default());
    assert_eq!(master.after(tcp(Flags::SYN)), [("NONE", 0)]);
    assert_eq!(master.after(tcp(Flags::ACK)), [("ASSURED", 0)]);
    let both = [("ESTABLISHED", 3), ("ASSURED", 0)];
    assert_eq!(master.after(tcp(Flags::ACK)), both);
    assert_eq!(master.after(tcp(Flags::ACK)), [("ASSURED", 0)]);
    // A template that its connections outlive: told once a minute.
    master.rig.wait(119);
    assert!(master.told().is_empty());
    // The rig looks at all shards of templates in 6.4 s.
    master.rig.wait(8);
    let told = master.told();
    assert_eq!(told.len(), 1);
    let template = u32::from(flag::TEMPLATE | flag::INACTIVE);
    assert_eq!((told[0].flags, told[0].timeout_ms, told[0].vport), (template, 60_000, 80));

    // Version 0: only along with the connection.
    let mut master =
        Master::new(std::slice::from_ref(&setup), SyncRules { version: 0, ..SyncRules::default() });
    assert_eq!(master.after(tcp(Flags::SYN)), []);
    assert_eq!(master.after(tcp(Flags::ACK)), []);
    assert_eq!(master.after(tcp(Flags::ACK)), both);

    // Templates alone.
    let mut master = Master::new(&[setup], SyncRules { persist_mode: true, ..SyncRules::default() });
    assert_eq!(master.after(tcp(Flags::SYN)), [("NONE", 0)]);
    assert_eq!(master.after(tcp(Flags::ACK)), [("ASSURED", 0)]);
    assert_eq!(master.after(tcp(Flags::ACK)), [("ASSURED", 0)]);
}

#[test]
fn one_packet_services_tell_of_templates_alone() {
    let setup = Setup {
        one_packet: true,
        persistence: PERSISTENCE,
        ..Setup::new(UDP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])
    };
    let mut master = Master::new(&[setup], SyncRules::default());
    for _ in 0..4 {
        let packet = between("192.0.2.9", "10.0.1.100").udp(4000, 80);
        assert_eq!(master.after(packet), [("NONE", 0)]);
    }
}

#[test]
fn version_0_knows_no_ipv6() {
    let setup = Setup::new(TCP, "fd00:1::100", ForwardingMethod::Nat, &["fd00:2::11"]);
    let packet = |flags| between("2001:db8::9", "fd00:1::100").tcp(4000, 80, flags);
    for (version, told) in [(0, 0), (1, 1)] {
        let rules = SyncRules { version, ..SyncRules::default() };
        let mut master = Master::new(std::slice::from_ref(&setup), rules);
        master.rig.outside(packet(Flags::SYN));
        master.rig.outside(packet(Flags::ACK));
        assert_eq!(master.after(packet(Flags::ACK)).len(), told);
    }
}

#[test]
fn without_a_master_nothing_is_told_and_losses_are_counted() {
    let setup = Setup { persistence: PERSISTENCE, ..web(ForwardingMethod::Nat) };
    let mut master = Master::new(std::slice::from_ref(&setup), SyncRules::default());
    master.rig.tables.settings_mut().sync.master = false;
    for _ in 0..3 {
        assert_eq!(master.after(tcp(Flags::ACK | Flags::SYN)), []);
    }
    assert_eq!(master.rig.counter(Counter::Announced), 0);
    master.rig.tables.settings_mut().sync.master = true;
    for _ in 0..20_000 {
        master.rig.outside(tcp(Flags::ACK));
    }
    let (told, lost) =
        (master.rig.counter(Counter::Announced), master.rig.counter(Counter::AnnouncementLost));
    assert_eq!(told, 16_384);
    // Each packet names its template, and one in 50 also its connection.
    assert_eq!(told + lost, 20_000 + 400);
}

#[test]
fn a_mere_backup_balances_nothing() {
    let mut rig = Rig::new(&[web(ForwardingMethod::Nat)]);
    rig.outside(tcp(Flags::SYN));
    let settings = rig.tables.settings_mut();
    settings.backup_only = true;
    assert!(matches!(rig.outside(tcp(Flags::ACK)).verdict, Verdict::Transmit(_)), "no backup daemon runs");
    rig.tables.settings_mut().sync.backup = true;
    assert_eq!(rig.outside(tcp(Flags::ACK)).verdict, Verdict::Punt(OUTSIDE));
    assert_eq!(
        rig.outside(between("192.0.2.8", "10.0.1.100").tcp(1, 80, Flags::SYN)).verdict,
        Verdict::Punt(OUTSIDE)
    );
    // Replies are still translated.
    let reply = between("10.0.2.11", "192.0.2.9").tcp(8080, 4000, Flags::ACK);
    assert_eq!(rig.inside(reply).sent(OUTSIDE).src, ip("10.0.1.100"));
}
