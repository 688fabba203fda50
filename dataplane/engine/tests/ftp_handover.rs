//! FTP sessions that go on with another director: one that was restarted, or a peer that takes over.

mod common;

use common::ftp::{CPORT, ENDS, Session, between, service};
use common::{INSIDE, OUTSIDE, Rig, Setup, ip};
use shunt_engine::tables::{ForwardingMethod, Persistence, ServerId, SyncRules};
use shunt_engine::{ConnectionInfo, InstallFrom, Tally, flag};
use shunt_wire::Flags;

const DATA: u16 = 77;

/// What the server answers to PASV or EPSV.
fn offer(session: &Session, dport: u16) -> String {
    match session.real {
        "10.0.2.11" => format!("227 Entering Passive Mode (10,0,2,11,{},{}).\r\n", dport >> 8, dport & 255),
        _ => format!("229 Entering Extended Passive Mode (|||{dport}|)\r\n"),
    }
}

fn ask(session: &mut Session) {
    let command = if session.real == "10.0.2.11" { "PASV\r\n" } else { "EPSV\r\n" };
    session.says(command);
}

/// A packet of the client's data connection, which the server must get.
fn data(session: &mut Session, vport: u16, flags: Flags) {
    let packet = between(session.client, session.vip).tcp(DATA, vport, flags);
    let sent = session.rig.outside(packet).sent(INSIDE);
    assert_eq!((sent.dst, sent.dport), (ip(session.real), vport));
}

/// One data connection at work, one announced by either side.
fn busy(workers: u8, ends: usize) -> Session {
    let mut session = Session::new(ENDS[ends], workers);
    ask(&mut session);
    session.answers(&offer(&session, 50_000));
    data(&mut session, 50_000, Flags::SYN);
    data(&mut session, 50_000, Flags::ACK);
    ask(&mut session);
    session.answers(&offer(&session, 50_001));
    let (client, family) = (session.client, if ends == 0 { 1 } else { 2 });
    session.says(&format!("EPRT |{family}|{client}|40960|\r\n"));
    session
}

fn comparable(rig: &Rig) -> Vec<ConnectionInfo> {
    let mut all = rig.connections();
    all.iter_mut()
        .for_each(|info| (info.flags, info.server) = (info.flags & !u32::from(flag::SYNC), ServerId::NONE));
    all.sort_by_key(|info| (info.cport, info.vport));
    all
}

/// All that began before goes on: the control connection's numbers, its data connections and those that are announced.
fn goes_on(session: &mut Session) {
    assert_eq!(session.answers("150 here it comes\r\n"), "150 here it comes\r\n");
    session.says("NOOP\r\n");
    data(session, 50_000, Flags::ACK);
    data(session, 50_001, Flags::SYN);
    let syn = between(session.real, session.client).tcp(20, 40_960, Flags::SYN);
    let sent = session.rig.inside(syn).sent(OUTSIDE);
    assert_eq!((sent.src, sent.sport), (ip(session.vip), 20));
    // And what begins now is shifted once more.
    ask(session);
    let told = session.answers(&offer(session, 50_002));
    assert!(!told.contains("10,0,2,11"), "{told}");
    session.says("NOOP\r\n");
    session.answers("200 fine\r\n");
}

#[test]
fn a_restart_keeps_ftp_sessions() {
    for (workers, ends) in [(1, 0), (4, 0), (1, 1), (4, 1)] {
        let mut session = busy(workers, ends);
        session.rig.wait(30);
        let all = comparable(&session.rig);
        assert_eq!(all.len(), 4);
        let controlled = |all: &[ConnectionInfo]| all.iter().filter(|info| info.control.is_some()).count();
        assert_eq!(controlled(&all), 3);
        // Whichever comes first; some workers may even have changed.
        for (order, workers) in [(1, workers), (-1, workers), (1, 5 - workers)] {
            let mut rig = Rig::with_workers(&[service(session.vip, session.real)], workers, 256);
            rig.now.0 = 77_000_000;
            let mut told = all.clone();
            if order < 0 {
                told.reverse();
            }
            assert_eq!(rig.install(&told, InstallFrom::StateFile), Tally { created: 4, ..Tally::default() });
            assert_eq!(comparable(&rig), all);
            assert_eq!(rig.install(&told, InstallFrom::StateFile), Tally { ignored: 4, ..Tally::default() });
            let server = ServerId(0);
            assert_eq!(rig.boards.total(server), session.rig.boards.total(server));
            assert_eq!(rig.boards.active(server), session.rig.boards.active(server));
            let mut session = Session { rig, ..session.elsewhere() };
            goes_on(&mut session);
            // The control connection lives for as long as its data connections do, and everything ends.
            for _ in 0..3 {
                session.rig.wait(600);
                data(&mut session, 50_000, Flags::ACK);
            }
            assert_eq!(session.answers("226 done\r\n"), "226 done\r\n");
            session.rig.wait(2000);
            assert!(session.listed().is_empty(), "{:?}", session.listed());
            assert_eq!(session.rig.boards.total(server), 0);
        }
    }
}

