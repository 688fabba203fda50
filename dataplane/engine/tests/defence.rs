//! Defences against floods, and the settings that stop balancing.

mod common;

use common::{INSIDE, OUTSIDE, Rig, Setup, ip};
use shunt_engine::Verdict;
use shunt_engine::counters::Counter;
use shunt_engine::tables::{ForwardingMethod, Persistence, ServerId};
use shunt_wire::Flags;
use shunt_wire::craft::Craft;

const TCP: u8 = 6;
const UDP: u8 = 17;
const CLIENT: &str = "192.0.2.9";
const VIP: &str = "10.0.1.100";
const REAL: &str = "10.0.2.11";

fn between(src: &str, dst: &str) -> Craft {
    Craft::between(ip(src), ip(dst)).unwrap()
}

fn syn(cport: u16) -> Craft {
    between(CLIENT, VIP).tcp(cport, 80, Flags::SYN)
}

fn nat(protocol: u8) -> Setup {
    Setup::new(protocol, VIP, ForwardingMethod::Nat, &[REAL])
}

#[test]
fn drop_entry_thins_out_half_open_connections() {
    let mut rig = Rig::with_workers(&[nat(TCP)], 1, 8192);
    for cport in 1000..5000 {
        rig.outside(syn(cport)).sent(INSIDE);
    }
    for cport in 1000..1100 {
        rig.outside(between(CLIENT, VIP).tcp(cport, 80, Flags::ACK)).sent(INSIDE);
    }
    rig.tables.settings_mut().drop_entry = 3;
    rig.wait(30);
    let left = rig.connections();
    let established = left.iter().filter(|info| info.state_name() == "ESTABLISHED").count();
    assert_eq!(established, 100, "what is in use stays");
    assert!((500..3_500).contains(&left.len()), "{} left", left.len());
    assert_eq!(rig.boards.total(ServerId(0)) as usize, left.len());
}

#[test]
fn drop_entry_drops_idle_flows_with_few_packets() {
    let mut rig = Rig::with_workers(&[nat(UDP)], 1, 4096);
    for cport in 1000..3000 {
        let datagram = between(CLIENT, VIP).udp(cport, 80);
        for _ in 0..if cport < 2000 { 1 } else { 9 } {
            rig.outside(datagram.clone()).sent(INSIDE);
        }
    }
    rig.wait(65);
    rig.tables.settings_mut().drop_entry = 3;
    rig.wait(60);
    let of =
        |rig: &Rig, few: bool| rig.connections().iter().filter(|info| (info.cport < 2000) == few).count();
    assert_eq!(of(&rig, false), 1000, "many packets: a real client");
    assert!(of(&rig, true) < 600, "{} left", of(&rig, true));
}

#[test]
fn automatic_defences_begin_when_entries_are_scarce() {
    let mut rig = Rig::with_workers(&[nat(TCP)], 1, 4096);
    rig.tables.settings_mut().drop_packet = 1;
    rig.tables.settings_mut().secure_tcp = 1;
    rig.wait(2);
    let lost = |rig: &mut Rig, first: u16| {
        let drops = |cport: &u16| rig.outside(syn(*cport)).verdict == Verdict::Drop(Counter::DropPacket);
        (first..first + 10).filter(drops).count()
    };
    assert_eq!(lost(&mut rig, 8000), 0);
    // IPv6 has a table of its own: it has to be full as well before entries are scarce.
    rig.tables.settings_mut().amemthresh = 100;
    for cport in 10_010..14_090 {
        rig.outside(syn(cport)).sent(INSIDE);
    }
    rig.wait(2);
    assert_eq!(lost(&mut rig, 5000), 0);
    let mut rig = Rig::with_workers(
        &[nat(TCP), Setup::new(TCP, "fd00:1::100", ForwardingMethod::Nat, &["fd00:2::11"])],
        1,
        4096,
    );
    rig.tables.settings_mut().drop_packet = 1;
    for cport in 10_010..13_900 {
        rig.outside(syn(cport)).sent(INSIDE);
        rig.outside(between("2001:db8::9", "fd00:1::100").tcp(cport, 80, Flags::SYN)).sent(INSIDE);
    }
    rig.wait(2);
    assert!(lost(&mut rig, 5000) > 2);
    rig.wait(70);
    assert_eq!(lost(&mut rig, 6000), 0, "the flood is over");
}

#[test]
fn secure_tcp_trusts_only_what_servers_answered() {
    let states = |mode| {
        let mut rig = Rig::new(&[nat(TCP)]);
        rig.tables.settings_mut().secure_tcp = mode;
        rig.outside(syn(7)).sent(INSIDE);
        rig.outside(between(CLIENT, VIP).tcp(7, 80, Flags::ACK)).sent(INSIDE);
        rig.connections()[0].state_name()
    };
    assert_eq!((states(0), states(1), states(3)), ("ESTABLISHED", "ESTABLISHED", "SYN_RECV"));
}

