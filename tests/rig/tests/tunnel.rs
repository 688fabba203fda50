//! The tunnel end, proved with packets made here by hand: none of this needs shunt.

use shunt_rig::{decap, namespace, udp};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A network namespace that goes when the test ends, however it ends (with `panic = "abort"`: by the next run).
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Namespace {
        let name = format!("shunt-rig-{name}");
        ip(&["netns", "delete", &name]);
        assert!(ip(&["netns", "add", &name]), "cannot make a network namespace");
        assert!(ip(&["-n", &name, "link", "set", "lo", "up"]));
        for address in ["10.0.2.11/32", "10.0.1.100/32", "fd00:2::11/128", "fd00:1::100/128"] {
            assert!(ip(&["-n", &name, "address", "add", address, "dev", "lo"]));
        }
        Namespace(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).stderr(std::process::Stdio::null()).status().is_ok_and(|s| s.success())
}

/// An IP packet with a UDP datagram inside: `client` asks `vip`, port 7.
fn question(vip: SocketAddr, client: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let udp_len = (8 + payload.len()) as u16;
    let mut udp = Vec::new();
    udp.extend(client.port().to_be_bytes());
    udp.extend(vip.port().to_be_bytes());
    udp.extend(udp_len.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let mut packet = match (client, vip) {
        (SocketAddr::V4(client), SocketAddr::V4(vip)) => {
            let mut header = vec![0x45, 0];
            header.extend((20 + udp_len).to_be_bytes());
            header.extend([0, 1, 0, 0, 64, 17, 0, 0]);
            header.extend(client.ip().octets());
            header.extend(vip.ip().octets());
            let checksum = internet_checksum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            header
        }
        (SocketAddr::V6(client), SocketAddr::V6(vip)) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(udp_len.to_be_bytes());
            header.extend([17, 64]);
            header.extend(client.ip().octets());
            header.extend(vip.ip().octets());
            let mut pseudo = header[8..40].to_vec();
            pseudo.extend(u32::from(udp_len).to_be_bytes());
            pseudo.extend([0, 0, 0, 17]);
            pseudo.extend(&udp);
            let checksum = internet_checksum(&pseudo);
            udp[6..8].copy_from_slice(&checksum.to_be_bytes());
            header
        }
        _ => unreachable!("one family"),
    };
    packet.extend(udp);
    packet
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Wraps `inner` in a tunnel packet to `server` and sends it; the kernel writes the outer header.
fn send_through_tunnel(inner: &[u8], inner_is_ipv4: bool, server: SocketAddr) {
    let domain = if server.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let number = if inner_is_ipv4 { decap::PROTOCOL_IPIP } else { decap::PROTOCOL_IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(number)))).unwrap();
    socket.send_to(inner, &server.into()).unwrap();
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn a_tunnelled_question_is_answered_from_the_vip_in_all_four_families() {
    let namespace = Namespace::new("tunnel");
    namespace::inside(&namespace.0, || {
        for tunnel in decap::Tunnel::open_all().unwrap() {
            thread::spawn(move || tunnel.run());
        }
        let vips: [SocketAddr; 2] = [([10, 0, 1, 100], 7).into(), (vip6(), 7).into()];
        for vip in vips {
            let echo = UdpSocket::bind(vip).unwrap();
            thread::spawn(move || udp::serve(&echo, "s1"));
            // The "client": on this machine too, on another address than the VIP.
            let servers: [SocketAddr; 2] = [([10, 0, 2, 11], 0).into(), (server6(), 0).into()];
            let own = if vip.is_ipv4() { servers[0] } else { servers[1] };
            let client = UdpSocket::bind(own).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            for server in servers {
                let inner = question(vip, client.local_addr().unwrap(), b"hello");
                send_through_tunnel(&inner, vip.is_ipv4(), server);
                let mut answer = [0; 64];
                let (len, from) = client
                    .recv_from(&mut answer)
                    .unwrap_or_else(|error| panic!("no answer from {vip} by a tunnel to {server}: {error}"));
                assert_eq!((&answer[..len], from), (&b"s1\0hello"[..], vip));
            }
        }
    });
}

fn vip6() -> Ipv6Addr {
    "fd00:1::100".parse().unwrap()
}

fn server6() -> Ipv6Addr {
    "fd00:2::11".parse().unwrap()
}
