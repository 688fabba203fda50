//! Moments at which the kernel's clock and ours may disagree about what has expired, and how to keep out of them.
//!
//! The kernel's timer wheel is coarse: a timer goes off up to one granule of its level late. An entry that is due here
//! may therefore live on there for seconds, and a packet that meets it in between is answered otherwise. That is no
//! fault of either, so nothing is let happen in such moments: the player waits until they are over.
//!
//! A template that is due lives on for a minute if a connection still uses it, and so does a control connection of FTP for
//! its data connections. If one of its client's connections is due at about that time, it is open which goes first, and
//! so for how long the other stays. That is waited out too: in the end both are gone.

use shunt_engine::ConnectionInfo;
use shunt_replay::late::granule_ms;
use std::collections::HashMap;
use std::net::IpAddr;

/// Entries are told by their addresses, ports, protocol, and whether they are templates.
type Key = (IpAddr, u16, IpAddr, u16, u8, bool);

/// IPVS connection flag of templates (spec `connections.md` §1.3).
const TEMPLATE: u32 = 0x1000;

/// How long before an entry is due nothing may happen: a step takes some clock ticks.
const BEFORE_MS: u64 = 250;
/// And how long after it must be gone.
const AFTER_MS: u64 = 150;
/// Two looks at one timer may differ by so much.
const JITTER_MS: u64 = 30;

/// A timer.
#[derive(Clone, Copy, Debug)]
struct Timer {
    due_ms: u64,
    /// What it was armed with.
    armed_ms: u64,
    /// How late the kernel may be already: templates begin each step of 60 s when the last one ended.
    lag_ms: u64,
}

/// All timers that are known.
#[derive(Clone, Debug, Default)]
pub struct Slack {
    timers: HashMap<Key, Timer>,
    /// Reassembly of incomplete datagrams.
    datagrams: Vec<Timer>,
    /// Times until which it is open whether some template lives.
    races: Vec<u64>,
}

/// Could a template of this client's network be that of the other client? Scenarios know no larger networks than these.
fn same_net(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets()[..8] == other.octets()[..8],
        _ => false,
    }
}

/// May it live on for the sake of others: is it a template, or a control connection of FTP?
fn may_hold(&(_, _, _, vport, protocol, is_template): &Key) -> bool {
    is_template || protocol == 6 && vport == 21
}

impl Timer {
    fn over_ms(&self) -> u64 {
        self.due_ms + self.lag_ms + granule_ms(self.armed_ms) + AFTER_MS
    }

    fn is_unclear(&self, now_ms: u64) -> bool {
        self.due_ms < now_ms + BEFORE_MS && now_ms < self.over_ms()
    }
}

impl Slack {
    /// Looks at the entries as they are now.
    pub fn observe(&mut self, now_ms: u64, entries: &[ConnectionInfo]) {
        self.races.extend(self.race(now_ms));
        self.races.retain(|until_ms| now_ms < *until_ms);
        let mut seen = HashMap::new();
        for entry in entries {
            let key = (
                entry.caddr,
                entry.cport,
                entry.vaddr,
                entry.vport,
                entry.protocol,
                entry.flags & TEMPLATE != 0,
            );
            let fresh = Timer { due_ms: now_ms + entry.expires_ms, armed_ms: entry.expires_ms, lag_ms: 0 };
            let timer = match self.timers.get(&key) {
                Some(old) if old.due_ms.abs_diff(fresh.due_ms) <= JITTER_MS => *old,
                // Went off, and was armed again: the kernel does that later.
                Some(old) if may_hold(&key) && old.due_ms <= now_ms => {
                    Timer { lag_ms: old.lag_ms + granule_ms(old.armed_ms), ..fresh }
                }
                _ => fresh,
            };
            seen.insert(key, timer);
        }
        // What is gone because it was due may live on in the kernel.
        for (key, timer) in &self.timers {
            if !seen.contains_key(key) && timer.due_ms <= now_ms + BEFORE_MS && now_ms < timer.over_ms() {
                seen.insert(*key, *timer);
            }
        }
        self.timers = seen;
        self.datagrams.retain(|timer| now_ms < timer.over_ms());
    }

