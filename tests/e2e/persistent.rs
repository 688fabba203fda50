//! Persistent services over UDP, and SIP dialogs: whichever socket or address a datagram comes from.

use crate::ready_lab;
use shunt_rig::lab::{Director, Family, Lab, Method, SERVERS, Server, eventually, real_server, vip, words};
use shunt_rig::udp;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);
const TWO_WORKERS: Director = Director { workers: 2, queues: 1, device: "af_packet", state: false };

/// One question from a new socket at `source`.
fn ask_once(source: IpAddr, target: SocketAddr, words: &[u8]) -> udp::Report {
    let flow = udp::Flow::open_from(SocketAddr::new(source, 0), target, PATIENCE);
    let mut flow = flow.expect("the client has this address");
    flow.ask_in_words(words);
    flow.into_report()
}

/// More addresses for the client, in two networks of 16 (IPv6: of 112 bits) each.
fn sources(lab: &Lab, family: Family) -> [[IpAddr; 2]; 2] {
    let texts = match family {
        Family::V4 => [["10.0.1.17", "10.0.1.18"], ["10.0.1.33", "10.0.1.34"]],
        Family::V6 => [["fd00:1::1:7", "fd00:1::1:8"], ["fd00:1::2:7", "fd00:1::2:8"]],
    };
    let len = if family == Family::V4 { 24 } else { 64 };
    texts.map(|network| {
        network.map(|text| {
            let nodad = if family == Family::V6 { " nodad" } else { "" };
            lab.run("client", 5, &format!("ip address add {text}/{len} dev eth0{nodad}"));
            text.parse().expect("an address")
        })
    })
}

/// All sockets of a network of clients reach one server; another network may reach another.
fn keeps_its_server(director: Director, family: Family, method: Method) {
    let lab = ready_lab(director);
    let networks = sources(&lab, family);
    let target = vip(family, 7);
    let mask = if family == Family::V4 { "255.255.255.240" } else { "112" };
    lab.adm_ok(&format!("-A -u {target} -s rr -p 100 -M {mask}"));
    for server in SERVERS {
        lab.adm_ok(&format!("-a -u {target} -r {} {}", real_server(server, family, 7), method.option()));
    }
    let mut chosen = Vec::new();
    for network in networks {
        let mut report = udp::Report::default();
        for nth in 0..100 {
            report.merge(lab.on("client", || ask_once(network[nth % 2], target, b"who are you?")));
        }
        assert!(report.is_perfect() && report.answers.names() == 1, "{network:?}: {report}");
        chosen.push(report.answers.to_string());
    }
    // Each worker has its own place in the round.
    let next = chosen[0] != chosen[1] || director.workers > 1;
    assert!(next, "round robin gives the second network the next server: {chosen:?}");
    let listed = lab.adm_ok("-L -n -c");
    let templates = listed.lines().filter(|line| line.contains("ASSURED") || line.contains("NONE")).count();
    assert_eq!(templates, 2, "one for each network:\n{listed}");
}

macro_rules! keeps_its_server {
    ($($name:ident: $director:expr, $family:ident $method:ident;)*) => {$(
        #[test]
        #[ignore = "needs root and network namespaces: scripts/test runs it"]
        fn $name() {
            keeps_its_server($director, Family::$family, Method::$method);
        }
    )*};
}

keeps_its_server! {
    a_network_of_udp_clients_keeps_its_server_ipv4: Director::default(), V4 Nat;
    a_network_of_udp_clients_keeps_its_server_ipv6: Director::default(), V6 DirectRouting;
    a_network_of_udp_clients_keeps_its_server_on_two_workers: TWO_WORKERS, V4 Tunnel;
}

/// A service as operators make it for SIP: by Call-ID and the client's network, each datagram for itself.
fn sip_service(lab: &Lab, family: Family) -> SocketAddr {
    let target = vip(family, 5060);
    let mask = if family == Family::V4 { "255.255.255.0" } else { "64" };
    lab.adm_ok(&format!("-A -u {target} -s rr -p 100 -M {mask} --pe sip -o"));
    for server in SERVERS {
        lab.adm_ok(&format!("-a -u {target} -r {} -m", real_server(server, family, 5060)));
    }
    target
}

