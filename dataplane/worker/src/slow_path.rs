//! The slow path: carries frames between workers and the kernel, and holds those whose neighbour is not known yet.
//!
//! It keeps a balance of its own. Sources: frames that wait for a neighbour, and punted ones that the kernel does not
//! take (`handed_in`); frames of the kernel that no worker takes (`injected`). What it does carry between kernel and
//! worker is counted by the worker.

use crate::mesh::{Parcel, SlowEnds, SlowParcel};
use crate::phase::{Phase, SharedPhase};
use crate::twin::Twin;
use crate::waiting::{Held, Waiting};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shunt_dpdk::{Mbuf, Mempool};
use shunt_engine::counters::{Counter, WorkerCounters};
use shunt_engine::tables::{Hop, NextHop, Tables};
use shunt_publish::Reader;
use shunt_wire::{Frame, NicPortId, VlanTag, ether_type};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one waits: Linux gives up on a neighbour after three requests, a second apart; by then clients have sent
/// again.
const HELD_FOR: Duration = Duration::from_secs(1);
/// How often waiting frames are looked at.
const RETRY_EVERY: Duration = Duration::from_millis(1);
/// Frames taken from one source before the next has its turn.
const TURN: usize = 64;
/// How long to sleep when there is nothing to do: the rings of workers have no file descriptor to wait for. The first nap
/// after work; each further one is twice as long, so that an idle director costs 0.4 % of a core and not 3 %.
const NAP: Duration = Duration::from_micros(500);
/// The longest nap: what a first packet to the kernel may have to wait.
const NAP_MAX: Duration = Duration::from_millis(4);
/// Length of an Ethernet header.
const ETHERNET_LEN: usize = 14;

/// Called with an address whose neighbour is wanted.
pub(crate) type WantNeighbour = Box<dyn Fn(IpAddr) + Send>;

/// Everything of the slow path's thread.
pub(crate) struct SlowPath {
    pub(crate) ends: SlowEnds,
    /// By NIC port.
    pub(crate) twins: Vec<Option<Twin>>,
    /// By NIC port: the worker that sends for us.
    pub(crate) tx_worker: Vec<usize>,
    pub(crate) pool: Mempool,
    pub(crate) reader: Reader<Tables>,
    pub(crate) counters: WorkerCounters,
    pub(crate) want_neighbour: WantNeighbour,
    pub(crate) phase: Arc<SharedPhase>,
}

impl SlowPath {
    /// Works until it is told to stop.
    pub(crate) fn run(mut self) {
        let mut held = Waiting::new();
        let mut retried = Instant::now();
        let mut nap = NAP;
        while self.phase.get() != Phase::Ending {
            let mut busy = self.take_from_workers(&mut held);
            busy |= self.take_from_kernel();
            self.reader.observe();
            if held.len() > 0 && retried.elapsed() >= RETRY_EVERY {
                self.retry(&mut held);
                retried = Instant::now();
            }
            if busy || held.len() > 0 {
                nap = NAP;
            }
            if !busy {
                self.sleep(nap);
                nap = NAP_MAX.min(nap * 2);
            }
        }
        self.counters.add(Counter::NoNeighbour, held.len() as u64);
    }

    fn take_from_workers(&mut self, held: &mut Waiting<Mbuf>) -> bool {
        let mut busy = false;
        for worker in 0..self.ends.from.len() {
            for _ in 0..TURN {
                let Ok(parcel) = self.ends.from[worker].pop() else { break };
                busy = true;
                match parcel {
                    SlowParcel::Punt(frame, nic_port) => self.punt(&frame, nic_port),
                    SlowParcel::Await(frame, address) => self.hold(held, frame, address),
                }
            }
        }
        busy
    }

    fn punt(&self, frame: &Mbuf, nic_port: NicPortId) {
        let twin = self.twins.get(usize::from(nic_port.0)).and_then(Option::as_ref);
        if !twin.is_some_and(|twin| twin.write(frame)) {
            self.counters.add(Counter::HandedIn, 1);
            self.counters.add(Counter::PuntFull, 1);
        }
    }

    fn hold(&mut self, held: &mut Waiting<Mbuf>, frame: Mbuf, neighbour_of: IpAddr) {
        self.counters.add(Counter::HandedIn, 1);
        // The neighbour may have become known since the worker looked.
        let Some(frame) = self.send_if_resolved(frame, neighbour_of) else { return };
        let is_first = !held.waits_for(neighbour_of);
        if !held.push(Held { frame, neighbour_of, until: Instant::now() + HELD_FOR }) {
            self.counters.add(Counter::NoNeighbour, 1);
        } else if is_first {
            (self.want_neighbour)(neighbour_of);
        }
    }

