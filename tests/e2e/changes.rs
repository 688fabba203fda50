//! Changes of the table while requests run: nobody notices.

use crate::{assert_books_balance, lab};
use shunt_rig::lab::{Director, Family, Lab, Method, SERVERS, eventually, real_server, services, vip};
use shunt_rig::ledger::Ledger;
use shunt_rig::{http, udp};
use std::thread::sleep;
use std::time::Duration;

/// Eight requests at a time and four UDP flows, while `change` runs. No request fails, no datagram is lost, no packet
/// goes missing.
fn nobody_notices(lab: &Lab, family: Family, change: impl FnOnce()) {
    let before = Ledger::settled(lab);
    let load = http::Load::parallel(vip(family, 80), 0, 8);
    let (http, udp) = lab.while_running(
        |stop| {
            std::thread::scope(|scope| {
                let echo = vip(family, 7);
                let udp = scope.spawn(move || udp::run_until(echo, 4, Duration::from_millis(1), stop));
                let http = http::run_until(&load, stop);
                (http, udp.join().expect("the UDP load panicked").expect("a route"))
            })
        },
        change,
    );
    println!("HTTP: {http}\nUDP: {udp}");
    assert!(http.is_perfect() && http.answers.total() > 100, "HTTP: {http}");
    assert!(udp.is_perfect() && udp.sent > 100, "UDP: {udp}");
    assert_books_balance(lab, &before);
}

/// The number of connections in `state` that lead to the server.
fn connections_to(lab: &Lab, server: std::net::SocketAddr, state: &str) -> usize {
    let list = lab.adm_ok("-L -n -c");
    list.lines().filter(|line| line.contains(&server.to_string()) && line.contains(state)).count()
}

/// As an operator does it: the weight to 0, wait until nobody is being served, remove, and later add again.
fn servers_come_and_go(director: Director, family: Family, method: Method) {
    let lab = lab(director);
    // UDP flows last as long as the client: they stay on s1 and s2, s3 serves HTTP only.
    lab.add_services(family, method);
    lab.adm_ok(&format!("-d -u {} -r {}", vip(family, 7), real_server("s3", family, 7)));
    let (service, option) = (vip(family, 80), method.option());
    let server = real_server("s3", family, 80);
    // Where replies pass by, the director cannot see that a connection has ended. Our client soon uses its L4 ports again;
    // value 2 makes such a SYN a new connection, not one to a server that may be gone (spec `connections.md`).
    lab.adm_ok("set conn_reuse_mode 3");
    nobody_notices(&lab, family, || {
        for round in 0..5 {
            lab.adm_ok(&format!("-e -t {service} -r {server} {option} -w {}", 3 + round));
            lab.adm_ok(&format!("-e -t {service} -r {} {option} -w 2", real_server("s1", family, 80)));
            sleep(Duration::from_millis(100));
            lab.adm_ok(&format!("-e -t {service} -r {server} {option} -w 0"));
            eventually("a quiesced server comes to rest", 10, || {
                connections_to(&lab, server, "ESTABLISHED") == 0
                    && connections_to(&lab, server, "SYN_RECV") == 0
            });
            // The last packets of a closing connection are on their way still.
            sleep(Duration::from_millis(100));
            lab.adm_ok(&format!("-d -t {service} -r {server}"));
            sleep(Duration::from_millis(100));
            lab.adm_ok(&format!("-a -t {service} -r {server} {option} -w 1"));
            lab.adm_ok(&format!("-E -t {service} -s {}", ["wrr", "wlc", "lc", "rr"][round % 4]));
            sleep(Duration::from_millis(100));
        }
    });
    let report = lab.on("client", || http::run(&http::Load::sequential(service, 300)));
    assert!(report.is_perfect() && report.answers.names() == 3, "after all: {report}");
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn servers_come_and_go_under_load_nat_ipv4() {
    servers_come_and_go(Director::default(), Family::V4, Method::Nat);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn servers_come_and_go_under_load_tunnel_ipv6() {
    servers_come_and_go(Director::default(), Family::V6, Method::Tunnel);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn servers_come_and_go_under_load_two_workers_nat_ipv6() {
    let director = Director { workers: 2, ..Director::default() };
    servers_come_and_go(director, Family::V6, Method::Nat);
}

/// 200 more services with two servers each, next to the ones that carry the load.
fn other_services() -> String {
    let mut lines = String::new();
    for service in 0..200 {
        lines += &format!("-A -t 10.9.{service}.1:443 -s wlc\n");
        for server in SERVERS.iter().take(2) {
            lines += &format!("-a -t 10.9.{service}.1:443 -r {} -m\n", real_server(server, Family::V4, 443));
        }
    }
    lines
}

fn sorted(table: &str) -> Vec<&str> {
    let mut lines: Vec<_> = table.lines().collect();
    lines.sort_unstable();
    lines
}

/// The whole table, once emptied and filled again in one batch, once edited in place, turn and turn about.
fn tables_are_restored_under_load(director: Director, family: Family, method: Method, times: usize) {
    let lab = lab(director);
    let table = services(family, method) + &other_services();
    lab.restore(&table);
    let saved = lab.adm_ok("-S -n");
    let emptied_and_filled = format!("-C\n{table}");
    let edited = table.replace("-A ", "-E ").replace("-a ", "-e ");
    nobody_notices(&lab, family, || {
        for round in 0..times {
            lab.restore(if round % 2 == 0 { &emptied_and_filled } else { &edited });
        }
    });
    assert_eq!(sorted(&lab.adm_ok("-S -n")), sorted(&saved));
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_thousand_restores_under_load_nat_ipv4() {
    tables_are_restored_under_load(Director::default(), Family::V4, Method::Nat, 1000);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_thousand_restores_under_load_two_workers_direct_routing_ipv6() {
    let director = Director { workers: 2, queues: 2, ..Director::default() };
    tables_are_restored_under_load(director, Family::V6, Method::DirectRouting, 1000);
}