#[test]
fn a_backup_balances_nothing_if_the_operator_says_so() {
    let mut rig = Rig::new(&[nat(TCP)]);
    rig.outside(syn(7)).sent(INSIDE);
    rig.tables.settings_mut().backup_only = true;
    rig.outside(syn(8)).sent(INSIDE);
    rig.tables.settings_mut().sync.backup = true;
    assert_eq!(rig.outside(syn(9)).verdict, Verdict::Punt(OUTSIDE));
    assert_eq!(rig.outside(between(CLIENT, VIP).tcp(7, 80, Flags::ACK)).verdict, Verdict::Punt(OUTSIDE));
    // Replies are translated all the same.
    let reply = between(REAL, CLIENT).tcp(8080, 7, Flags::SYN_ACK);
    assert_eq!(rig.inside(reply).sent(OUTSIDE).src, ip(VIP));
}

#[test]
fn servers_without_a_connection_are_told() {
    let mut rig = Rig::new(&[nat(TCP)]);
    let stray = || between(REAL, CLIENT).tcp(8080, 7, Flags::ACK);
    assert_eq!(rig.inside(stray()).verdict, Verdict::Punt(INSIDE));
    rig.tables.settings_mut().nat_icmp_send = true;
    // By the default route of this rig.
    let sent = rig.inside(stray()).sent(OUTSIDE);
    assert_eq!((sent.dst, sent.protocol), (ip(REAL), 1));
    for other in [
        between(REAL, CLIENT).tcp(8080, 7, Flags::RST),
        between(REAL, CLIENT).tcp(8081, 7, Flags::ACK),
        between(REAL, CLIENT).udp(8080, 7),
        between("10.0.2.12", CLIENT).tcp(8080, 7, Flags::ACK),
    ] {
        assert_eq!(rig.inside(other).verdict, Verdict::Punt(INSIDE));
    }
    rig.change_server(0, |server| server.available = false);
    assert_eq!(rig.inside(stray()).verdict, Verdict::Punt(INSIDE), "no server any more");
}

fn invite(caddr: &str, cport: u16, call_id: &str) -> Craft {
    let text = format!("INVITE sip:u@d SIP/2.0\r\nVia: x\r\nCall-ID: {call_id}\r\n\r\n");
    between(caddr, VIP).udp(cport, 5060).payload(text.as_bytes())
}

fn sip() -> Setup {
    Setup {
        vport: 5060,
        servers: vec![(REAL, 5060), ("10.0.2.12", 5060), ("10.0.2.13", 5060)],
        persistence: Some(Persistence { timeout_s: 60, netmask: 0 }),
        sip: true,
        ..Setup::new(UDP, VIP, ForwardingMethod::Nat, &[])
    }
}

#[test]
fn dialogs_keep_their_server_on_whichever_worker() {
    let mut rig = Rig::with_workers(&[sip()], 4, 256);
    let mut server_of = std::collections::HashMap::new();
    for round in 0..10u16 {
        for dialog in 0..6u16 {
            let caddr = format!("192.0.2.{}", round + 1);
            let sent =
                rig.outside(invite(&caddr, 1000 + round * 10 + dialog, &format!("d{dialog}@x"))).sent(INSIDE);
            assert_eq!(*server_of.entry(dialog).or_insert(sent.dst), sent.dst);
        }
    }
    let used: std::collections::HashSet<_> = server_of.values().collect();
    assert!(used.len() > 1, "round robin between dialogs");
    let none = between(CLIENT, VIP).udp(7, 5060).payload(b"INVITE x SIP/2.0\r\n\r\n");
    assert_eq!(rig.outside(none).verdict, Verdict::Drop(Counter::NoCallId));
    let templates = rig.connections().into_iter().filter(|info| info.is_template());
    let mut call_ids: Vec<String> = templates.map(|info| info.pe_data.unwrap()).collect();
    call_ids.sort_unstable();
    assert_eq!(call_ids, ["d0@x", "d1@x", "d2@x", "d3@x", "d4@x", "d5@x"]);
}

#[test]
fn what_a_sip_server_begins_leaves_from_the_virtual_address() {
    let mut rig = Rig::with_workers(&[sip()], 4, 256);
    for cport in 7000..7020 {
        let text = format!("INVITE sip:c@x SIP/2.0\r\ni: out{cport}\r\n\r\n");
        let call = between("10.0.2.12", CLIENT).udp(5060, cport).payload(text.as_bytes());
        let sent = rig.inside(call).sent(OUTSIDE);
        assert_eq!((sent.src, sent.sport), (ip(VIP), 5060));
        // The client's answer, and its next dialog of the same name from elsewhere, reach that server.
        assert_eq!(rig.outside(invite(CLIENT, cport, "other")).sent(INSIDE).dst, ip("10.0.2.12"));
        let again = invite("192.0.2.77", cport, &format!("out{cport}"));
        assert_eq!(rig.outside(again).sent(INSIDE).dst, ip("10.0.2.12"));
    }
    let stray = between("10.0.2.12", CLIENT).udp(5061, 7).payload(b"X\r\ni: a\r\n");
    assert_eq!(rig.inside(stray).verdict, Verdict::Punt(INSIDE), "not the server's port");
}
