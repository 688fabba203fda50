//! Datagrams that are longer than any wire, by each method, there and back: as kernels cut them, and in orders that
//! only a network makes.

use crate::{assert_books_balance, full, ready_lab};
use shunt_rig::lab::{Director, Family, Lab, Method, SERVERS, real_server, vip};
use shunt_rig::ledger::Ledger;
use shunt_rig::{kernel, pieces, udp};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);
/// Not af_packet: DPDK's driver asks the kernel to put IPv4 datagrams together, whose frames it then cuts off.
const ONE_WORKER: Director = Director { workers: 1, queues: 1, device: "tap", state: false };
const TWO_WORKERS: Director = Director { workers: 2, queues: 2, device: "tap", state: false };

/// Datagrams that hosts put together, on the client and on all servers.
fn reassembled(lab: &Lab) -> (u64, u64) {
    let on_servers = SERVERS.iter().map(|server| lab.on(server, kernel::reassembled)).sum();
    (lab.on("client", kernel::reassembled), on_servers)
}

/// In IPv6 only senders cut. Full pieces have no room in a tunnel: the first time the client is told so.
fn learns_to_cut_smaller(lab: &Lab) {
    let report = lab.on("client", || udp::run_sizes(vip(Family::V6, 7), 8_000..=8_000, PATIENCE));
    let report = report.expect("a route to the VIP");
    assert!(report.failures.to_string().contains("Message too long"), "{report}");
}

/// Questions of 8,000 bytes and some more and less, and their answers, each in six pieces or so: all bytes return, and
/// the director's books balance.
fn crosses(director: Director, method: Method) {
    let lab = ready_lab(director);
    for family in [Family::V4, Family::V6] {
        lab.add_services(family, method);
        crosses_in(&lab, family, method);
    }
}

fn crosses_in(lab: &Lab, family: Family, method: Method) {
    let before = Ledger::settled(lab);
    let (client_before, servers_before) = reassembled(lab);
    if (family, method) == (Family::V6, Method::Tunnel) {
        learns_to_cut_smaller(lab);
    }
    let sizes = if full() { 7_000..=9_000 } else { 7_950..=8_050 };
    let sent = sizes.clone().count() as u64;
    let report = lab.on("client", || udp::run_sizes(vip(family, 7), sizes, PATIENCE));
    let report = report.expect("a route to the VIP");
    assert!(report.is_perfect(), "{report}");
    // The largest that fills each table of fragments, 45 pieces and their answer.
    let report = lab.on("client", || udp::run_sizes(vip(family, 7), 65_000..=65_000, PATIENCE));
    assert!(report.as_ref().is_ok_and(udp::Report::is_perfect), "65,000 bytes: {report:?}");
    let (client, servers) = reassembled(lab);
    assert!(client - client_before > sent, "{} of {sent} answers came in pieces", client - client_before);
    assert!(servers - servers_before > sent, "{} of {sent} came in pieces", servers - servers_before);
    assert_books_balance(lab, &before);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn eight_thousand_bytes_cross_nat() {
    crosses(ONE_WORKER, Method::Nat);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn eight_thousand_bytes_cross_direct_routing() {
    crosses(ONE_WORKER, Method::DirectRouting);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn eight_thousand_bytes_cross_a_tunnel() {
    crosses(ONE_WORKER, Method::Tunnel);
}

/// Pieces meet on one worker, and go on to the one that owns the flow.
#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn eight_thousand_bytes_cross_two_workers() {
    crosses(TWO_WORKERS, Method::Nat);
}

/// The L4 port of the service whose two ends are made here.
const TURNED: u16 = 5007;
/// With IPv6 headers of two kinds, and those of a tunnel, 1,488 bytes.
const PIECE_LEN: usize = 1_400;

/// What a network may do to the pieces of a datagram.
type Order = fn(&mut Vec<Vec<u8>>);

const ORDERS: [Order; 4] = [
    |pieces| pieces.reverse(),
    |pieces| pieces.rotate_left(1),
    // The last before the first, then every other one.
    |pieces| {
        pieces.rotate_right(1);
        pieces.swap(1, 3);
    },
    // Each of them twice, the second time at once.
    |pieces| *pieces = pieces.iter().flat_map(|piece| [piece.clone(), piece.clone()]).collect(),
];

fn payload(nth: usize) -> Vec<u8> {
    (0..8_000).map(|place: usize| (place * 7 + place / 256 + nth) as u8).collect()
}

/// Answers each question with the same bytes backwards, in pieces that come in the same order as the question's.
fn answer_all(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    for order in ORDERS {
        let (len, client) = socket.recv_from(&mut buffer)?;
        buffer[..len].reverse();
        pieces::Sender::open(socket.local_addr()?, client)?.send(&buffer[..len], PIECE_LEN, order)?;
    }
    Ok(())
}

/// Asks once in each order.
fn ask_all(socket: &UdpSocket, target: SocketAddr) -> io::Result<()> {
    let sender = pieces::Sender::open(socket.local_addr()?, target)?;
    let mut answer = vec![0; 65_536];
    for (nth, order) in ORDERS.into_iter().enumerate() {
        sender.send(&payload(nth), PIECE_LEN, order)?;
        let (len, from) = socket
            .recv_from(&mut answer)
            .map_err(|error| io::Error::new(error.kind(), format!("order {nth}: {error}")))?;
        answer[..len].reverse();
        assert!(from == target && answer[..len] == payload(nth), "order {nth}: {len} bytes from {from}");
    }
    Ok(())
}

/// The one server of a service whose two ends are made here.
fn crosses_in_any_order(lab: &Lab, family: Family, method: Method) {
    let service = vip(family, TURNED);
    let server = real_server("s2", family, TURNED);
    lab.adm_ok("-C");
    lab.adm_ok(&format!("-A -u {service}"));
    lab.adm_ok(&format!("-a -u {service} -r {server} {}", method.option()));
    let listening = if method == Method::Nat { server } else { service };
    let bind = |host: &str, address: SocketAddr| {
        let socket = lab.on(host, || UdpSocket::bind(address)).unwrap_or_else(|e| panic!("{address}: {e}"));
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    };
    let answers = bind("s2", listening);
    let client = match family {
        Family::V4 => "10.0.1.2:0",
        Family::V6 => "[fd00:1::2]:0",
    };
    let questions = bind("client", client.parse().expect("an address"));
    thread::scope(|scope| {
        let answering = scope.spawn(|| lab.on("s2", || answer_all(&answers)));
        let asked = lab.on("client", || ask_all(&questions, service));
        let answered = answering.join().expect("the server does not panic");
        assert!(asked.is_ok() && answered.is_ok(), "{family:?} {method:?}: {asked:?}; {answered:?}");
    });
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn turned_and_doubled_fragments_cross_by_each_method() {
    let lab = ready_lab(ONE_WORKER);
    for family in [Family::V4, Family::V6] {
        for method in [Method::Nat, Method::DirectRouting, Method::Tunnel] {
            crosses_in_any_order(&lab, family, method);
        }
    }
}
