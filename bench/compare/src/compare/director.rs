//! shuntd under test.

use crate::child::Process;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use shunt_compare::flows::{DIRECTOR_MAC, GENERATOR_MAC, VIP4, VIP6, real4, real6};
use shunt_control::protocol::{self, Frame};
use shunt_engine::counters::{Counter, Flow};
use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a director is started with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its only NIC port.
    pub device: String,
    pub rx_descriptors: u16,
    pub max_ipv4: u32,
    pub max_ipv6: u32,
    pub idle: &'static str,
    pub services: Vec<Service>,
}

/// A virtual service.
#[derive(Clone, Debug)]
pub struct Service {
    pub family: u8,
    pub udp: bool,
    pub vport: u16,
    pub scheduler: &'static str,
    pub method: Method,
    pub servers: u32,
}

/// How packets reach the real servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    DirectRouting,
    Tunnel,
    Nat,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::DirectRouting => "dr",
            Method::Tunnel => "ipip",
            Method::Nat => "nat",
        }
    }
}

impl Service {
    fn name(&self) -> String {
        let kind = if self.udp { "-u" } else { "-t" };
        match self.family {
            4 => format!("{kind} {VIP4}:{}", self.vport),
            _ => format!("{kind} [{VIP6}]:{}", self.vport),
        }
    }

    fn server(&self, n: u32) -> String {
        let dport = if self.method == Method::Nat { shunt_compare::flows::DPORT } else { self.vport };
        match self.family {
            4 => format!("{}:{dport}", real4(n)),
            _ => format!("[{}]:{dport}", real6(n)),
        }
    }

    /// Lines for `-R`.
    fn lines(&self) -> String {
        let name = self.name();
        let flag = match self.method {
            Method::DirectRouting => "-g",
            Method::Tunnel => "-i",
            Method::Nat => "-m",
        };
        let mut lines = format!("-A {name} -s {}\n", self.scheduler);
        for n in 0..self.servers {
            lines += &format!("-a {name} -r {} {flag} -w 1\n", self.server(n));
        }
        lines
    }

    /// The command that gives a server another weight.
    pub fn reweigh(&self, server: u32, weight: u32) -> String {
        format!("-e {} -r {} -w {weight}", self.name(), self.server(server))
    }
}

/// A running shuntd.
pub struct Director {
    process: Process,
    control: Control,
}

/// A conversation with it.
pub struct Control {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Control {
    fn open(path: &Path) -> Result<Control> {
        let to = UnixStream::connect(path)?;
        to.set_read_timeout(Some(PATIENCE))?;
        let from = BufReader::new(to.try_clone()?);
        Ok(Control { to, from })
    }

    /// Carries out a command, with `input` on its standard input, and returns what it printed.
    pub fn ask(&mut self, command: &str, input: &str) -> Result<String> {
        writeln!(self.to, "{command}")?;
        protocol::read_version(&mut self.from)?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match protocol::read_frame(&mut self.from)? {
                Frame::Out(bytes) => out.extend(bytes),
                Frame::Err(bytes) => err.extend(bytes),
                Frame::In => protocol::send_input(&mut input.as_bytes(), &mut self.to)?,
                Frame::End(0) => return Ok(String::from_utf8_lossy(&out).into_owned()),
                Frame::End(status) => {
                    bail!("{command}: exit status {status}: {}", String::from_utf8_lossy(&err))
                }
            }
        }
    }
}

impl Director {
    pub fn start(bin: &Path, folder: &Path, cores: (usize, usize), plan: &Plan) -> Result<Director> {
        let socket = folder.join("control.sock");
        let config = folder.join("shunt.toml");
        std::fs::write(&config, configuration(&socket, cores, plan))?;
        let mut command = Command::new(bin.join("shuntd"));
        command.arg("--config").arg(&config).stdin(Stdio::null());
        let mut process = Process::start("shuntd", &mut command, folder, None)?;
        let since = Instant::now();
        let mut control = loop {
            if let Ok(control) = Control::open(&socket) {
                break control;
            }
            if let Some(status) = process.ended() {
                bail!("shuntd ended ({status}); {}", process.last_words());
            }
            if since.elapsed() > PATIENCE {
                bail!("shuntd does not answer; {}", process.last_words());
            }
            sleep(Duration::from_millis(20));
        };
        let lines: String = plan.services.iter().map(Service::lines).collect();
        control.ask("-R", &lines).with_context(|| process.last_words())?;
        Ok(Director { process, control })
    }

