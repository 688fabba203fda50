//! The rings between threads: one for each ordered pair of workers, and two between each worker and the slow path.
//!
//! One producer, one consumer, no locked instruction: the cost of a hand-over is one cache line.

use rtrb::{Consumer, Producer, RingBuffer};
use shunt_dpdk::Mbuf;
use shunt_wire::NicPortId;
use std::net::IpAddr;

/// Frames that all rings from other workers to one hold together, as far as the limits below allow: about 300 µs of
/// its traffic at 14 million packets a second.
const HAND_OVER_TOTAL: usize = 4096;
/// Frames that a ring between two workers holds, at most and at least: there are many rings when there are many workers,
/// but a few bursts must always fit.
const HAND_OVER_MAX: usize = 1024;
const HAND_OVER_MIN: usize = 128;
/// Frames that a ring to or from the slow path holds.
pub(crate) const SLOW_LEN: usize = 512;

/// What a worker gets from another thread.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// A frame of a flow that the receiver owns.
    Process(Mbuf),
    /// A finished frame, to be sent from a NIC port of which the receiver has a tx queue.
    Transmit(Mbuf, NicPortId),
    /// A frame of the kernel twin of its NIC port, of which the receiver has a tx queue. It may answer for a real server
    /// that is the director itself.
    Inject(Mbuf),
    /// The same, of a flow that the receiver owns.
    ProcessTwin(Mbuf),
}

/// What the slow path gets from a worker.
#[derive(Debug)]
pub(crate) enum SlowParcel {
    /// For the twin of this NIC port.
    Punt(Mbuf, NicPortId),
    /// To be sent once the neighbour on the way to this address is known.
    Await(Mbuf, IpAddr),
}

/// One worker's ends.
#[derive(Debug)]
pub(crate) struct WorkerEnds {
    /// To each worker, by number; none to itself.
    pub(crate) to: Vec<Option<Producer<Parcel>>>,
    /// From the other workers and, last, from the slow path.
    pub(crate) from: Vec<Consumer<Parcel>>,
    /// To the slow path.
    pub(crate) slow: Producer<SlowParcel>,
}

/// The slow path's ends, each by number of worker.
#[derive(Debug)]
pub(crate) struct SlowEnds {
    pub(crate) from: Vec<Consumer<SlowParcel>>,
    pub(crate) to: Vec<Producer<Parcel>>,
}

/// Frames that a ring between two of `workers` workers holds.
fn hand_over_len(workers: usize) -> usize {
    (HAND_OVER_TOTAL / workers.max(1)).clamp(HAND_OVER_MIN, HAND_OVER_MAX)
}

/// Rings among `workers` workers and the slow path.
pub(crate) fn mesh(workers: usize) -> (Vec<WorkerEnds>, SlowEnds) {
    let mut slow_ends = SlowEnds { from: Vec::new(), to: Vec::new() };
    let mut ends: Vec<WorkerEnds> = (0..workers)
        .map(|_| {
            let (slow, at_slow) = RingBuffer::new(SLOW_LEN);
            slow_ends.from.push(at_slow);
            WorkerEnds { to: Vec::new(), from: Vec::new(), slow }
        })
        .collect();
    for sender in 0..workers {
        for receiver in 0..workers {
            let ring = (sender != receiver).then(|| RingBuffer::new(hand_over_len(workers)));
            let (producer, consumer) = ring.unzip();
            ends[sender].to.push(producer);
            ends[receiver].from.extend(consumer);
        }
    }
    for end in &mut ends {
        let (producer, consumer) = RingBuffer::new(SLOW_LEN);
        slow_ends.to.push(producer);
        end.from.push(consumer);
    }
    (ends, slow_ends)
}

/// Frames that can be in the rings at once.
pub(crate) fn frames_in_flight(workers: usize) -> usize {
    workers * workers.saturating_sub(1) * hand_over_len(workers) + 2 * workers * SLOW_LEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_workers_do_not_take_much_memory() {
        assert_eq!((hand_over_len(1), hand_over_len(2), hand_over_len(16)), (1024, 1024, 256));
        assert!(frames_in_flight(16) < 100_000 && frames_in_flight(255) < 10_000_000);
    }

    #[test]
    fn everyone_reaches_everyone_else() {
        let (ends, slow) = mesh(3);
        assert_eq!((slow.from.len(), slow.to.len()), (3, 3));
        for (index, end) in ends.iter().enumerate() {
            let to: Vec<bool> = end.to.iter().map(Option::is_some).collect();
            assert_eq!(to, (0..3).map(|other| other != index).collect::<Vec<_>>());
            assert_eq!(end.from.len(), 3);
        }
    }
}
