//! The director's kernel, behind its twins, is the neighbour that the networks see.

use crate::lab;
use shunt_rig::lab::{Director, Family, Lab, Method, eventually, vip, words};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

fn output(lab: &Lab, host: &str, command: &str) -> String {
    let mut parts = command.split_whitespace();
    let program = parts.next().expect("a program");
    words(&lab.command(host, program).args(parts).output().expect("the program runs"))
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn the_vip_answers_arp_nd_and_ping_and_the_answer_is_the_nic_port_s_address() {
    let lab = lab(Director::default());
    let cable = output(&lab, "director", "cat /sys/class/net/wan/address");
    let mac = cable.lines().nth(1).expect("the address of the cable").to_owned();
    for family in [Family::V4, Family::V6] {
        let address = vip(family, 0).ip();
        let ping = output(&lab, "client", &format!("ping -n -c 50 -i 0.01 -W 2 -s 1000 {address}"));
        assert!(ping.contains(" 50 received"), "{ping}");
        let neighbours = output(&lab, "client", "ip neigh show");
        let row = neighbours.lines().find(|line| line.starts_with(&format!("{address} ")));
        assert!(row.is_some_and(|row| row.contains(&mac)), "{address} is not at {mac}:\n{neighbours}");
    }
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_daemon_of_the_director_is_reached_and_a_closed_l4_port_refuses() {
    let lab = lab(Director::default());
    lab.add_services(Family::V4, Method::Nat);
    for address in ["10.0.1.1:179", "[fd00:1::1]:179", "10.0.1.100:22"] {
        let address: SocketAddr = address.parse().expect("an address");
        let listener = lab.on("director", || TcpListener::bind(address)).expect("a listener of the director");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.write_all(&[7; 100_000]).expect("the client reads");
        });
        let got = lab.on("client", || {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)
        });
        assert_eq!(got.unwrap_or_else(|error| panic!("{address}: {error}")), 100_000);
        server.join().expect("the server");
    }
    for closed in [vip(Family::V4, 81), vip(Family::V6, 81)] {
        let error = lab.on("client", || TcpStream::connect_timeout(&closed, Duration::from_secs(3)));
        let kind = error.expect_err("nobody listens there").kind();
        assert_eq!(kind, std::io::ErrorKind::ConnectionRefused, "{closed}");
    }
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn the_kernel_routes_what_is_not_balanced() {
    let lab = lab(Director::default());
    for (destination, gateway) in [("10.0.2.0/24", "10.0.1.1"), ("fd00:2::/64", "fd00:1::1")] {
        output(&lab, "client", &format!("ip route replace {destination} via {gateway}"));
    }
    for client in ["10.0.1.2", "fd00:1::2"] {
        let ping = output(&lab, "s2", &format!("ping -n -c 20 -i 0.01 -W 2 {client}"));
        assert!(ping.contains(" 20 received"), "{ping}");
    }
}

/// A twin lets its carrier be set, as shuntd does when the NIC's link goes; when a twin itself goes, the log says so.
#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_twin_has_a_carrier_and_its_end_is_told() {
    let lab = lab(Director::default());
    let state = || output(&lab, "director", "ip -br link show twin-wan");
    output(&lab, "director", "ip link set twin-wan carrier off");
    assert!(state().contains("NO-CARRIER"), "{}", state());
    output(&lab, "director", "ip link set twin-wan carrier on");
    assert!(state().contains("LOWER_UP"), "{}", state());
    output(&lab, "director", "ip link del twin-lan");
    eventually("the log tells that the twin is gone", 10, || {
        lab.log().contains("the twin of a NIC port is gone") && lab.log().contains("twin-lan")
    });
}

