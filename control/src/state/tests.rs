use super::file::{Kind, Reader, StateError, Writer};
use super::{Configured, record, restore, saver};
use crate::config::{Ipvs, SyncDaemon};
use crate::dataplane::tests::Recorder;
use crate::director::{Director, Limits, Mark, Refusal, StaticResolver};
use crate::ipvsadm::{self, Access, NoNames};
use crate::sync::{DaemonHost, DaemonOptions, DaemonParts, Role, Running};
use rustix::fs::{FileType, Mode};
use shunt_engine::tables::{Family, ServerId};
use shunt_engine::{ConnectionInfo, ControlKey, SequenceShift};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

const TEMPLATE: u32 = 0x1000;

struct Rig {
    dataplane: Arc<Recorder>,
    director: Mutex<Director>,
}

impl Rig {
    fn new() -> Rig {
        let dataplane = Arc::new(Recorder::new(1, 64));
        let limits = Limits { services: 64, servers: 64 };
        let director =
            Director::new(dataplane.clone(), Arc::new(StaticResolver::default()), Vec::new(), limits);
        Rig { dataplane, director: Mutex::new(director) }
    }

    fn run(&self, lines: &str) -> String {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let argv = ["ipvsadm".to_owned(), "-R".to_owned()];
        let (input, director) = (&mut lines.as_bytes(), &self.director);
        ipvsadm::run(&argv, input, &mut stdout, &mut stderr, director, &NoNames, Access::ReadWrite);
        assert_eq!(String::from_utf8_lossy(&stderr), "", "{lines}");
        String::from_utf8(stdout).unwrap()
    }

    fn save(&self, path: &Path, configured: &Configured) -> u64 {
        saver::save(path, &self.director, configured).unwrap()
    }

    fn restored(path: &Path) -> Rig {
        let rig = Rig::new();
        restore(path, &rig.director, &*rig.dataplane).unwrap();
        rig
    }

    fn connections(&self) -> Vec<ConnectionInfo> {
        self.dataplane.connections.lock().unwrap().clone()
    }
}

fn configured() -> Configured {
    Configured { ipvs: Ipvs::default(), marks: Vec::new(), daemons: Vec::new() }
}

fn connection(caddr: &str, cport: u16) -> ConnectionInfo {
    let caddr = caddr.parse().unwrap();
    ConnectionInfo {
        protocol: 6,
        family: Family::of(&caddr),
        caddr,
        cport,
        vaddr: [10, 0, 0, 1].into(),
        vport: 80,
        daddr: "fd00::7".parse().unwrap(),
        dport: 8080,
        state: 1,
        timeout_ms: 900_000,
        expires_ms: 890_000,
        flags: 0x102,
        fwmark: 7,
        in_packets: 12,
        server: ServerId::NONE,
        control: None,
        sequence: None,
        pe_data: None,
    }
}

fn all_kinds() -> Vec<ConnectionInfo> {
    let (client_net, vaddr) = ([192, 0, 2, 0].into(), [0, 0, 0, 7].into());
    let control = ControlKey { protocol: 0, client_net, cport: 0, vaddr, vport: 0 };
    let ftp = ControlKey { protocol: 6, cport: 40_500, vport: 21, ..control };
    let shift = |init_seq| SequenceShift { init_seq, delta: 3, previous_delta: u32::MAX };
    vec![
        ConnectionInfo { control: Some(control), ..connection("192.0.2.1", 1024) },
        ConnectionInfo { control: Some(ftp), ..connection("192.0.2.2", 0) },
        ConnectionInfo { sequence: Some([shift(1), shift(2)]), ..connection("2001:db8::1", 65_535) },
        ConnectionInfo {
            flags: TEMPLATE,
            pe_data: Some("call@host".to_owned()),
            ..connection("192.0.2.0", 0)
        },
    ]
}

#[test]
fn records_come_back() {
    let mut bytes = Vec::new();
    all_kinds().iter().for_each(|info| record::write(info, &mut bytes));
    let mut rest = &bytes[..];
    for info in all_kinds() {
        assert_eq!(record::read(&mut rest), Some(info));
    }
    assert!(rest.is_empty());
    for len in 0..40 {
        assert_eq!(record::read(&mut &bytes[..len]), None);
    }
}

#[test]
fn states_that_do_not_exist_are_refused() {
    let readable = |flags, protocol, state| {
        let mut bytes = Vec::new();
        let info = ConnectionInfo { flags, protocol, state, ..connection("192.0.2.1", 1024) };
        record::write(&info, &mut bytes);
        record::read(&mut &bytes[..]).is_some()
    };
    for (flags, protocol, states) in
        [(0, 6, 11), (0, 17, 1), (0, 132, 14), (TEMPLATE, 0, 2), (TEMPLATE, 6, 2)]
    {
        let refused = (0..=u8::MAX).filter(|state| !readable(flags, protocol, *state)).min();
        assert_eq!(refused, Some(states), "{flags:x} {protocol}");
    }
    assert!(!readable(0, 1, 0), "a protocol that is not balanced");
}

