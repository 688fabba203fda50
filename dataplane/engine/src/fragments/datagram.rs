//! What is known of a datagram whose fragments come one by one.

use super::cells::NONE;
use crate::tables::Family;
use crate::tick::Tick;
use shunt_wire::NicPortId;

/// What makes fragments parts of the same datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) family: Family,
    pub(super) protocol: u8,
    pub(super) id: u32,
    pub(super) src: u128,
    pub(super) dst: u128,
}

/// What is known of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    pub(super) key: Key,
    pub(super) since: Tick,
    pub(super) nic_port: NicPortId,
    pub(super) timed_out: bool,
    /// The last fragment has come: `end` is the length.
    pub(super) ended: bool,
    /// One bit for each ECN value that was seen.
    pub(super) ecn: u8,
    /// Length of the largest IP packet among the fragments, and of the largest with DF.
    pub(super) largest: u16,
    pub(super) largest_df: u16,
    /// Offset of the IP header in the first fragment.
    pub(super) l3: u16,
    pub(super) pieces: u16,
    /// Fragments in the order of offsets.
    pub(super) first: u16,
    pub(super) last: u16,
    /// Bytes that have come, and the end of the last of them.
    pub(super) held: u32,
    pub(super) end: u32,
    pub(super) bucket: u16,
    pub(super) bucket_next: u16,
    /// Neighbours in the queue; `newer` also links the free ones.
    pub(super) older: u16,
    pub(super) newer: u16,
}

impl Datagram {
    pub(super) const EMPTY: Datagram = Datagram {
        key: Key { family: Family::V4, protocol: 0, id: 0, src: 0, dst: 0 },
        since: Tick(0),
        nic_port: NicPortId(0),
        timed_out: false,
        ended: false,
        ecn: 0,
        largest: 0,
        largest_df: 0,
        l3: 0,
        pieces: 0,
        first: NONE,
        last: NONE,
        held: 0,
        end: 0,
        bucket: 0,
        bucket_next: NONE,
        older: NONE,
        newer: NONE,
    };

    pub(super) fn is_complete(&self) -> bool {
        // No fragment overlaps another, so as many bytes as there should be are all bytes.
        self.ended && self.held == self.end
    }
}

/// A queue of datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    pub(super) oldest: u16,
    pub(super) newest: u16,
}

impl Queue {
    pub(super) const EMPTY: Queue = Queue { oldest: NONE, newest: NONE };
}

/// A datagram to be decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) index: u16,
    /// It did not become complete in time, but its first fragment is there.
    pub(super) timed_out: bool,
    /// Number of fragments.
    pub(super) pieces: u64,
    pub(super) family: Family,
    pub(super) nic_port: NicPortId,
    /// Offset of the IP header in the first fragment.
    pub(super) l3: usize,
    pub(super) id: u32,
    /// Length of the largest IP packet among the fragments.
    pub(super) largest: u16,
    /// The largest of them had DF set.
    pub(super) dont_fragment: bool,
    /// One bit for each ECN value that was seen.
    pub(super) ecn: u8,
    /// Length of the data, bytes.
    pub(super) len: usize,
}

impl Datagram {
    /// What there is to decide on.
    pub(super) fn ready(&self, index: u16) -> Ready {
        Ready {
            index,
            timed_out: self.timed_out,
            pieces: u64::from(self.pieces),
            family: self.key.family,
            nic_port: self.nic_port,
            l3: usize::from(self.l3),
            id: self.key.id,
            largest: self.largest,
            dont_fragment: self.largest_df > 0 && self.largest_df == self.largest,
            ecn: self.ecn,
            len: self.end as usize,
        }
    }
}
