//! FTP through NAT: what control connections announce, and what becomes of it.

mod common;

use common::{INSIDE, OUTSIDE, Outcome, Rig, Setup, ip};
use shunt_engine::Verdict;
use shunt_engine::counters::Counter;
use shunt_engine::tables::{ForwardingMethod, SchedulerKind, ServerId};
use shunt_wire::Flags;
use shunt_wire::craft::Craft;

const TCP: u8 = 6;
/// Client, virtual address, real server.
const ENDS: [[&str; 3]; 2] =
    [["192.0.2.9", "10.0.1.100", "10.0.2.11"], ["2001:db8::9", "fd00:1::100", "fd00:2::11"]];
const CPORT: u16 = 40_500;

fn between(src: &str, dst: &str) -> Craft {
    Craft::between(ip(src), ip(dst)).unwrap()
}

/// A client and a server with a control connection between them.
struct Session {
    rig: Rig,
    client: &'static str,
    vip: &'static str,
    real: &'static str,
    /// What the client, and the server, will send next, and has got.
    client_next: u32,
    server_next: u32,
    client_got: u32,
    server_got: u32,
}

impl Session {
    fn new([client, vip, real]: [&'static str; 3], workers: u8) -> Session {
        let setup = Setup {
            vport: 21,
            servers: vec![(real, 21)],
            scheduler: SchedulerKind::Rr,
            ..Setup::new(TCP, vip, ForwardingMethod::Nat, &[])
        };
        let mut rig = Rig::with_workers(&[setup], workers, 256);
        rig.outside(between(client, vip).tcp(CPORT, 21, Flags::SYN).sequence(999, 0)).sent(INSIDE);
        rig.inside(between(real, client).tcp(21, CPORT, Flags::SYN_ACK).sequence(4999, 1000)).sent(OUTSIDE);
        rig.outside(between(client, vip).tcp(CPORT, 21, Flags::ACK).sequence(1000, 5000)).sent(INSIDE);
        Session {
            rig,
            client,
            vip,
            real,
            client_next: 1000,
            server_next: 5000,
            client_got: 5000,
            server_got: 1000,
        }
    }

    /// The client's line, as the server gets it.
    fn says(&mut self, line: &str) -> String {
        let segment = between(self.client, self.vip)
            .tcp(CPORT, 21, Flags::ACK)
            .sequence(self.client_next, self.client_got)
            .payload(line.as_bytes());
        self.client_next += line.len() as u32;
        let out = self.rig.outside(segment);
        out.sent(INSIDE);
        let (sequence, acknowledgment, text) = read(&out, self.client);
        assert_eq!(sequence, self.server_got, "the client's stream has no gap");
        assert_eq!(acknowledgment, self.server_next, "what the server has sent, as it counts");
        self.server_got += text.len() as u32;
        text
    }

    /// The server's line, as the client gets it.
    fn answers(&mut self, line: &str) -> String {
        let (before, got) = (self.server_next, self.client_got);
        self.server_next += line.len() as u32;
        let text = self.answers_again(line, before, got);
        self.client_got += text.len() as u32;
        text
    }

    fn answers_again(&mut self, line: &str, sequence: u32, got: u32) -> String {
        let segment = between(self.real, self.client)
            .tcp(21, CPORT, Flags::ACK)
            .sequence(sequence, self.server_got)
            .payload(line.as_bytes());
        let out = self.rig.inside(segment);
        out.sent(OUTSIDE);
        let (sequence, acknowledgment, text) = read(&out, self.client);
        assert_eq!((sequence, acknowledgment), (got, self.client_next));
        text
    }

    fn listed(&self) -> Vec<(String, &'static str, u64)> {
        let mut all: Vec<_> = self
            .rig
            .connections()
            .iter()
            .map(|info| {
                let ends = format!("{} {} {}", info.cport, info.vport, info.dport);
                (ends, info.state_name(), info.expires_ms / 1000)
            })
            .collect();
        all.sort_unstable();
        all
    }
}

/// Sequence number, acknowledgement and text of a segment that left.
fn read(out: &Outcome, client: &str) -> (u32, u32, String) {
    let l4 = if ip(client).is_ipv4() { 34 } else { 54 };
    let word = |at: usize| u32::from_be_bytes(out.bytes[l4 + at..l4 + at + 4].try_into().unwrap());
    let data = l4 + usize::from(out.bytes[l4 + 12] >> 4) * 4;
    (word(4), word(8), String::from_utf8(out.bytes[data..].to_vec()).unwrap())
}

#[test]
fn passive_data_connections_reach_the_server() {
    for workers in [1, 4] {
        let mut session = Session::new(ENDS[0], workers);
        assert_eq!(session.answers("220 ready\r\n"), "220 ready\r\n");
        for round in 0..3u16 {
            let (high, dport) = (195 + round, (195 + round) * 256 + 80);
            assert_eq!(session.says("PASV\r\n"), "PASV\r\n");
            let told = session.answers(&format!("227 Entering Passive Mode (10,0,2,11,{high},80).\r\n"));
            assert_eq!(told, format!("227 Entering Passive Mode (10,0,1,100,{high},80).\r\n"));
            let expected = format!("0 {dport} {dport}");
            assert!(session.listed().iter().any(|(ends, state, _)| *ends == expected && *state == "LISTEN"));
            let cport = CPORT + 1 + round;
            let syn = between(session.client, session.vip).tcp(cport, dport, Flags::SYN);
            let sent = session.rig.outside(syn).sent(INSIDE);
            assert_eq!((sent.dst, sent.dport), (ip(session.real), dport));
            let answer = between(session.real, session.client).tcp(dport, cport, Flags::SYN_ACK);
            let sent = session.rig.inside(answer).sent(OUTSIDE);
            assert_eq!((sent.src, sent.sport), (ip(session.vip), dport));
            // Expected once: the next client port is nobody's.
            let other = between(session.client, session.vip).tcp(50, dport, Flags::SYN);
            assert_eq!(session.rig.outside(other).verdict, Verdict::Punt(OUTSIDE));
            assert_eq!(session.says("NOOP\r\n"), "NOOP\r\n");
            assert_eq!(session.answers("200 fine\r\n"), "200 fine\r\n");
        }
        assert_eq!(session.rig.boards.total(ServerId(0)), 4);
    }
}

#[test]
fn extended_passive_in_both_families() {
    for ends in ENDS {
        let mut session = Session::new(ends, 2);
        session.says("EPSV\r\n");
        let told = session.answers("229 Entering Extended Passive Mode (|||50000|)\r\n");
        assert_eq!(told, "229 Entering Extended Passive Mode (|||50000|)\r\n");
        let syn = between(session.client, session.vip).tcp(77, 50_000, Flags::SYN);
        assert_eq!(session.rig.outside(syn).sent(INSIDE).dst, ip(session.real));
    }
}

#[test]
fn active_data_connections_come_from_the_virtual_address() {
    for (ends, command) in [
        (0, "PORT 192,0,2,9,160,0\r\n"),
        (0, "EPRT |1|192.0.2.9|40960|\r\n"),
        (1, "EPRT |2|2001:db8::9|40960|\r\n"),
    ] {
        for workers in [1, 4] {
            let mut session = Session::new(ENDS[ends], workers);
            assert_eq!(session.says(command), command);
            let syn = between(session.real, session.client).tcp(20, 40_960, Flags::SYN);
            let sent = session.rig.inside(syn).sent(OUTSIDE);
            assert_eq!((sent.src, sent.sport), (ip(session.vip), 20));
            let answer = between(session.client, session.vip).tcp(40_960, 20, Flags::SYN_ACK);
            let sent = session.rig.outside(answer).sent(INSIDE);
            assert_eq!((sent.dst, sent.dport), (ip(session.real), 20));
            // Another port of the server is not translated.
            let stray = between(session.real, session.client).tcp(20, 40_961, Flags::SYN);
            assert_eq!(session.rig.inside(stray).verdict, Verdict::Punt(INSIDE));
        }
    }
}

#[test]
fn an_answer_that_is_sent_again_is_changed_again() {
    let mut session = Session::new(ENDS[0], 1);
    session.says("PASV\r\n");
    let line = "227 Passive (10,0,2,11,195,80)\r\n";
    let (before, got) = (session.server_next, session.client_got);
    let told = session.answers(line);
    assert_eq!(session.answers_again(line, before, got), told);
    session.says("NOOP\r\n");
    session.answers("200 fine\r\n");
}

#[test]
fn a_control_connection_lives_as_long_as_its_data_connections() {
    let mut session = Session::new(ENDS[0], 4);
    session.says("PASV\r\n");
    session.answers("227 (10,0,2,11,195,80)\r\n");
    let data = |flags| between("192.0.2.9", "10.0.1.100").tcp(77, 50_000, flags);
    session.rig.outside(data(Flags::SYN)).sent(INSIDE);
    for _ in 0..3 {
        session.rig.outside(data(Flags::ACK)).sent(INSIDE);
        session.rig.wait(600);
    }
    assert_eq!(session.listed().len(), 2, "{:?}", session.listed());
    assert_eq!(session.answers("226 done\r\n"), "226 done\r\n");
    session.rig.wait(2000);
    assert!(session.listed().is_empty());
    assert_eq!(session.rig.boards.total(ServerId(0)), 0);
}

#[test]
fn what_does_not_come_is_forgotten() {
    let mut session = Session::new(ENDS[0], 1);
    session.says("PASV\r\n");
    session.answers("227 (10,0,2,11,195,80)\r\n");
    assert_eq!(session.rig.boards.total(ServerId(0)), 2);
    session.rig.wait(130);
    assert_eq!(session.rig.boards.total(ServerId(0)), 1);
    let syn = between("192.0.2.9", "10.0.1.100").tcp(77, 50_000, Flags::SYN);
    assert_eq!(session.rig.outside(syn).verdict, Verdict::Punt(OUTSIDE));
}

#[test]
fn broken_segments_are_dropped_and_strange_ones_pass() {
    let mut session = Session::new(ENDS[0], 1);
    let broken = between("192.0.2.9", "10.0.1.100").tcp(CPORT, 21, Flags::ACK).sequence(1000, 5000);
    let out = session.rig.outside(broken.payload(b"PASV\r\n").wrong_transport_checksum());
    assert_eq!(out.verdict, Verdict::Drop(Counter::BadChecksum));
    for line in ["PORT 1,2,3\r\n", "PORT", "EPRT |9|x|y|\r\n", "\u{0}\u{0}", "EPSV ALL\r\n"] {
        assert_eq!(session.says(line), line);
    }
    assert_eq!(session.answers("227 (10,0,2,11,195,80)\r\n"), "227 (10,0,2,11,195,80)\r\n", "nobody asked");
    assert_eq!(session.listed().len(), 1);
}

#[test]
fn without_the_helper_nothing_is_read() {
    let mut session = Session::new(ENDS[0], 1);
    session.rig.tables.settings_mut().ftp_port = 0;
    let syn = between("192.0.2.9", "10.0.1.100").tcp(7, 21, Flags::SYN);
    session.rig.outside(syn).sent(INSIDE);
    let pasv = between("192.0.2.9", "10.0.1.100").tcp(7, 21, Flags::ACK).payload(b"PORT 192,0,2,9,160,0\r\n");
    session.rig.outside(pasv).sent(INSIDE);
    assert_eq!(session.listed().len(), 2);
}
