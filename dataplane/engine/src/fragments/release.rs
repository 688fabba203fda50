//! Deciding on datagrams that are complete, or given up, and sending them on in fresh frames.

use super::cut::Cut;
use super::datagram::Ready;
use super::piece::{FRAGMENT_HEADER_LEN, fragment_header_at};
use super::store::Store;
use super::whole::Whole;
use crate::conn::Address;
use crate::counters::Counter;
use crate::engine::{Core, Engine, Origin};
use crate::flow::Pass;
use crate::icmp::Answer;
use crate::packet::{IPV6_LEN, Kind, Packet, classify};
use crate::tables::{Family, Tables};
use crate::tick::Tick;
use crate::verdict::Verdict;
use shunt_wire::{Frame, NicPortId, checksum};

impl Engine {
    /// Are there fragments to be sent on, or packets to be cut? Then call [`Engine::release`].
    #[inline]
    #[must_use]
    pub fn has_datagrams(&self) -> bool {
        self.fragments.has_ready() || !self.core.long.is_empty()
    }

    /// Decides on all datagrams that have become complete, or were given up, and cuts packets that are too long for their
    /// way. The fragments are written into frames that `fresh` makes: empty ones, as if received from that NIC port, with room for what that receives. `each` gets
    /// them in order, to be treated like those of a burst, and they are counted as `released`.
    pub fn release<F: Frame>(
        &mut self,
        tables: &Tables,
        now: Tick,
        mut fresh: impl FnMut(NicPortId) -> Option<F>,
        mut each: impl FnMut(F, Verdict),
    ) {
        self.core.observe(tables.settings());
        while let Some(ready) = self.fragments.next_ready() {
            let mut release = Release { engine: self, tables, now, ready };
            if ready.timed_out {
                release.give_up(&mut fresh, &mut each);
            } else {
                release.decide(&mut fresh, &mut each);
            }
            self.fragments.free(ready.index);
        }
        let Core { long, counters, .. } = &mut self.core;
        long.release(counters, &mut fresh, &mut each);
    }
}

/// One datagram on its way out.
struct Release<'a> {
    engine: &'a mut Engine,
    tables: &'a Tables,
    now: Tick,
    ready: Ready,
}

