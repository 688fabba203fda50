//! A director with a service of every kind, small enough to be emptied after each input.

use crate::records::{Records, SERVERS_MAX, SERVICES_MAX};
use shunt_engine::board::Boards;
use shunt_engine::counters::{Counter, WorkerCounters};
use shunt_engine::owner::KEY_LEN;
use shunt_engine::persist::Templates;
use shunt_engine::tables::{Family, MarkRule, Marks, Prefix, ServerId, Tables};
use shunt_engine::{BURST, Engine, EngineConfig, Expectations, Origin, Tick, Verdict};
use shunt_wire::craft::check;
use shunt_wire::{Frame, HeapFrame, NicPortId};

/// Connections, per family: few, so that inputs fill the table.
const CONNECTIONS: u32 = 48;
const NIC_PORTS: u8 = 2;

/// A service of every method, scheduler state, kind of name and kind of key; the clients of [`crate::traffic`] know them.
const SERVICES: &str = "\
-A -t 10.0.1.100:80 -s wrr
-a -t 10.0.1.100:80 -r 10.0.2.11:8080 -m -w 3
-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1 -x 6 -y 3
-a -t 10.0.1.100:80 -r 127.0.0.1:80 -m -w 1
-A -u 10.0.1.100:53 -s wlc -o
-a -u 10.0.1.100:53 -r 10.0.2.11:53 -m
-a -u 10.0.1.100:53 -r 10.0.2.13:53 -g
-A -t 10.0.1.101:0 -s sh -b sh-port -p 300 -M 255.255.255.0
-a -t 10.0.1.101:0 -r 10.0.2.11:0 -g
-a -t 10.0.1.101:0 -r 10.0.2.14:0 -i
-A -u 10.0.1.102:5060 -s mh -p 60
-a -u 10.0.1.102:5060 -r 10.0.2.12:5060 -i --tun-type gue --tun-port 6080 --tun-csum
-a -u 10.0.1.102:5060 -r fd00:2::12 -i --tun-type gre --tun-csum
-A --sctp-service 10.0.1.103:80 -s lblcr
-a --sctp-service 10.0.1.103:80 -r 10.0.2.11:80 -m
-a --sctp-service 10.0.1.103:80 -r 10.0.2.12:81 -m
-A -f 7 -s rr -p 100
-a -f 7 -r 10.0.2.11:0 -m
-a -f 7 -r 10.0.3.1:0 -g
-A -t [fd00:1::100]:80 -s nq
-a -t [fd00:1::100]:80 -r [fd00:2::11]:8080 -m
-a -t [fd00:1::100]:80 -r [fd00:2::12]:80 -m
-A -u [fd00:1::100]:53 -s lc
-a -u [fd00:1::100]:53 -r [fd00:2::11]:53 -i
-a -u [fd00:1::100]:53 -r [10.0.2.12]:53 -i --tun-type gue --tun-port 6080 --tun-nocsum
-A -u [fd00:1::101]:53 -s rr -p 50 -M 64
-a -u [fd00:1::101]:53 -r [fd00:2::12]:53 -g
-A -t 10.0.1.100:81 -s rr
-A -t 10.0.1.100:21 -s rr
-a -t 10.0.1.100:21 -r 10.0.2.11:21 -m
-A -t [fd00:1::100]:21 -s rr -p 30
-a -t [fd00:1::100]:21 -r [fd00:2::11]:2121 -m
-A -u 10.0.1.103:5060 -s rr -p 60 --pe sip
-a -u 10.0.1.103:5060 -r 10.0.2.11:5060 -m
-a -u 10.0.1.103:5060 -r 10.0.2.12:5060 -m
-A -u 10.0.1.103:5061 -s rr -o -p 60 --pe sip
-a -u 10.0.1.103:5061 -r 10.0.2.13:5060 -g
";

/// What packets left behind: entries of the table, and what servers count.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    connections: u32,
    active: u32,
    total: u32,
    templates: u32,
}

/// A director under test.
pub struct Fuzzed {
    records: Records,
    engine: Engine,
    tables: Tables,
    now: Tick,
    pool: Vec<HeapFrame>,
    /// Services or settings are not those of the start.
    is_changed: bool,
}

