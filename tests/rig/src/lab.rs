//! A lab: namespaces for a client, a director and three real servers, made and removed by `scripts/lab` (whose picture is
//! in `scripts/lib/lab.sh`), with a real shuntd in the director. Needs root.

use crate::namespace;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The names of the real servers.
pub const SERVERS: [&str; 3] = ["s1", "s2", "s3"];

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A forwarding method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// NAT: replies return through the director.
    Nat,
    /// Direct routing: the server answers from the VIP, past the director.
    DirectRouting,
    /// IP-in-IP tunnel: likewise.
    Tunnel,
}

impl Method {
    /// The option of `ipvsadm -a`.
    pub fn option(self) -> &'static str {
        match self {
            Method::Nat => "-m",
            Method::DirectRouting => "-g",
            Method::Tunnel => "-i",
        }
    }
}

/// How shuntd runs.
#[derive(Debug, Clone, Copy)]
pub struct Director {
    /// Workers, each on a CPU of its own.
    pub workers: u32,
    /// Receive queues of each NIC port.
    pub queues: u32,
    /// Kind of NIC port: `af_packet`, `tap` or `af_xdp`.
    pub device: &'static str,
    /// Does it keep its state in a file, written every second?
    pub state: bool,
}

impl Default for Director {
    fn default() -> Director {
        Director { workers: 1, queues: 1, device: "af_packet", state: false }
    }
}

impl fmt::Display for Director {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} workers, {} queues, {}", self.workers, self.queues, self.device)
    }
}

/// A network of namespaces, which goes when this value goes.
pub struct Lab {
    name: String,
    bin: PathBuf,
}

impl Lab {
    /// Makes the namespaces and starts the servers, but not yet shuntd. `bin` is the folder of `shuntd`, `shuntadm`
    /// and `shunt-rig`; `SHUNT_BIN_DIR` in the environment overrides it.
    ///
    /// # Panics
    /// If a binary is missing or the namespaces cannot be made: there is nothing to test then.
    pub fn up(bin: impl AsRef<Path>) -> Lab {
        let bin = std::env::var_os("SHUNT_BIN_DIR").map_or_else(|| bin.as_ref().to_owned(), PathBuf::from);
        for tool in ["shuntd", "shuntadm", "shunt-rig"] {
            let path = bin.join(tool);
            assert!(path.exists(), "{} is missing; run: cargo build --workspace --bins", path.display());
        }
        // Unique on the machine while this process lives; a dead one's leftovers are removed first.
        static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let prefix = std::env::var("SHUNT_LAB_PREFIX").unwrap_or_else(|_| "shunt-test".into());
        let lab = Lab { name: format!("{prefix}-{}-{number}", std::process::id()), bin };
        lab.must("up", &[lab.bin_dir()]);
        lab
    }

    /// A lab with a running shuntd.
    pub fn with(bin: impl AsRef<Path>, director: Director) -> Lab {
        let lab = Lab::up(bin);
        lab.start(director);
        lab
    }

