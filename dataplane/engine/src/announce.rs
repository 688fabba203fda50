//! What a synchronisation master has to be told of: connections and templates, by the kernel's rules (spec `sync.md` §4).
//!
//! A worker decides for its connections and puts them into a ring that control empties. Templates are everyone's and lie
//! behind locks, so the worker only names them; whoever empties the ring decides about those. So it is with the control
//! connection of an FTP data connection, which may be another worker's. Without a master all of this costs one branch per
//! request.

use crate::conn::{Address, Index, NIL, flag};
use crate::connection_info::ConnectionInfo;
use crate::counters::{Counter, WorkerCounters};
use crate::dump;
use crate::flow::Pass;
use crate::ftp::{ControlId, Expectations};
use crate::persist::{Handle, Templates};
use crate::state::{protocol, sctp, tcp};
use crate::tables::{Family, SyncRules};
use crate::tick::Tick;
use rtrb::{Consumer, Producer, RingBuffer};

/// Announcements that wait, at most: at a million per second, control may be away for 16 ms.
const RING_LEN: usize = 16_384;

/// One word to the master.
#[derive(Debug)]
// Nearly all are the large one.
#[allow(clippy::large_enum_variant)]
enum Announcement {
    Connection {
        info: ConnectionInfo,
        /// The control connection of a data connection.
        control: Option<ControlId>,
    },
    /// A data connection of this control connection was used.
    Control(ControlId),
    /// A template was used, or lives on although its time has run out.
    Template { handle: Handle, outlived: bool },
}

/// A worker's end of the ring.
#[derive(Debug)]
pub struct Outbox(Producer<Announcement>);

/// Control's end of the ring.
#[derive(Debug)]
pub struct Inbox(Consumer<Announcement>);

/// A ring between a worker and control.
#[must_use]
pub fn announcements() -> (Outbox, Inbox) {
    let (producer, consumer) = RingBuffer::new(RING_LEN);
    (Outbox(producer), Inbox(consumer))
}

impl Inbox {
    /// Takes what has been announced, at most as much as the ring holds, and tells `each` of what a peer needs to know.
    pub fn take(
        &mut self,
        (templates, expectations): (&Templates, &Expectations),
        rules: &SyncRules,
        now: Tick,
        mut each: impl FnMut(ConnectionInfo),
    ) {
        let controls = expectations.controls();
        for _ in 0..RING_LEN {
            let Ok(announcement) = self.0.pop() else { return };
            let (info, template) = match announcement {
                Announcement::Connection { control: Some(id), .. }
                    if rules.persist_mode && controls.template(id).is_some() =>
                {
                    (None, None)
                }
                Announcement::Connection { info, .. } => (Some(info), None),
                // What controls the control connection is told as well.
                Announcement::Control(id) => {
                    let template = controls.template(id).map(|handle| (handle, false));
                    (controls.announce(id, rules, now), template)
                }
                Announcement::Template { handle, outlived } => (None, Some((handle, outlived))),
            };
            let template =
                template.and_then(|(handle, outlived)| templates.announce(handle, outlived, rules, now));
            info.into_iter().chain(template).for_each(&mut each);
        }
    }
}

/// When an entry was last announced, and how it was then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// Low bits of the tick (ms) at which it would have expired.
    end: u32,
    /// Announcements within one refresh period.
    retries: u8,
    state: u8,
}

impl Note {
    /// An entry that a peer told of in this state.
    pub(crate) fn told(state: u8, timeout_ms: u32, now: Tick) -> Note {
        Note { end: now.stamp().wrapping_add(timeout_ms), retries: 0, state }
    }

    pub(crate) fn from_bits(bits: u64) -> Note {
        Note { end: bits as u32, retries: (bits >> 32) as u8, state: (bits >> 40) as u8 }
    }

    pub(crate) fn bits(self) -> u64 {
        u64::from(self.end) | u64::from(self.retries) << 32 | u64::from(self.state) << 40
    }
}

/// What the decision about one entry depends on.
pub(crate) struct Candidate {
    pub(crate) is_template: bool,
    /// The state has changed since the last announcement, to one that a peer must know at once.
    pub(crate) at_once: bool,
    pub(crate) state: u8,
    /// Packets from the client.
    pub(crate) packets: u32,
    pub(crate) timeout_ms: u32,
}

