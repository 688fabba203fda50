//! Two directors share a VIP; the one that holds it is killed, the other takes over, and no connection notices more than
//! a retransmission.

use crate::{bin, full};
use shunt_rig::lab::{Director, Family, Lab, Method, eventually, services, vip, words};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Threads of the client, each with its share of the connections.
const THREADS: usize = 16;
/// TCP repeats after 0.2, 0.6, 1.4, 3, 6.2 s of silence: one that gets no answer for so long is broken.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// Connections that are kept, with one request after the other on each.
struct Clients {
    streams: Vec<TcpStream>,
    broken: Vec<String>,
    answers: u64,
    /// The longest that a request on each of them took.
    slowest: Duration,
}

impl Clients {
    fn connect(count: usize) -> Clients {
        let open = |_| TcpStream::connect_timeout(&vip(Family::V4, 80), PATIENCE).expect("a connection");
        Clients {
            streams: (0..count).map(open).collect(),
            broken: Vec::new(),
            answers: 0,
            slowest: Duration::ZERO,
        }
    }

    /// One request on each connection. A connection that fails is broken, and not used again.
    fn ask(&mut self) {
        let begun = Instant::now();
        let broken = &mut self.broken;
        // All questions first: after a failure they all wait for their repetition at the same time.
        let asked = |stream: &mut TcpStream| stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        self.streams
            .retain_mut(|stream| asked(stream).map_err(|error| broken.push(error.to_string())).is_ok());
        self.streams.retain_mut(|stream| answer(stream).map_err(|why| broken.push(why)).is_ok());
        self.answers += self.streams.len() as u64;
        self.slowest = self.slowest.max(begun.elapsed());
    }
}

/// Reads one answer of nginx: a head, and the name of the server.
fn answer(stream: &mut TcpStream) -> Result<(), String> {
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    let mut piece = [0; 2048];
    loop {
        let len = stream.read(&mut piece).map_err(|error| error.to_string())?;
        text.extend(&piece[..len]);
        if len == 0 {
            return Err("closed by the other side".to_owned());
        }
        let Some(head) = text.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        // "s1\n" is all that there is.
        if text.len() >= head + 4 + 3 {
            let right = text.starts_with(b"HTTP/1.1 200");
            return if right { Ok(()) } else { Err(String::from_utf8_lossy(&text).into_owned()) };
        }
    }
}

/// Requests on all connections, by all threads, for as long as `meanwhile` runs, and one more.
fn while_asking<R>(lab: &Lab, clients: &mut [Clients], meanwhile: impl FnOnce() -> R) -> R {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for share in clients.iter_mut() {
            scope.spawn(|| {
                lab.on("client", || {
                    while !over.load(Relaxed) {
                        share.ask();
                    }
                    share.ask();
                });
            });
        }
        let result = meanwhile();
        over.store(true, Relaxed);
        result
    })
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

    let mut clients: Vec<Clients> =
        (0..THREADS).map(|nth| lab.on("client", || Clients::connect((count + nth) / THREADS))).collect();
    let opened: usize = clients.iter().map(|share| share.streams.len()).sum();
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
    let broken: Vec<&String> = clients.iter().flat_map(|share| &share.broken).collect();
    let answers: u64 = clients.iter().map(|share| share.answers).sum();
    let slowest = clients.iter().map(|share| share.slowest).max().unwrap_or_default();
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