    /// Starts shuntd, gives its twins their addresses and returns when it answers.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn start(&self, director: Director) {
        let (workers, queues) = (director.workers.to_string(), director.queues.to_string());
        let state = if director.state { "yes" } else { "no" };
        let options =
            ["--workers", &workers, "--queues", &queues, "--device", director.device, "--state", state];
        self.must("start", &[&[self.bin_dir()], &options[..]].concat());
    }

    /// Ends shuntd with SIGTERM (or SIGKILL, if `kill`) and waits until it has gone.
    pub fn stop(&self, kill: bool) {
        self.must("stop", &[if kill { "KILL" } else { "TERM" }]);
    }

    /// The process id of shuntd.
    ///
    /// # Panics
    /// If it was not started.
    pub fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.dir().join("shuntd.pid")).expect("shuntd was not started");
        text.trim().parse().expect("a process id")
    }

    /// The lab's files: configuration, logs, socket.
    pub fn dir(&self) -> PathBuf {
        std::env::temp_dir().join(&self.name)
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("control.sock")
    }

    /// What shuntd has written since it was last started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("shuntd.log")).unwrap_or_default()
    }

    /// A tool of the binaries under test.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The network namespace of `client`, `director`, `net` or a server.
    pub fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    /// Runs a piece of the test on a host: see [`namespace::inside`].
    pub fn on<R: Send>(&self, host: &str, work: impl FnOnce() -> R + Send) -> R {
        namespace::inside(&self.namespace(host), work)
    }

    /// Runs `load` on the client until it is told to stop, and `meanwhile` here at the same time.
    pub fn while_running<R: Send>(
        &self,
        load: impl FnOnce(&AtomicBool) -> R + Send,
        meanwhile: impl FnOnce(),
    ) -> R {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let running = scope.spawn(|| self.on("client", || load(&stop)));
            // Also if `meanwhile` panics: the load must end, or the scope never would.
            let told = StopOnDrop(&stop);
            thread::sleep(Duration::from_millis(200));
            meanwhile();
            drop(told);
            running.join().expect("the load panicked")
        })
    }

    /// A command on a host, such as `ping`.
    pub fn command(&self, host: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host), program]);
        command
    }

    /// Starts a server on a host. Its words go to `LABEL.log` among the lab's files; it ends with the value that is
    /// returned.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn serve(&self, host: &str, label: &str, program: &str, arguments: &[&str]) -> Server {
        let log = File::create(self.dir().join(format!("{label}.log"))).expect("the lab's folder");
        let mut command = self.command(host, program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        Server(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    /// Runs a program on a host to its end, for at most `seconds`, with blank-separated arguments; returns its status
    /// and words.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn run(&self, host: &str, seconds: u32, command: &str) -> Output {
        let mut timeout = self.command(host, "timeout");
        timeout.arg(seconds.to_string()).args(command.split_whitespace()).stdin(Stdio::null());
        timeout.output().expect("timeout runs")
    }

    /// `shuntadm` with blank-separated arguments.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn adm(&self, arguments: &str) -> Output {
        self.adm_command().args(arguments.split_whitespace()).output().expect("shuntadm runs")
    }

    /// `shuntadm`, not yet started, with the socket set.
    pub fn adm_command(&self) -> Command {
        let mut command = Command::new(self.tool("shuntadm"));
        command.env("SHUNT_SOCKET", self.socket()).stdin(Stdio::null());
        command
    }

    /// `shuntadm`, which must succeed; returns what it printed.
    ///
    /// # Panics
    /// If it does not.
    pub fn adm_ok(&self, arguments: &str) -> String {
        let output = self.adm(arguments);
        assert!(output.status.success(), "shuntadm {arguments}: {}", words(&output));
        String::from_utf8(output.stdout).expect("shuntadm prints text")
    }

    /// `shuntadm -R` with these lines, which must succeed without a word of complaint.
    ///
    /// # Panics
    /// If it does not.
    pub fn restore(&self, lines: &str) {
        let mut child = self
            .adm_command()
            .arg("-R")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("shuntadm runs");
        child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("shuntadm reads");
        let output = child.wait_with_output().expect("shuntadm ends");
        assert!(output.status.success() && output.stderr.is_empty(), "shuntadm -R: {}", words(&output));
    }

    /// Adds TCP port 80 and UDP port 7 of the VIP, round robin over all servers with weight 1.
    pub fn add_services(&self, family: Family, method: Method) {
        self.restore(&services(family, method));
    }

    fn bin_dir(&self) -> &str {
        self.bin.to_str().expect("the folder's name is text")
    }

    fn must(&self, command: &str, arguments: &[&str]) {
        let output = lab_script(command, &self.name).args(arguments).output().expect("scripts/lab runs");
        assert!(output.status.success(), "scripts/lab {command}: {}", words(&output));
    }

    /// Everything that helps to understand a failure.
    fn describe(&self) {
        eprintln!("--- shuntd's log\n{}", self.log());
        for arguments in ["-L -n --stats", "-L -n -c", "workers"] {
            let output = self.adm(arguments);
            let text: String = words(&output).lines().take(60).map(|line| format!("{line}\n")).collect();
            eprintln!("--- shuntadm {arguments}\n{text}");
        }
        for host in ["director", "client", "s1"] {
            for arguments in [["address"], ["neigh"], ["route"]] {
                let output = self.command(host, "ip").args(arguments).output();
                eprintln!(
                    "--- ip {} on {host}\n{}",
                    arguments[0],
                    output.map(|o| words(&o)).unwrap_or_default()
                );
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            self.describe();
        }
        if let Err(error) = lab_script("down", &self.name).status() {
            eprintln!("scripts/lab down {}: {error}", self.name);
        }
    }
}

/// A server program, which ends with this value.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The VIP with an L4 port.
pub fn vip(family: Family, l4_port: u16) -> SocketAddr {
    let address: IpAddr = match family {
        Family::V4 => [10, 0, 1, 100].into(),
        Family::V6 => [0xfd00, 1, 0, 0, 0, 0, 0, 0x100].into(),
    };
    SocketAddr::new(address, l4_port)
}

/// A real server's own address with an L4 port.
///
/// # Panics
/// If the name is none of [`SERVERS`].
pub fn real_server(name: &str, family: Family, l4_port: u16) -> SocketAddr {
    let index = SERVERS.iter().position(|server| *server == name).expect("one of the servers") as u8;
    let address: IpAddr = match family {
        Family::V4 => [10, 0, 2, 11 + index].into(),
        // The last group reads like the IPv4 byte: 0x11 for s1.
        Family::V6 => [0xfd00, 2, 0, 0, 0, 0, 0, 0x11 + u16::from(index)].into(),
    };
    SocketAddr::new(address, l4_port)
}

/// The commands of [`Lab::add_services`].
pub fn services(family: Family, method: Method) -> String {
    let (http, echo) = (vip(family, 80), vip(family, 7));
    let mut lines = format!("-A -t {http} -s rr\n-A -u {echo} -s rr\n");
    for server in SERVERS {
        let option = method.option();
        let (http_server, echo_server) = (real_server(server, family, 80), real_server(server, family, 7));
        lines += &format!("-a -t {http} -r {http_server} {option} -w 1\n");
        lines += &format!("-a -u {echo} -r {echo_server} {option} -w 1\n");
    }
    lines
}

/// Polls until `condition` holds.
///
/// # Panics
/// If it does not within `seconds`.
pub fn eventually(what: &str, seconds: u64, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !condition() {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn lab_script(command: &str, lab: &str) -> Command {
    let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/lab"));
    script.args([command, lab]).stdin(Stdio::null());
    script
}

/// Status, stdout and stderr of a command as one text.
pub fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