impl Release<'_> {
    fn decide<F: Frame>(
        &mut self,
        fresh: &mut impl FnMut(NicPortId) -> Option<F>,
        each: &mut impl FnMut(F, Verdict),
    ) {
        let Engine { fragments, whole, core, .. } = &mut *self.engine;
        let Some(cut) = assemble(fragments, &self.ready, whole) else { return self.drop(Counter::Fragment) };
        let len = whole.bytes().len();
        core.cut_mtu = u16::MAX;
        let answered = core.counters.get(Counter::Answered);
        match self.verdict() {
            Verdict::HandOver(worker) => self.pass_on(worker, fresh, each),
            Verdict::Drop(counter) => self.drop(counter),
            verdict => {
                let core = &mut self.engine.core;
                let shape = if core.counters.get(Counter::Answered) != answered {
                    Shape::Whole
                } else {
                    shape(&self.ready, core, self.tables, verdict, cut, len, &self.engine.whole)
                };
                self.send(shape, verdict, fresh, each);
            }
        }
    }

    /// What any packet goes through, for the datagram.
    fn verdict(&mut self) -> Verdict {
        let Engine { v4, v6, core, whole, .. } = &mut *self.engine;
        let (tables, now) = (self.tables, self.now);
        let origin = Origin::Fragments { largest: self.ready.largest };
        let atomic = self.ready.pieces == 1;
        let mut packet = Packet::EMPTY;
        classify(tables, origin, whole, &mut packet);
        if core.workers > 1
            && let Some(verdict) = core.hand_over(tables, &packet)
        {
            return verdict;
        }
        match (packet.kind, packet.family) {
            // As the kernel: an ICMPv6 error that needs fragments is none (spec `connections.md` §11).
            (Kind::Fragment, _) => Verdict::Drop(Counter::Fragment),
            (Kind::Error { .. }, Family::V6) if !atomic => Verdict::Drop(Counter::Fragment),
            (Kind::Punt, _) => Verdict::Punt(packet.nic_port),
            (Kind::Drop(counter), _) => Verdict::Drop(counter),
            (_, Family::V4) => Pass { table: v4, core, tables, now, origin }.lone_packet(&packet, whole),
            (_, Family::V6) => Pass { table: v6, core, tables, now, origin }.lone_packet(&packet, whole),
        }
    }

    /// Tells the sender that its datagram did not become complete in time.
    fn give_up<F: Frame>(
        &mut self,
        fresh: &mut impl FnMut(NicPortId) -> Option<F>,
        each: &mut impl FnMut(F, Verdict),
    ) {
        let Engine { v4, v6, core, whole, fragments, .. } = &mut *self.engine;
        let (tables, now) = (self.tables, self.now);
        whole.restart(self.ready.nic_port);
        if let Some(first) = fragments.pieces(self.ready.index).next()
            && whole.append(first.frame_len)
        {
            fragments.copy(&first, 0, whole.bytes_mut());
        }
        let origin = Origin::Fragments { largest: self.ready.largest };
        let mut packet = Packet::EMPTY;
        classify(tables, origin, whole, &mut packet);
        let (answer, reason) = (Answer::FragmentsMissing, Counter::FragmentTimeout);
        let verdict = match packet.family {
            _ if packet.kind != Kind::Fragment || reports_an_error(&packet, whole.bytes()) => {
                Verdict::Drop(reason)
            }
            Family::V4 => {
                Pass { table: v4, core, tables, now, origin }.answer(answer, reason, &packet, whole)
            }
            Family::V6 => {
                Pass { table: v6, core, tables, now, origin }.answer(answer, reason, &packet, whole)
            }
        };
        self.drop(reason);
        if !matches!(verdict, Verdict::Drop(_)) {
            self.send(Shape::Whole, verdict, fresh, each);
        }
    }

    /// Counts all fragments as dropped.
    fn drop(&self, reason: Counter) {
        let counters = &self.engine.core.counters;
        counters.add(Counter::Released, self.ready.pieces);
        counters.add(reason, self.ready.pieces);
    }

    /// Gives the fragments, as they came, to the worker that owns the flow.
    fn pass_on<F: Frame>(
        &self,
        worker: u8,
        fresh: &mut impl FnMut(NicPortId) -> Option<F>,
        each: &mut impl FnMut(F, Verdict),
    ) {
        let fragments = &self.engine.fragments;
        for piece in fragments.pieces(self.ready.index) {
            self.emit(Verdict::HandOver(worker), fresh, each, |frame| {
                let fits = frame.append(piece.frame_len);
                if fits {
                    fragments.copy(&piece, 0, frame.bytes_mut());
                }
                fits
            });
        }
    }

    fn send<F: Frame>(
        &self,
        shape: Shape,
        verdict: Verdict,
        fresh: &mut impl FnMut(NicPortId) -> Option<F>,
        each: &mut impl FnMut(F, Verdict),
    ) {
        let whole = self.engine.whole.bytes();
        match shape {
            Shape::Whole => self.emit(verdict, fresh, each, |frame| {
                let fits = frame.append(whole.len());
                if fits {
                    frame.bytes_mut().copy_from_slice(whole);
                }
                fits
            }),
            Shape::AsItCame(cut) => {
                for piece in self.engine.fragments.pieces(self.ready.index) {
                    self.emit(verdict, fresh, each, |frame| cut.write(whole, piece.offset, piece.len, frame));
                }
            }
            Shape::Grown(cut) => {
                let grown = whole.len() - cut.data_at - self.ready.len;
                for piece in self.engine.fragments.pieces(self.ready.index) {
                    let (offset, len) = match piece.offset {
                        0 => (0, piece.len + grown),
                        offset => (offset + grown, piece.len),
                    };
                    self.emit(verdict, fresh, each, |frame| cut.write(whole, offset, len, frame));
                }
            }
            Shape::Even(cut, limit) => {
                let (step, len) = (cut.step(limit), whole.len() - cut.data_at);
                for offset in (0..len).step_by(step) {
                    let part = step.min(len - offset);
                    self.emit(verdict, fresh, each, |frame| cut.write(whole, offset, part, frame));
                }
            }
            Shape::TooBig => self.drop(Counter::TooBig),
        }
    }

    /// One frame, written by `write`, which says whether it had room.
    fn emit<F: Frame>(
        &self,
        verdict: Verdict,
        fresh: &mut impl FnMut(NicPortId) -> Option<F>,
        each: &mut impl FnMut(F, Verdict),
        write: impl FnOnce(&mut F) -> bool,
    ) {
        let counters = &self.engine.core.counters;
        counters.add(Counter::Released, 1);
        let Some(mut frame) = fresh(self.ready.nic_port) else {
            counters.add(Counter::NoBuffer, 1);
            return;
        };
        if write(&mut frame) {
            each(frame, verdict);
        } else {
            counters.add(Counter::NoBuffer, 1);
        }
    }
}

