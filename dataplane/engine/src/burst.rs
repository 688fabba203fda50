//! A burst on its way through the engine, in passes: read all packets, then ask for all buckets, then for all connections,
//! then decide. So the cache misses of a burst overlap instead of adding up.

use crate::conn::{ConnTable, Index, NIL, Probe};
use crate::engine::{BURST, Core, Engine, Origin};
use crate::fast::{Lane, Plain, Read, family};
use crate::flow::Pass;
use crate::packet::{Kind, Packet, classify};
use crate::tables::{Family, Tables};
use crate::tick::Tick;
use crate::verdict::Verdict;
use shunt_wire::{Frame, NicPortId};

/// Packets that go from stage to stage together: enough for memory to answer meanwhile.
const GROUP: usize = 8;

/// The way that a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    /// Plain IPv4: the fast path is tried first.
    PlainV4,
    /// Plain IPv6.
    PlainV6,
    /// Any other flow, or what belongs to one.
    General,
    /// Not a flow.
    Aside,
    /// To the worker that owns it.
    HandOver(u8),
}

/// A packet between the passes.
#[derive(Clone, Copy, Debug)]
struct Staged {
    road: Road,
    probe: Probe,
    guess: Index,
}

/// A burst between the passes: kept, so that it need not be laid out anew for each. Which of the arrays holds a packet
/// depends on its road.
#[derive(Debug)]
pub(crate) struct Stages {
    staged: [Staged; BURST],
    plain_v4: [Plain<u32>; BURST],
    plain_v6: [Plain<u128>; BURST],
    packets: [Packet; BURST],
}

impl Stages {
    /// Room for a burst.
    pub(crate) fn new() -> Box<Stages> {
        Box::new(Stages {
            staged: [Staged { road: Road::Aside, probe: Probe::NOWHERE, guess: NIL }; BURST],
            plain_v4: [Plain::empty(); BURST],
            plain_v6: [Plain::empty(); BURST],
            packets: [Packet::EMPTY; BURST],
        })
    }

    /// First stage: what is it?
    #[inline]
    fn read<F: Frame>(&mut self, place: usize, tables: &Tables, origin: Origin, frame: &mut F) {
        let may_be_plain = matches!(origin, Origin::Wire | Origin::HandOver);
        let plain = if may_be_plain { self.read_plain(place, tables, frame) } else { None };
        self.staged[place].road = match plain {
            Some((road, len)) => {
                // What lies behind the IP packet is padding.
                if frame.bytes().len() > len {
                    frame.truncate(len);
                }
                road
            }
            None => {
                classify(tables, origin, frame, &mut self.packets[place]);
                road_of(self.packets[place].kind)
            }
        };
    }

    /// The road and the length of a plain frame.
    #[inline]
    fn read_plain<F: Frame>(&mut self, place: usize, tables: &Tables, frame: &F) -> Option<(Road, usize)> {
        let bytes = frame.bytes();
        let mac = &tables.nic_ports().get(usize::from(frame.nic_port().0))?.mac;
        match family(bytes)? {
            Family::V4 => {
                let plain = u32::read(bytes, mac)?;
                self.plain_v4[place] = plain;
                Some((Road::PlainV4, plain.frame_len()))
            }
            Family::V6 => {
                let plain = u128::read(bytes, mac)?;
                self.plain_v6[place] = plain;
                Some((Road::PlainV6, plain.frame_len()))
            }
        }
    }

    /// The packet as the general way wants it.
    #[inline]
    fn packet(&self, place: usize, nic_port: NicPortId) -> Packet {
        match self.staged[place].road {
            Road::PlainV4 => self.plain_v4[place].packet(nic_port),
            Road::PlainV6 => self.plain_v6[place].packet(nic_port),
            Road::General | Road::Aside | Road::HandOver(_) => self.packets[place],
        }
    }

    /// Where no hardware has done it: is it another worker's?
    fn steer(&mut self, place: usize, core: &Core, tables: &Tables, nic_port: NicPortId) {
        if self.staged[place].road != Road::Aside
            && let Some(worker) = core.other_owner(tables, &self.packet(place, nic_port))
        {
            self.staged[place].road = Road::HandOver(worker);
        }
    }

    /// Second stage: asks for the bucket.
    #[inline]
    fn ask_bucket(&mut self, place: usize, v4: &ConnTable<u32>, v6: &ConnTable<u128>) {
        self.staged[place].probe = if self.staged[place].road == Road::PlainV4 {
            v4.probe(&self.plain_v4[place].tuple())
        } else {
            self.probe(place, v4, v6)
        };
    }

    /// Third stage: asks for the connection.
    #[inline]
    fn ask_connection(&mut self, place: usize, v4: &ConnTable<u32>, v6: &ConnTable<u128>) {
        let Staged { road, probe, .. } = self.staged[place];
        self.staged[place].guess =
            if road == Road::PlainV4 { v4.guess(probe) } else { self.guess(place, v4, v6) };
    }

