//! The same answers with one worker or two, one queue or two, and over other kinds of NIC port.

use crate::{assert_books_balance, lab};
use shunt_rig::lab::{Director, Family, Method, vip};
use shunt_rig::ledger::{Ledger, Workers};
use shunt_rig::{http, udp};
use std::time::Duration;

const TWO_WORKERS_ONE_QUEUE: Director = Director { workers: 2, queues: 1, device: "af_packet", state: false };
const TWO_WORKERS_TWO_QUEUES: Director =
    Director { workers: 2, queues: 2, device: "af_packet", state: false };
const ONE_WORKER_TAP: Director = Director { workers: 1, queues: 1, device: "tap", state: false };
const TWO_WORKERS_TAP: Director = Director { workers: 2, queues: 2, device: "tap", state: false };

/// Requests one by one, many at a time, and UDP; the books balance; with two workers, both have worked.
fn serves(director: Director, family: Family, method: Method) {
    let lab = lab(director);
    lab.add_services(family, method);
    let before = Ledger::settled(&lab);
    let report = lab.on("client", || http::run(&http::Load::sequential(vip(family, 80), 2_000)));
    assert!(report.is_perfect() && report.answers.names() == 3, "{director}, one by one: {report}");
    let report = lab.on("client", || http::run(&http::Load::parallel(vip(family, 80), 2_000, 200)));
    assert!(report.is_perfect() && report.answers.names() == 3, "{director}, 200 at a time: {report}");
    let report = lab.on("client", || udp::run_sizes(vip(family, 7), 1..=1400, Duration::from_secs(2)));
    assert!(report.as_ref().is_ok_and(udp::Report::is_perfect), "{director}, UDP: {report:?}");
    assert_books_balance(&lab, &before);
    let workers = Workers::of(&lab);
    assert_eq!(workers.count(), director.workers as usize);
    for worker in 0..workers.count() {
        let owned = workers.get(worker, "new_connections");
        assert!(owned > 0, "worker {worker} owned no connection: {workers:?}");
    }
}

macro_rules! serves {
    ($($name:ident: $director:ident $family:ident $method:ident;)*) => {$(
        #[test]
        #[ignore = "needs root and network namespaces: scripts/test runs it"]
        fn $name() {
            serves($director, Family::$family, Method::$method);
        }
    )*};
}

serves! {
    two_workers_share_a_queue_nat_ipv4: TWO_WORKERS_ONE_QUEUE V4 Nat;
    two_workers_share_a_queue_nat_ipv6: TWO_WORKERS_ONE_QUEUE V6 Nat;
    two_workers_share_a_queue_direct_routing_ipv4: TWO_WORKERS_ONE_QUEUE V4 DirectRouting;
    two_workers_share_a_queue_tunnel_ipv6: TWO_WORKERS_ONE_QUEUE V6 Tunnel;
    two_workers_with_two_queues_nat_ipv4: TWO_WORKERS_TWO_QUEUES V4 Nat;
    two_workers_with_two_queues_nat_ipv6: TWO_WORKERS_TWO_QUEUES V6 Nat;
    two_workers_with_two_queues_direct_routing_ipv6: TWO_WORKERS_TWO_QUEUES V6 DirectRouting;
    two_workers_with_two_queues_tunnel_ipv4: TWO_WORKERS_TWO_QUEUES V4 Tunnel;
    tap_nic_ports_nat_ipv4: ONE_WORKER_TAP V4 Nat;
    tap_nic_ports_with_two_queues_nat_ipv6: TWO_WORKERS_TAP V6 Nat;
}