/// Commands that an input may give while packets flow.
pub const COMMANDS: &[&str] = &[
    "-d -t 10.0.1.100:80 -r 10.0.2.11:8080",
    "-a -t 10.0.1.100:80 -r 10.0.2.11:8080 -m -w 2",
    "-e -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 0",
    "-E -t 10.0.1.100:80 -s dh",
    "-D -t 10.0.1.101:0",
    "-A -t 10.0.1.101:0 -s lblc -p 20",
    "-a -t 10.0.1.101:0 -r 10.0.2.15:0 -i --tun-type gre",
    "-d -u [fd00:1::101]:53 -r [fd00:2::12]:53",
    "-a -u [fd00:1::101]:53 -r [fd00:2::12]:53 -g -w 3",
    "-D -f 7",
    "-C",
    "--set 30 10 5",
    "-E -u 10.0.1.103:5060 -s lblc",
    "-d -u 10.0.1.103:5060 -r 10.0.2.11:5060",
    "-e -t 10.0.1.100:21 -r 10.0.2.11:21 -m -w 0",
    "-Z",
];

/// Settings that an input may change.
pub const SETTINGS: &[(&str, &str)] = &[
    ("expire_nodest_conn", "1"),
    ("expire_quiescent_template", "1"),
    ("conn_reuse_mode", "3"),
    ("sloppy_tcp", "1"),
    ("sloppy_sctp", "1"),
    ("schedule_icmp", "1"),
    ("pmtu_disc", "0"),
    ("secure_tcp", "3"),
    ("drop_packet", "3"),
    ("nat_icmp_send", "1"),
    ("cache_bypass", "1"),
    ("drop_entry", "3"),
    ("conn_reuse_mode", "0"),
    ("drop_entry", "1"),
    ("amemthresh", "4000"),
];

impl Default for Fuzzed {
    fn default() -> Self {
        Fuzzed::new()
    }
}

impl Fuzzed {
    /// The director with all its services.
    #[must_use]
    pub fn new() -> Fuzzed {
        const FRAMES: usize = 256;
        let boards = Boards::new(1, SERVERS_MAX);
        let templates = Templates::new(CONNECTIONS * 8);
        let now = Tick(1_000_000);
        let engine = Engine::new(EngineConfig {
            worker: 0,
            workers: 1,
            hardware_steering: false,
            max_ipv4: CONNECTIONS,
            max_ipv6: CONNECTIONS,
            services_max: SERVICES_MAX as u32,
            boards: boards.clone(),
            templates,
            expectations: Expectations::new(),
            counters: WorkerCounters::default(),
            seed: [1, 2, 3, 4],
            owner_key: [0x5a; KEY_LEN],
            now,
        });
        let records = Records::new(boards);
        let tables = records.tables();
        let pool = (0..FRAMES)
            .map(|_| HeapFrame::with_room(&[], NicPortId(0), HeapFrame::HEADROOM, 2_048))
            .collect();
        let mut fuzzed = Fuzzed { records, engine, tables, now, pool, is_changed: false };
        fuzzed.restore();
        fuzzed
    }

    fn restore(&mut self) {
        assert_eq!(self.ipvsadm(&["-R"], SERVICES), 0, "a service of this file is refused");
    }

    fn ipvsadm(&mut self, arguments: &[&str], stdin: &str) -> u8 {
        let (status, _) = self.records.ipvsadm(arguments, stdin);
        self.take_over();
        status
    }

    /// The next burst sees what was published.
    fn take_over(&mut self) {
        let mut tables = self.records.tables();
        let destination = Prefix { address: [10, 0, 1, 102].into(), len: 32 };
        tables.set_marks(Marks::new(vec![MarkRule {
            family: Family::V4,
            source: None,
            destination: Some(destination),
            protocol: Some(6),
            sports: 0..=u16::MAX,
            dports: 0..=u16::MAX,
            nic_port: None,
            mark: 7,
        }]));
        self.tables = tables;
    }

    /// One of [`COMMANDS`].
    pub fn command(&mut self, number: u8) {
        self.is_changed = true;
        let line = COMMANDS[usize::from(number) % COMMANDS.len()];
        let words: Vec<&str> = line.split(' ').collect();
        let status = self.ipvsadm(&words, "");
        assert!([0, 2, 255].contains(&status), "{line}: {status}");
    }

    /// One of [`SETTINGS`].
    pub fn setting(&mut self, number: u8) {
        self.is_changed = true;
        let (name, value) = SETTINGS[usize::from(number) % SETTINGS.len()];
        self.records.set(name, value);
        self.take_over();
    }

    /// Lets time pass, milliseconds.
    pub fn wait(&mut self, ms: u64) {
        const ROUND_MS: u64 = 100;
        let until = self.now.0 + ms;
        while self.now.0 < until {
            self.now = Tick(until.min(self.now.0 + ROUND_MS));
            self.engine.expire(&self.tables, self.now);
        }
        self.release();
    }

