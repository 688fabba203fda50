//! Packets that are longer than the way on allows, and may be cut (spec `forwarding.md` §2).
//!
//! A packet leaves in the frame that it came in; its fragments need more than one. So it is copied here, with what was
//! decided on it, and [`Engine::release`](crate::Engine::release) cuts it into fresh frames at the end of the round.

use super::cut::Cut;
use crate::counters::{Counter, WorkerCounters};
use crate::verdict::Verdict;
use shunt_wire::{Frame, NicPortId};

/// Room for the packets of one round: some 350 of the usual MTU, taken at start.
const BYTES: usize = 512 * 1024;
/// Packets of one round, at most.
const PACKETS: usize = 1024;

/// A packet that waits to be cut.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    start: usize,
    len: usize,
    l3: usize,
    nic_port: NicPortId,
    /// Longest fragment, IP header included.
    mtu: u16,
    /// Identification of IPv6 fragments.
    id: u32,
    verdict: Verdict,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Long {
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
}

impl Default for Long {
    fn default() -> Self {
        Long { bytes: Vec::with_capacity(BYTES), waiting: Vec::with_capacity(PACKETS) }
    }
}

impl Long {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a packet that is otherwise ready to leave as `verdict` says. The frame may go. `id` is for IPv6; IPv4
    /// packets have one.
    pub(crate) fn take<F: Frame>(
        &mut self,
        frame: &F,
        l3: usize,
        mtu: u16,
        id: u32,
        verdict: Verdict,
    ) -> Verdict {
        let bytes = frame.bytes();
        if self.waiting.len() == PACKETS || self.bytes.len() + bytes.len() > BYTES {
            return Verdict::Drop(Counter::NoBuffer);
        }
        let (start, len, nic_port) = (self.bytes.len(), bytes.len(), frame.nic_port());
        self.bytes.extend_from_slice(bytes);
        self.waiting.push(Waiting { start, len, l3, nic_port, mtu, id, verdict });
        Verdict::Gathered
    }

    /// Cuts all packets into frames that `fresh` makes, and gives them to `each`.
    pub(super) fn release<F: Frame>(
        &mut self,
        counters: &WorkerCounters,
        fresh: &mut impl FnMut(NicPortId) -> Option<F>,
        each: &mut impl FnMut(F, Verdict),
    ) {
        for packet in &self.waiting {
            let bytes = &self.bytes[packet.start..][..packet.len];
            let cut = Cut::outer(bytes, packet.l3, packet.id);
            let (step, len) = (cut.step(usize::from(packet.mtu)), bytes.len() - cut.data_at);
            for offset in (0..len).step_by(step) {
                counters.add(Counter::Released, 1);
                let written = fresh(packet.nic_port).and_then(|mut frame| {
                    cut.write(bytes, offset, step.min(len - offset), &mut frame).then_some(frame)
                });
                match written {
                    Some(frame) => each(frame, packet.verdict),
                    None => counters.add(Counter::NoBuffer, 1),
                }
            }
        }
        self.waiting.clear();
        self.bytes.clear();
    }
}