    /// If a template, or a control connection of FTP, was due since the last look, and a connection of its client may have
    /// ended before that or after it: until when it may live.
    fn race(&self, now_ms: u64) -> Option<u64> {
        const STEP_MS: u64 = 60_000;
        let mut until_ms = None;
        let due = |(key, timer): &(&Key, &Timer)| may_hold(key) && timer.due_ms <= now_ms;
        for (holder, timer) in self.timers.iter().filter(due) {
            let held = |(key, _): &(&Key, &Timer)| !key.5 && *key != holder && same_net(key.0, holder.0);
            for (_, connection) in self.timers.iter().filter(held) {
                // Armed at the same moment for the same time, the connection goes before its template in both.
                let together = holder.5
                    && connection.due_ms.abs_diff(timer.due_ms) <= JITTER_MS
                    && connection.armed_ms.abs_diff(timer.armed_ms) <= JITTER_MS
                    && timer.lag_ms == 0;
                let ended = connection.due_ms <= now_ms + BEFORE_MS;
                if !together && ended && connection.over_ms() >= timer.due_ms {
                    let last = connection.over_ms().max(timer.over_ms());
                    until_ms = until_ms.max(Some(last + STEP_MS + 2 * granule_ms(STEP_MS) + AFTER_MS));
                }
            }
        }
        until_ms
    }

    /// Fragments arrived that make no whole datagram.
    pub fn incomplete(&mut self, now_ms: u64, is_v4: bool) {
        let armed_ms = if is_v4 { 30_000 } else { 60_000 };
        self.datagrams.push(Timer { due_ms: now_ms + armed_ms, armed_ms, lag_ms: 0 });
    }

    /// If things are unclear now: until when.
    #[must_use]
    pub fn unclear_until(&self, now_ms: u64) -> Option<u64> {
        let timers = self.timers.values().chain(&self.datagrams);
        let timers = timers.filter(|timer| timer.is_unclear(now_ms)).map(Timer::over_ms);
        timers.chain(self.races.iter().copied().filter(|until_ms| now_ms < *until_ms)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granules() {
        // Measured on the kernel: 10 s end 0.2 s late at most, 60 s up to 4.4 s, 900 s up to 16 s.
        let all = [100, 2_000, 10_000, 60_000, 300_000, 900_000].map(granule_ms);
        assert_eq!(all, [10, 80, 640, 5_120, 5_120, 40_960]);
    }

    #[test]
    fn a_template_and_a_connection_may_race() {
        let key = |is_template| ([192, 0, 2, 1].into(), 1, [10, 0, 1, 1].into(), 80, 6, is_template);
        let timer = |due_ms, armed_ms| Timer { due_ms, armed_ms, lag_ms: 0 };
        let race = |connection, now_ms| {
            let timers = HashMap::from([(key(true), timer(60_000, 60_000)), (key(false), connection)]);
            Slack { timers, ..Slack::default() }.race(now_ms)
        };
        let until = 62_000 + 5_120 + 150 + 60_000 + 2 * 5_120 + 150;
        assert_eq!(race(timer(62_000, 60_000), 62_500), Some(until));
        assert_eq!(race(timer(62_000, 60_000), 59_000), None, "not yet");
        assert_eq!(race(timer(60_010, 60_000), 61_000), None, "together");
        assert_eq!(race(timer(300_000, 300_000), 61_000), None, "both live on");
        assert!(race(timer(900_000, 900_000), 910_000).is_some(), "after many steps");
        assert_eq!(race(timer(50_000, 10_000), 61_000), None, "long before");
    }

    #[test]
    fn unclear_moments() {
        let mut slack = Slack::default();
        slack.incomplete(1_000, true);
        assert_eq!(slack.unclear_until(30_000), None);
        assert_eq!(slack.unclear_until(30_900), Some(31_790));
        assert_eq!(slack.unclear_until(31_800), None);
    }
}