    /// A burst from a wire or from the director's own kernel. Checks what comes of it.
    pub fn burst(&mut self, origin: Origin, frames: &[(u8, Vec<u8>)]) {
        let frames = &frames[..frames.len().min(BURST)];
        let mut heap: Vec<HeapFrame> = frames
            .iter()
            .map(|(nic_port, bytes)| {
                HeapFrame::with_room(bytes, NicPortId(nic_port % NIC_PORTS), HeapFrame::HEADROOM, 128)
            })
            .collect();
        let mut verdicts = [Verdict::HandOver(u8::MAX); BURST];
        self.engine.process_burst(&self.tables, self.now, origin, &mut heap, &mut verdicts);
        for ((frame, (_, before)), verdict) in heap.iter().zip(frames).zip(verdicts) {
            assert_sane(verdict);
            let whole = check(before).is_ok();
            if whole && matches!(verdict, Verdict::Transmit(_)) && origin == Origin::Wire {
                let checked = check(frame.bytes());
                assert!(checked.is_ok(), "{checked:?}\n{before:02x?}\n{:02x?}", frame.bytes());
            }
        }
        self.release();
    }

    /// Takes the datagrams that have become complete.
    fn release(&mut self) {
        let Fuzzed { engine, tables, now, pool, .. } = self;
        let mut spent = Vec::new();
        engine.release(
            tables,
            *now,
            |_| pool.pop(),
            |frame, verdict| {
                assert_sane(verdict);
                spent.push(frame);
            },
        );
        for frame in spent {
            assert!(!frame.bytes().is_empty());
            self.pool.push(HeapFrame::with_room(&[], NicPortId(0), HeapFrame::HEADROOM, 2_048));
        }
    }

    /// Nothing happens for long: all that packets left must be gone. Then everything is as it was at the start.
    ///
    /// # Panics
    /// If something remains.
    pub fn end(&mut self) {
        // Incomplete datagrams live for a minute, at most.
        const SHORT_MS: u64 = 62_000;
        // Longer than any timeout and template, and the 60 s steps of templates in use.
        const LONG_MS: u64 = 1_200_000;
        const STEP_MS: u64 = 2_000;
        let begun = self.now.0;
        while self.now.0 < begun + SHORT_MS || self.now.0 < begun + LONG_MS && self.left() != Left::default()
        {
            self.now = Tick(self.now.0 + STEP_MS);
            for _ in 0..4 {
                self.engine.expire(&self.tables, self.now);
            }
        }
        self.release();
        let counters = self.engine.counters();
        let gathered = counters.get(Counter::Gathered);
        let released = counters.get(Counter::Released);
        assert!(gathered <= released, "gathered {gathered}, released {released}");
        assert_eq!(self.left(), Left::default());
        if std::mem::take(&mut self.is_changed) {
            self.reset();
        }
    }

    fn left(&self) -> Left {
        let boards = self.records.boards();
        let mut left = Left { connections: self.engine.connections(), ..Left::default() };
        for server in (0..SERVERS_MAX as u32).map(ServerId) {
            left.active += boards.active(server);
            left.total += boards.total(server);
            left.templates += boards.sum(server, |counts| &counts.persistent);
        }
        left
    }

    fn reset(&mut self) {
        for (name, _) in SETTINGS {
            let default = match *name {
                "conn_reuse_mode" | "pmtu_disc" => "1",
                "amemthresh" => "1024",
                _ => "0",
            };
            self.records.set(name, default);
        }
        assert_eq!(self.ipvsadm(&["-C"], ""), 0);
        assert_eq!(self.ipvsadm(&["--set", "900", "120", "300"], ""), 0);
        // Records in the trash are forgotten after some minutes without connections.
        for _ in 0..4 {
            self.now = Tick(self.now.0 + 120_000);
            self.records.tick(self.now);
        }
        self.restore();
    }
}

/// Is this a verdict that a worker can carry out?
fn assert_sane(verdict: Verdict) {
    let known = |nic_port: NicPortId| nic_port.0 < NIC_PORTS;
    let sane = match verdict {
        Verdict::Transmit(nic_port) | Verdict::Punt(nic_port) => known(nic_port),
        Verdict::HandOver(_) => false,
        Verdict::AwaitNeighbour { .. } | Verdict::Gathered | Verdict::Drop(_) => true,
    };
    assert!(sane, "{verdict:?}");
}
