//! TCP and UDP by each forwarding method and family.

use crate::{assert_books_balance, full, lab};
use shunt_rig::lab::{Director, Family, Lab, Method, SERVERS, eventually, real_server, vip};
use shunt_rig::ledger::Ledger;
use shunt_rig::{body, http, udp};
use std::fs::File;
use std::time::Duration;

/// 10,000 requests one by one, 200 at a time, and UDP of sizes 1 to 1400: nothing fails, the servers share evenly, the
/// director's statistics say the same, and no packet is unaccounted for.
fn carries_everything(lab: &Lab, family: Family, method: Method) {
    lab.add_services(family, method);
    let before = Ledger::settled(lab);

    let report = lab.on("client", || http::run(&http::Load::sequential(vip(family, 80), 10_000)));
    assert!(report.is_perfect(), "sequential: {report}");
    // With NAT the director sees a connection end, and schedules anew when the client uses its L4 port again. Without, it
    // cannot tell, and the few that come back within the timeout stay with their server.
    let slack = if method == Method::Nat { 0 } else { 100 };
    for server in SERVERS {
        let share = report.answers.of(server);
        let fair = 3333 - slack..=3334 + slack;
        assert!(fair.contains(&share), "round robin gave {server} {share} of 10,000: {report}");
    }
    println!("sequential: {report}");

    let report = lab.on("client", || http::run(&http::Load::parallel(vip(family, 80), 4_000, 200)));
    assert!(report.is_perfect(), "200 at a time: {report}");
    println!("parallel: {report}");

    let report = lab.on("client", || udp::run_sizes(vip(family, 7), 1..=1400, Duration::from_secs(2)));
    let report = report.expect("a route to the VIP");
    assert!(report.is_perfect(), "UDP: {report}");
    println!("UDP: {report}");

    let after = Ledger::settled(lab);
    // All of them but the one of the UDP client.
    let scheduled = after.workers.sum("new_connections") - before.workers.sum("new_connections") - 1;
    assert!(scheduled == 14_000 || method != Method::Nat, "{scheduled} connections were scheduled");
    // As with the kernel, lists show what was counted at the latest tick of two seconds.
    eventually("the statistics say how many connections were scheduled", 5, || {
        let stats = lab.adm_ok(&format!("-L -n --stats --exact -t {}", vip(family, 80)));
        connections_of_service(&stats) == scheduled
    });
    assert_books_balance(lab, &before);
}

/// The Conns column of the service's row.
fn connections_of_service(stats: &str) -> i64 {
    let row = stats.lines().find(|line| line.starts_with("TCP")).expect("a row for the service");
    row.split_whitespace().nth(2).and_then(|word| word.parse().ok()).expect("a count of connections")
}

macro_rules! carries_everything {
    ($($name:ident: $family:ident $method:ident;)*) => {$(
        #[test]
        #[ignore = "needs root and network namespaces: scripts/test runs it"]
        fn $name() {
            carries_everything(&lab(Director::default()), Family::$family, Method::$method);
        }
    )*};
}

carries_everything! {
    nat_ipv4_fails_no_request: V4 Nat;
    nat_ipv6_fails_no_request: V6 Nat;
    direct_routing_ipv4_fails_no_request: V4 DirectRouting;
    direct_routing_ipv6_fails_no_request: V6 DirectRouting;
    tunnel_ipv4_fails_no_request: V4 Tunnel;
    tunnel_ipv6_fails_no_request: V6 Tunnel;
}

/// A service of one family, tunnelled to real servers of the other.
fn tunnels_to_the_other_family(service: Family, server: Family) {
    let lab = lab(Director::default());
    let (http, echo) = (vip(service, 80), vip(service, 7));
    lab.adm_ok(&format!("-A -t {http} -s rr"));
    lab.adm_ok(&format!("-A -u {echo} -s rr"));
    for name in SERVERS {
        lab.adm_ok(&format!("-a -t {http} -r {} -i", real_server(name, server, 80)));
        lab.adm_ok(&format!("-a -u {echo} -r {} -i", real_server(name, server, 7)));
    }
    let before = Ledger::settled(&lab);
    let report = lab.on("client", || http::run(&http::Load::parallel(http, 3_000, 8)));
    assert!(report.is_perfect() && report.answers.names() == 3, "{report}");
    // 1400 bytes, UDP, two IPv6 headers: 1488 of 1500.
    let report =
        lab.on("client", || udp::run_sizes(echo, 1..=1400, Duration::from_secs(2))).expect("a route");
    assert!(report.is_perfect(), "{report}");
    assert_books_balance(&lab, &before);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn tunnel_carries_ipv4_over_ipv6() {
    tunnels_to_the_other_family(Family::V4, Family::V6);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn tunnel_carries_ipv6_over_ipv4() {
    tunnels_to_the_other_family(Family::V6, Family::V4);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn all_methods_work_side_by_side_in_one_service() {
    let lab = lab(Director::default());
    for family in [Family::V4, Family::V6] {
        let http = vip(family, 80);
        lab.adm_ok(&format!("-A -t {http} -s rr"));
        for (name, option) in SERVERS.into_iter().zip(["-m", "-g", "-i"]) {
            lab.adm_ok(&format!("-a -t {http} -r {} {option}", real_server(name, family, 80)));
        }
        let report = lab.on("client", || http::run(&http::Load::sequential(http, 300)));
        assert!(report.is_perfect(), "{report}");
        assert!(SERVERS.iter().all(|name| report.answers.of(name) == 100), "{report}");
    }
}

/// A body of `len` bytes arrives through NAT as it was sent.
fn downloads(family: Family, len: u64) {
    let lab = lab(Director::default());
    let mut file = File::create(lab.dir().join("s1/www/body")).expect("the server's folder");
    let expected = body::write_body(&mut file, len, 1).expect("room for the body");
    lab.adm_ok(&format!("-A -t {}", vip(family, 80)));
    lab.adm_ok(&format!("-a -t {} -r {} -m", vip(family, 80), real_server("s1", family, 80)));
    let load = http::Load { path: "/body".into(), ..http::Load::sequential(vip(family, 80), 1) };
    let got = lab.on("client", || http::download(&load)).expect("a whole body");
    println!("{} bytes in {:.1} s", got.len, got.seconds);
    assert_eq!((got.len, got.sha256), (len, expected));
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_gigabyte_arrives_intact_through_nat_ipv4() {
    downloads(Family::V4, 1 << 30);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_large_body_arrives_intact_through_nat_ipv6() {
    downloads(Family::V6, if full() { 1 << 30 } else { 128 << 20 });
}
