//! Records gathered into datagrams, and when those leave (spec `sync.md` §4).

use super::message::{Draft, Version};
use shunt_engine::{ConnectionInfo, Tick};
use std::collections::VecDeque;
use std::net::IpAddr;

/// How old the first record of a datagram that is not full gets, milliseconds.
const FLUSH_MS: u64 = 2_000;

/// What became of a datagram that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// It is under way.
    Sent,
    /// It never will be: the interface is down, or nobody can be reached.
    Refused,
    /// The socket takes no more at the moment; the datagram stays for the next time.
    Full,
}

/// A datagram, and how many records are in it.
#[derive(Debug)]
struct Finished {
    datagram: Vec<u8>,
    records: usize,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Datagrams.
    pub messages: u64,
    /// Records in them.
    pub records: u64,
    /// Datagrams that will never be sent.
    pub refused: u64,
}

/// What one socket has to send.
#[derive(Debug, Default)]
struct Lane {
    /// Not full yet, and when its first record came.
    draft: Option<(Draft, Tick)>,
    full: VecDeque<Finished>,
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
        if lane.full.len() < waiting_max {
            lane.full.push_back(Finished { records: draft.records(), datagram: draft.finish() });
        } else {
            self.discarded += 1;
        }
    }

    /// Hands what is due to `send`, with the number of the socket, until that says that the socket takes no more.
    pub fn flush(&mut self, now: Tick, mut send: impl FnMut(usize, &[u8]) -> Sending) -> Flushed {
        let mut flushed = Flushed::default();
        for lane in 0..self.lanes.len() {
            let old = |(_, since): &(Draft, Tick)| now.0.saturating_sub(since.0) >= FLUSH_MS;
            if self.lanes[lane].draft.as_ref().is_some_and(old) {
                self.close(lane, usize::MAX);
            }
            let full = &mut self.lanes[lane].full;
            while let Some(Finished { datagram, records }) = full.front() {
                match send(lane, datagram) {
                    Sending::Sent => {
                        flushed.messages += 1;
                        flushed.records += *records as u64;
                    }
                    Sending::Refused => flushed.refused += 1,
                    Sending::Full => break,
                }
                full.pop_front();
            }
        }
        flushed
    }

    /// Datagrams that wait, those that are not full yet included.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let lane = |lane: &Lane| lane.full.len() + usize::from(lane.draft.is_some());
        self.lanes.iter().map(lane).sum::<usize>() as u64
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
