//! Entries that are gone here, while the kernel may still hold and count them: its timers go off late (rule 8 of
//! [`crate::rules`]).

use shunt_engine::ConnectionInfo;
use std::collections::HashSet;
use std::net::IpAddr;

/// How long after its granule a timer has gone off for sure.
const AFTER_MS: u64 = 150;

type Key = (u8, IpAddr, u16, IpAddr, u16, IpAddr, u16);

fn key(info: &ConnectionInfo) -> Key {
    (info.protocol, info.caddr, info.cport, info.vaddr, info.vport, info.daddr, info.dport)
}

/// Granule of the level of the kernel's wheel that holds a timer, ms: 8 levels of 64 slots, each 8 times as coarse as
/// the last, from ticks of 10 ms.
#[must_use]
pub fn granule_ms(armed_ms: u64) -> u64 {
    const TICK_MS: u64 = 10;
    const SLOTS: u64 = 63;
    let mut granule = TICK_MS;
    while armed_ms >= SLOTS * granule {
        granule *= 8;
    }
    granule
}

/// What has gone of late.
#[derive(Debug, Default)]
pub struct Late {
    /// The entries at the last look, each with the time at which it is due.
    known: Vec<(ConnectionInfo, u64)>,
    /// Server of each that has gone since, and until when the kernel may hold it.
    gone: Vec<((IpAddr, u16), u64)>,
}

impl Late {
    /// Looks at the entries as they are now.
    pub fn look(&mut self, now: Vec<ConnectionInfo>, now_ms: u64) {
        let here: HashSet<Key> = now.iter().map(key).collect();
        for (info, due_ms) in &self.known {
            let until_ms = due_ms + granule_ms(info.timeout_ms.into()) + AFTER_MS;
            let expired = *due_ms <= now_ms && !here.contains(&key(info));
            if expired && !info.is_template() {
                self.gone.push(((info.daddr, info.dport), until_ms));
            }
        }
        self.gone.retain(|(_, until_ms)| now_ms < *until_ms);
        let due_ms = |info: &ConnectionInfo| now_ms + info.expires_ms;
        self.known = now.into_iter().map(|info| (info.clone(), due_ms(&info))).collect();
    }

    /// How many connections of a server the kernel may still count.
    #[must_use]
    pub fn of(&self, daddr: IpAddr, dport: u16) -> u64 {
        self.gone.iter().filter(|(server, _)| *server == (daddr, dport)).count() as u64
    }
}