    fn probe(&self, place: usize, v4: &ConnTable<u32>, v6: &ConnTable<u128>) -> Probe {
        match (self.staged[place].road, self.packets[place].family) {
            (Road::PlainV4, _) => v4.probe(&self.plain_v4[place].tuple()),
            (Road::PlainV6, _) => v6.probe(&self.plain_v6[place].tuple()),
            (Road::General, Family::V4) => v4.probe(&self.packets[place].tuple()),
            (Road::General, Family::V6) => v6.probe(&self.packets[place].tuple()),
            (Road::Aside | Road::HandOver(_), _) => Probe::NOWHERE,
        }
    }

    fn guess(&self, place: usize, v4: &ConnTable<u32>, v6: &ConnTable<u128>) -> Index {
        let Staged { road, probe, .. } = self.staged[place];
        match (road, self.packets[place].family) {
            (Road::PlainV4, _) | (Road::General, Family::V4) => v4.guess(probe),
            (Road::PlainV6, _) | (Road::General, Family::V6) => v6.guess(probe),
            (Road::Aside | Road::HandOver(_), _) => NIL,
        }
    }
}

/// The group that began so many packets before `first`.
#[inline]
fn group(first: usize, before: usize, count: usize) -> std::ops::Range<usize> {
    match first.checked_sub(before) {
        Some(first) => first..count.min(first + GROUP),
        None => 0..0,
    }
}

fn road_of(kind: Kind) -> Road {
    match kind {
        Kind::Flow | Kind::Follower | Kind::Error { .. } => Road::General,
        Kind::Fragment | Kind::Punt | Kind::Drop(_) => Road::Aside,
    }
}

impl Engine {
    /// Decides on a burst of at most [`BURST`] packets and rewrites those that go on. `verdicts` gets one for each.
    ///
    /// # Panics
    /// If there are more packets than [`BURST`] or fewer verdicts than packets: a mistake of the caller.
    pub fn process_burst<F: Frame>(
        &mut self,
        tables: &Tables,
        now: Tick,
        origin: Origin,
        frames: &mut [F],
        verdicts: &mut [Verdict],
    ) {
        let count = frames.len();
        assert!(count <= BURST && count <= verdicts.len());
        self.core.observe(tables.settings());
        for frame in frames.iter() {
            shunt_hint::prefetch(frame.bytes());
        }
        let steers =
            self.steer_first && origin == Origin::Wire || self.core.workers > 1 && origin == Origin::Twin;
        // A step of the loop takes three groups one stage further each, so that the processor computes on one group
        // while memory works for the others.
        for first in (0..count + 2 * GROUP).step_by(GROUP) {
            for place in group(first, 0, count) {
                let frame = &mut frames[place];
                self.stages.read(place, tables, origin, frame);
                if steers {
                    self.stages.steer(place, &self.core, tables, frame.nic_port());
                }
                self.stages.ask_bucket(place, &self.v4, &self.v6);
            }
            for place in group(first, GROUP, count) {
                self.stages.ask_connection(place, &self.v4, &self.v6);
            }
            for place in group(first, 2 * GROUP, count) {
                verdicts[place] = self.decide(place, tables, now, origin, &mut frames[place]);
            }
        }
    }

    /// Last pass.
    #[inline]
    fn decide<F: Frame>(
        &mut self,
        place: usize,
        tables: &Tables,
        now: Tick,
        origin: Origin,
        frame: &mut F,
    ) -> Verdict {
        let Engine { v4, v6, core, stages, .. } = self;
        let Staged { road, guess, .. } = stages.staged[place];
        // One comparison for what comes most, rather than a jump through a table.
        let done = if road == Road::PlainV4 {
            Lane { table: v4, core, tables, now }.forward(&stages.plain_v4[place], guess, frame)
        } else {
            match road {
                Road::PlainV6 => {
                    Lane { table: v6, core, tables, now }.forward(&stages.plain_v6[place], guess, frame)
                }
                Road::HandOver(worker) => Some(Verdict::HandOver(worker)),
                Road::PlainV4 | Road::General | Road::Aside => None,
            }
        };
        match done {
            Some(verdict) => verdict,
            None => self.decide_generally(place, tables, now, origin, frame),
        }
    }

    #[inline(never)]
    fn decide_generally<F: Frame>(
        &mut self,
        place: usize,
        tables: &Tables,
        now: Tick,
        origin: Origin,
        frame: &mut F,
    ) -> Verdict {
        let Engine { v4, v6, core, stages, fragments, .. } = self;
        let packet = &stages.packet(place, frame.nic_port());
        let Staged { probe, guess, .. } = stages.staged[place];
        match (packet.kind, packet.family) {
            (Kind::Flow | Kind::Follower | Kind::Error { .. }, Family::V4) => {
                Pass { table: v4, core, tables, now, origin }.packet(probe, guess, packet, frame)
            }
            (Kind::Flow | Kind::Follower | Kind::Error { .. }, Family::V6) => {
                Pass { table: v6, core, tables, now, origin }.packet(probe, guess, packet, frame)
            }
            _ if origin.is_kernel() => Verdict::Transmit(frame.nic_port()),
            (Kind::Fragment, _) => match core.fragment(tables, origin, packet) {
                Some(verdict) => verdict,
                None => fragments.take(packet, frame.bytes(), now, &core.counters),
            },
            (Kind::Punt, _) => Verdict::Punt(frame.nic_port()),
            (Kind::Drop(counter), _) => Verdict::Drop(counter),
        }
    }
}
