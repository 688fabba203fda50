//! shuntd is stopped, or killed, and started again: services, settings and connections are there as before.

use crate::lasting::{broken, connect, opened, slowest, while_asking};
use crate::{bin, full};
use shunt_rig::http::{self, Load};
use shunt_rig::lab::{Director, Family, Lab, Method, eventually, vip};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than the period of the state file.
const TWO_SAVES: Duration = Duration::from_millis(2500);

/// Lasting connections with requests all the while; the director goes and comes back, once by SIGTERM and once by SIGKILL.
fn restart(director: Director, method: Method) {
    let director = Director { state: true, ..director };
    let count = if full() { 5_000 } else { 300 };
    let lab = Lab::with(bin(), director);
    lab.add_services(Family::V4, method);
    lab.adm_ok("set expire_quiescent_template 1");
    lab.adm_ok("--set 1200 0 0");
    let saved = lab.adm_ok("-S -n");
    let mut clients = connect(&lab, Family::V4, count);
    for kill in [false, true] {
        let gap = while_asking(&lab, &mut clients, || {
            sleep(TWO_SAVES);
            let begun = Instant::now();
            lab.stop(kill);
            lab.start(director);
            let gap = begun.elapsed();
            sleep(TWO_SAVES);
            gap
        });
        println!(
            "{director}, {method:?}, {}: {} connections, {} broken; nothing was forwarded for at most {} ms, the \
             slowest round of requests took {} ms",
            if kill { "SIGKILL" } else { "SIGTERM" },
            opened(&clients),
            broken(&clients).len(),
            gap.as_millis(),
            slowest(&clients).as_millis(),
        );
        assert!(broken(&clients).is_empty(), "{:?}\n{}", broken(&clients).first(), lab.log());
        assert_eq!(lab.adm_ok("-S -n"), saved);
        assert_eq!(lab.adm_ok("get expire_quiescent_template"), "1\n");
        assert_eq!(lab.adm_ok("-L --timeout"), "Timeout (tcp tcpfin udp): 1200 120 300\n");
        assert!(lab.log().contains("restored from"), "{}", lab.log());
    }
    let report = lab.on("client", || http::run(&Load::sequential(vip(Family::V4, 80), 300)));
    assert!(report.is_perfect() && report.answers.names() == 3, "new connections: {report}");
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn connections_survive_a_restart_nat() {
    restart(Director::default(), Method::Nat);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn connections_survive_a_restart_direct_routing_two_workers() {
    restart(Director { workers: 2, queues: 2, ..Director::default() }, Method::DirectRouting);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn connections_survive_a_restart_tunnel() {
    restart(Director::default(), Method::Tunnel);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn persistence_survives_a_restart_and_a_damaged_file_is_set_aside() {
    let director = Director { state: true, ..Director::default() };
    let lab = Lab::with(bin(), director);
    lab.add_services(Family::V4, Method::Nat);
    lab.adm_ok(&format!("-E -t {} -s rr -p 600", vip(Family::V4, 80)));
    let ask = || lab.on("client", || http::run(&Load::sequential(vip(Family::V4, 80), 20)));
    let before = ask();
    assert!(before.is_perfect() && before.answers.names() == 1, "one server for one client: {before}");
    lab.stop(false);
    lab.start(director);
    let after = ask();
    assert!(after.is_perfect(), "{after}");
    assert_eq!(after.answers, before.answers, "the client keeps its server");

    let file = lab.dir().join("state");
    lab.stop(false);
    let mut bytes = std::fs::read(&file).expect("a state file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("it is ours");
    lab.start(director);
    assert_eq!(lab.adm_ok("-S -n"), "");
    assert!(lab.log().contains("is damaged"), "{}", lab.log());
    assert!(lab.dir().join("state.refused").exists());
    eventually("a new state file is written", 10, || file.exists());
}
