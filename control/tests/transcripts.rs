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

/// Runs a line of a session, wrapper scripts and pipes included. `None`: not applicable.
fn run(rig: &Rig, case: &Case) -> Option<Answer> {
    let stdin = case.stdin.as_deref().unwrap_or("");
    let command = case.cmd.as_str();
    if SKIPPED.iter().any(|(start, _)| command.starts_with(start)) {
        return None;
    }
    Some(match command {
        "ipvsadm-save" | "ipvsadm-save foo" => rig.run("ipvsadm -S", ""),
        "ipvsadm-save -n" | "ipvsadm-save -n foo" => rig.run("ipvsadm -S -n", ""),
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
            let plain = !command.contains(['|', '>', '$']) && !command.contains("; ");
            assert!(plain && command.starts_with("ipvsadm"), "a shell is wanted: {command}");
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
    // Of the recordings' director.
    let broadcast =
        ["10.0.1.255", "10.0.2.255", "127.255.255.255"].map(|text| text.parse().expect("address"));
    rig.director.lock().expect("no panic").set_broadcast(broadcast.into());
    for (index, case) in session.cases.iter().enumerate() {
        let Some(answer) = run(&rig, case) else { continue };
        let expected = Answer {
            status: u8::try_from(case.rc).expect("exit status"),
            stdout: case.stdout.clone(),
            stderr: case.stderr.clone(),
        };
        let place = format!("{} case {index}: {}", session.group, case.cmd);
        if case.service_order_varies || ORDER_IS_OPEN.contains(&(&session.group, index)) {
            assert_eq!(as_set(&answer.stdout), as_set(&expected.stdout), "{place}");
            assert_eq!((answer.status, answer.stderr), (expected.status, expected.stderr), "{place}");
        } else {
            assert_eq!(answer, expected, "{place}");
        }
    }
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
    edit_delete_service "05-edit-delete-service.json"
    fwmark "07-fwmark.json"
    thresholds_tunnels "08-thresholds-tunnels.json"
    timeouts_zero "11-timeouts-zero.json"
    matrix_bare "14-matrix-bare.json"
    matrix "15-matrix.json"
    list_pairs "17-list-pairs.json"
    list_names "18-list-names.json"
    addresses "19-addresses.json"
    numbers_server "20-numbers-server.json"
    numbers_service "21-numbers-service.json"
    numbers_daemon "22-numbers-daemon.json"
    popt "23-popt.json"
    flags_schedulers "24-flags-schedulers.json"
    restore "25-restore.json"
    daemons "26-daemons.json"
    order "27-order.json"
    server_addresses "28-server-addresses.json"
}
