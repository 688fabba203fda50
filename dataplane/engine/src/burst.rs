//! A burst on its way through the engine, in passes: read all packets, then ask for all buckets, then for all connections,
//! then decide. So the cache misses of a burst overlap instead of adding up.

use crate::conn::{Index, NIL, Probe};
use crate::engine::{BURST, Engine, Origin};
use crate::fast::{Gate, Lane, Plain};
use crate::flow::Pass;
use crate::packet::{Kind, Packet, classify};
use crate::tables::{Family, NicPortInfo, Tables};
use crate::tick::Tick;
use crate::verdict::Verdict;
use shunt_wire::{Frame, NicPortId};
use std::ops::Range;

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

/// A packet between the passes: half a cache line.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Written by each packet; means something if the road is [`Road::PlainV4`].
    plain: Plain<u32>,
    probe: Probe,
    guess: Index,
    road: Road,
}

const _: () = assert!(size_of::<Slot>() == 32);

/// A burst between the passes: kept, so that it need not be laid out anew for each. Which of the arrays holds a packet
/// depends on its road.
#[derive(Debug)]
pub(crate) struct Stages {
    slots: [Slot; BURST],
    plain_v6: [Plain<u128>; BURST],
    packets: [Packet; BURST],
}

impl Stages {
    /// Room for a burst.
    pub(crate) fn new() -> Box<Stages> {
        let slot = Slot { plain: Plain::empty(), probe: Probe::NOWHERE, guess: NIL, road: Road::Aside };
        Box::new(Stages {
            slots: [slot; BURST],
            plain_v6: [Plain::empty(); BURST],
            packets: [Packet::EMPTY; BURST],
        })
    }

    /// The packet as the general way wants it.
    #[inline]
    fn packet(&self, place: usize, nic_port: NicPortId) -> Packet {
        match self.slots[place].road {
            Road::PlainV4 => self.slots[place].plain.packet(nic_port),
            Road::PlainV6 => self.plain_v6[place].packet(nic_port),
            Road::General | Road::Aside | Road::HandOver(_) => self.packets[place],
        }
    }

    /// The road of a frame that is not plain IPv4.
    fn read_otherwise<F: Frame>(&mut self, place: usize, trip: &Trip, gate: &Gate, frame: &mut F) -> Road {
        let plain = &mut self.plain_v6[place];
        if plain.read(frame.bytes(), gate) {
            cut_padding(plain.frame_len(), frame);
            return Road::PlainV6;
        }
        classify(trip.tables, trip.origin, frame, &mut self.packets[place]);
        match self.packets[place].kind {
            Kind::Flow | Kind::Follower | Kind::Error { .. } => Road::General,
            Kind::Fragment | Kind::Punt | Kind::Drop(_) => Road::Aside,
        }
    }
}

/// What the packets of a burst have in common.
struct Trip<'a> {
    tables: &'a Tables,
    now: Tick,
    origin: Origin,
    /// No hardware has brought every packet to its owner.
    steers: bool,
}

impl Trip<'_> {
    /// The gate of a NIC port's frames, of which this is the first. What the kernel sends, and what has been gathered, is
    /// never plain. If the port has several addresses, frames to another than the first one's take the general way.
    #[inline(never)]
    fn gate<F: Frame>(&self, first: &F) -> Gate {
        let nic_port = first.nic_port();
        let may_be_plain = matches!(self.origin, Origin::Wire | Origin::HandOver);
        let info = self.tables.nic_ports().get(usize::from(nic_port.0)).filter(|_| may_be_plain);
        let mac_of = |info: &NicPortInfo| match &info.other_macs[..] {
            [] => info.mac,
            _ => first.bytes().get(..6).and_then(|to| info.own_mac(to)).unwrap_or(info.mac),
        };
        Gate::new(nic_port, info.map(mac_of))
    }
}

/// What lies behind the IP packet is padding.
#[inline]
fn cut_padding<F: Frame>(len: usize, frame: &mut F) {
    if frame.bytes().len() > len {
        frame.truncate(len);
    }
}

