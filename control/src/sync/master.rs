//! The master: workers' announcements become datagrams.

use super::batches::{Batches, Flushed, Sending};
use super::counters::add;
use super::daemon::DaemonParts;
use super::message::Version;
use shunt_engine::Tick;

/// What a master has gathered. It reads no clock and owns no socket: who runs it does.
pub struct Master {
    parts: DaemonParts,
    batches: Batches,
}

impl Master {
    /// A master that begins with what is announced from now on.
    #[must_use]
    pub fn new(parts: DaemonParts) -> Master {
        // What was left when the last master was stopped is old.
        parts.dataplane.announcements(&parts.settings.get().rules, &mut |_| {});
        let config = &parts.config;
        let batches = Batches::new(usize::from(config.sockets), config.syncid, config.maxlen);
        Master { parts, batches }
    }

    /// Takes what the workers have announced. Returns how much it was.
    pub fn gather(&mut self, now: Tick) -> usize {
        let Master { parts, batches } = self;
        let settings = parts.settings.get();
        let version = if settings.rules.version == 0 { Version::V0 } else { Version::V1 };
        let mut taken: usize = 0;
        parts.dataplane.announcements(&settings.rules, &mut |info| {
            taken += 1;
            // What version 0 cannot say is not told: a mixed group of directors speaks version 1.
            batches.add(&info, version, settings.qlen_max as usize, now);
        });
        add(&parts.counters.sync_discarded_messages, batches.take_discarded());
        taken
    }

    /// Hands the datagrams that are due to `send`, with the number of the socket, until that says that the socket takes
    /// no more.
    pub fn flush(&mut self, now: Tick, send: impl FnMut(usize, &[u8]) -> Sending) {
        let Flushed { messages, records, refused } = self.batches.flush(now, send);
        let counters = &self.parts.counters;
        add(&counters.sync_sent_messages, messages);
        add(&counters.sync_sent_records, records);
        add(&counters.sync_send_errors, refused);
    }
}

impl Drop for Master {
    /// As in the kernel, what is not sent when the master is stopped is lost.
    fn drop(&mut self) {
        add(&self.parts.counters.sync_discarded_messages, self.batches.waiting());
    }
}
