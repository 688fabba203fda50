//! The books of a lab's director: what the wires say (the kernel's counters of its cables), what shuntd's workers say,
//! and whether the two agree. No packet may be missing in between.

use crate::kernel;
use crate::lab::Lab;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Deserialize)]
struct Answer {
    workers: Vec<BTreeMap<String, serde_json::Value>>,
}

/// The counters of each worker, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workers {
    workers: Vec<BTreeMap<String, i64>>,
}

impl Workers {
    /// Asks shuntd.
    ///
    /// # Panics
    /// If its answer is not what it should be.
    pub fn of(lab: &Lab) -> Workers {
        let answer = lab.adm_ok("workers --json");
        let parsed: Answer = serde_json::from_str(&answer)
            .unwrap_or_else(|error| panic!("`workers --json`: {error}: {answer}"));
        // Shares and ratios are no counters.
        let whole = |worker: BTreeMap<String, serde_json::Value>| {
            worker.into_iter().filter_map(|(name, value)| Some((name, value.as_i64()?))).collect()
        };
        Workers { workers: parsed.workers.into_iter().map(whole).collect() }
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// A counter of one worker. `dropped` is the sum of all drops.
    ///
    /// # Panics
    /// If there is no such counter.
    pub fn get(&self, worker: usize, counter: &str) -> i64 {
        let value = self.workers[worker].get(counter);
        *value.unwrap_or_else(|| panic!("`shuntadm workers` does not say {counter}: {self:?}"))
    }

    /// A counter's sum over all workers.
    pub fn sum(&self, counter: &str) -> i64 {
        (0..self.count()).map(|worker| self.get(worker, counter)).sum()
    }

    /// Sources minus sinks of one worker, reckoned here: 0 when it balances.
    pub fn imbalance(&self, worker: usize) -> i64 {
        let sum = |counters: &[&str]| counters.iter().map(|counter| self.get(worker, counter)).sum::<i64>();
        sum(&["received", "handed_in", "injected", "released"])
            - sum(&["transmitted", "handed_over", "punted", "gathered", "path_mtu", "dropped"])
    }
}

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
        [self.wire_received, self.wire_transmitted, sum("received"), sum("transmitted"), sum("dropped")]
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
        compare("drops", self.workers.sum("dropped") - before.workers.sum("dropped"), 0);
        for worker in 0..self.workers.count() {
            compare(&format!("imbalance of worker {worker}"), self.workers.imbalance(worker), 0);
        }
        complaints
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "wire in {}, wire out {}", self.wire_received, self.wire_transmitted)?;
        for (index, worker) in self.workers.workers.iter().enumerate() {
            write!(formatter, "; worker {index}:")?;
            for (name, value) in worker.iter().filter(|(_, value)| **value != 0) {
                write!(formatter, " {name} {value}")?;
            }
        }
        Ok(())
    }
}