/// The group that began so many packets before `first`.
#[inline]
fn group(first: usize, before: usize, count: usize) -> Range<usize> {
    match first.checked_sub(before) {
        Some(first) => first.min(count)..count.min(first + GROUP),
        None => 0..0,
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
        let trip = Trip { tables, now, origin, steers };
        let mut gate = frames.first().map_or(Gate::new(NicPortId(0), None), |frame| trip.gate(frame));
        // A step of the loop takes three groups one stage further each, so that the processor computes on one group
        // while memory works for the others.
        for first in (0..count + 2 * GROUP).step_by(GROUP) {
            self.read(group(first, 0, count), &trip, &mut gate, frames);
            self.ask_connections(group(first, GROUP, count));
            self.decide(group(first, 2 * GROUP, count), &trip, frames, verdicts);
        }
    }

    /// First stage: what is it? Asks for its bucket.
    #[inline(never)]
    fn read<F: Frame>(&mut self, group: Range<usize>, trip: &Trip, gate: &mut Gate, frames: &mut [F]) {
        let mut all_plain = true;
        let slots = &mut self.stages.slots[group.clone()];
        for (slot, frame) in slots.iter_mut().zip(&mut frames[group.clone()]) {
            if !gate.is_of(frame.nic_port()) {
                *gate = trip.gate(frame);
            }
            let is_plain = slot.plain.read(frame.bytes(), gate);
            all_plain &= is_plain;
            slot.road = if is_plain { Road::PlainV4 } else { Road::Aside };
            if is_plain {
                cut_padding(slot.plain.frame_len(), frame);
            }
        }
        if !all_plain || trip.steers {
            return self.read_otherwise(group, trip, gate, frames);
        }
        // A loop of its own, because the two together want more registers than there are.
        for slot in slots {
            slot.probe = self.v4.probe(&slot.plain.tuple());
        }
    }

    /// The same for all that is not plain IPv4. Where no hardware has done it: is it another worker's?
    #[inline(never)]
    fn read_otherwise<F: Frame>(
        &mut self,
        group: Range<usize>,
        trip: &Trip,
        gate: &mut Gate,
        frames: &mut [F],
    ) {
        let Engine { stages, core, .. } = self;
        for place in group.clone() {
            let frame = &mut frames[place];
            let nic_port = frame.nic_port();
            if stages.slots[place].road != Road::PlainV4 {
                if !gate.is_of(nic_port) {
                    *gate = trip.gate(frame);
                }
                stages.slots[place].road = stages.read_otherwise(place, trip, gate, frame);
            }
            if trip.steers
                && stages.slots[place].road != Road::Aside
                && let Some(worker) = core.other_owner(trip.tables, &stages.packet(place, nic_port))
            {
                stages.slots[place].road = Road::HandOver(worker);
            }
        }
        for place in group {
            self.stages.slots[place].probe = match self.stages.slots[place].road {
                Road::PlainV6 => self.v6.probe(&self.stages.plain_v6[place].tuple()),
                _ => self.probe(place),
            };
        }
    }

    #[inline(never)]
    fn probe(&self, place: usize) -> Probe {
        let Engine { v4, v6, stages, .. } = self;
        match (stages.slots[place].road, stages.packets[place].family) {
            (Road::PlainV4, _) => v4.probe(&stages.slots[place].plain.tuple()),
            (Road::PlainV6, _) => v6.probe(&stages.plain_v6[place].tuple()),
            (Road::General, Family::V4) => v4.probe(&stages.packets[place].tuple()),
            (Road::General, Family::V6) => v6.probe(&stages.packets[place].tuple()),
            (Road::Aside | Road::HandOver(_), _) => Probe::NOWHERE,
        }
    }

    /// Second stage: asks for the connections.
    #[inline(never)]
    fn ask_connections(&mut self, group: Range<usize>) {
        let mut all_plain = true;
        for slot in &mut self.stages.slots[group.clone()] {
            if slot.road == Road::PlainV4 {
                slot.guess = self.v4.guess(slot.probe);
            } else {
                all_plain = false;
            }
        }
        if !all_plain {
            self.ask_others(group);
        }
    }

    /// The same for all that is not plain IPv4.
    #[inline(never)]
    fn ask_others(&mut self, group: Range<usize>) {
        let Engine { v4, v6, stages, .. } = self;
        let Stages { slots, packets, .. } = &mut **stages;
        for (slot, packet) in slots[group.clone()].iter_mut().zip(&packets[group]) {
            slot.guess = match (slot.road, packet.family) {
                (Road::PlainV4, _) => continue,
                (Road::PlainV6, _) | (Road::General, Family::V6) => v6.guess(slot.probe),
                (Road::General, Family::V4) => v4.guess(slot.probe),
                (Road::Aside | Road::HandOver(_), _) => NIL,
            };
        }
    }

    /// Last stage.
    #[inline(never)]
    fn decide<F: Frame>(
        &mut self,
        group: Range<usize>,
        trip: &Trip,
        frames: &mut [F],
        verdicts: &mut [Verdict],
    ) {
        let mut place = group.start;
        while place < group.end {
            let before = place;
            let Slot { road, guess, .. } = self.stages.slots[place];
            // Without a guess there is no connection.
            if guess != NIL && !self.core.stands_by {
                match road {
                    Road::PlainV4 => {
                        place += self.run_v4::<false, F>(place..group.end, trip, frames, verdicts);
                        place += self.run_v4::<true, F>(place..group.end, trip, frames, verdicts);
                    }
                    Road::PlainV6 => {
                        place += self.run_v6::<false, F>(place..group.end, trip, frames, verdicts);
                        place += self.run_v6::<true, F>(place..group.end, trip, frames, verdicts);
                    }
                    Road::General | Road::Aside | Road::HandOver(_) => {}
                }
            }
            if guess == NIL {
                place += match road {
                    Road::PlainV4 => self.open_v4(place..group.end, trip, frames, verdicts),
                    Road::PlainV6 => self.open_v6(place..group.end, trip, frames, verdicts),
                    Road::General | Road::Aside | Road::HandOver(_) => 0,
                };
            }
            if place == before {
                verdicts[place] = self.decide_otherwise(place, trip, &mut frames[place]);
                place += 1;
            }
        }
    }

    /// Forwards plain IPv4 packets up to the first that is no request of an established connection or, with `REPLIES`, no
    /// reply. Returns how many. Each way a loop of its own that calls nothing, so that what it works with stays in
    /// registers.
    #[inline(never)]
    fn run_v4<const REPLIES: bool, F: Frame>(
        &mut self,
        places: Range<usize>,
        trip: &Trip,
        frames: &mut [F],
        verdicts: &mut [Verdict],
    ) -> usize {
        let Engine { v4, core, stages, .. } = self;
        let mut lane = Lane { table: v4, core, tables: trip.tables, now: trip.now };
        let (frames, verdicts) = (&mut frames[places.clone()], &mut verdicts[places.clone()]);
        let mut taken = 0;
        for ((slot, frame), verdict) in stages.slots[places].iter().zip(frames).zip(verdicts) {
            let is_plain = slot.road == Road::PlainV4;
            if !is_plain || lane.forward::<REPLIES, F>(&slot.plain, slot.guess, frame, verdict).is_none() {
                break;
            }
            taken += 1;
        }
        taken
    }

    /// The same for IPv6.
    #[inline(never)]
    fn run_v6<const REPLIES: bool, F: Frame>(
        &mut self,
        places: Range<usize>,
        trip: &Trip,
        frames: &mut [F],
        verdicts: &mut [Verdict],
    ) -> usize {
        let Engine { v6, core, stages, .. } = self;
        let mut lane = Lane { table: v6, core, tables: trip.tables, now: trip.now };
        let (frames, verdicts) = (&mut frames[places.clone()], &mut verdicts[places.clone()]);
        let slots = stages.slots[places.clone()].iter().zip(&stages.plain_v6[places]);
        let mut taken = 0;
        for (((slot, plain), frame), verdict) in slots.zip(frames).zip(verdicts) {
            let is_plain = slot.road == Road::PlainV6;
            if !is_plain || lane.forward::<REPLIES, F>(plain, slot.guess, frame, verdict).is_none() {
                break;
            }
            taken += 1;
        }
        taken
    }

    /// Opens connections for plain IPv4 packets up to the first that is no new flow, or none for the short way. Returns
    /// how many.
    #[inline(never)]
    fn open_v4<F: Frame>(
        &mut self,
        places: Range<usize>,
        trip: &Trip,
        frames: &mut [F],
        verdicts: &mut [Verdict],
    ) -> usize {
        let Engine { v4, core, stages, .. } = self;
        let mut lane = Lane { table: v4, core, tables: trip.tables, now: trip.now };
        let Some(mut openings) = lane.openings() else { return 0 };
        let (frames, verdicts) = (&mut frames[places.clone()], &mut verdicts[places.clone()]);
        let mut taken = 0;
        for ((slot, frame), verdict) in stages.slots[places].iter().zip(frames).zip(verdicts) {
            let may_open = slot.road == Road::PlainV4 && slot.guess == NIL;
            if !may_open || lane.open(&mut openings, &slot.plain, slot.probe, frame, verdict).is_none() {
                break;
            }
            taken += 1;
        }
        taken
    }

    /// The same for IPv6.
    #[inline(never)]
    fn open_v6<F: Frame>(
        &mut self,
        places: Range<usize>,
        trip: &Trip,
        frames: &mut [F],
        verdicts: &mut [Verdict],
    ) -> usize {
        let Engine { v6, core, stages, .. } = self;
        let mut lane = Lane { table: v6, core, tables: trip.tables, now: trip.now };
        let Some(mut openings) = lane.openings() else { return 0 };
        let (frames, verdicts) = (&mut frames[places.clone()], &mut verdicts[places.clone()]);
        let slots = stages.slots[places.clone()].iter().zip(&stages.plain_v6[places]);
        let mut taken = 0;
        for (((slot, plain), frame), verdict) in slots.zip(frames).zip(verdicts) {
            let may_open = slot.road == Road::PlainV6 && slot.guess == NIL;
            if !may_open || lane.open(&mut openings, plain, slot.probe, frame, verdict).is_none() {
                break;
            }
            taken += 1;
        }
        taken
    }

    /// All that the fast path has left.
    #[inline(never)]
    fn decide_otherwise<F: Frame>(&mut self, place: usize, trip: &Trip, frame: &mut F) -> Verdict {
        let Engine { v4, v6, core, stages, fragments, .. } = self;
        let &Trip { tables, now, origin, .. } = trip;
        let Slot { road, probe, guess, .. } = stages.slots[place];
        if let Road::HandOver(worker) = road {
            return Verdict::HandOver(worker);
        }
        let packet = &stages.packet(place, frame.nic_port());
        match (packet.kind, packet.family) {
            (Kind::Flow | Kind::Follower | Kind::Error { .. }, Family::V4) => {
                Pass { table: v4, core, tables, now, origin }.packet(probe, guess, packet, frame)
            }
            (Kind::Flow | Kind::Follower | Kind::Error { .. }, Family::V6) => {
                Pass { table: v6, core, tables, now, origin }.packet(probe, guess, packet, frame)
            }
            _ if origin.is_kernel() => Verdict::Transmit(frame.nic_port()),
            (Kind::Fragment, _) => match core.fragment(tables, origin, packet, frame.bytes()) {
                Some(verdict) => verdict,
                None => fragments.take(packet, frame.bytes(), now, &core.counters),
            },
            (Kind::Punt, _) => Verdict::Punt(frame.nic_port()),
            (Kind::Drop(counter), _) => Verdict::Drop(counter),
        }
    }
}
