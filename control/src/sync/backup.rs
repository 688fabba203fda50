//! The backup: datagrams become connections.

use super::counters::add;
use super::daemon::DaemonParts;
use super::message::{Refused, decode};
use shunt_engine::InstallFrom;

/// What a backup does with datagrams. It owns no socket: who runs it does.
pub struct Backup {
    parts: DaemonParts,
}

impl Backup {
    /// A backup.
    #[must_use]
    pub fn new(parts: DaemonParts) -> Backup {
        Backup { parts }
    }

    /// Takes over what a datagram tells of. What cannot be understood is counted, and changes nothing.
    pub fn receive(&mut self, datagram: &[u8]) {
        let DaemonParts { config, dataplane, settings, counters } = &self.parts;
        // A longer one would have been cut by the socket.
        let readable = datagram.len() <= usize::from(config.maxlen);
        let received = if readable { decode(datagram, config.syncid) } else { Err(Refused::Malformed) };
        let received = match received {
            Ok(received) => received,
            Err(Refused::Malformed) => return add(&counters.sync_malformed, 1),
            Err(Refused::SyncId) => return add(&counters.sync_foreign, 1),
        };
        add(&counters.sync_received_messages, 1);
        add(&counters.sync_received_records, received.connections.len() as u64);
        add(&counters.sync_unusable, u64::from(received.unusable));
        add(&counters.sync_broken, u64::from(received.broken));
        // Packets are counted on from the threshold, so that a backup that becomes master keeps the rhythm.
        let in_packets = settings.get().rules.threshold;
        let mut connections = received.connections.into_iter().map(|mut info| {
            info.in_packets = in_packets;
            info
        });
        let tally = dataplane.install(&mut connections, InstallFrom::Peer);
        add(&counters.sync_created, u64::from(tally.created));
        add(&counters.sync_updated, u64::from(tally.updated));
        add(&counters.sync_ignored, u64::from(tally.ignored));
        add(&counters.sync_no_room, u64::from(tally.no_room));
    }
}