/// What a phone sends, as short as RFC 3261 section 8.1.1 permits.
fn request(method: &str, call_id: &str) -> Vec<u8> {
    format!(
        "{method} sip:echo@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.2;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:a@example.org>;tag=1\r\nTo: <sip:echo@example.org>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn a_call_keeps_its_server(director: Director, family: Family) {
    let lab = ready_lab(director);
    let networks = sources(&lab, family);
    let target = sip_service(&lab, family);
    let rig = lab.tool("shunt-rig");
    let _echoes = SERVERS.map(|name| {
        let own = real_server(name, family, 5060).to_string();
        let arguments = ["udp-echo", "--name", name, "--bind", &own];
        let echo = lab.serve(name, &format!("sip-{name}"), rig.to_str().expect("text"), &arguments);
        let log = lab.dir().join(format!("sip-{name}.log"));
        eventually("the echo is ready", 5, || {
            std::fs::read_to_string(&log).is_ok_and(|l| l.contains("ready"))
        });
        echo
    });
    let mut used = udp::Report::default();
    for call in 0..12 {
        let mut report = udp::Report::default();
        // Each request from another socket, and from one of four addresses, as behind a bank of proxies.
        for (nth, method) in ["INVITE", "ACK", "INFO", "UPDATE", "OPTIONS", "BYE"].into_iter().enumerate() {
            let source = networks[nth % 2][nth / 2 % 2];
            let words = request(method, &format!("call-{call}@example.org"));
            report.merge(lab.on("client", || ask_once(source, target, &words)));
        }
        assert!(report.is_perfect() && report.answers.names() == 1, "call {call}: {report}");
        used.merge(report);
    }
    // Round robin over calls.
    assert!(SERVERS.iter().all(|name| used.answers.of(name) == 24) || director.workers > 1, "{used}");
    assert_eq!(used.answers.names(), 3, "{used}");
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_sip_call_keeps_its_server_whatever_socket_or_address_it_comes_from_ipv4() {
    a_call_keeps_its_server(Director::default(), Family::V4);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn a_sip_call_keeps_its_server_whatever_socket_or_address_it_comes_from_ipv6() {
    a_call_keeps_its_server(TWO_WORKERS, Family::V6);
}

/// SIPp as callers and as called: a server that gets a request of a call that it does not know fails the call.
#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn calls_between_real_user_agents_succeed() {
    let lab = ready_lab(Director::default());
    let target = sip_service(&lab, Family::V4);
    let _agents: [Server; 3] = SERVERS.map(|name| {
        let own = real_server(name, Family::V4, 5060).ip().to_string();
        let agent = lab.serve(
            name,
            &format!("sipp-{name}"),
            "sipp",
            &["-sn", "uas", "-i", &own, "-max_socket", "2000", "-nostdin"],
        );
        eventually("the user agent listens", 5, || {
            words(&lab.run(name, 5, "ss -Hlun")).contains(&format!("{own}:5060"))
        });
        agent
    });
    // 300 calls, 100 a second, each from a socket of its own: INVITE, ACK and, 100 ms later, BYE.
    let calls = "-sn uac -i 10.0.1.2 -t un -m 300 -r 100 -d 100 -l 300 -timeout 20 -timeout_error -max_socket 2000 -nostdin";
    let output = lab.run("client", 25, &format!("sipp {calls} {target}"));
    assert!(output.status.success(), "{}", words(&output));
    let text = words(&output);
    let row = |name: &str| {
        let line = text.lines().rfind(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.rsplit('|').next()?.trim().parse::<u64>().ok())
    };
    assert_eq!((row("Successful call"), row("Failed call")), (Some(300), Some(0)), "{text}");
}