impl Candidate {
    /// Is it to be announced? Then returns what to remember. `note` is `None` if it never was.
    pub(crate) fn due(&self, note: Option<Note>, rules: &SyncRules, now: Tick) -> Option<Note> {
        let end = now.stamp().wrapping_add(self.timeout_ms);
        let mut next = Note { end, retries: 0, state: self.state };
        if self.at_once {
            return Some(next);
        }
        if let Some(last) = note.filter(|_| rules.refresh_period_s > 0) {
            let period_ms = rules.refresh_period_s.saturating_mul(1000);
            let shortest_ms = period_ms.min((self.timeout_ms / 2).max(10_000));
            let moved_ms = (end.wrapping_sub(last.end) as i32).unsigned_abs();
            if moved_ms < shortest_ms {
                // `end` moves as time does, so this is the time since the last announcement.
                let waited_ms = end.wrapping_sub(last.end) as i32;
                if last.retries >= rules.retries || waited_ms < (period_ms / 8) as i32 {
                    return None;
                }
                next.retries = last.retries + 1;
            }
        }
        let due = match (rules.period, rules.refresh_period_s) {
            (0, 0) => self.packets == rules.threshold,
            (0, _) => true,
            (period, _) => self.is_template || self.packets % period == rules.threshold,
        };
        due.then_some(next)
    }
}

/// States in which connections are announced: all, or those of this mask; and the state whose announcement can wait.
fn announced_states(protocol: u8) -> Option<(u16, u8)> {
    const TCP: u16 = 1 << tcp::ESTABLISHED
        | 1 << tcp::FIN_WAIT
        | 1 << tcp::CLOSE
        | 1 << tcp::CLOSE_WAIT
        | 1 << tcp::TIME_WAIT;
    const SCTP: u16 = 1 << sctp::ESTABLISHED
        | 1 << sctp::SHUTDOWN_SENT
        | 1 << sctp::SHUTDOWN_RECEIVED
        | 1 << sctp::SHUTDOWN_ACK_SENT
        | 1 << sctp::CLOSED;
    match protocol {
        protocol::TCP => Some((TCP, tcp::ESTABLISHED)),
        protocol::SCTP => Some((SCTP, sctp::ESTABLISHED)),
        _ => None,
    }
}

/// Is a connection to be announced? Then returns what to remember of it. Templates are not decided upon here.
pub(crate) fn due(
    protocol: u8,
    state: u8,
    timeout_ms: u32,
    packets: u32,
    note: Option<Note>,
    rules: &SyncRules,
    now: Tick,
) -> Option<Note> {
    let mut at_once = false;
    if let Some((states, can_wait)) = announced_states(protocol) {
        if states >> state & 1 == 0 {
            return None;
        }
        at_once = state != can_wait && note.is_none_or(|note| note.state != state);
    }
    Candidate { is_template: false, at_once, state, packets, timeout_ms }.due(note, rules, now)
}

fn announce(outbox: &mut Option<Outbox>, counters: &WorkerCounters, announcement: Announcement) {
    let Some(Outbox(ring)) = outbox else { return };
    let taken = ring.push(announcement).is_ok();
    counters.add(if taken { Counter::Announced } else { Counter::AnnouncementLost }, 1);
}

/// Names a template to the master: it was used, or it has outlived its time because connections still use it.
#[inline(never)]
pub(crate) fn template(
    outbox: &mut Option<Outbox>,
    counters: &WorkerCounters,
    handle: Handle,
    outlived: bool,
) {
    announce(outbox, counters, Announcement::Template { handle, outlived });
}