    /// Looks at every waiting frame once, in order.
    fn retry(&mut self, held: &mut Waiting<Mbuf>) {
        let now = Instant::now();
        for _ in 0..held.len() {
            let Some(Held { frame, neighbour_of, until }) = held.pop() else { return };
            let Some(frame) = self.send_if_resolved(frame, neighbour_of) else { continue };
            if now >= until || !held.push(Held { frame, neighbour_of, until }) {
                self.counters.add(Counter::NoNeighbour, 1);
            }
        }
    }

    /// Gives the frame back if there is no decision on it yet.
    fn send_if_resolved(&mut self, frame: Mbuf, neighbour_of: IpAddr) -> Option<Mbuf> {
        match self.reader.observe().routes().lookup(neighbour_of) {
            Hop::Via(hop) => {
                self.send(frame, &hop);
                None
            }
            Hop::Unresolved => Some(frame),
            Hop::Unreachable | Hop::Local => {
                self.counters.add(Counter::NoRoute, 1);
                None
            }
        }
    }

    fn send(&mut self, mut frame: Mbuf, hop: &NextHop) {
        let bytes = frame.bytes_mut();
        let (len, headers_len) = (bytes.len(), link_layer_len(bytes));
        let counter = match bytes.first_chunk_mut::<ETHERNET_LEN>() {
            None => Counter::Malformed,
            // Its tags are part of no packet.
            Some(_) if len > usize::from(hop.mtu) + headers_len => Counter::TooBig,
            Some(header) => {
                header[..6].copy_from_slice(&hop.dst_mac.0);
                header[6..12].copy_from_slice(&hop.src_mac.0);
                match self.give(hop.nic_port, |nic_port| Parcel::Transmit(frame, nic_port)) {
                    true => Counter::HandedOver,
                    false => Counter::HandOverFull,
                }
            }
        };
        self.counters.add(counter, 1);
    }

    /// Gives a parcel to the worker that sends from this NIC port. False if its ring is full or there is no such port.
    fn give(&mut self, nic_port: NicPortId, parcel: impl FnOnce(NicPortId) -> Parcel) -> bool {
        let worker = self.tx_worker.get(usize::from(nic_port.0));
        let ring = worker.and_then(|&worker| self.ends.to.get_mut(worker));
        ring.is_some_and(|ring| ring.push(parcel(nic_port)).is_ok())
    }

    fn take_from_kernel(&mut self) -> bool {
        let mut busy = false;
        for index in 0..self.twins.len() {
            for _ in 0..TURN {
                let Some(twin) = &mut self.twins[index] else { break };
                let nic_port = twin.nic_port;
                let Some(mut frame) = twin.read(&self.pool) else { break };
                frame.set_nic_port(nic_port);
                busy = true;
                if !self.give(nic_port, |_| Parcel::Inject(frame)) {
                    self.counters.add(Counter::Injected, 1);
                    self.counters.add(Counter::HandOverFull, 1);
                }
            }
        }
        busy
    }

    /// Until the kernel has something for us, or so long.
    fn sleep(&mut self, nap: Duration) {
        // Holds no publication back meanwhile.
        self.reader.park();
        let mut twins: Vec<PollFd<'_>> =
            self.twins.iter().flatten().map(|twin| PollFd::new(twin, PollFlags::IN)).collect();
        // An interrupted or failed wait only means that we look earlier.
        let nap = Timespec { tv_sec: 0, tv_nsec: nap.subsec_nanos().into() };
        let _ = poll(&mut twins, Some(&nap));
    }
}

/// Bytes in front of the IP header: Ethernet, and as many VLAN tags as there are.
fn link_layer_len(frame: &[u8]) -> usize {
    let ethertype = |at: usize| frame.get(at..at + 2).map(|word| u16::from_be_bytes([word[0], word[1]]));
    let mut len = ETHERNET_LEN;
    while matches!(ethertype(len - 2), Some(ether_type::VLAN | ether_type::QINQ)) {
        len += size_of::<VlanTag>();
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_part_of_the_link_layer() {
        let mut frame = [0; 64];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        assert_eq!(link_layer_len(&frame), 14);
        frame[12..18].copy_from_slice(&[0x88, 0xa8, 0, 7, 0x81, 0x00]);
        frame[20..22].copy_from_slice(&[0x08, 0x00]);
        assert_eq!(link_layer_len(&frame), 22);
        assert_eq!(link_layer_len(&[0x81; 13]), 14);
    }
}
