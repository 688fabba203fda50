//! Whole sessions of the command line, as a Linux 6.1 kernel and ipvsadm 1.31 answered them (`testdata/cli/`), compared
//! byte for byte.

mod fake;

use fake::{Answer, Rig};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Deserialize)]
struct Session {
    group: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    cmd: String,
    stdin: Option<String>,
    rc: i32,
    stdout: String,
    stderr: String,
    /// The kernel's random hash order shows.
    #[serde(default)]
    service_order_varies: bool,
}

/// Lines that have no counterpart in shunt, and why.
const SKIPPED: [(&str, &str); 3] = [
    ("cat /proc/net/", "a file of the kernel; the lists show the same"),
    ("ls /proc/net", "files of the kernel"),
    ("for f in /proc/sys/net/ipv4/vs/", "sysctls are settings of the director, with a test of their own"),
];

/// Lists whose order depends on the kernel's random hash order although they are sorted, because the order of addresses
/// is not transitive (255.255.255.255 < 10.0.0.1 < 224.0.0.1 < 255.255.255.255): session and case.
const ORDER_IS_OPEN: [(&str, usize); 1] = [("02-add-service", 41)];

/// Where shunt answers otherwise on purpose: group, command, which of its occurrences (from 0), answer.
struct Difference {
    command: &'static str,
    /// Occurrences of the command within the session, from 0.
    nth: &'static [usize],
    status: u8,
    stdout: &'static str,
    stderr: &'static str,
}

const NO_SYNC: &str = "connection synchronisation is not supported yet\n";
const NO_DAEMON: &str = "No daemon is running\n";

const fn start(command: &'static str, nth: &'static [usize]) -> Difference {
    Difference { command, nth, status: 255, stdout: "", stderr: NO_SYNC }
}

const fn stop(command: &'static str, nth: &'static [usize]) -> Difference {
    Difference { command, nth, status: 255, stdout: "", stderr: NO_DAEMON }
}

const fn list(command: &'static str, nth: &'static [usize]) -> Difference {
    Difference { command, nth, status: 0, stdout: "", stderr: "" }
}

/// Session `12-daemon`: shunt has no synchronisation daemon yet. It reads these commands, says so, and goes on without
/// a daemon; so there is none to list or to stop.
const DIFFERENCES: [Difference; 13] = [
    start("ipvsadm --start-daemon master", &[0]),
    start("ipvsadm --start-daemon master --mcast-interface nosuch0", &[0]),
    start("ipvsadm --start-daemon master --mcast-interface eth1", &[0, 1]),
    start("ipvsadm --start-daemon backup --mcast-interface eth1 --syncid 7", &[0]),
    start(
        "ipvsadm --start-daemon master --mcast-interface eth1 --syncid 5 --sync-maxlen 1000 --mcast-group 224.0.0.90 \
         --mcast-port 9999 --mcast-ttl 3",
        &[0],
    ),
    start(
        "ipvsadm --start-daemon backup --mcast-interface eth1 --syncid 0 --mcast-group ff02::81 --mcast-port 9999",
        &[0],
    ),
    start("ipvsadm --start-daemon=master --mcast-interface=eth1", &[0]),
    start("ipvsadm --start-daemon master --mcast-interface averyveryverylonginterfacename", &[0]),
    start("ipvsadm --start-daemon master --mcast-interface lo", &[0]),
    stop("ipvsadm --stop-daemon master", &[1, 2, 5]),
    stop("ipvsadm --stop-daemon backup", &[1, 2]),
    stop("ipvsadm --stop-daemon=master", &[0]),
    list("ipvsadm -L --daemon", &[1, 2, 3, 4, 6, 7, 12, 13]),
];

const LIST_NUMERIC: Difference = list("ipvsadm -Ln --daemon", &[0]);

fn difference(command: &str, nth: usize) -> Option<&'static Difference> {
    DIFFERENCES
        .iter()
        .chain([&LIST_NUMERIC])
        .find(|difference| difference.command == command && difference.nth.contains(&nth))
}

