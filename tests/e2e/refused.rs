//! Connections that cannot be: the client is told at once, as by a kernel without a balancer, and need not wait.

use crate::ready_lab;
use shunt_rig::lab::{Director, Family, Method, real_server, vip};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Longer than any answer takes, shorter than the first repetition of a SYN (1 s).
const AT_ONCE: Duration = Duration::from_millis(800);

fn tcp(target: SocketAddr) -> io::Error {
    TcpStream::connect_timeout(&target, Duration::from_secs(3)).expect_err("nobody may answer")
}

fn udp(target: SocketAddr) -> io::Error {
    let ask = || -> io::Result<usize> {
        let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(Duration::from_secs(3)))?;
        socket.send(b"anybody there?")?;
        socket.recv(&mut [0; 64])
    };
    ask().expect_err("nobody may answer")
}

/// The client's kernel reports "connection refused", without having to ask twice.
#[track_caller]
fn assert_refused(
    lab: &shunt_rig::lab::Lab,
    why: &str,
    target: SocketAddr,
    ask: fn(SocketAddr) -> io::Error,
) {
    let begun = Instant::now();
    let error = lab.on("client", || ask(target));
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{why}, {target}: {error}");
    assert!(begun.elapsed() < AT_ONCE, "{why}, {target}: only after {:?}", begun.elapsed());
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn clients_are_refused_at_once_where_nobody_serves() {
    let lab = ready_lab(Director::default());
    for family in [Family::V4, Family::V6] {
        let (web, echo, closed) = (vip(family, 8080), vip(family, 8007), vip(family, 8081));
        // No such service: the director's own kernel answers, with a reset or a port unreachable.
        assert_refused(&lab, "no service", web, tcp);
        assert_refused(&lab, "no service", echo, udp);
        lab.adm_ok(&format!("-A -t {web} -s wlc"));
        lab.adm_ok(&format!("-A -u {echo} -s rr"));
        assert_refused(&lab, "no server", web, tcp);
        assert_refused(&lab, "no server", echo, udp);
        // A server of weight 0 takes nothing new.
        lab.adm_ok(&format!("-a -t {web} -r {} -g -w 0", real_server("s1", family, 8080)));
        lab.adm_ok(&format!("-a -u {echo} -r {} -i -w 0", real_server("s1", family, 8007)));
        assert_refused(&lab, "weight 0", web, tcp);
        assert_refused(&lab, "weight 0", echo, udp);
        // A server where nobody listens: what its kernel says reaches the client, whatever the method.
        for method in [Method::Nat, Method::DirectRouting, Method::Tunnel] {
            lab.adm_ok("-C");
            lab.adm_ok(&format!("-A -t {closed}"));
            lab.adm_ok(&format!("-A -u {closed}"));
            for kind in ["-t", "-u"] {
                let server = real_server("s2", family, 8081);
                lab.adm_ok(&format!("-a {kind} {closed} -r {server} {}", method.option()));
            }
            assert_refused(&lab, &format!("{method:?}, closed"), closed, tcp);
            assert_refused(&lab, &format!("{method:?}, closed"), closed, udp);
        }
        lab.adm_ok("-C");
    }
}