#[test]
fn a_restart_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let rig = Rig::new();
    rig.run(
        "-A -t 10.0.0.9:80 -s wrr\n-A -t 10.0.0.1:80 -s sh -b sh-port,flag-1 -p 60 -M 255.255.255.0\n\
         -A -f 4294967295 -6 -s mh -p 5 -M 64\n-A -u 10.0.0.1:5060 -s rr -p --pe sip -o\n\
         -a -t 10.0.0.1:80 -r 10.1.0.2:8080 -m -w 7 -x 20 -y 10\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -g -w 0\n\
         -a -t 10.0.0.9:80 -r 10.1.0.1 -i --tun-type gue --tun-port 6080 --tun-csum\n--set 0 0 77\n",
    );
    {
        let mut director = rig.director.lock().unwrap();
        director.set_sysctl("drop_entry", "2").unwrap();
        director.set_sysctl("run_estimation", "0").unwrap();
        let words = ["9", "destination", "10.0.0.0/24", "protocol", "tcp"].map(str::to_owned);
        director.set_marks(vec![Mark::parse(&words).unwrap()]).unwrap();
    }
    *rig.dataplane.connections.lock().unwrap() = all_kinds();
    assert_eq!(rig.save(&path, &configured()), 4);

    let again = Rig::restored(&path);
    for list in ["-S -n", "-L -n --nosort", "-L -n --thresholds", "-L -n --tun-info", "-L --timeout"] {
        assert_eq!(again.run(list), rig.run(list), "{list}");
    }
    let (director, old) = (again.director.lock().unwrap(), rig.director.lock().unwrap());
    assert_eq!(director.sysctls(), old.sysctls());
    assert_eq!(director.marks(), old.marks());
    drop((director, old));
    // Templates come first, and nothing was published twice before they did.
    let connections = again.connections();
    assert!(connections[0].is_template() && connections.len() == 4);
    assert!(!again.dataplane.published.lock().unwrap().is_empty());
}

#[test]
fn what_is_as_configured_is_left_to_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let rig = Rig::new();
    rig.director.lock().unwrap().set_sysctl("drop_entry", "2").unwrap();
    let ipvs = Ipvs { drop_entry: 2, ..Ipvs::default() };
    rig.save(&path, &Configured { ipvs, ..configured() });
    let again = Rig::restored(&path);
    assert!(again.director.lock().unwrap().sysctls().contains(&("drop_entry", "0".to_owned())));
}

#[test]
fn connections_of_deleted_servers_stay_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let rig = Rig::new();
    rig.run("-A -t 10.0.0.1:80\n-a -t 10.0.0.1:80 -r 10.1.0.1 -m\n-a -t 10.0.0.1:80 -r 10.1.0.2 -m\n");
    rig.run("-d -t 10.0.0.1:80 -r 10.1.0.1\n");
    let to = |server, cport| ConnectionInfo { server: ServerId(server), ..connection("192.0.2.1", cport) };
    *rig.dataplane.connections.lock().unwrap() = vec![to(0, 1), to(1, 2)];
    assert_eq!(rig.save(&path, &configured()), 1);
    assert_eq!(Rig::restored(&path).connections()[0].cport, 2);
}

/// The scheduler `mh` builds its table of the weights that servers had before they were quiesced.
#[test]
fn quiesced_servers_keep_their_last_weight() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let rig = Rig::new();
    rig.run(
        "-A -t 10.0.0.1:80 -s mh\n-a -t 10.0.0.1:80 -r 10.1.0.1 -g -w 5 -x 20 -y 10\n\
         -a -t 10.0.0.1:80 -r 10.1.0.2 -g -w 0\n-a -t 10.0.0.1:80 -r 10.1.0.3 -i -w 3\n\
         -e -t 10.0.0.1:80 -r 10.1.0.1 -g -w 0 -x 20 -y 10\n",
    );
    rig.save(&path, &configured());
    let again = Rig::restored(&path);
    let weights = |rig: &Rig| -> Vec<_> {
        let snapshot = rig.director.lock().unwrap().snapshot();
        let servers = snapshot.services()[0].servers.clone();
        servers.iter().map(|server| (server.daddr, server.weight, server.last_weight)).collect()
    };
    assert_eq!(weights(&again), weights(&rig));
    assert!(weights(&rig).iter().any(|(_, weight, last)| (*weight, *last) == (0, 5)));
    for list in ["-L -n --nosort", "-L -n --thresholds"] {
        assert_eq!(again.run(list), rig.run(list), "{list}");
    }
}

