//! FTP through NAT: what control connections announce, and what becomes of it.

mod common;

use common::ftp::{CPORT, ENDS, Session, between, service};
use common::{INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, Outcome, ROUTER_MAC, Rig, Setup, ip, server_mac};
use shunt_engine::Verdict;
use shunt_engine::counters::Counter;
use shunt_engine::tables::ServerId;
use shunt_wire::{Flags, HeapFrame};

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
fn a_client_that_listens_again_has_one_data_connection() {
    let mut session = Session::new(ENDS[0], 1);
    for _ in 0..2 {
        session.says("PORT 192,0,2,9,160,0\r\n");
        assert!(session.listed().contains(&("40960 20 20".to_owned(), "LISTEN", 120)));
        assert_eq!(session.rig.boards.total(ServerId(0)), 2);
        for flags in [Flags::SYN, Flags::ACK, Flags::FIN_ACK] {
            let segment = between("10.0.2.11", "192.0.2.9").tcp(20, 40_960, flags);
            assert_eq!(session.rig.inside(segment).sent(OUTSIDE).sport, 20);
            let answer = between("192.0.2.9", "10.0.1.100").tcp(40_960, 20, flags | Flags::ACK);
            assert_eq!(session.rig.outside(answer).sent(INSIDE).dport, 20);
        }
    }
}

#[test]
fn data_connections_wait_for_a_server_that_is_gone() {
    let mut session = Session::new(ENDS[0], 1);
    session.says("PASV\r\n");
    session.answers("227 (10,0,2,11,195,80)\r\n");
    session.rig.change_server(0, |server| server.available = false);
    let syn = |cport| between("192.0.2.9", "10.0.1.100").tcp(cport, 50_000, Flags::SYN);
    for cport in [77, 78] {
        assert_eq!(session.rig.outside(syn(cport)).verdict, Verdict::Drop(Counter::ServerGone));
    }
    assert_eq!(session.rig.boards.total(ServerId(0)), 2);
    session.rig.change_server(0, |server| server.available = true);
    assert_eq!(session.rig.outside(syn(79)).sent(INSIDE).dport, 50_000);
    assert_eq!(session.rig.boards.total(ServerId(0)), 2);
}

#[test]
fn control_and_data_connections_of_a_deleted_server_go_at_once() {
    let mut session = Session::new(ENDS[0], 1);
    session.says("PASV\r\n");
    session.answers("227 (10,0,2,11,195,80)\r\n");
    let syn = between("192.0.2.9", "10.0.1.100").tcp(77, 50_000, Flags::SYN);
    session.rig.outside(syn).sent(INSIDE);
    session.says("PORT 192,0,2,9,160,0\r\n");
    assert_eq!(session.listed().len(), 3);
    session.rig.tables.settings_mut().expire_nodest_conn = true;
    session.rig.change_server(0, |server| server.available = false);
    session.rig.wait(1);
    assert!(session.listed().is_empty(), "{:?}", session.listed());
    assert_eq!(session.rig.boards.total(ServerId(0)), 0);
}

#[test]
fn answers_count_as_they_leave() {
    let mut session = Session::new(ENDS[0], 1);
    let out_bytes = |session: &Session| session.rig.boards.sum64(ServerId(0), |counts| &counts.out_bytes);
    session.says("PASV\r\n");
    let before = out_bytes(&session);
    let told = session.answers("227 (10,0,2,11,195,80)\r\n");
    assert_eq!(out_bytes(&session) - before, 40 + told.len() as u64);
    // What is dropped does not count.
    let broken = between("10.0.2.11", "192.0.2.9").tcp(21, CPORT, Flags::ACK).sequence(6000, 1006);
    session.rig.inside(broken.payload(b"226 done\r\n").wrong_transport_checksum());
    assert_eq!(out_bytes(&session) - before, 40 + told.len() as u64);
}

