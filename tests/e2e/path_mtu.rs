//! Path MTU discovery through tunnels. The client's wire and the servers' take packets of 1,500 bytes, so a full packet
//! and a tunnel header do not fit: the director must say so, and the client must learn it, or its transfer never ends.

use crate::ready_lab;
use sha2::{Digest, Sha256};
use shunt_rig::body;
use shunt_rig::lab::{Director, Family, Lab, real_server, vip, words};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// L4 port of the service that takes what the client sends.
const SINK: u16 = 5001;
/// A transfer that learns the path MTU takes well under a second; one that does not never ends.
const PATIENCE: Duration = Duration::from_secs(10);
const LEN: u64 = 16 << 20;

/// Takes all that one client sends, and answers with its SHA-256.
fn take(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match stream.read(&mut chunk)? {
            0 => break,
            len => digest.update(&chunk[..len]),
        }
    }
    stream.write_all(body::hexadecimal(digest).as_bytes())
}

/// Sends a body; returns its SHA-256, and the one that the server reckoned.
fn send(target: SocketAddr) -> io::Result<(String, String)> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let sent = body::write_body(&mut stream, LEN, 3)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok((sent, answer))
}

/// A service that tunnels to one server, which listens on the VIP.
fn tunnel(lab: &Lab, service: Family, server: Family) -> TcpListener {
    let target = vip(service, SINK);
    lab.adm_ok(&format!("-A -t {target}"));
    lab.adm_ok(&format!("-a -t {target} -r {} -i", real_server("s1", server, SINK)));
    lab.on("s1", || TcpListener::bind(target)).expect("the server has the VIP")
}

/// A transfer ends well, and afterwards the client's kernel knows that packets to the VIP are at most `mtu` long.
#[track_caller]
fn transfers(lab: &Lab, family: Family, listener: &TcpListener, mtu: u16) {
    let target = vip(family, SINK);
    let begun = Instant::now();
    thread::scope(|scope| {
        let taking = scope.spawn(|| lab.on("s1", || take(listener)));
        let sent = lab.on("client", || send(target));
        let (sent, taken) = sent.unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(taken, sent, "what arrived is what was sent");
        taking.join().expect("the server").expect("it answers");
    });
    println!("{} MiB in {:.2} s", LEN >> 20, begun.elapsed().as_secs_f64());
    let route = words(&lab.run("client", 5, &format!("ip route get {}", target.ip())));
    assert!(route.contains(&format!(" mtu {mtu} ")), "not {mtu}: {route}");
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_client_learns_the_room_in_a_tunnel() {
    let lab = ready_lab(Director::default());
    // For each family of clients the narrower tunnel last: what is learnt does not grow.
    for (service, server, mtu) in [
        (Family::V4, Family::V4, 1480),
        (Family::V4, Family::V6, 1460),
        (Family::V6, Family::V4, 1480),
        (Family::V6, Family::V6, 1460),
    ] {
        lab.adm_ok("-C");
        let listener = tunnel(&lab, service, server);
        transfers(&lab, service, &listener, mtu);
    }
}

/// Between director and server is a router whose next wire takes 1,400 bytes only. It tells the director, which cut
/// nothing and has to tell the client.
fn a_router_narrows_the_tunnel(family: Family, mtu: u16) {
    let lab = ready_lab(Director::default());
    let (server, router) = match family {
        Family::V4 => ("10.0.2.11", "10.0.2.254"),
        Family::V6 => ("fd00:2::11", "fd00:2::254"),
    };
    // Only what the router itself sends there: what bridges pass on is bounded by their ports.
    let narrow = lab.run("net", 5, "ip link set br-lan mtu 1400");
    assert!(narrow.status.success(), "{}", words(&narrow));
    let listener = tunnel(&lab, family, family);
    let detour = lab.run("director", 5, &format!("ip route add {server} via {router} dev twin-lan"));
    assert!(detour.status.success(), "{}", words(&detour));
    transfers(&lab, family, &listener, mtu);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_router_in_the_tunnel_s_way_reaches_the_client_ipv4() {
    a_router_narrows_the_tunnel(Family::V4, 1380);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_router_in_the_tunnel_s_way_reaches_the_client_ipv6() {
    a_router_narrows_the_tunnel(Family::V6, 1360);
}