impl<A: Address> Pass<'_, A> {
    /// A packet of the client was followed, and a master runs: tells it, if the time has come.
    #[inline(never)]
    pub(crate) fn announce(&mut self, index: Index) {
        self.announce_with(index, self.table.get(index).in_packets);
    }

    /// A control connection lives on although its time has run out: as with templates, that passes for the packet with
    /// which it is told.
    #[cold]
    pub(crate) fn announce_outlived(&mut self, index: Index) {
        self.announce_with(index, self.tables.settings().sync.threshold);
    }

    fn announce_with(&mut self, index: Index, packets: u32) {
        let rules = self.tables.settings().sync;
        if rules.version == 0 && A::FAMILY == Family::V6 {
            return;
        }
        let announced = self.announce_connection(index, packets, &rules);
        let control = self.table.get(index).control;
        if control != NIL && (announced || rules.version != 0) {
            match ControlId::of_word(control) {
                Some(id) => self.tell_master(Announcement::Control(id)),
                None => self.announce_template(Handle(control)),
            }
        }
    }

    fn tell_master(&mut self, announcement: Announcement) {
        announce(&mut self.core.outbox, &self.core.counters, announcement);
    }

    /// A template was used by a packet.
    pub(crate) fn announce_template(&mut self, handle: Handle) {
        template(&mut self.core.outbox, &self.core.counters, handle, false);
    }

    /// A data connection of FTP is announced by its control connection. IPVS tells of none before its third packet; but
    /// a peer that takes over in between should know it.
    #[cold]
    pub(crate) fn announce_expected(&mut self, info: ConnectionInfo, control: Option<ControlId>) {
        let rules = self.tables.settings().sync;
        if self.core.announces && (rules.version != 0 || A::FAMILY == Family::V4) {
            self.tell_master(Announcement::Connection { info, control });
        }
    }

    fn announce_connection(&mut self, index: Index, packets: u32, rules: &SyncRules) -> bool {
        let conn = self.table.get(index);
        let control = ControlId::of_word(conn.control);
        // Of data connections, whoever empties the ring knows it.
        if rules.persist_mode && conn.control != NIL && control.is_none() {
            return false;
        }
        let helped = conn.has(flag::HELPED);
        // A shift of the stream that is news: without it a peer that takes over would end the connection.
        let news = helped && self.core.ftp.is_news(A::FAMILY, index);
        let (note, packets) = if news { (None, rules.threshold) } else { (self.table.note(index), packets) };
        let next = due(conn.protocol, conn.state, conn.timeout_ms, packets, note, rules, self.now);
        let Some(note) = next else { return false };
        self.table.set_note(index, note);
        let mut info = dump::info(self.table.get(index), self.tables, self.now);
        if helped {
            self.core.ftp.describe(A::FAMILY, index, &mut info);
            self.core.ftp.told(A::FAMILY, index);
        }
        self.tell_master(Announcement::Connection { info, control });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(packets: u32) -> Candidate {
        Candidate { is_template: false, at_once: false, state: 1, packets, timeout_ms: 900_000 }
    }

    fn announced(rules: &SyncRules, packets: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut note = None;
        let mut said = Vec::new();
        for packet in packets {
            // A packet per second.
            let now = Tick(u64::from(packet) * 1000);
            if let Some(next) = candidate(packet).due(note, rules, now) {
                said.push(packet);
                note = Some(next);
            }
        }
        said
    }

    #[test]
    fn threshold_and_period() {
        let rules = SyncRules::default();
        assert_eq!(announced(&rules, 1..160), [3, 53, 103, 153]);
        let once = SyncRules { threshold: 4, period: 0, ..rules };
        assert_eq!(announced(&once, 1..160), [4]);
        let never = SyncRules { threshold: 0, period: 0, ..rules };
        assert_eq!(announced(&never, 1..160), [0; 0]);
    }

    #[test]
    fn refreshes_and_retries() {
        let each = SyncRules { threshold: 0, period: 0, refresh_period_s: 16, ..SyncRules::default() };
        assert_eq!(announced(&each, 1..40), [1, 17, 33]);
        // Two retries, each at least an eighth of the period after the last one.
        let retried = SyncRules { retries: 2, ..each };
        assert_eq!(announced(&retried, 1..30), [1, 3, 5, 21, 23, 25]);
        // Never more seldom than at half of the timeout.
        let rare = SyncRules { refresh_period_s: 100_000, ..each };
        assert_eq!(announced(&rare, 1..1000), [1, 451, 901]);
    }

    #[test]
    fn a_note_survives_its_packing() {
        let note = Note { end: 0xfedc_ba98, retries: 3, state: 13 };
        assert_eq!(Note::from_bits(note.bits()), note);
    }
}