#[test]
fn an_offer_that_a_restart_came_between_is_still_rewritten() {
    let mut session = Session::new(ENDS[0], 1);
    session.says("PASV\r\n");
    let all = session.rig.connections();
    let mut rig = Rig::new(&[service(session.vip, session.real)]);
    rig.install(&all, InstallFrom::StateFile);
    let mut session = Session { rig, ..session };
    let line = offer(&session, 50_000);
    let (before, got) = (session.server_next, session.client_got);
    let told = session.answers(&line);
    assert_eq!(told, "227 Entering Passive Mode (10,0,1,100,195,80).\r\n");
    assert_eq!(session.answers_again(&line, before, got), told);
    // From the client's next line on, nobody has asked.
    session.says("NOOP\r\n");
    assert_eq!(
        session.answers("227 Entering (10,0,2,11,195,81).\r\n"),
        "227 Entering (10,0,2,11,195,81).\r\n"
    );
}

/// A peer that is told all that the session's director tells its master.
fn peer(session: &mut Session) -> Rig {
    let mut peer = Rig::with_workers(&[service(session.vip, session.real)], 2, 256);
    // A peer does not tell what controls what.
    let mut told = session.rig.told();
    told.iter_mut().for_each(|info| {
        assert_eq!(info.control, None);
        info.flags |= u32::from(flag::SYNC);
    });
    peer.install(&told, InstallFrom::Peer);
    peer
}

fn master(workers: u8, ends: usize, rules: SyncRules) -> Session {
    let [_, vip, real] = ENDS[ends];
    let mut rig = Rig::with_workers(&[service(vip, real)], workers, 256);
    rig.tables.settings_mut().sync = SyncRules { master: true, ..rules };
    Session::over(rig, ENDS[ends])
}

#[test]
fn a_peer_takes_over_ftp_sessions() {
    for (workers, ends) in [(1, 0), (4, 0), (4, 1)] {
        let mut session = master(workers, ends, SyncRules::default());
        for dport in [50_000, 50_001] {
            ask(&mut session);
            session.answers(&offer(&session, dport));
            if dport == 50_000 {
                for flags in [Flags::SYN, Flags::ACK, Flags::ACK] {
                    data(&mut session, dport, flags);
                }
            }
        }
        let (client, family) = (session.client, if ends == 0 { 1 } else { 2 });
        session.says(&format!("EPRT |{family}|{client}|40960|\r\n"));
        let rig = peer(&mut session);
        assert_eq!(rig.connections().len(), 4, "{:?}", rig.connections());
        // Each counts once, the announced data connection that came included.
        assert_eq!(rig.boards.total(ServerId(0)), 4);
        let mut session = Session { rig, ..session };
        goes_on(&mut session);
    }
}

/// Client port, state and shift of what is told.
fn told(session: &mut Session) -> Vec<(u16, &'static str, Option<u32>)> {
    let shift = |info: &ConnectionInfo| {
        assert_eq!(info.flags & u32::from(flag::SEQUENCE) != 0, info.sequence.is_some());
        info.sequence.map(|[_, server]| server.delta)
    };
    session.rig.told().iter().map(|info| (info.cport, info.state_name(), shift(info))).collect()
}