/// Runs a line of a session, wrapper scripts and pipes included. `None`: not applicable.
fn run(rig: &Rig, case: &Case) -> Option<Answer> {
    let stdin = case.stdin.as_deref().unwrap_or("");
    let command = case.cmd.as_str();
    if SKIPPED.iter().any(|(start, _)| command.starts_with(start)) {
        return None;
    }
    Some(match command {
        "ipvsadm-save" => rig.run("ipvsadm -S", ""),
        "ipvsadm-save -n" => rig.run("ipvsadm -S -n", ""),
        "ipvsadm-restore" => {
            rig.run("ipvsadm -C", "");
            let lines: String = stdin.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect();
            rig.run("ipvsadm -R", &lines)
        }
        _ if command.ends_with("&& echo identical") => {
            let saved = rig.list("ipvsadm -Sn");
            rig.ok("ipvsadm -C");
            assert_eq!(rig.run("ipvsadm -R", &saved).status, 0);
            let same = rig.list("ipvsadm -Sn") == saved;
            let stdout = if same { "identical\n" } else { "" };
            Answer { status: u8::from(!same), stdout: stdout.to_owned(), stderr: String::new() }
        }
        _ => {
            assert!(!command.contains(['|', ';', '>', '$']), "a shell is wanted: {command}");
            rig.run(command, stdin)
        }
    })
}

/// A list as a set: each service with its servers is one element.
fn as_set(list: &str) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    let mut block = String::new();
    for line in list.split_inclusive('\n') {
        if !line.starts_with("  ->") {
            set.insert(std::mem::take(&mut block));
        }
        block.push_str(line);
    }
    set.insert(block);
    set
}

fn replay(path: &Path) {
    let text = std::fs::read_to_string(path).expect("test data");
    let session: Session = serde_json::from_str(&text).expect("test data");
    let rig = Rig::new(1000, 1000);
    let mut seen: Vec<&str> = Vec::new();
    let mut used = 0;
    for (index, case) in session.cases.iter().enumerate() {
        let nth = seen.iter().filter(|command| **command == case.cmd).count();
        seen.push(&case.cmd);
        let Some(answer) = run(&rig, case) else { continue };
        let expected = Answer {
            status: u8::try_from(case.rc).expect("exit status"),
            stdout: case.stdout.clone(),
            stderr: case.stderr.clone(),
        };
        let place = format!("{} case {index}: {}", session.group, case.cmd);
        if session.group == "12-daemon"
            && let Some(other) = difference(&case.cmd, nth)
        {
            assert_ne!(answer, expected, "{place}: no longer a difference");
            let Difference { status, stdout, stderr, .. } = other;
            assert_eq!(
                (answer.status, &*answer.stdout, &*answer.stderr),
                (*status, *stdout, *stderr),
                "{place}"
            );
            used += 1;
        } else if case.service_order_varies || ORDER_IS_OPEN.contains(&(&session.group, index)) {
            assert_eq!(as_set(&answer.stdout), as_set(&expected.stdout), "{place}");
            assert_eq!((answer.status, answer.stderr), (expected.status, expected.stderr), "{place}");
        } else {
            assert_eq!(answer, expected, "{place}");
        }
    }
    let all: usize = DIFFERENCES.iter().chain([&LIST_NUMERIC]).map(|difference| difference.nth.len()).sum();
    assert_eq!(used, if session.group == "12-daemon" { all } else { 0 }, "differences that were not met");
}

macro_rules! sessions {
    ($($name:ident $file:literal)*) => {
        $(#[test]
        fn $name() {
            replay(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cli").join($file));
        })*
    };
}

sessions! {
    help_and_version "01-help-version.json"
    add_service "02-add-service.json"
    schedulers "03-schedulers.json"
    scheduler_twos "03b-scheduler-twos.json"
    persistence_and_flags "04-persistence-flags.json"
    real_servers "06-dest.json"
    lists "09-list.json"
    save_and_restore "10-save-restore.json"
    daemon "12-daemon.json"
    ipv6 "13-ipv6.json"
}
