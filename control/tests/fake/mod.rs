//! Workers and names for tests: workers that obey at once, and a fixed set of names.

#![allow(dead_code, reason = "each test program uses a part of this")]

use shunt_control::dataplane::{Dataplane, Lagging};
use shunt_control::director::{Director, Errno, Limits, Refusal, StaticResolver};
use shunt_control::ipvsadm::{self, Access, Names, Services};
use shunt_control::sync::{DaemonHost, DaemonParts, Role, Running};
use shunt_engine::board::Boards;
use shunt_engine::counters::WorkerCounters;
use shunt_engine::tables::{Family, ServerId, SyncRules, Tables};
use shunt_engine::{ConnectionInfo, InstallFrom, Tally};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

/// Workers that see every publication at once.
pub struct FakeDataplane {
    pub boards: Boards,
    pub published: Mutex<Vec<Tables>>,
    pub entries: Mutex<Vec<ConnectionInfo>>,
    /// What workers have to tell a master.
    pub announced: Mutex<Vec<ConnectionInfo>>,
}

impl FakeDataplane {
    pub fn new(workers: usize, servers_max: usize) -> Arc<FakeDataplane> {
        Arc::new(FakeDataplane {
            boards: Boards::new(workers, servers_max),
            published: Mutex::default(),
            entries: Mutex::default(),
            announced: Mutex::default(),
        })
    }
}

impl Dataplane for FakeDataplane {
    fn publish(&self, tables: Tables) -> Result<(), Lagging> {
        self.published.lock().unwrap().push(tables);
        Ok(())
    }
    fn boards(&self) -> &Boards {
        &self.boards
    }
    fn worker_counters(&self) -> Vec<WorkerCounters> {
        Vec::new()
    }
    fn connections(&self, each: &mut dyn FnMut(&ConnectionInfo) -> ControlFlow<()>) {
        let _ = self.entries.lock().unwrap().iter().try_for_each(each);
    }
    fn install(&self, connections: &mut dyn Iterator<Item = ConnectionInfo>, _: InstallFrom) -> Tally {
        let mut entries = self.entries.lock().unwrap();
        let before = entries.len();
        entries.extend(connections);
        Tally { created: (entries.len() - before) as u32, ..Tally::default() }
    }
    fn announcements(&self, _: &SyncRules, each: &mut dyn FnMut(ConnectionInfo)) {
        self.announced.lock().unwrap().drain(..).for_each(each);
    }
}

/// The interfaces of the recordings, and daemons that do nothing.
pub struct FakeHost;

struct Idle;

impl Running for Idle {}

impl DaemonHost for FakeHost {
    fn mtu(&self, interface: &str) -> Result<u32, Refusal> {
        match interface {
            "eth0" | "eth1" => Ok(1500),
            "lo" => Ok(65_536),
            _ => Err(Errno::Enodev.into()),
        }
    }

    fn start(&self, parts: DaemonParts) -> Result<Box<dyn Running>, Refusal> {
        if parts.config.role == Role::Master && parts.config.interface == "lo" && parts.config.group.is_ipv6()
        {
            return Err(Refusal::System("Network is unreachable".to_owned()));
        }
        Ok(Box::new(Idle))
    }
}

/// An established connection of a client with this port.
pub fn entry(cport: u16) -> ConnectionInfo {
    ConnectionInfo {
        protocol: 6,
        family: Family::V4,
        caddr: [192, 0, 2, 1].into(),
        cport,
        vaddr: [10, 0, 0, 1].into(),
        vport: 80,
        daddr: [10, 1, 0, 1].into(),
        dport: 8080,
        state: 1,
        timeout_ms: 900_000,
        expires_ms: 899_500,
        flags: 0,
        fwmark: 0,
        in_packets: 0,
        server: ServerId(0),
        control: None,
        sequence: None,
        pe_data: None,
    }
}

/// A few names.
pub struct FakeNames(Services);

impl Default for FakeNames {
    fn default() -> Self {
        FakeNames(Services::parse(include_str!("services")))
    }
}

impl Names for FakeNames {
    fn host_address(&self, name: &str) -> Option<Ipv4Addr> {
        match name {
            _ if name.eq_ignore_ascii_case("localhost") => Some(Ipv4Addr::LOCALHOST),
            "very-long-host-name.example.com" => Some(Ipv4Addr::new(192, 0, 2, 99)),
            _ => None,
        }
    }
    fn host_name(&self, address: IpAddr) -> Option<String> {
        if address == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return Some("localhost".to_owned());
        }
        let long: [IpAddr; 2] = ["192.0.2.99".parse().unwrap(), "2001:db8::99".parse().unwrap()];
        long.contains(&address).then(|| "very-long-host-name.example.com".to_owned())
    }
    fn service_port(&self, name: &str, protocol: u8) -> Option<u16> {
        self.0.port(name, protocol)
    }
    fn service_name(&self, l4_port: u16, protocol: u8) -> Option<&str> {
        self.0.name(l4_port, protocol)
    }
}

/// What a command answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u8,
    pub stdout: String,
    pub stderr: String,
}

/// A director with its workers.
pub struct Rig {
    pub director: Mutex<Director>,
    pub dataplane: Arc<FakeDataplane>,
    pub names: FakeNames,
    pub access: Access,
}

impl Rig {
    pub fn new(services: usize, servers: usize) -> Rig {
        let dataplane = FakeDataplane::new(2, servers);
        let resolver = Arc::new(StaticResolver::default());
        let mut director =
            Director::new(dataplane.clone(), resolver, Vec::new(), Limits { services, servers });
        director.set_daemon_host(Arc::new(FakeHost));
        Rig {
            director: Mutex::new(director),
            dataplane,
            names: FakeNames::default(),
            access: Access::ReadWrite,
        }
    }

    /// Runs one command line, given as words.
    pub fn words(&self, argv: &[String], stdin: &[u8]) -> Answer {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = ipvsadm::run(
            argv,
            &mut &*stdin,
            &mut stdout,
            &mut stderr,
            &self.director,
            &self.names,
            self.access,
        );
        let text = |bytes| String::from_utf8(bytes).expect("answers are text");
        Answer { status, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs one command line, split at blanks that are not quoted.
    pub fn run(&self, line: &str, stdin: &str) -> Answer {
        self.words(&words(line), stdin.as_bytes())
    }

    /// Runs a command line that must succeed silently.
    pub fn ok(&self, line: &str) {
        let silence = Answer { status: 0, stdout: String::new(), stderr: String::new() };
        assert_eq!(self.run(line, ""), silence, "{line}");
    }

    /// Runs a command line that must succeed, and returns what it lists.
    pub fn list(&self, line: &str) -> String {
        let answer = self.run(line, "");
        assert_eq!((answer.status, answer.stderr.as_str()), (0, ""), "{line}");
        answer.stdout
    }
}

/// The words of a line for the shell, which may be quoted by ' or ".
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}