/// Interfaces that are all there, and daemons that do nothing.
struct AnyInterface;

struct Idle;

impl Running for Idle {}

impl DaemonHost for AnyInterface {
    fn mtu(&self, _: &str) -> Result<u32, Refusal> {
        Ok(1500)
    }

    fn start(&self, _: DaemonParts) -> Result<Box<dyn Running>, Refusal> {
        Ok(Box::new(Idle))
    }
}

#[test]
fn daemons_are_as_operators_left_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let rig = Rig::new();
    rig.director.lock().unwrap().set_daemon_host(Arc::new(AnyInterface));
    let by_hand = SyncDaemon {
        role: Role::Master,
        interface: "sync0".to_owned(),
        syncid: 7,
        maxlen: None,
        group: Some("ff05::81".parse().unwrap()),
        l4_port: None,
        ttl: Some(3),
    };
    let daemons_after = |daemons: Vec<SyncDaemon>| {
        rig.save(&path, &Configured { daemons, ..configured() });
        let again = Rig::new();
        restore(&path, &again.director, &*again.dataplane).unwrap()
    };
    let configured_daemon = SyncDaemon { role: Role::Backup, ..by_hand.clone() };
    // None runs: as configured, or stopped by hand.
    assert_eq!(daemons_after(Vec::new()), None);
    assert_eq!(daemons_after(vec![configured_daemon.clone()]), Some(Vec::new()));
    rig.run(
        "--start-daemon master --mcast-interface sync0 --syncid 7 --mcast-group ff05::81 --mcast-ttl 3\n",
    );
    assert_eq!(daemons_after(vec![configured_daemon]), Some(vec![by_hand.clone()]));
    assert_eq!(daemons_after(vec![by_hand]), None);
    // Waiting ones are wanted as well.
    rig.director.lock().unwrap().set_daemon_host(Arc::new(crate::sync::NoHost));
    let backup = DaemonOptions { interface: "later0".to_owned(), ..DaemonOptions::default() };
    rig.director.lock().unwrap().want_daemon(Role::Backup, &backup).unwrap_err();
    assert_eq!(daemons_after(Vec::new()).unwrap()[1], SyncDaemon::of(Role::Backup, backup));
}

/// Every file that differs from a good one in a byte, or is a piece of it, is refused as a whole and set aside.
#[test]
fn damaged_and_foreign_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let rig = Rig::new();
    rig.run("-A -t 10.0.0.1:80\n");
    *rig.dataplane.connections.lock().unwrap() = all_kinds();
    rig.save(&path, &configured());
    let good = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let again = Rig::restored(&path);
        assert_eq!(again.run("-S -n\n"), "", "{what}");
        assert!(again.connections().is_empty(), "{what}");
        assert!(!path.exists() && path.with_file_name("state.refused").exists(), "{what}");
    };
    // Bytes 12 to 19 say when it was written; any time will do.
    for place in (0..12).chain(20..good.len()) {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        refused(&bytes, &format!("byte {place}"));
    }
    for len in 0..good.len() {
        refused(&good[..len], &format!("{len} bytes"));
    }
    refused(&[&good[..], b"x"].concat(), "a byte too many");
    std::fs::write(&path, &good).unwrap();
    assert_eq!(Rig::restored(&path).connections().len(), 4);
}

/// Directories, FIFOs and devices are somebody's: neither renamed nor waited for.
#[test]
fn what_is_no_regular_file_is_refused_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let rig = Rig::new();
    let refused = || {
        let error = restore(&path, &rig.director, &*rig.dataplane).unwrap_err();
        assert!(matches!(error, StateError::NotAFile(_)), "{error}");
        assert!(error.to_string().contains("set another state.file"), "{error}");
        assert!(path.exists() && !path.with_file_name("state.refused").exists());
    };
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("operator"), "").unwrap();
    refused();
    assert!(path.join("operator").exists());
    std::fs::rename(&path, directory.path().join("folder")).unwrap();
    for target in ["folder", "/dev/null"] {
        symlink(target, &path).unwrap();
        refused();
        std::fs::remove_file(&path).unwrap();
    }
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    refused();
    std::fs::remove_file(&path).unwrap();

    // A link to a regular file is read.
    let target = directory.path().join("target");
    *rig.dataplane.connections.lock().unwrap() = all_kinds();
    rig.save(&target, &configured());
    symlink(&target, &path).unwrap();
    assert_eq!(Rig::restored(&path).connections().len(), 4);
}

