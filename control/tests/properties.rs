//! The command line under words that nobody would type, and save followed by restore on random tables.

mod fake;

use bolero::TypeGenerator;
use fake::Rig;
use std::fmt::Write;

/// Words that mean something, so that random lines get beyond the first check.
const WORDS: [&str; 72] = [
    "-A",
    "-E",
    "-D",
    "-C",
    "-R",
    "-S",
    "-a",
    "-e",
    "-d",
    "-L",
    "-l",
    "-Z",
    "--set",
    "--start-daemon",
    "--stop-daemon",
    "-h",
    "-v",
    "-t",
    "-u",
    "--sctp-service",
    "-f",
    "-6",
    "-s",
    "-p",
    "-M",
    "--pe",
    "-b",
    "-o",
    "-r",
    "-g",
    "-i",
    "-m",
    "-w",
    "-x",
    "-y",
    "--tun-type",
    "--tun-port",
    "--tun-nocsum",
    "--tun-csum",
    "--tun-remcsum",
    "-n",
    "-c",
    "--timeout",
    "--daemon",
    "--stats",
    "--rate",
    "--thresholds",
    "--persistent-conn",
    "--tun-info",
    "--nosort",
    "--sort",
    "-X",
    "--mcast-group",
    "master",
    "10.0.0.1:80",
    "10.0.0.2",
    "[2001:db8::1]:80",
    "fd00::1",
    "rr",
    "sh",
    "mh",
    "5",
    "0",
    "-1",
    "4294967295",
    "255.255.0.0",
    "gue",
    "gre",
    "flag-1,sh-port",
    "",
    "-Lnc",
    "--",
];

#[derive(Clone, Debug, TypeGenerator)]
enum AnyWord {
    Known(u8),
    Text(String),
    Option(char),
}

impl AnyWord {
    fn text(&self) -> String {
        match self {
            AnyWord::Known(index) => WORDS[usize::from(*index) % WORDS.len()].to_owned(),
            AnyWord::Text(text) => text.clone(),
            AnyWord::Option(letter) => format!("-{letter}"),
        }
    }
}

#[test]
fn any_words_are_answered() {
    bolero::check!().with_type::<(Vec<Vec<AnyWord>>, Vec<u8>)>().for_each(|(lines, stdin)| {
        let rig = Rig::new(8, 8);
        for line in lines {
            let argv: Vec<String> =
                std::iter::once("ipvsadm".to_owned()).chain(line.iter().map(AnyWord::text)).collect();
            let answer = rig.words(&argv, stdin);
            assert!([0, 1, 2, 255].contains(&answer.status), "{argv:?}: {answer:?}");
            assert!(answer.status == 0 || !answer.stderr.is_empty(), "{argv:?}: {answer:?}");
        }
        let restored = rig.words(&["ipvsadm".to_owned(), "-R".to_owned()], stdin);
        assert!([0, 1, 2, 255].contains(&restored.status));
    });
}

/// A service, in a form that always makes a valid command.
#[derive(Clone, Debug, TypeGenerator)]
struct AnyService {
    kind: u8,
    address: u8,
    l4_port: u16,
    scheduler: u8,
    persistence: Option<u16>,
    netmask: u8,
    flags: u8,
    one_packet: bool,
    sip: bool,
    servers: Vec<AnyServer>,
}

#[derive(Clone, Debug, TypeGenerator)]
struct AnyServer {
    address: u8,
    ipv6: bool,
    l4_port: u16,
    method: u8,
    weight: u16,
    tunnel: u8,
    checksum: u8,
}

impl AnyService {
    fn is_ipv6(&self) -> bool {
        matches!(self.kind % 7, 3..=5)
    }

    /// `-t 10.0.0.1:80`
    fn key(&self) -> String {
        let (address, l4_port) = (self.address, self.l4_port.max(1));
        match self.kind % 7 {
            0 => format!("-t 10.0.0.{address}:{l4_port}"),
            1 => format!("-u 10.0.0.{address}:{l4_port}"),
            2 => format!("--sctp-service 10.0.0.{address}:{l4_port}"),
            3 => format!("-t [2001:db8::{address:x}]:{l4_port}"),
            4 => format!("-u [2001:db8::{address:x}]:{l4_port}"),
            5 => format!("-f {} -6", u32::from(address) + 1),
            _ => format!("-f {}", u32::from(address) + 1),
        }
    }