    /// Another conversation, for another thread.
    pub fn control(&mut self, folder: &Path) -> Result<Control> {
        Control::open(&folder.join("control.sock"))
    }

    pub fn pause(&self) {
        self.process.pause();
    }

    pub fn go_on(&self) {
        self.process.go_on();
    }

    /// The counters of all workers together.
    pub fn counters(&mut self) -> Result<Counters> {
        let text = self.control.ask("workers --json", "").with_context(|| self.process.last_words())?;
        let value: Value = serde_json::from_str(&text)?;
        Ok(Counters(value["all"].clone()))
    }

    /// Processor time that the worker has taken, s.
    pub fn worker_seconds(&self) -> Result<f64> {
        /// Linux' unit in /proc, whatever the kernel's own clock does.
        const TICKS_PER_SECOND: f64 = 100.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = std::fs::read_to_string(task?.path().join("stat"))?;
            let Some((head, tail)) = text.rsplit_once(')') else { continue };
            if head.ends_with("(worker-0") {
                let fields: Vec<&str> = tail.split_whitespace().collect();
                let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
                return Ok(ticks / TICKS_PER_SECOND);
            }
        }
        bail!("shuntd has no thread worker-0")
    }
}

/// Counters at one moment.
pub struct Counters(Value);

impl Counters {
    /// # Errors
    /// If there is no such counter: then it has another name now.
    pub fn get(&self, name: &str) -> Result<u64> {
        self.0[name].as_u64().with_context(|| format!("`shuntadm workers --json' has no counter {name}"))
    }

    /// Drops by reason, where there were any.
    pub fn drops_since(&self, earlier: &Counters) -> Result<BTreeMap<&'static str, u64>> {
        let reasons = Counter::ALL.iter().filter(|counter| counter.flow() == Flow::Drop);
        let grown = reasons.map(|counter| Ok((counter.name(), self.since(earlier, counter.name())?)));
        grown.filter(|grown| grown.as_ref().is_ok_and(|&(_, count)| count > 0) || grown.is_err()).collect()
    }

    /// By how much a counter has grown.
    pub fn since(&self, earlier: &Counters, name: &str) -> Result<u64> {
        Ok(self.get(name)? - earlier.get(name)?)
    }
}

fn configuration(socket: &Path, (main_core, worker_core): (usize, usize), plan: &Plan) -> String {
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let (generator, director, socket) = (mac(GENERATOR_MAC), mac(DIRECTOR_MAC), socket.display());
    let Plan { device, rx_descriptors, max_ipv4, max_ipv6, idle, .. } = plan;
    format!(
        r#"
[eal]
hugepages = true
extra_args = ["--single-file-segments"]
[workers]
cores = [{worker_core}]
idle = "{idle}"
[control]
socket = "{socket}"
main_core = {main_core}
[connections]
max_ipv4 = {max_ipv4}
max_ipv6 = {max_ipv6}
[[nic_port]]
name = "wan"
device = "{device}"
rx_descriptors = {rx_descriptors}
mac = "{director}"
twin = false
[[local_address]]
address = "10.0.1.1"
nic_port = "wan"
[[local_address]]
address = "2001:db8:1::1"
nic_port = "wan"
[[next_hop]]
prefix = "0.0.0.0/0"
nic_port = "wan"
mac = "{generator}"
[[next_hop]]
prefix = "::/0"
nic_port = "wan"
mac = "{generator}"
"#
    )
}
