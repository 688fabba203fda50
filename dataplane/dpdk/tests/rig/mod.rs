//! Processes, namespaces, frames and files for tests of devices.

use std::process::Command;

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
    let mut command = match netns {
        Netns::Callers => Command::new(program),
        Netns::Own => {
            let mut command = Command::new("unshare");
            command.arg("--net").arg(program);
            command
        }
    };
    let output = command.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{}\n{text}", output.status);
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
