//! The books of a lab's director: what the wires say (the kernel's counters of its cables), what shuntd's workers say,
//! and whether the two agree. No packet may be missing in between.

use crate::kernel;
use crate::lab::Lab;
use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// The counters of each worker, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workers(pub Vec<BTreeMap<String, i64>>);

impl Workers {
    /// Asks shuntd.
    pub fn of(lab: &Lab) -> Workers {
        Workers::parse(&lab.adm_ok("workers"))
    }

    /// Reads what `shuntadm workers` prints: a block for each worker that begins with `worker N`, and in it rows of a
    /// counter's name and its value.
    pub fn parse(text: &str) -> Workers {
        let mut workers = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("worker"), Some(_)) => workers.push(BTreeMap::new()),
                (Some(name), Some(value)) => {
                    if let (Some(worker), Ok(value)) = (workers.last_mut(), value.parse()) {
                        worker.insert(name.to_owned(), value);
                    }
                }
                _ => {}
            }
        }
        Workers(workers)
    }

    /// A counter's sum over all workers.
    pub fn sum(&self, counter: &str) -> i64 {
        self.0.iter().map(|worker| self.get(worker, counter)).sum()
    }

    /// Sources minus sinks of one worker: 0 when it balances.
    pub fn imbalance(&self, worker: usize) -> i64 {
        let of = |counter: &str| self.get(&self.0[worker], counter);
        let sources: i64 = SOURCES.iter().map(|counter| of(counter)).sum();
        let sinks: i64 = SINKS.iter().chain(DROPS).map(|counter| of(counter)).sum();
        sources - sinks
    }

    /// Packets dropped, by any worker and for any reason.
    pub fn drops(&self) -> i64 {
        DROPS.iter().map(|counter| self.sum(counter)).sum()
    }

    fn get(&self, worker: &BTreeMap<String, i64>, counter: &str) -> i64 {
        *worker.get(counter).unwrap_or_else(|| panic!("`shuntadm workers` does not say {counter}: {self:?}"))
    }
}

const SOURCES: &[&str] = &["received", "handed_in", "injected"];
const SINKS: &[&str] = &["transmitted", "handed_over", "punted"];
const DROPS: &[&str] = &[
    "malformed",
    "bad_checksum",
    "no_real_server",
    "server_gone",
    "conn_table_full",
    "ttl_exceeded",
    "too_big",
    "no_route",
    "no_neighbour",
    "headroom",
    "fragment",
    "drop_packet",
    "tx_ring_full",
    "hand_over_full",
    "punt_full",
    "no_twin",
];

/// Both sides of the books at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Frames that the cables brought to the director.
    pub wire_received: i64,
    /// Frames that the director gave to the cables.
    pub wire_transmitted: i64,
    /// What the workers have counted.
    pub workers: Workers,
}

impl Ledger {
    /// Reads both sides once nothing moves any more: twice the same, 100 ms apart.
    ///
    /// # Panics
    /// If something still moves after ten seconds.
    pub fn settled(lab: &Lab) -> Ledger {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut last = Ledger::read(lab);
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = Ledger::read(lab);
            if now.quiet_parts() == last.quiet_parts() {
                return now;
            }
            assert!(Instant::now() < deadline, "the lab does not come to rest: {last}\n{now}");
            last = now;
        }
    }

    fn read(lab: &Lab) -> Ledger {
        let cables =
            lab.on("net", || ["d-wan", "d-lan"].map(|name| kernel::interface(name).expect("the cable")));
        Ledger {
            // What the far end has sent is what comes to the director, and the other way round.
            wire_received: cables.iter().map(|cable| cable.transmitted as i64).sum(),
            wire_transmitted: cables.iter().map(|cable| cable.received as i64).sum(),
            workers: Workers::of(lab),
        }
    }

    fn quiet_parts(&self) -> [i64; 5] {
        let sum = |counter| self.workers.sum(counter);
        [self.wire_received, self.wire_transmitted, sum("received"), sum("transmitted"), self.workers.drops()]
    }

    /// Says what does not add up since `before`: packets that vanished between wire and worker, a worker whose sources
    /// and sinks differ, hand-overs that did not arrive, and drops. Empty if all is well.
    pub fn complaints_since(&self, before: &Ledger) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut compare = |what: &str, one: i64, other: i64| {
            if one != other {
                complaints.push(format!("{what}: {one} and {other}"));
            }
        };
        let change = |counter| self.workers.sum(counter) - before.workers.sum(counter);
        compare("wire → received", self.wire_received - before.wire_received, change("received"));
        compare("transmitted → wire", change("transmitted"), self.wire_transmitted - before.wire_transmitted);
        compare("handed over → handed in", change("handed_over"), change("handed_in"));
        compare("drops", self.workers.drops() - before.workers.drops(), 0);
        for worker in 0..self.workers.0.len() {
            compare(&format!("imbalance of worker {worker}"), self.workers.imbalance(worker), 0);
        }
        complaints
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "wire in {}, wire out {}", self.wire_received, self.wire_transmitted)?;
        for (index, worker) in self.workers.0.iter().enumerate() {
            write!(formatter, "; worker {index}:")?;
            for (name, value) in worker.iter().filter(|(_, value)| **value != 0) {
                write!(formatter, " {name} {value}")?;
            }
        }
        Ok(())
    }
}