#[test]
fn refusals_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Reader::open(&path).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(open(b"[Unit]\nDescription=x").contains("is no state file of shunt"));
    assert!(open(b"").contains("is no state file of shunt"));
    assert!(
        open(b"shunt-st\x02\0\0\0").contains("is a state file of version 2; this shuntd reads version 1")
    );
    assert!(matches!(Reader::open(&directory.path().join("none")), Ok(None)));
}

/// Restores a file of these records that is a minute old.
fn a_minute_later(records: &[(Kind, ConnectionInfo)]) -> Vec<ConnectionInfo> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let mut writer = Writer::create(&path).unwrap();
    for (kind, info) in records {
        let mut bytes = Vec::new();
        record::write(info, &mut bytes);
        writer.block(*kind, &bytes).unwrap();
    }
    writer.finish().unwrap();
    // The time stands behind magic and version.
    let mut bytes = std::fs::read(&path).unwrap();
    let written = u64::from_le_bytes(bytes[12..20].try_into().unwrap()) - 60;
    bytes[12..20].copy_from_slice(&written.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    Rig::restored(&path).connections()
}

#[test]
fn what_has_expired_meanwhile_is_not_restored() {
    let with = |cport, expires_ms| ConnectionInfo { expires_ms, ..connection("192.0.2.1", cport) };
    let records = [(1, 20_000), (2, 90_000)].map(|(cport, life)| (Kind::Connections, with(cport, life)));
    let connections = a_minute_later(&records);
    assert_eq!(connections.len(), 1);
    assert!(connections[0].cport == 2 && (25_000..=30_000).contains(&connections[0].expires_ms));
}

/// A template that ran out meanwhile, and a control connection: each has another minute as long as a connection lives that
/// it controls, but for none that has expired too.
#[test]
fn what_controls_living_connections_is_restored() {
    let key = |client: &str, cport, vport| {
        let client_net = client.parse().unwrap();
        ControlKey { protocol: 6, client_net, cport, vaddr: [10, 0, 0, 1].into(), vport }
    };
    let template = |client: &str| {
        let info = connection(client, 0);
        (Kind::Templates, ConnectionInfo { flags: TEMPLATE, expires_ms: 10_000, timeout_ms: 50_000, ..info })
    };
    let controlled = |client: &str, control, expires_ms| {
        (Kind::Connections, ConnectionInfo { control, expires_ms, ..connection(client, 4000) })
    };
    let control = ConnectionInfo { vport: 21, expires_ms: 10_000, ..connection("192.0.2.3", 3000) };
    let records = [
        template("192.0.2.1"),
        template("192.0.2.2"),
        controlled("192.0.2.1", Some(key("192.0.2.1", 0, 80)), 90_000),
        controlled("192.0.2.2", Some(key("192.0.2.2", 0, 80)), 30_000),
        (Kind::Connections, control),
        controlled("192.0.2.3", Some(key("192.0.2.3", 3000, 21)), 90_000),
    ];
    let restored = a_minute_later(&records);
    let names: Vec<_> = restored.iter().map(|info| (info.caddr.to_string(), info.cport)).collect();
    let expected = [("192.0.2.1", 0), ("192.0.2.1", 4000), ("192.0.2.3", 3000), ("192.0.2.3", 4000)];
    assert_eq!(names, expected.map(|(client, cport)| (client.to_owned(), cport)));
    for info in [&restored[0], &restored[2]] {
        // 50 seconds late, and the minute from when it was due.
        assert!(info.timeout_ms == 60_000 && (5_000..=10_000).contains(&info.expires_ms), "{info:?}");
    }
}

#[test]
fn a_failing_save_leaves_the_old_file_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("blocked");
    std::fs::write(&blocked, "").unwrap();
    let path = blocked.join("state");
    let error = saver::save(&path, &Rig::new().director, &configured()).unwrap_err();
    assert!(matches!(error, StateError::Io { .. }), "{error}");
    // A disk that is full when the file is written, and a name that is somebody's by then.
    let path = directory.path().join("state");
    let rig = Rig::new();
    rig.save(&path, &configured());
    let good = std::fs::read(&path).unwrap();
    let draft = path.with_file_name("state.new");
    symlink("/dev/full", &draft).unwrap();
    let error = saver::save(&path, &rig.director, &configured()).unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(draft.symlink_metadata().is_err(), "what could not be written keeps the disk full");
    assert_eq!(std::fs::read(&path).unwrap(), good);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    saver::save(&path, &rig.director, &configured()).unwrap_err();
    assert!(path.is_dir() && !draft.exists());
    // But a folder that is missing is made.
    let path = directory.path().join("var/shunt/state");
    saver::save(&path, &Rig::new().director, &configured()).unwrap();
    assert!(path.exists());
}
