//! A real server that is the director itself: its kernel serves behind the twin, beside servers of the network.

use crate::ready_lab;
use shunt_rig::lab::{Director, Family, Lab, Method, Server, eventually, real_server, vip};
use shunt_rig::{http, udp};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// The director's own address on the client's side.
fn own(family: Family, l4_port: u16) -> SocketAddr {
    let address: IpAddr = match family {
        Family::V4 => [10, 0, 1, 1].into(),
        Family::V6 => [0xfd00, 1, 0, 0, 0, 0, 0, 1].into(),
    };
    SocketAddr::new(address, l4_port)
}

/// nginx and a UDP echo of the director, on L4 ports of the method's choice: NAT may map them, the others may not.
fn serve(lab: &Lab, method: Method) -> [Server; 2] {
    let (web, echo) = l4_ports(method);
    let root = lab.dir().join("local");
    std::fs::create_dir_all(root.join("www")).expect("a folder");
    std::fs::write(root.join("www/index.html"), "local\n").expect("a page");
    let config = root.join("nginx.conf");
    let text = format!(
        "user root;\ndaemon off;\npid {root}/nginx.pid;\nerror_log {root}/error.log;\nevents {{}}\nhttp {{\n\
         access_log off;\nadd_header X-Server local;\nserver {{ listen {web}; listen [::]:{web}; root {root}/www; }}\n}}\n",
        root = root.display()
    );
    std::fs::write(&config, text).expect("its configuration");
    let (prefix, config) = (root.to_str().expect("text"), config.to_str().expect("text"));
    let nginx = lab.serve("director", "nginx-local", "nginx", &["-p", prefix, "-c", config]);
    let families = [Family::V4, Family::V6];
    // An answer leaves from the address that was asked: NAT asks the director's own, the others the VIP.
    let asked = |family| if method == Method::Nat { own(family, echo) } else { vip(family, echo) };
    let binds = families.map(|family| asked(family).to_string());
    let rig = lab.tool("shunt-rig");
    let arguments = ["udp-echo", "--name", "local", "--bind", &binds[0], "--bind", &binds[1]];
    let echo = lab.serve("director", "echo-local", rig.to_str().expect("text"), &arguments);
    eventually("nginx listens", 5, || {
        lab.on("director", || families.iter().all(|family| TcpStream::connect(own(*family, web)).is_ok()))
    });
    let log = lab.dir().join("echo-local.log");
    eventually("the echo is ready", 5, || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("ready"))
    });
    [nginx, echo]
}

fn l4_ports(method: Method) -> (u16, u16) {
    if method == Method::Nat { (8080, 8007) } else { (80, 7) }
}

/// Requests one by one and many at a time, and UDP, half of them by the director itself and half by s1.
fn serves_itself(director: Director, methods: &[Method]) {
    let lab = ready_lab(director);
    // On the same L4 ports for all of them.
    let _servers = serve(&lab, methods[0]);
    for &method in methods {
        lab.adm_ok("-C");
        serves_by(&lab, method);
    }
}

fn serves_by(lab: &Lab, method: Method) {
    let (web, echo) = l4_ports(method);
    for family in [Family::V4, Family::V6] {
        let option = method.option();
        for (kind, l4_port, own_port) in [("-t", 80, web), ("-u", 7, echo)] {
            let service = vip(family, l4_port);
            lab.adm_ok(&format!("-A {kind} {service} -s rr"));
            lab.adm_ok(&format!("-a {kind} {service} -r {} {option}", own(family, own_port)));
            lab.adm_ok(&format!("-a {kind} {service} -r {} -m", real_server("s1", family, l4_port)));
        }
        let http = vip(family, 80);
        let report = lab.on("client", || http::run(&http::Load::sequential(http, 200)));
        let even = ["local", "s1"].iter().all(|name| (95..=105).contains(&report.answers.of(name)));
        assert!(report.is_perfect() && even, "{family:?}, one by one: {report}");
        let report = lab.on("client", || http::run(&http::Load::parallel(http, 300, 50)));
        assert!(report.is_perfect() && report.answers.names() == 2, "{family:?}, 50 at a time: {report}");
        let mut reports = udp::Report::default();
        for _ in 0..10 {
            let sizes = 1_380..=1_400;
            let report = lab.on("client", || udp::run_sizes(vip(family, 7), sizes, Duration::from_secs(2)));
            reports.merge(report.expect("a route to the VIP"));
        }
        assert!(reports.is_perfect() && reports.answers.names() == 2, "{family:?}, UDP: {reports}");
    }
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn the_director_serves_by_nat_on_other_l4_ports() {
    serves_itself(Director::default(), &[Method::Nat]);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn the_director_serves_by_nat_with_two_workers() {
    serves_itself(Director { workers: 2, ..Director::default() }, &[Method::Nat]);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn the_director_serves_by_direct_routing_and_tunnel() {
    serves_itself(Director::default(), &[Method::DirectRouting, Method::Tunnel]);
}
