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
        ip(format!("{enter} sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0"));
        ip(format!("-n {ns} link set lo up"));
        for interface in ["wan", "lan"] {
            ip(format!("-n {ns} link add {interface} type veth peer name b-{interface} netns {net}"));
            ip(format!("{enter} ethtool -K {interface} tx off tso off gso off gro off"));
            ip(format!("netns exec {net} ethtool -K b-{interface} tx off tso off gso off gro off"));
            ip(format!("-n {net} link set b-{interface} master br-{interface} up"));
            // As in the lab: the kernel sees each frame as well, and must leave the answers to its twin.
            ip(format!("-n {ns} link set {interface} arp off up"));
            ip(format!(
                "{enter} sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=1 net.ipv4.conf.{interface}.rp_filter=1"
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
            ip(format!("-n {ns} link set twin-{interface} up"));
        }
        ip(format!("-n {ns} address add 10.0.1.9/24 dev twin-wan"));
        ip(format!("-n {ns} address add 10.0.2.9/24 dev twin-lan"));
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
    fn take_over(&self) {
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

fn fail_over(method: Method) {
    let count = if full() { 5_000 } else { 300 };
    let lab = Lab::with(bin(), Director::default());
    let mut standby = Standby::start(&lab);
    let services = services(Family::V4, method);
    lab.restore(&services);
    std::fs::write(lab.dir().join("rules"), &services).expect("a file");
    for line in services.lines() {
        standby.adm_ok(line);
    }
    // Over the twins: messages pass both directors' NIC ports.
    lab.adm_ok("--start-daemon master --mcast-interface twin-lan --syncid 5");
    standby.adm_ok("--start-daemon backup --mcast-interface twin-lan --syncid 5");

    let mut clients = connect(&lab, count);
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
        standby.take_over();
        let took_over = died.elapsed();
        thread::sleep(Duration::from_secs(3));
        took_over
    });
    let broken = broken(&clients);
    let answers: u64 = clients.iter().map(|share| share.answers).sum();
    let slowest = slowest(&clients);
    println!(
        "{method:?}: {opened} connections, {answers} requests, {} broken; addresses moved {took_over:.1?} after the \
         kill, the slowest round of requests took {slowest:.1?}",
        broken.len(),
    );
    assert!(broken.is_empty(), "{:?}\n{}", broken.first(), standby.adm_ok("sync"));
    let workers = standby.adm_ok("workers");
    assert!(workers.contains("transmitted"), "{workers}");
    assert!(standby.shuntd.try_wait().expect("its status").is_none(), "the standby lives");
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn no_connection_breaks_by_nat() {
    fail_over(Method::Nat);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn no_connection_breaks_by_direct_routing() {
    fail_over(Method::DirectRouting);
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn no_connection_breaks_by_tunnel() {
    fail_over(Method::Tunnel);
}