#[test]
fn a_master_tells_the_control_connection_with_each_packet_of_its_data() {
    for workers in [1, 4] {
        let mut session = master(workers, 0, SyncRules::default());
        let control = |shift| (CPORT, "ESTABLISHED", shift);
        assert_eq!(told(&mut session), []);
        session.says("PASV\r\n");
        assert_eq!(told(&mut session), [control(None)], "the third packet");
        session.answers(&offer(&session, 50_000));
        assert_eq!(told(&mut session), [(0, "LISTEN", None)]);
        // The next packet says how the stream is shifted, the one after it nothing.
        session.says("NOOP\r\n");
        assert_eq!(told(&mut session), [control(Some(1))]);
        session.says("NOOP\r\n");
        assert_eq!(told(&mut session), []);
        // As a recorded kernel does it: it tells of the data connection with its third packet.
        data(&mut session, 50_000, Flags::SYN);
        assert_eq!(told(&mut session), [control(Some(1))]);
        data(&mut session, 50_000, Flags::ACK);
        assert_eq!(told(&mut session), [control(Some(1))]);
        data(&mut session, 50_000, Flags::ACK);
        let mut both = told(&mut session);
        both.sort_unstable();
        assert_eq!(both, [(DATA, "ESTABLISHED", None), control(Some(1))]);
        // One that outlives its time for its data connection is told for another minute.
        session.rig.wait(600);
        data(&mut session, 50_000, Flags::ACK);
        told(&mut session);
        session.rig.wait(310);
        assert_eq!(told(&mut session), [control(Some(1))]);
    }
}

#[test]
fn version_0_tells_of_the_control_connection_along_with_its_data_connection_only() {
    let mut session = master(1, 0, SyncRules { version: 0, ..SyncRules::default() });
    session.says("PASV\r\n");
    session.answers(&offer(&session, 50_000));
    assert_eq!(told(&mut session).len(), 2);
    for (flags, count) in [(Flags::SYN, 0), (Flags::ACK, 0), (Flags::ACK, 2), (Flags::ACK, 0)] {
        data(&mut session, 50_000, flags);
        assert_eq!(told(&mut session).len(), count);
    }
}

#[test]
fn with_persist_mode_only_sessions_without_a_template_are_told() {
    let persistence = Some(Persistence { timeout_s: 120, netmask: u32::MAX });
    for persistence in [None, persistence] {
        let [_, vip, real] = ENDS[0];
        let setup = Setup { persistence, ..service(vip, real) };
        let mut rig = Rig::new(&[setup]);
        rig.tables.settings_mut().sync =
            SyncRules { master: true, persist_mode: true, ..SyncRules::default() };
        let mut session = Session::over(rig, ENDS[0]);
        session.says("PASV\r\n");
        session.answers(&offer(&session, 50_000));
        for flags in [Flags::SYN, Flags::ACK, Flags::ACK] {
            data(&mut session, 50_000, flags);
        }
        let all = session.rig.told();
        let (templates, connections): (Vec<_>, Vec<_>) = all.iter().partition(|info| info.is_template());
        match persistence {
            None => {
                assert!(templates.is_empty() && connections.iter().any(|info| info.cport == DATA), "{all:?}")
            }
            // With each packet of either: three of the control connection, one of PASV, three of data.
            Some(_) => assert_eq!((templates.len(), connections.len()), (6, 0), "{all:?}"),
        }
    }
}

#[test]
fn data_connections_of_other_methods_keep_their_server() {
    // A persistent FTP service leads a client's data connections to the same server, by whichever method.
    let persistence = Some(Persistence { timeout_s: 120, netmask: u32::MAX });
    for method in [ForwardingMethod::Tunnel, ForwardingMethod::DirectRouting] {
        let setup = Setup { persistence, method, ..service("10.0.1.100", "10.0.2.11") };
        let mut before = Rig::new(std::slice::from_ref(&setup));
        for vport in [21, 50_000] {
            before.outside(between("192.0.2.9", "10.0.1.100").tcp(DATA, vport, Flags::SYN)).sent_to_server();
        }
        let (templates, connections): (Vec<_>, Vec<_>) =
            before.connections().into_iter().partition(ConnectionInfo::is_template);
        let mut after = Rig::new(&[setup]);
        after.install(&templates, InstallFrom::StateFile);
        after.install(&connections, InstallFrom::StateFile);
        assert_eq!(after.boards.total(ServerId(0)), 2);
        after.outside(between("192.0.2.9", "10.0.1.100").tcp(DATA, 50_000, Flags::ACK)).sent_to_server();
    }
}
