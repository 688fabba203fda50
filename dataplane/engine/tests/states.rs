//! How long connections live, and which count as active (spec `connections.md` §5).

mod common;

use common::{Rig, Setup, ip};
use shunt_engine::tables::{ForwardingMethod, ServerId};
use shunt_wire::Flags;
use shunt_wire::craft::Craft;

const TCP: u8 = 6;
const UDP: u8 = 17;
const CLIENT: &str = "192.0.2.9";
const VIP: &str = "10.0.1.100";
const REAL: &str = "10.0.2.11";

/// Who sends.
#[derive(Clone, Copy, Debug)]
enum Sender {
    Client,
    Server,
}

use Sender::{Client, Server};

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags::FIN;
const RST: Flags = Flags::RST;

/// What one packet of a connection leads to: state, seconds to live, and whether it counts as active.
type Step = (Sender, Flags, &'static str, u64, bool);

fn send(rig: &mut Rig, from: Sender, flags: Flags) {
    match from {
        Client => rig.outside(Craft::between(ip(CLIENT), ip(VIP)).unwrap().tcp(40_000, 80, flags)),
        Server => rig.inside(Craft::between(ip(REAL), ip(CLIENT)).unwrap().tcp(8080, 40_000, flags)),
    };
}

#[track_caller]
fn assert_life(method: ForwardingMethod, secure: bool, steps: &[Step]) {
    let mut rig = Rig::new(&[Setup::new(TCP, VIP, method, &[REAL])]);
    rig.tables.settings_mut().secure_tcp = if secure { 3 } else { 0 };
    for (nth, &(from, flags, state, seconds, active)) in steps.iter().enumerate() {
        send(&mut rig, from, flags);
        let server = ServerId(0);
        let (now_active, total) = (rig.boards.active(server), rig.boards.total(server));
        let all = rig.connections();
        let [info] = &all[..] else { panic!("step {nth}: {all:?}") };
        let found = (info.state_name(), info.expires_ms / 1000, now_active == 1, total);
        assert_eq!(found, (state, seconds, active, 1), "{method:?}, step {nth} of {steps:?}");
    }
}

#[test]
fn each_state_has_its_timeout_and_its_place_in_the_counts() {
    use ForwardingMethod::{DirectRouting, Nat};
    // The client closes, as an HTTP client does.
    assert_life(
        Nat,
        false,
        &[
            (Client, SYN, "SYN_RECV", 60, true),
            (Server, SYN | ACK, "SYN_RECV", 60, true),
            (Client, ACK, "ESTABLISHED", 900, true),
            (Client, FIN | ACK, "CLOSE_WAIT", 60, false),
            (Server, ACK, "CLOSE_WAIT", 60, false),
            (Server, FIN | ACK, "TIME_WAIT", 120, false),
            (Client, ACK, "TIME_WAIT", 120, false),
            // A new connection in the old one's place counts anew.
            (Client, SYN, "SYN_RECV", 60, true),
        ],
    );
    let begin = [(Client, SYN, "SYN_RECV", 60, true), (Client, ACK, "ESTABLISHED", 900, true)];
    let server_closes = [
        (Server, FIN | ACK, "FIN_WAIT", 120, false),
        (Client, ACK, "FIN_WAIT", 120, false),
        (Client, FIN | ACK, "TIME_WAIT", 120, false),
    ];
    assert_life(Nat, false, &[&begin[..], &server_closes].concat());
    for side in [Client, Server] {
        assert_life(Nat, false, &[&begin[..], &[(side, RST, "CLOSE", 10, false)]].concat());
    }
    // Replies go past the director: it cannot tell more than that the client has closed.
    let half = [(Client, FIN | ACK, "FIN_WAIT", 120, false), (Client, ACK, "FIN_WAIT", 120, false)];
    assert_life(DirectRouting, false, &[&begin[..], &half, &[(Client, RST, "CLOSE", 10, false)]].concat());
}

#[test]
fn secure_tcp_waits_for_the_server() {
    use ForwardingMethod::{DirectRouting, Nat};
    assert_life(
        Nat,
        true,
        &[
            (Client, SYN, "SYN_RECV", 60, true),
            (Client, ACK, "SYN_RECV", 60, true),
            (Server, SYN | ACK, "SYNACK", 120, true),
            (Client, FIN | ACK, "SYNACK", 120, true),
            (Client, ACK, "SYNACK", 120, true),
            (Server, ACK, "ESTABLISHED", 900, true),
        ],
    );
    // Where no reply is seen, the client's word must do.
    assert_life(
        DirectRouting,
        true,
        &[(Client, SYN, "SYNACK", 120, true), (Client, ACK, "ESTABLISHED", 900, true)],
    );
}

/// `--set` is in force at the next packet of a connection that exists, and changes these three timeouts only.
#[test]
fn set_changes_three_timeouts_at_the_next_packet() {
    let services = [TCP, UDP].map(|protocol| Setup::new(protocol, VIP, ForwardingMethod::Nat, &[REAL]));
    let mut rig = Rig::new(&services);
    let datagram = |rig: &mut Rig| {
        rig.outside(Craft::between(ip(CLIENT), ip(VIP)).unwrap().udp(40_000, 80));
    };
    let lives = |rig: &Rig| {
        let mut lives: Vec<_> =
            rig.connections().iter().map(|info| (info.state_name(), info.expires_ms / 1000)).collect();
        lives.sort_unstable();
        lives
    };
    send(&mut rig, Client, SYN);
    send(&mut rig, Client, ACK);
    datagram(&mut rig);
    assert_eq!(lives(&rig), [("ESTABLISHED", 900), ("UDP", 300)]);
    let settings = rig.tables.settings_mut();
    (settings.timeout_tcp_s, settings.timeout_tcp_fin_s, settings.timeout_udp_s) = (77, 11, 5);
    assert_eq!(lives(&rig), [("ESTABLISHED", 900), ("UDP", 300)], "not before a packet comes");
    send(&mut rig, Client, ACK);
    datagram(&mut rig);
    assert_eq!(lives(&rig), [("ESTABLISHED", 77), ("UDP", 5)]);
    send(&mut rig, Server, FIN | ACK);
    assert_eq!(lives(&rig), [("FIN_WAIT", 11), ("UDP", 5)]);
    send(&mut rig, Client, FIN | ACK);
    assert_eq!(lives(&rig), [("TIME_WAIT", 120), ("UDP", 5)]);
    rig.wait(6);
    assert_eq!(lives(&rig), [("TIME_WAIT", 114)], "the flow is over");
    send(&mut rig, Client, SYN);
    assert_eq!(lives(&rig), [("SYN_RECV", 60)]);
}

/// `--set` takes up to 248 days.
#[test]
fn a_timeout_that_no_time_stamp_can_tell_is_31_days() {
    const MINUTES: u64 = 31 * 24 * 60;
    let mut rig = Rig::new(&[Setup::new(UDP, VIP, ForwardingMethod::Nat, &[REAL])]);
    rig.tables.settings_mut().timeout_udp_s = i32::MAX as u32 / 100;
    rig.outside(Craft::between(ip(CLIENT), ip(VIP)).unwrap().udp(40_000, 80));
    assert_eq!(rig.connections()[0].expires_ms, MINUTES * 60_000);
    let mut minutes = 0;
    while !rig.connections().is_empty() {
        rig.now.0 += 60_000;
        rig.engines[0].expire(&rig.tables, rig.now);
        minutes += 1;
        assert!(minutes <= MINUTES + 1, "it lives for ever");
    }
    assert!(minutes >= MINUTES, "{minutes}");
}