/// Keepalived's `use_vmac`: the VIP is on a macvlan of the virtual router's MAC, and clients send there.
#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_vip_with_a_virtual_mac_is_served() {
    const MAC: &str = "00:00:5e:00:01:33";
    let lab = lab(Director::default());
    lab.add_services(Family::V4, Method::Nat);
    for command in [
        &format!("ip link add link twin-wan name vrrp address {MAC} type macvlan mode private"),
        "sysctl -qw net.ipv4.conf.twin-wan.arp_ignore=1 net.ipv4.conf.vrrp.arp_ignore=1",
        "ip address del 10.0.1.100/32 dev twin-wan",
        "ip address add 10.0.1.100/32 dev vrrp",
        "ip link set vrrp up",
    ] {
        output(&lab, "director", command);
    }
    output(&lab, "client", "ip neigh flush dev eth0");
    let load = shunt_rig::http::Load::sequential(vip(Family::V4, 80), 30);
    eventually("the VIP is served", 10, || {
        let load = shunt_rig::http::Load { timeout: Duration::from_millis(300), ..load.clone() };
        lab.on("client", || shunt_rig::http::run(&load)).is_perfect()
    });
    let neighbours = output(&lab, "client", "ip neigh show 10.0.1.100");
    assert!(neighbours.contains(MAC), "{neighbours}");
}

/// Clients behind two gateways of one route: each has replies by one of them, and by the other one if that is gone.
#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn two_gateways_share_the_clients() {
    let lab = lab(Director::default());
    lab.add_services(Family::V4, Method::Nat);
    output(&lab, "client", "sysctl -qw net.ipv4.conf.all.arp_ignore=1");
    for (name, address) in [("way1", "10.0.1.31"), ("way2", "10.0.1.32")] {
        output(&lab, "client", &format!("ip link add link eth0 name {name} type macvlan mode private"));
        output(&lab, "client", &format!("ip address add {address}/32 dev {name}"));
        output(&lab, "client", &format!("ip link set {name} up"));
    }
    for n in 1..=20 {
        output(&lab, "client", &format!("ip address add 198.51.100.{n}/32 dev lo"));
    }
    let route = "ip route add 198.51.100.0/24 nexthop via 10.0.1.31 nexthop via 10.0.1.32";
    output(&lab, "director", route);
    let served = |way: &str| {
        let received = || -> u64 {
            let file = format!("cat /sys/class/net/{way}/statistics/rx_packets");
            output(&lab, "client", &file)
                .lines()
                .nth(1)
                .and_then(|count| count.parse().ok())
                .expect("a count")
        };
        let by_this_way = |n: &u32| {
            let before = received();
            let curl = format!("curl -s -m 3 --interface 198.51.100.{n} http://10.0.1.100/");
            let output = output(&lab, "client", &curl);
            assert!(output.contains("exit status: 0"), "198.51.100.{n}: {output}");
            received() >= before + 4
        };
        (1..=20).filter(by_this_way).collect::<Vec<u32>>()
    };
    eventually("both gateways answer", 10, || !served("way1").is_empty() && !served("way2").is_empty());
    let (first, second) = (served("way1"), served("way2"));
    assert!(first.len() >= 4 && second.len() >= 4, "{first:?} {second:?}");
    assert!(first.iter().all(|n| !second.contains(n)) && first.len() + second.len() == 20, "{second:?}");
    output(&lab, "director", "ip route replace 198.51.100.0/24 nexthop via 10.0.1.32 nexthop via 10.0.1.33");
    eventually("a gateway that is silent is passed over", 10, || served("way2").len() == 20);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_real_server_with_a_new_link_layer_address_is_found_again() {
    let lab = lab(Director::default());
    lab.add_services(Family::V4, Method::DirectRouting);
    let load = shunt_rig::http::Load::sequential(vip(Family::V4, 80), 30);
    let report = lab.on("client", || shunt_rig::http::run(&load));
    assert!(report.is_perfect() && report.answers.names() == 3, "{report}");
    output(&lab, "s1", "ip link set eth0 address 02:00:00:00:99:01");
    // Its kernel tells the neighbours (gratuitous ARP) if asked to; a plain ping does the same for the director's.
    output(&lab, "s1", "ping -n -c 1 -W 2 10.0.2.1");
    eventually("requests reach s1 again", 10, || {
        let load = shunt_rig::http::Load { timeout: Duration::from_millis(300), ..load.clone() };
        let report = lab.on("client", || shunt_rig::http::run(&load));
        report.is_perfect() && report.answers.of("s1") == 10
    });
}