/// How a datagram leaves.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// In one frame.
    Whole,
    /// In fragments of the lengths in which it came.
    AsItCame(Cut),
    /// Longer than it came, as in a tunnel, and cut where it was cut before: the first fragment has the new headers.
    Grown(Cut),
    /// In fragments of at most this length, IP header included.
    Even(Cut, usize),
    /// Not at all: only the sender may cut it smaller.
    TooBig,
}

/// As the kernel cuts: no fragment is larger than the largest that came, so that nobody on the way needs to know more of
/// the path than the sender did. `len` is the length of the frame before the decision.
fn shape(
    ready: &Ready,
    core: &mut Core,
    tables: &Tables,
    verdict: Verdict,
    cut: Cut,
    len: usize,
    whole: &Whole,
) -> Shape {
    let bytes = whole.bytes();
    let mtu_of = |nic_port: NicPortId| tables.nic_ports().get(usize::from(nic_port.0)).map(|info| info.mtu);
    let mtu = match verdict {
        Verdict::Transmit(nic_port) => mtu_of(nic_port).unwrap_or(u16::MAX).min(core.cut_mtu),
        _ => core.cut_mtu,
    };
    let (mtu, largest, ip_len) = (usize::from(mtu), usize::from(ready.largest), bytes.len() - ready.l3);
    if bytes.len() != len {
        // A tunnel, an ICMP error that was shortened, or an answer of FTP with another address.
        let id = u32::from(core.next_ip_id()) | u32::from(core.worker) << 16;
        // What the kernel knows of the largest fragment is lost in all tunnels but those of IPv4 in IPv4.
        let outer = Cut::outer(bytes, ready.l3, id);
        let both_v4 = (ready.family, outer.family) == (Family::V4, Family::V4);
        let limit = if both_v4 { largest.min(mtu) } else { mtu };
        return match ip_len <= limit {
            true => Shape::Whole,
            false if keeps_its_cuts(ready, &outer, bytes.len(), limit) => Shape::Grown(outer),
            false => Shape::Even(outer, limit),
        };
    }
    match ready.family {
        Family::V6 if ip_len <= largest.min(mtu) => Shape::Whole,
        _ if largest <= mtu => Shape::AsItCame(Cut { dont_fragment: false, ..cut }),
        Family::V4 => Shape::Even(cut, mtu),
        Family::V6 => Shape::TooBig,
    }
}

/// In the kernel the fragments of IPv6 stay what they are while they travel together, and leave so if the first can take
/// the new headers: it must still fit, and end at a multiple of 8 bytes. `len` is that of the whole frame.
fn keeps_its_cuts(ready: &Ready, outer: &Cut, len: usize, limit: usize) -> bool {
    let Some(grown) = len.checked_sub(outer.data_at + ready.len) else { return false };
    let longest = usize::from(ready.largest) + outer.data_at - ready.l3 + grown;
    ready.family == Family::V6 && grown.is_multiple_of(8) && longest <= limit + IPV6_LEN
}

