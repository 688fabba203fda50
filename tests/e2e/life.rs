//! Start, stop, crash, reload, and clients that behave badly.

use crate::{bin, lab};
use shunt_rig::http::{self, Load};
use shunt_rig::lab::{Director, Family, Lab, Method, eventually, vip, words};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn assert_serves(lab: &Lab, family: Family) {
    let report = lab.on("client", || http::run(&Load::sequential(vip(family, 80), 300)));
    assert!(report.is_perfect() && report.answers.names() == 3, "{report}");
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn after_kill_9_the_socket_is_taken_over_and_the_restored_table_forwards() {
    let lab = lab(Director { workers: 2, queues: 2, ..Director::default() });
    lab.add_services(Family::V4, Method::Nat);
    let tunnels = shunt_rig::lab::services(Family::V6, Method::Tunnel);
    lab.restore(&tunnels);
    assert_serves(&lab, Family::V4);
    let saved = lab.adm_ok("-S -n");
    for _ in 0..2 {
        lab.stop(true);
        assert!(lab.socket().exists(), "a killed daemon leaves its socket");
        lab.start(Director { workers: 2, queues: 2, ..Director::default() });
        assert_eq!(lab.adm_ok("-S -n"), "", "a new daemon starts empty");
        lab.restore(&saved);
        assert_serves(&lab, Family::V4);
        assert_serves(&lab, Family::V6);
    }
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_second_instance_says_so_and_leaves_the_first_alone() {
    let lab = lab(Director::default());
    lab.add_services(Family::V4, Method::DirectRouting);
    let config = lab.dir().join("shunt.toml");
    let mut second = lab.command("director", lab.tool("shuntd").to_str().expect("text"));
    let output = second.arg("--config").arg(config).stdin(Stdio::null()).output().expect("it runs");
    assert!(!output.status.success() && output.status.code().is_some(), "{}", words(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("control.sock"), "it does not name the socket: {said}");
    assert_serves(&lab, Family::V4);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn clients_that_hang_send_garbage_or_never_end_a_line_disturb_nobody() {
    let lab = lab(Director::default());
    lab.add_services(Family::V4, Method::Nat);
    let connect = || UnixStream::connect(lab.socket()).expect("the socket listens");

    let hanging: Vec<UnixStream> = (0..50).map(|_| connect()).collect();
    let mut half_a_line = connect();
    half_a_line.write_all(b"-A -t 10.0.1.100:").expect("it takes half a line");

    // A megabyte without a newline, all 256 byte values, and zeros. It may close early: a write error is fine.
    let garbage: Vec<u8> =
        (0..1 << 20).map(|i: u32| (i.wrapping_mul(167) >> 3) as u8).filter(|b| *b != b'\n').collect();
    for bytes in [&garbage[..], &vec![b'x'; 1 << 20], &vec![0; 1 << 20], b"\n\n\n\n\xff\xfe\n-Q\n"] {
        let mut client = connect();
        client.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        client.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        let _ = client.write_all(bytes);
        let _ = client.shutdown(std::net::Shutdown::Write);
        let _ = client.read(&mut [0; 4096]);
    }
    // One who asks for much and reads nothing.
    let mut deaf = connect();
    deaf.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    for _ in 0..2000 {
        if deaf.write_all(b"-L -n\n").is_err() {
            break;
        }
    }

    let started = Instant::now();
    let list = lab.adm_ok("-L -n");
    assert!(started.elapsed() < Duration::from_secs(2), "an honest client waited {:?}", started.elapsed());
    assert!(list.contains("10.0.1.100:80 rr"), "{list}");
    assert_eq!(list.matches("TCP ").count(), 1, "half a line was carried out: {list}");
    assert_serves(&lab, Family::V4);
    drop((hanging, half_a_line, deaf));
    lab.adm_ok("-L -n");
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn sighup_reads_the_file_again_and_a_broken_file_changes_nothing() {
    let lab = lab(Director::default());
    lab.add_services(Family::V4, Method::Nat);
    let path = lab.dir().join("shunt.toml");
    let original = fs::read_to_string(&path).expect("the configuration");
    fs::write(&path, format!("{original}\n[ipvs]\ntimeout_tcp = 600\n")).expect("it is ours");
    signal(lab.pid(), "HUP");
    eventually("the new timeout is in force", 5, || lab.adm_ok("-L --timeout").contains("600 120 300"));

    fs::write(&path, "[ipvs\nnonsense").expect("it is ours");
    signal(lab.pid(), "HUP");
    eventually("the log says what is wrong with the file", 5, || lab.log().contains("shunt.toml"));
    assert!(lab.adm_ok("-L --timeout").contains("600 120 300"));
    assert_serves(&lab, Family::V4);
}

/// As a log rotation sends them that was written for another daemon.
#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn sigusr1_and_sigusr2_are_ignored() {
    let lab = lab(Director::default());
    lab.add_services(Family::V4, Method::Nat);
    for name in ["USR1", "USR2"] {
        signal(lab.pid(), name);
        let line = format!("SIG{name} has no meaning here");
        eventually("the log tells of the signal", 5, || lab.log().contains(&line));
    }
    assert_serves(&lab, Family::V4);
    assert!(lab.socket().exists());
}

/// shuntd as a child of the test, with the lab's configuration, so that its exit status can be seen.
fn spawn_shuntd(lab: &Lab, notify: &std::path::Path) -> Child {
    let mut command = lab.command("director", lab.tool("shuntd").to_str().expect("text"));
    command.arg("--config").arg(lab.dir().join("shunt.toml")).env("NOTIFY_SOCKET", notify);
    command.stdin(Stdio::null()).spawn().expect("shuntd starts")
}

fn wait(child: &mut Child, seconds: u64) -> std::process::ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("shuntd did not end within {seconds} s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn it_tells_systemd_when_it_is_ready_and_a_clean_stop_leaves_nothing_behind() {
    // Started once by the script, for its configuration and cables.
    let lab = lab(Director::default());
    lab.stop(false);
    assert_nothing_left(&lab);
    let path = lab.dir().join("notify.sock");
    let notify = UnixDatagram::bind(&path).expect("a socket of ours");
    notify.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    for name in ["TERM", "INT"] {
        let mut child = spawn_shuntd(&lab, &path);
        assert!(next_notice(&notify).contains("READY=1"));
        lab.adm_ok("-L -n");
        signal(child.id(), name);
        assert!(next_notice(&notify).contains("STOPPING=1"));
        let status = wait(&mut child, 10);
        assert!(status.success(), "after SIG{name}: {status}");
        assert_nothing_left(&lab);
    }
}

/// The next message that says more than a status text.
fn next_notice(notify: &UnixDatagram) -> String {
    loop {
        let mut buffer = [0; 4096];
        let len = notify.recv(&mut buffer).expect("a message for systemd");
        let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if text.contains("=1") {
            return text;
        }
    }
}

fn assert_nothing_left(lab: &Lab) {
    assert!(!lab.socket().exists(), "the socket is still there");
    let links = lab.command("director", "ip").args(["-o", "link"]).output().expect("ip runs");
    let links = words(&links);
    assert!(!links.contains("twin-"), "the twins are still there: {links}");
    let pids =
        Command::new("ip").args(["netns", "pids", &lab.namespace("director")]).output().expect("ip runs");
    assert!(pids.stdout.is_empty(), "processes are left: {}", words(&pids));
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn what_cannot_work_is_refused_with_a_clear_line() {
    let lab = Lab::up(bin());
    let on = |cores: &str, device: &str| {
        format!(
            "[eal]\nhugepages = false\n[workers]\ncores = [{cores}]\nidle = \"sleep\"\n[control]\nsocket = \"{}\"\n\
             [[nic_port]]\nname = \"a\"\ndevice = \"{device}\"\n",
            lab.socket().display()
        )
    };
    let run = |path: &std::path::Path, options: &[&str]| {
        let mut command = lab.command("director", lab.tool("shuntd").to_str().expect("text"));
        let command = command.args(options).arg("--config").arg(path);
        let output = command.stdin(Stdio::null()).output().expect("shuntd runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // What is named, the file, and whether a look at the file and the machine finds it.
    for (what, text, seen) in [
        ("no_such_driver0", on("0", "no_such_driver0"), false),
        ("ffff:ff:1f.7", on("0", "ffff:ff:1f.7"), true),
        ("nowhere", on("0", "net_af_packet0,iface=nowhere"), true),
        ("core 1023", on("0, 1023", "net_tap0,iface=tap0"), true),
        ("bad.toml:2", "[workers]\ncores = 7\n".to_owned(), true),
    ] {
        let path = lab.dir().join("bad.toml");
        fs::write(&path, &text).expect("it is ours");
        let (started, said) = run(&path, &[]);
        assert!(!started, "{what}: {said}");
        let line = said.lines().last().unwrap_or_default();
        assert_eq!(line.matches(what).count(), 1, "it does not name {what} once: {said}");
        // A file that is right for another machine is right.
        let (correct, said) = run(&path, &["--check"]);
        assert_eq!((correct, said.contains(what)), (what != "bad.toml:2", seen), "{what}: {said}");
    }
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn under_the_name_ipvsadm_it_is_the_same() {
    let lab = lab(Director::default());
    let ipvsadm = lab.dir().join("ipvsadm");
    std::os::unix::fs::symlink(lab.tool("shuntadm"), &ipvsadm).expect("it is ours");
    lab.add_services(Family::V4, Method::Nat);
    let output = Command::new(ipvsadm).args(["-L", "-n"]).env("SHUNT_SOCKET", lab.socket()).output();
    let output = output.expect("ipvsadm runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), lab.adm_ok("-L -n"), "{}", words(&output));
}