    fn add(&self) -> String {
        const SCHEDULERS: [&str; 15] = [
            "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
            "none",
        ];
        let scheduler = SCHEDULERS[usize::from(self.scheduler) % SCHEDULERS.len()];
        let mut line = format!("-A {} -s {scheduler}", self.key());
        if let Some(timeout) = self.persistence {
            let _ = write!(line, " -p {}", timeout.max(1));
            let _ = match self.is_ipv6() {
                true => write!(line, " -M {}", self.netmask % 128 + 1),
                false => write!(line, " -M 255.{}.0.255", self.netmask),
            };
        }
        if self.sip {
            line.push_str(" --pe sip");
        }
        if self.one_packet && matches!(self.kind % 7, 1 | 4..=6) {
            line.push_str(" -o");
        }
        // `sh` and `mh` have no name for the third flag: what they save with it cannot be restored.
        let names = if matches!(scheduler, "sh" | "mh") { 2 } else { 3 };
        let flags: Vec<String> = (0..names)
            .filter(|flag| self.flags & 1 << flag != 0)
            .map(|flag| format!("flag-{}", flag + 1))
            .collect();
        if !flags.is_empty() {
            let _ = write!(line, " -b {}", flags.join(","));
        }
        line
    }
}

impl AnyServer {
    fn add(&self, service: &AnyService) -> String {
        let is_tunnel = self.method % 3 == 2;
        let is_ipv6 = if is_tunnel { self.ipv6 } else { service.is_ipv6() };
        let address = if is_ipv6 {
            format!("[2001:db8::a:{:x}]", self.address)
        } else {
            format!("10.1.0.{}", self.address)
        };
        let method = ["-g", "-m", "-i"][usize::from(self.method % 3)];
        let mut line =
            format!("-a {} -r {address}:{} {method} -w {}", service.key(), self.l4_port, self.weight);
        if is_tunnel {
            let checksums = ["--tun-nocsum", "--tun-csum", "--tun-remcsum"];
            line += &match self.tunnel % 3 {
                0 => " --tun-type ipip".to_owned(),
                1 => format!(
                    " --tun-type gue --tun-port {} {}",
                    self.l4_port.max(1),
                    checksums[usize::from(self.checksum % 3)]
                ),
                _ => format!(" --tun-type gre {}", checksums[usize::from(self.checksum % 2)]),
            };
        }
        line
    }
}

#[test]
fn save_and_restore_give_the_same_table() {
    bolero::check!().with_type::<Vec<AnyService>>().for_each(|services| {
        let rig = Rig::new(1000, 1000);
        let mut lines = String::new();
        for service in services {
            let _ = writeln!(lines, "{}", service.add());
            for server in &service.servers {
                let _ = writeln!(lines, "{}", server.add(service));
            }
        }
        let made = rig.run("ipvsadm -R", &lines);
        for text in made.stderr.lines() {
            // Random services may collide; nothing else may go wrong.
            assert!(text.ends_with("already exists"), "{text}\n{lines}");
        }
        let saved = rig.list("ipvsadm -Sn");
        let other = Rig::new(1000, 1000);
        let restored = other.run("ipvsadm -R", &saved);
        assert_eq!((restored.status, restored.stderr.as_str()), (0, ""), "{saved}");
        assert_eq!(other.list("ipvsadm -Sn"), saved);
        rig.ok("ipvsadm -C");
        assert_eq!(rig.list("ipvsadm -Sn"), "");
        assert_eq!(rig.run("ipvsadm -R", &saved).status, 0, "restored over the trash");
        assert_eq!(rig.list("ipvsadm -Sn"), saved);
        assert_eq!(rig.list("ipvsadm -Ln --tun-info"), other.list("ipvsadm -Ln --tun-info"));
    });
}
