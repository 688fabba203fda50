//! A network that loses, doubles and reorders.

use fastrand::Rng;
use shunt_wire::NicPortId;
use std::collections::BTreeMap;

/// A packet on its way to the director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) nic_port: NicPortId,
    pub(super) bytes: Vec<u8>,
}

/// Percent of packets that are lost, doubled, late.
const LOST: u32 = 3;
const DOUBLED: u32 = 3;
const LATE: u32 = 10;

/// Packets by the time of their arrival, and their number.
#[derive(Debug, Default)]
pub(super) struct Network {
    ahead: BTreeMap<(u64, u64), Packet>,
    sent: u64,
}

impl Network {
    pub(super) fn send(&mut self, rng: &mut Rng, now_ms: u64, packet: Packet) {
        let copies = match rng.u32(0..100) {
            0..LOST => 0,
            chance if chance < LOST + DOUBLED => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = if rng.u32(0..100) < LATE { rng.u64(0..200) } else { 1 };
            self.sent += 1;
            self.ahead.insert((now_ms + delay, self.sent), packet.clone());
        }
    }

    /// What has arrived by now, in order.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<Packet> {
        let later = self.ahead.split_off(&(now_ms + 1, 0));
        std::mem::replace(&mut self.ahead, later).into_values().collect()
    }

    /// Loses all that is on its way.
    pub(super) fn clear(&mut self) {
        self.ahead.clear();
    }
}
