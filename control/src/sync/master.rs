//! The master: workers' announcements become datagrams.

use super::batches::{Batches, Sent};
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
            batches.add(&info, version, settings.qlen_max as usize, now);
        });
        add(&parts.counters.sync_discarded_messages, batches.take_discarded());
        taken
    }

    /// Hands the datagrams that are due to `send`, with the number of the socket, until that says that the socket takes
    /// no more.
    pub fn flush(&mut self, now: Tick, mut send: impl FnMut(usize, &[u8]) -> Sent) {
        let counters = &self.parts.counters;
        self.batches.flush(now, |socket, datagram, records| {
            let sent = send(socket, datagram);
            match sent {
                Sent::Yes => {
                    add(&counters.sync_sent_messages, 1);
                    add(&counters.sync_sent_records, records as u64);
                }
                Sent::Refused => add(&counters.sync_send_errors, 1),
                Sent::Full => {}
            }
            sent
        });
    }
}

impl Drop for Master {
    /// What was not sent is lost.
    fn drop(&mut self) {
        add(&self.parts.counters.sync_discarded_messages, self.batches.waiting() as u64);
    }
}