/// Puts the datagram together in `whole`, and says how to cut it again. `None` if its fragments contradict each other or
/// it is too long.
fn assemble(fragments: &Store, ready: &Ready, whole: &mut Whole) -> Option<Cut> {
    whole.restart(ready.nic_port);
    let first = fragments.pieces(ready.index).next()?;
    let data_at = match ready.family {
        Family::V4 => first.data_at,
        Family::V6 => first.data_at - FRAGMENT_HEADER_LEN,
    };
    if data_at - ready.l3 + ready.len > usize::from(u16::MAX) || !whole.append(data_at + ready.len) {
        return None;
    }
    let mut fragment_header = [0; FRAGMENT_HEADER_LEN];
    let bytes = whole.bytes_mut();
    fragments.copy(&first, 0, &mut bytes[..data_at]);
    fragments.copy(&first, data_at, &mut fragment_header);
    for piece in fragments.pieces(ready.index) {
        fragments.copy(&piece, piece.data_at, &mut bytes[data_at + piece.offset..][..piece.len]);
    }
    let header = &mut bytes[ready.l3..];
    let named_at = match ready.family {
        Family::V4 => 0,
        Family::V6 => {
            let (named_at, at) = fragment_header_at(header).filter(|(_, at)| ready.l3 + at == data_at)?;
            header[named_at] = fragment_header[0];
            debug_assert!(named_at < at);
            named_at
        }
    };
    let ecn = common_ecn(ready.ecn)?;
    finish(ready, data_at - ready.l3, ecn, header);
    let (family, l3, id, dont_fragment) = (ready.family, ready.l3, ready.id, ready.dont_fragment);
    Some(Cut { family, l3, data_at, named_at: l3 + named_at, id, dont_fragment })
}

/// Lengths, flags, ECN and the checksum of the header of a whole datagram.
fn finish(ready: &Ready, header_len: usize, ecn: u8, header: &mut [u8]) {
    match ready.family {
        Family::V4 => {
            let total = (header_len + ready.len) as u16;
            header[1] |= ecn;
            header[2..4].copy_from_slice(&total.to_be_bytes());
            header[6..8].copy_from_slice(&[u8::from(ready.dont_fragment) << 6, 0]);
            header[10..12].fill(0);
            let sum = checksum::checksum(&header[..header_len]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Family::V6 => {
            let payload_len = (header_len + ready.len - IPV6_LEN) as u16;
            header[1] |= ecn << 4;
            header[4..6].copy_from_slice(&payload_len.to_be_bytes());
        }
    }
}

/// RFC 3168 §5.3: congestion that one fragment met is the datagram's. `seen` has one bit for each value. Returns the bits
/// to add; `None` if only some fragments can carry the mark, which no sender does.
fn common_ecn(seen: u8) -> Option<u8> {
    const NOT_CAPABLE: u8 = 1;
    const MET: u8 = 1 << 3;
    match seen {
        NOT_CAPABLE => Some(0),
        _ if seen & NOT_CAPABLE != 0 => None,
        _ if seen & MET != 0 => Some(3),
        _ => Some(0),
    }
}

/// Is it the first fragment of an ICMP error? Those are never answered.
fn reports_an_error(packet: &Packet, bytes: &[u8]) -> bool {
    const ICMP: u8 = 1;
    const ICMPV6: u8 = 58;
    let kind = bytes.get(usize::from(packet.l4)).copied();
    match packet.protocol {
        ICMP => kind.is_none_or(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12)),
        ICMPV6 => kind.is_none_or(|kind| kind < 128),
        _ => false,
    }
}

impl<A: Address> Pass<'_, A> {
    /// Decides on a packet that comes without a burst.
    fn lone_packet<F: Frame>(&mut self, packet: &Packet, frame: &mut F) -> Verdict {
        let probe = self.table.probe(&packet.tuple());
        let guess = self.table.guess(probe);
        self.packet(probe, guess, packet, frame)
    }
}

#[cfg(test)]
mod tests {
    use super::common_ecn;

    #[test]
    fn congestion_is_common_to_all_fragments() {
        let (none, ect1, ect0, ce) = (1, 2, 4, 8);
        assert_eq!([none, ect0, ect1, ce].map(common_ecn), [Some(0), Some(0), Some(0), Some(3)]);
        assert_eq!([ect0 | ect1, ect0 | ce, ect1 | ce].map(common_ecn), [Some(0), Some(3), Some(3)]);
        assert_eq!([none | ect0, none | ce, 15].map(common_ecn), [None; 3]);
    }
}
