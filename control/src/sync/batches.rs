//! Records gathered into datagrams, and when those leave (spec `sync.md` §4).

use super::message::{Draft, Version};
use shunt_engine::{ConnectionInfo, Tick};
use std::collections::VecDeque;
use std::net::IpAddr;

/// How old the first record of a datagram that is not full gets, milliseconds.
const FLUSH_MS: u64 = 2_000;

/// What one socket has to send.
#[derive(Debug, Default)]
struct Lane {
    /// Not full yet, and when its first record came.
    draft: Option<(Draft, Tick)>,
    /// With the number of their records.
    full: VecDeque<(Vec<u8>, usize)>,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Yes,
    /// It is lost: there is no use in trying again.
    Refused,
    /// The socket takes no more at present.
    Full,
}

/// The datagrams of a master, by socket.
#[derive(Debug)]
pub struct Batches {
    lanes: Vec<Lane>,
    syncid: u8,
    maxlen: usize,
    /// Datagrams that had to be thrown away because they could not be sent in time.
    discarded: u64,
}

impl Batches {
    /// For so many sockets, and datagrams of at most `maxlen` bytes.
    #[must_use]
    pub fn new(sockets: usize, syncid: u8, maxlen: u16) -> Batches {
        let lanes = (0..sockets.max(1)).map(|_| Lane::default()).collect();
        Batches { lanes, syncid, maxlen: usize::from(maxlen), discarded: 0 }
    }

    /// Adds a record. `waiting_max` datagrams may wait for a socket; those beyond are thrown away. False if the version
    /// cannot say it.
    pub fn add(&mut self, info: &ConnectionInfo, version: Version, waiting_max: usize, now: Tick) -> bool {
        let lane = lane_of(info, self.lanes.len());
        if let Some((draft, _)) = &mut self.lanes[lane].draft {
            if draft.version() == version && draft.push(info) {
                return true;
            }
            self.close(lane, waiting_max);
        }
        let mut draft = Draft::new(version, self.syncid, self.maxlen);
        let sayable = draft.push(info);
        if sayable {
            self.lanes[lane].draft = Some((draft, now));
        }
        sayable
    }

    fn close(&mut self, lane: usize, waiting_max: usize) {
        let lane = &mut self.lanes[lane];
        let Some((draft, _)) = lane.draft.take() else { return };
        let records = draft.records();
        if lane.full.len() < waiting_max {
            lane.full.push_back((draft.finish(), records));
        } else {
            self.discarded += 1;
        }
    }

    /// Hands what is due to `send`, with the number of the socket and that of the records, until that says that the socket
    /// takes no more.
    pub fn flush(&mut self, now: Tick, mut send: impl FnMut(usize, &[u8], usize) -> Sent) {
        for lane in 0..self.lanes.len() {
            let old = |(_, since): &(Draft, Tick)| now.0.saturating_sub(since.0) >= FLUSH_MS;
            if self.lanes[lane].draft.as_ref().is_some_and(old) {
                self.close(lane, usize::MAX);
            }
            let full = &mut self.lanes[lane].full;
            while let Some((datagram, records)) = full.front() {
                if send(lane, datagram, *records) == Sent::Full {
                    break;
                }
                full.pop_front();
            }
        }
    }

    /// Datagrams that are not sent yet, unfinished ones included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.full.len() + usize::from(lane.draft.is_some())).sum()
    }

    /// Datagrams thrown away since the last call.
    pub fn take_discarded(&mut self) -> u64 {
        std::mem::take(&mut self.discarded)
    }
}

/// A connection always uses the same socket, so that its records stay in order: its ends, folded.
fn lane_of(info: &ConnectionInfo, lanes: usize) -> usize {
    let fold = |address: IpAddr| match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            bits as u16 ^ (bits >> 16) as u16
        }
        IpAddr::V6(address) => address.segments().iter().fold(0, |fold, word| fold ^ word),
    };
    let ends = fold(info.caddr) ^ fold(info.vaddr) ^ info.cport ^ info.vport;
    // A power of two, at most 64.
    usize::from(ends) % lanes
}
