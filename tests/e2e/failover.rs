//! Two directors share a VIP; the one that holds it is killed, the other takes over, and no connection notices more than
//! a retransmission.

use crate::lasting::{broken, connect, opened, slowest, while_asking};
use crate::{bin, full};
use shunt_rig::lab::{Director, Family, Lab, Method, eventually, services, words};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The other director: a namespace with cables to the same bridges, and a shuntd of its own.
struct Standby<'a> {
    lab: &'a Lab,
    shuntd: Child,
}

impl Drop for Standby<'_> {
    fn drop(&mut self) {
        let _ = self.shuntd.kill();
        let _ = self.shuntd.wait();
    }
}

fn must(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split_whitespace()).output().expect("it runs");
    assert!(output.status.success(), "{program} {arguments}: {}", words(&output));
}

fn ip(arguments: String) {
    must("ip", &arguments);
}

impl Standby<'_> {
    fn start(lab: &Lab) -> Standby<'_> {
        let (ns, net) = (lab.namespace("standby"), lab.namespace("net"));
        ip(format!("netns add {ns}"));
        let enter = format!("netns exec {ns}");
        ip(format!(
            "{enter} sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv6.conf.all.forwarding=1"
        ));
        ip(format!("-n {ns} link set lo up"));
        for interface in ["wan", "lan"] {
            ip(format!("-n {ns} link add {interface} type veth peer name b-{interface} netns {net}"));
            ip(format!("{enter} ethtool -K {interface} tx off tso off gso off gro off"));
            ip(format!("netns exec {net} ethtool -K b-{interface} tx off tso off gso off gro off"));
            ip(format!("-n {net} link set b-{interface} master br-{interface} up"));
            // As in the lab: the kernel sees each frame as well, and must leave the answers to its twin.
            ip(format!("-n {ns} link set {interface} arp off up"));
            ip(format!(
                "{enter} sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=1 net.ipv4.conf.{interface}.rp_filter=1 \
                 net.ipv4.conf.{interface}.forwarding=0"
            ));
        }
        let config = std::fs::read_to_string(lab.dir().join("shunt.toml")).expect("a configuration");
        let path = lab.dir().join("standby.toml");
        std::fs::write(&path, config.replace("control.sock", "standby.sock")).expect("it is written");
        let log = std::fs::File::create(lab.dir().join("standby.log")).expect("a log");
        let shuntd = lab
            .command("standby", lab.tool("shuntd").to_str().expect("text"))
            .arg("--config")
            .arg(path)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let standby = Standby { lab, shuntd };
        eventually("the standby answers", 20, || standby.adm("-L -n").status.success());
        for interface in ["wan", "lan"] {
            // New addresses are made known, as arping does it for IPv4.
            ip(format!("{enter} sysctl -qw net.ipv6.conf.twin-{interface}.ndisc_notify=1"));
            ip(format!("-n {ns} link set twin-{interface} up"));
        }
        for (address, interface) in
            [("10.0.1.9/24", "wan"), ("10.0.2.9/24", "lan"), ("fd00:1::9/64", "wan"), ("fd00:2::9/64", "lan")]
        {
            ip(format!("-n {ns} address add {address} dev twin-{interface}"));
        }
        standby
    }

    fn adm(&self, arguments: &str) -> std::process::Output {
        let mut command = self.lab.adm_command();
        command.env("SHUNT_SOCKET", self.lab.dir().join("standby.sock"));
        command.args(arguments.split_whitespace()).output().expect("shuntadm runs")
    }

    fn adm_ok(&self, arguments: &str) -> String {
        let output = self.adm(arguments);
        assert!(output.status.success(), "shuntadm {arguments}: {}", words(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// What keepalived would do: the VIP and the servers' gateway move here, and the neighbours are told.
    fn take_over(&self, family: Family) {
        match family {
            Family::V4 => self.take_over_v4(),
            Family::V6 => self.take_over_v6(),
        }
    }

    /// The kernel tells the neighbours, by unsolicited advertisements, once it has made sure that nobody else has the
    /// address: a second later.
    fn take_over_v6(&self) {
        let ns = self.lab.namespace("standby");
        for (address, interface) in [("fd00:1::100/128", "wan"), ("fd00:2::1/64", "lan")] {
            ip(format!("-n {ns} address add {address} dev twin-{interface}"));
        }
        eventually("the addresses are in use", 5, || {
            let listed =
                self.lab.command("standby", "ip").args(["-6", "address", "show", "tentative"]).output();
            listed.is_ok_and(|output| output.status.success() && output.stdout.is_empty())
        });
    }

    fn take_over_v4(&self) {
        let ns = self.lab.namespace("standby");
        let tell = |(address, interface): (&str, &str)| {
            ip(format!("-n {ns} address add {address} dev twin-{interface}"));
            let address = address.split('/').next().expect("an address");
            let words = format!("-q -U -c 1 -w 1 -I twin-{interface} {address}");
            // It waits for answers, which nobody gives.
            self.lab.command("standby", "arping").args(words.split(' ')).spawn().expect("arping runs")
        };
        let told = [("10.0.1.100/32", "wan"), ("10.0.2.1/24", "lan")].map(tell);
        for mut arping in told {
            assert!(arping.wait().expect("arping ends").success());
        }
    }
}

/// How the directors tell each other of connections.
struct Telling {
    /// More arguments of both daemons.
    group: &'static str,
    /// `sync_ports`, and `sync_sock_size` in bytes.
    sockets: Option<(u16, u32)>,
}

const PLAIN: Telling = Telling { group: "", sockets: None };
const WIDE: Telling = Telling { group: " --mcast-group ff05::81", sockets: Some((4, 1 << 20)) };

fn fail_over(family: Family, method: Method, telling: Telling) {
    let count = if full() { 5_000 } else { 300 };
    let lab = Lab::with(bin(), Director::default());
    let mut standby = Standby::start(&lab);
    let services = services(family, method);
    lab.restore(&services);
    std::fs::write(lab.dir().join("rules"), &services).expect("a file");
    for line in services.lines() {
        standby.adm_ok(line);
    }
    // Over the twins: messages pass both directors' NIC ports.
    if let Some((ports, size)) = telling.sockets {
        for setting in [format!("set sync_ports {ports}"), format!("set sync_sock_size {size}")] {
            lab.adm_ok(&setting);
            standby.adm_ok(&setting);
        }
    }
    let options = format!("--mcast-interface twin-lan --syncid 5{}", telling.group);
    lab.adm_ok(&format!("--start-daemon master {options}"));
    standby.adm_ok(&format!("--start-daemon backup {options}"));
    let listening = sockets_of(&standby);
    assert_eq!(listening, telling.sockets.map_or(1, |(ports, _)| ports.into()));

    let mut clients = connect(&lab, family, count);
    let opened = opened(&clients);
    let established = |text: &str| text.lines().filter(|line| line.contains("ESTABLISHED")).count();
    while_asking(&lab, &mut clients, || {
        eventually("the standby knows all connections", 30, || {
            established(&standby.adm_ok("-L -n -c")) >= opened
        });
    });
    let took_over = while_asking(&lab, &mut clients, || {
        thread::sleep(Duration::from_millis(500));
        let died = Instant::now();
        lab.stop(true);
        standby.take_over(family);
        let took_over = died.elapsed();
        thread::sleep(Duration::from_secs(3));
        took_over
    });
    let broken = broken(&clients);
    let answers: u64 = clients.iter().map(|share| share.answers).sum();
    let slowest = slowest(&clients);
    println!(
        "{family:?}, {method:?}: {opened} connections, {answers} requests, {} broken; addresses moved {took_over:.1?} after the \
         kill, the slowest round of requests took {slowest:.1?}",
        broken.len(),
    );
    assert!(broken.is_empty(), "{:?}\n{}", broken.first(), standby.adm_ok("sync"));
    // The standby forwarded the last requests, and made no connection of its own for them.
    let workers = standby.adm_ok("workers --json");
    let workers: serde_json::Value = serde_json::from_str(&workers).expect("JSON");
    let sum = |counter: &str| workers["all"][counter].as_u64().expect("a number");
    assert!(sum("transmitted") >= opened as u64, "{workers}");
    assert_eq!(sum("new_connections"), 0, "{workers}");
    assert!(standby.shuntd.try_wait().expect("its status").is_none(), "the standby lives");
}

/// How many sockets the backup of the standby listens on.
fn sockets_of(standby: &Standby<'_>) -> usize {
    let listed =
        standby.lab.command("standby", "ss").args(["-H", "-l", "-u", "-n"]).output().expect("ss runs");
    let listed = words(&listed);
    (8848..8848 + 64).filter(|l4_port| listed.contains(&format!(":{l4_port} "))).count()
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn no_connection_breaks_by_nat() {
    fail_over(Family::V4, Method::Nat, PLAIN);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn no_connection_breaks_in_ipv6_told_over_ipv6_and_four_sockets() {
    fail_over(Family::V6, Method::Nat, WIDE);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn no_connection_breaks_by_direct_routing() {
    fail_over(Family::V4, Method::DirectRouting, PLAIN);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn no_connection_breaks_by_tunnel() {
    fail_over(Family::V4, Method::Tunnel, PLAIN);
}