#[test]
fn the_last_segment_of_a_server_is_read_too() {
    let mut session = Session::new(ENDS[0], 1);
    session.says("PASV\r\n");
    let last = between("10.0.2.11", "192.0.2.9").tcp(21, CPORT, Flags::FIN_ACK).sequence(5000, 1006);
    let out = session.rig.inside(last.payload(b"227 (10,0,2,11,195,80)\r\n"));
    assert!(out.bytes.ends_with(b"227 (10,0,1,100,195,80)\r\n"));
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
fn only_tcp_takes_an_announced_connection() {
    let mut session = Session::new(ENDS[0], 1);
    session.says("PASV\r\n");
    session.answers("227 Entering Passive Mode (10,0,2,11,195,80).\r\n");
    let (client, vip) = (session.client, session.vip);
    let datagram = session.rig.outside(between(client, vip).udp(5, 50_000).payload(b"x"));
    assert_eq!(datagram.verdict, Verdict::Punt(OUTSIDE));
    let data = session.rig.outside(between(client, vip).tcp(77, 50_000, Flags::SYN));
    assert_eq!(data.verdict, Verdict::Transmit(INSIDE));
}

/// What comes of an answer of the server that its kernel cut for this MTU.
fn answer_in_fragments(session: &mut Session, line: &str, mtu: usize) -> Vec<Outcome> {
    let segment = between(session.real, session.client)
        .tcp(21, CPORT, Flags::ACK)
        .sequence(session.server_next, session.server_got)
        .payload(line.as_bytes())
        .macs(server_mac(0), INSIDE_MAC);
    let frames = segment.fragments(mtu);
    let outcomes: Vec<_> =
        frames.iter().map(|frame| session.rig.pass(&HeapFrame::new(frame, INSIDE))).collect();
    session.rig.released(outcomes.last().unwrap())
}

/// An answer in fragments that is as long as IP allows has no room for a longer address.
#[test]
fn an_answer_that_would_grow_too_long_is_dropped() {
    let mut session = Session::new(ENDS[0], 1);
    session.says("PASV\r\n");
    let mut line = String::from("227 (10,0,2,11,195,80)\r\n");
    line += &"x".repeat(65_535 - 40 - line.len());
    let released = answer_in_fragments(&mut session, &line, 1500);
    assert!(released.iter().all(|outcome| matches!(outcome.verdict, Verdict::Drop(_))), "{released:?}");
    assert!(session.rig.counter(Counter::NoBuffer) > 0, "what is dropped is counted");
}

/// A text that gets shorter leaves fewer bytes than came: they are cut anew.
#[test]
fn an_answer_in_fragments_may_shrink() {
    let mut session = Session::new(ENDS[1], 1);
    session.says("EPSV\r\n");
    // 16 bytes shorter once rewritten.
    let line = format!("229 (|2|2001:db8:0:0::1|50000|)\r\n{}", "x".repeat(1500));
    let released = answer_in_fragments(&mut session, &line, 1240);
    assert!(!released.is_empty());
    assert!(released.iter().all(|outcome| outcome.verdict == Verdict::Transmit(OUTSIDE)), "{released:?}");
}

/// Whichever worker a packet of a data connection comes to, both directions meet.
#[test]
fn data_connections_of_another_control_port_meet_among_workers() {
    let [client, vip, real] = ENDS[0];
    for first in 0..4 {
        let setup = Setup { vport: 2121, servers: vec![(real, 2121)], ..service(vip, real) };
        let mut rig = Rig::with_workers(&[setup], 4, 256);
        rig.tables.settings_mut().ftp_port = 2121;
        let request = |flags, number, ack| between(client, vip).tcp(CPORT, 2121, flags).sequence(number, ack);
        let reply = |flags, number, ack| between(real, client).tcp(2121, CPORT, flags).sequence(number, ack);
        rig.outside(request(Flags::SYN, 999, 0)).sent(INSIDE);
        rig.inside(reply(Flags::SYN_ACK, 4999, 1000)).sent(OUTSIDE);
        rig.outside(request(Flags::ACK, 1000, 5000)).sent(INSIDE);
        rig.outside(request(Flags::ACK, 1000, 5000).payload(b"PASV\r\n")).sent(INSIDE);
        let answer = b"227 Entering Passive Mode (10,0,2,11,195,80).\r\n";
        rig.inside(reply(Flags::ACK, 5000, 1006).payload(answer)).sent(OUTSIDE);
        let macs = (ROUTER_MAC, OUTSIDE_MAC);
        let data = between(client, vip).tcp(77, 50_000, Flags::SYN).macs(macs.0, macs.1).heap_frame(OUTSIDE);
        assert_eq!(rig.pass_on(first, &data).verdict, Verdict::Transmit(INSIDE));
        let data = between(real, client).tcp(50_000, 77, Flags::SYN_ACK);
        let data = data.macs(server_mac(0), INSIDE_MAC).heap_frame(INSIDE);
        assert_eq!(rig.pass_on(0, &data).verdict, Verdict::Transmit(OUTSIDE), "{first}");
    }
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
