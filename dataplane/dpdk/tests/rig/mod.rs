//! Processes, namespaces, frames and files for tests of devices.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Set in the process that runs a scenario.
const CHILD: &str = "SHUNT_TEST_CHILD";

/// Where a scenario runs.
#[derive(Clone, Copy, PartialEq)]
pub enum Netns {
    /// In the caller's network namespace.
    Callers,
    /// In a new one. Needs root; without it the scenario is skipped, and says so.
    Own,
}

/// Runs the test `name`, whose body is `scenario`, in a process of its own.
pub fn in_own_process(name: &str, netns: Netns, scenario: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return scenario();
    }
    if netns == Netns::Own && !rustix::process::getuid().is_root() {
        eprintln!("{name}: skipped, it needs root to make a network namespace");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let command = match netns {
        Netns::Callers => Command::new(program),
        Netns::Own => {
            let mut command = Command::new("unshare");
            command.arg("--net").arg(program);
            command
        }
    };
    must_pass(command, name);
}

/// Seconds that a scenario may take.
const TIMEOUT_S: &str = "60";

fn must_pass(inner: Command, name: &str) {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", TIMEOUT_S]).arg(inner.get_program()).args(inner.get_args());
    let output = command.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{}\n{text}", output.status);
}

/// The same as user `nobody`; skipped, loudly, by those who are not root.
pub fn in_own_process_as_nobody(name: &str, scenario: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return scenario();
    }
    if !rustix::process::getuid().is_root() {
        eprintln!("{name}: skipped, it needs root to become nobody");
        return;
    }
    // The build directory may be closed to others.
    let copy = std::env::temp_dir().join(format!("shunt-{name}-{}", std::process::id()));
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&copy);
    must_pass(command, name);
    std::fs::remove_file(&copy).unwrap();
}

/// Names the file prefix that a holder is to use.
const HOLDER: &str = "SHUNT_TEST_PREFIX";

/// A process that runs an ignored test until it is told to end.
pub struct Holder {
    child: Child,
}

impl Holder {
    /// Starts it and waits until it is ready.
    pub fn start(name: &str, prefix: &str) -> Holder {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--ignored"])
            .env(HOLDER, prefix)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut read = Vec::new();
        for line in lines.map_while(Result::ok) {
            if line.contains(READY) {
                return Holder { child };
            }
            read.push(line);
        }
        let status = child.wait().unwrap();
        panic!("the holder ended with {status}: {read:?}");
    }

    /// Lets it end and waits for that.
    pub fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

const READY: &str = "holder is ready";

pub fn holders_prefix() -> Option<String> {
    std::env::var(HOLDER).ok()
}

/// Says that the holder is ready, and waits for [`Holder::end`].
pub fn wait_for_stdin_to_close() {
    println!("{READY}");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    // Its reader is gone: the harness could not print its result.
    std::process::exit(0);
}

/// What DPDK leaves behind.
pub fn remove_runtime_directory(prefix: &str) {
    for root in ["/var/run/dpdk", "/tmp/dpdk"].map(PathBuf::from) {
        let _ = std::fs::remove_dir_all(root.join(prefix));
    }
}

/// Runs a command line without quotes.
pub fn run(line: &str) {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn sysfs(interface: &str, file: &str) -> String {
    // /sys shows the namespace of whoever mounted it, so ask by netlink.
    let output = Command::new("ip").args(["-o", "link", "show", "dev", interface]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace().skip_while(|&word| word != file).skip(1);
    words.next().unwrap_or_else(|| panic!("no {file} in {text}")).to_owned()
}

pub fn mac_of(interface: &str) -> [u8; 6] {
    let text = sysfs(interface, "link/ether");
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

pub fn mtu_of(interface: &str) -> u16 {
    sysfs(interface, "mtu").parse().unwrap()
}

/// A datagram 10.99.0.2:53 → 10.99.0.1:7000 without UDP checksum.
pub fn udp_frame(dst_mac: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 10, 99, 0, 2, 10, 99, 0, 1];
    ip[2..4].copy_from_slice(&(28 + payload.len() as u16).to_be_bytes());
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [dst_mac, [2, 0, 0, 0, 0, 2]].concat();
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend([53u16.to_be_bytes(), 7000u16.to_be_bytes()].concat());
    frame.extend([(8 + payload.len() as u16).to_be_bytes(), [0, 0]].concat());
    frame.extend(payload);
    frame
}

/// The payload, if the frame is a datagram to port 53 over IPv4.
pub fn udp_payload(frame: &[u8]) -> Option<&[u8]> {
    let is_udp = frame.len() >= 42 && frame[12..14] == [8, 0] && frame[23] == 17 && frame[36..38] == [0, 53];
    is_udp.then(|| &frame[42..usize::from(u16::from_be_bytes([frame[16], frame[17]])) + 14])
}

/// A capture file in the classic format.
pub fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file: Vec<u8> =
        [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
    for frame in frames {
        let len = frame.len() as u32;
        file.extend([0, 0, len, len].iter().flat_map(|word| word.to_le_bytes()));
        file.extend(frame);
    }
    file
}

/// The frames of such a file.
pub fn read_pcap(mut file: &[u8]) -> Vec<Vec<u8>> {
    file = &file[24..];
    let mut frames = Vec::new();
    while file.len() >= 16 {
        let len = u32::from_le_bytes(file[8..12].try_into().unwrap()) as usize;
        frames.push(file[16..16 + len].to_vec());
        file = &file[16 + len..];
    }
    frames
}

/// Hugepages of 2 MiB, given back in the end.
pub struct Hugepages {
    before: u32,
}

const NR_HUGEPAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

impl Hugepages {
    /// `count` more than there are.
    pub fn reserve(count: u32) -> Option<Hugepages> {
        let read = || std::fs::read_to_string(NR_HUGEPAGES).ok()?.trim().parse::<u32>().ok();
        let before = read()?;
        std::fs::write(NR_HUGEPAGES, (before + count).to_string()).ok()?;
        let pages = Hugepages { before };
        (read()? >= before + count).then_some(pages)
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        let _ = std::fs::write(NR_HUGEPAGES, self.before.to_string());
    }
}

/// Another network namespace, kept alive by a process that sleeps in it.
pub struct FarNetns {
    sleeper: Child,
}

impl FarNetns {
    pub fn new() -> FarNetns {
        let mut sleeper = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo in; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(sleeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "in\n");
        FarNetns { sleeper }
    }

    pub fn pid(&self) -> u32 {
        self.sleeper.id()
    }

    /// Starts a command line without quotes in it; it ends with the value.
    pub fn spawn(&self, line: &str) -> Running {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).args(line.split_whitespace());
        // It must not keep our output open when we are gone.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running { child: command.spawn().unwrap() }
    }

    /// Runs a command line without quotes in it.
    pub fn run(&self, line: &str) {
        run(&format!("nsenter --net=/proc/{}/ns/net {line}", self.pid()));
    }
}

impl Drop for FarNetns {
    fn drop(&mut self) {
        let _ = self.sleeper.kill();
        let _ = self.sleeper.wait();
    }
}

/// A process that is killed with the value.
pub struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
