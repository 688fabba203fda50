//! Fragments whose datagrams are not complete yet, in memory that is taken at start.
//!
//! A fragment's bytes lie in a chain of cells. The first cell of each also says where the fragment belongs, and these
//! form a list in the order of offsets. Datagrams are found through hash buckets and wait in the order of their arrival,
//! so that what is due, or has to go, stands at the front.

use super::piece::Piece;
use crate::conn::{FlowKey, Tuple};
use crate::counters::{Counter, WorkerCounters};
use crate::packet::Packet;
use crate::tables::Family;
use crate::tick::Tick;
use crate::verdict::Verdict;
use shunt_wire::NicPortId;

/// Datagrams in the making.
const DATAGRAMS: usize = 1024;
/// Room for fragments: 4 MiB, the kernel's `ipfrag_high_thresh`.
const CELLS: usize = 2048;
/// Bytes of a cell: a whole frame of the usual MTU fits one.
const CELL_LEN: usize = 2048;
/// Fragments of one datagram: 64 KiB at the smallest MTU that IPv4 hosts must take (576) are 119. More are an attack on
/// those who sort them.
const PIECES_MAX: u16 = 128;
/// Buckets; a power of two.
const BUCKETS: usize = 2048;
/// How long a datagram may take: the kernel's `ipfrag_time` and `nf_conntrack_frag6_timeout`.
const PATIENCE_V4_MS: u64 = 30_000;
const PATIENCE_V6_MS: u64 = 60_000;
/// No index.
const NONE: u16 = u16::MAX;

const _: () = assert!(DATAGRAMS < NONE as usize);
const _: () = assert!(CELLS < NONE as usize);
const _: () = assert!(BUCKETS < NONE as usize);

/// What makes fragments parts of the same datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    family: Family,
    protocol: u8,
    id: u32,
    src: u128,
    dst: u128,
}

/// A cell of a chain; in the first one of a fragment also what it is.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// The next cell of the same fragment, or the next free one.
    chain: u16,
    /// The first cell of the fragment with the next higher offset.
    next: u16,
    data_at: u16,
    offset: u32,
    len: u32,
    frame_len: u32,
}

/// What is known of a datagram.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    key: Key,
    since: Tick,
    nic_port: NicPortId,
    timed_out: bool,
    /// The last fragment has come: `end` is the length.
    ended: bool,
    /// One bit for each ECN value that was seen.
    ecn: u8,
    /// Length of the largest IP packet among the fragments, and of the largest with DF.
    largest: u16,
    largest_df: u16,
    /// Offset of the IP header in the first fragment.
    l3: u16,
    pieces: u16,
    /// Fragments in the order of offsets.
    first: u16,
    last: u16,
    /// Bytes that have come, and the end of the last of them.
    held: u32,
    end: u32,
    bucket: u16,
    bucket_next: u16,
    /// Neighbours in the queue; `newer` also links the free ones.
    older: u16,
    newer: u16,
}

impl Datagram {
    const EMPTY: Datagram = Datagram {
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

    fn is_complete(&self) -> bool {
        // No fragment overlaps another, so as many bytes as there should be are all bytes.
        self.ended && self.held == self.end
    }
}

/// A queue of datagrams.
#[derive(Clone, Copy, Debug)]
struct Queue {
    oldest: u16,
    newest: u16,
}

impl Queue {
    const EMPTY: Queue = Queue { oldest: NONE, newest: NONE };
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

/// A fragment, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    cell: u16,
    /// Place of its data in the datagram.
    pub(super) offset: usize,
    /// Length of its data.
    pub(super) len: usize,
    /// Where its data begin in the frame.
    pub(super) data_at: usize,
    /// Length of the frame.
    pub(super) frame_len: usize,
}

/// Where a fragment belongs in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind this one, or first.
    After(u16),
    /// All of it is there already.
    Duplicate,
    Overlap,
}

/// All fragments that a worker holds.
#[derive(Debug)]
pub(crate) struct Store {
    key: FlowKey,
    buckets: Box<[u16]>,
    datagrams: Box<[Datagram]>,
    cells: Box<[Cell]>,
    bytes: Box<[[u8; CELL_LEN]]>,
    free_datagram: u16,
    free_cell: u16,
    cells_left: usize,
    waiting_v4: Queue,
    waiting_v6: Queue,
    ready: Queue,
}

impl Store {
    /// Takes all memory that it will ever use.
    pub(crate) fn new(key: FlowKey) -> Store {
        let following = |index: usize, count: usize| if index + 1 < count { index as u16 + 1 } else { NONE };
        let datagram = |index| Datagram { newer: following(index, DATAGRAMS), ..Datagram::EMPTY };
        let cell = |index| Cell {
            chain: following(index, CELLS),
            next: NONE,
            data_at: 0,
            offset: 0,
            len: 0,
            frame_len: 0,
        };
        Store {
            key,
            buckets: vec![NONE; BUCKETS].into_boxed_slice(),
            datagrams: (0..DATAGRAMS).map(datagram).collect(),
            cells: (0..CELLS).map(cell).collect(),
            bytes: vec![[0; CELL_LEN]; CELLS].into_boxed_slice(),
            free_datagram: 0,
            free_cell: 0,
            cells_left: CELLS,
            waiting_v4: Queue::EMPTY,
            waiting_v6: Queue::EMPTY,
            ready: Queue::EMPTY,
        }
    }

    /// Takes the bytes of a classified fragment in.
    pub(crate) fn take(
        &mut self,
        packet: &Packet,
        bytes: &[u8],
        now: Tick,
        counters: &WorkerCounters,
    ) -> Verdict {
        let Some(piece) = Piece::read(packet, bytes) else { return Verdict::Drop(Counter::Malformed) };
        let key = Key {
            family: packet.family,
            protocol: piece.protocol,
            id: piece.id,
            src: packet.src,
            dst: packet.dst,
        };
        // Room first: what has to go for it may be this very datagram.
        while self.cells_left < bytes.len().div_ceil(CELL_LEN) || self.free_datagram == NONE {
            if !self.evict(counters) {
                return Verdict::Drop(Counter::FragmentsFull);
            }
        }
        let bucket = self.bucket(&key);
        let index = match self.find(bucket, &key) {
            Some(index) => index,
            None => self.begin(bucket, key, now),
        };
        if !self.agrees_on_the_end(index, &piece) {
            self.discard(index, Counter::Fragment, counters);
            return Verdict::Drop(Counter::Fragment);
        }
        match self.place(index, piece.offset, piece.offset + piece.len) {
            Place::Duplicate => return Verdict::Drop(Counter::Fragment),
            // RFC 5722 §4, and the kernel for IPv4 too: the whole datagram goes.
            Place::Overlap => {
                self.discard(index, Counter::Fragment, counters);
                return Verdict::Drop(Counter::Fragment);
            }
            Place::After(_) if self.datagrams[usize::from(index)].pieces >= PIECES_MAX => {
                self.discard(index, Counter::Fragment, counters);
                return Verdict::Drop(Counter::Fragment);
            }
            Place::After(before) => self.put(index, before, &piece, packet, bytes),
        }
        if self.datagrams[usize::from(index)].is_complete() {
            self.make_ready(index);
        }
        Verdict::Gathered
    }

    /// Is there a datagram to be decided on?
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        self.ready.oldest != NONE
    }

    /// The next datagram to be decided on. The caller frees it.
    pub(super) fn next_ready(&self) -> Option<Ready> {
        let index = self.ready.oldest;
        let datagram = self.datagrams.get(usize::from(index))?;
        Some(Ready {
            index,
            timed_out: datagram.timed_out,
            pieces: u64::from(datagram.pieces),
            family: datagram.key.family,
            nic_port: datagram.nic_port,
            l3: usize::from(datagram.l3),
            id: datagram.key.id,
            largest: datagram.largest,
            dont_fragment: datagram.largest_df > 0 && datagram.largest_df == datagram.largest,
            ecn: datagram.ecn,
            len: datagram.end as usize,
        })
    }

    /// The fragments of a datagram, in the order of their offsets.
    pub(super) fn pieces(&self, index: u16) -> impl Iterator<Item = Held> + '_ {
        let held = |at: u16| {
            let cell = self.cells.get(usize::from(at))?;
            Some(Held {
                cell: at,
                offset: cell.offset as usize,
                len: cell.len as usize,
                data_at: usize::from(cell.data_at),
                frame_len: cell.frame_len as usize,
            })
        };
        let first = held(self.datagrams[usize::from(index)].first);
        std::iter::successors(first, move |piece| held(self.cells[usize::from(piece.cell)].next))
    }

    /// Copies bytes of a fragment's frame, from `from` on, until `to` is full.
    pub(super) fn copy(&self, piece: &Held, from: usize, to: &mut [u8]) {
        let (mut cell, mut skip, mut done) = (piece.cell, from, 0);
        while done < to.len() && cell != NONE {
            let bytes = &self.bytes[usize::from(cell)];
            if skip < CELL_LEN {
                let count = (CELL_LEN - skip).min(to.len() - done);
                to[done..done + count].copy_from_slice(&bytes[skip..skip + count]);
                done += count;
            }
            skip = skip.saturating_sub(CELL_LEN);
            cell = self.cells[usize::from(cell)].chain;
        }
    }

    /// Gives up what is due, at most `budget` datagrams. Those whose first fragment is there become ready, so that their
    /// sender can be told.
    pub(crate) fn expire(&mut self, now: Tick, budget: u32, counters: &WorkerCounters) {
        for _ in 0..budget {
            let due = |queue: Queue, patience_ms| {
                let datagram = self.datagrams.get(usize::from(queue.oldest))?;
                (now.0 >= datagram.since.0 + patience_ms).then_some(queue.oldest)
            };
            let due = due(self.waiting_v4, PATIENCE_V4_MS).or_else(|| due(self.waiting_v6, PATIENCE_V6_MS));
            let Some(index) = due else { return };
            let datagram = &mut self.datagrams[usize::from(index)];
            let has_first =
                self.cells.get(usize::from(datagram.first)).is_some_and(|first| first.offset == 0);
            if has_first {
                datagram.timed_out = true;
                self.make_ready(index);
            } else {
                self.discard(index, Counter::FragmentTimeout, counters);
            }
        }
    }

    /// Forgets a datagram that was ready, and its fragments.
    pub(super) fn free(&mut self, index: u16) {
        self.unqueue(index);
        let mut piece = self.datagrams[usize::from(index)].first;
        while piece != NONE {
            let next = self.cells[usize::from(piece)].next;
            self.free_chain(piece);
            piece = next;
        }
        self.datagrams[usize::from(index)] = Datagram { newer: self.free_datagram, ..Datagram::EMPTY };
        self.free_datagram = index;
    }

    /// Drops a datagram that is not ready, counting each of its fragments as `reason`.
    fn discard(&mut self, index: u16, reason: Counter, counters: &WorkerCounters) {
        let pieces = u64::from(self.datagrams[usize::from(index)].pieces);
        counters.add(Counter::Released, pieces);
        counters.add(reason, pieces);
        self.unlink(index);
        self.free(index);
    }

    /// Drops the oldest datagram that is not ready. False if there is none.
    fn evict(&mut self, counters: &WorkerCounters) -> bool {
        let since = |queue: Queue| self.datagrams.get(usize::from(queue.oldest)).map(|oldest| oldest.since.0);
        let queue = match (since(self.waiting_v4), since(self.waiting_v6)) {
            (Some(v4), Some(v6)) if v6 < v4 => self.waiting_v6,
            (Some(_), _) => self.waiting_v4,
            (None, Some(_)) => self.waiting_v6,
            (None, None) => return false,
        };
        self.discard(queue.oldest, Counter::FragmentsFull, counters);
        true
    }

    fn bucket(&self, key: &Key) -> u16 {
        let tuple = Tuple {
            src: key.src,
            dst: key.dst,
            sport: (key.id >> 16) as u16,
            dport: key.id as u16,
            protocol: key.protocol,
        };
        (self.key.hash(&tuple) % BUCKETS as u64) as u16
    }

    fn find(&self, bucket: u16, key: &Key) -> Option<u16> {
        let mut index = self.buckets[usize::from(bucket)];
        while index != NONE && self.datagrams[usize::from(index)].key != *key {
            index = self.datagrams[usize::from(index)].bucket_next;
        }
        (index != NONE).then_some(index)
    }

    /// A new datagram; there is a free one.
    fn begin(&mut self, bucket: u16, key: Key, now: Tick) -> u16 {
        let index = self.free_datagram;
        self.free_datagram = self.datagrams[usize::from(index)].newer;
        let bucket_next = self.buckets[usize::from(bucket)];
        self.datagrams[usize::from(index)] =
            Datagram { key, since: now, bucket, bucket_next, ..Datagram::EMPTY };
        self.buckets[usize::from(bucket)] = index;
        self.enqueue(index);
        index
    }

    /// Does this fragment fit what is known of the datagram's length? If so, it is noted.
    fn agrees_on_the_end(&mut self, index: u16, piece: &Piece) -> bool {
        let datagram = &mut self.datagrams[usize::from(index)];
        let end = piece.offset + piece.len;
        let agrees = match (piece.more, datagram.ended) {
            (false, true) => end == datagram.end,
            (false, false) => end >= datagram.end,
            (true, true) => end <= datagram.end,
            (true, false) => true,
        };
        datagram.ended |= !piece.more;
        datagram.end = datagram.end.max(end);
        agrees
    }

    fn end_of(&self, piece: u16) -> u32 {
        let cell = &self.cells[usize::from(piece)];
        cell.offset + cell.len
    }

    fn place(&self, index: u16, offset: u32, end: u32) -> Place {
        let datagram = &self.datagrams[usize::from(index)];
        // The usual case: in order.
        if datagram.last == NONE || self.end_of(datagram.last) <= offset {
            return Place::After(datagram.last);
        }
        let (mut before, mut at) = (NONE, datagram.first);
        while self.end_of(at) <= offset {
            (before, at) = (at, self.cells[usize::from(at)].next);
        }
        if end <= self.cells[usize::from(at)].offset {
            return Place::After(before);
        }
        if offset < self.cells[usize::from(at)].offset {
            return Place::Overlap;
        }
        let mut covered = self.end_of(at);
        while covered < end {
            at = self.cells[usize::from(at)].next;
            if at == NONE || self.cells[usize::from(at)].offset != covered {
                return Place::Overlap;
            }
            covered = self.end_of(at);
        }
        Place::Duplicate
    }

    /// Copies a fragment into cells, of which there are enough, and puts it into the list.
    fn put(&mut self, index: u16, before: u16, piece: &Piece, packet: &Packet, bytes: &[u8]) {
        let first = self.fill_chain(bytes);
        let datagram = &mut self.datagrams[usize::from(index)];
        let next = match before {
            NONE => std::mem::replace(&mut datagram.first, first),
            before => std::mem::replace(&mut self.cells[usize::from(before)].next, first),
        };
        if next == NONE {
            datagram.last = first;
        }
        let cell = &mut self.cells[usize::from(first)];
        cell.next = next;
        cell.data_at = piece.data_at as u16;
        (cell.offset, cell.len, cell.frame_len) = (piece.offset, piece.len, bytes.len() as u32);
        if piece.offset == 0 {
            (datagram.l3, datagram.nic_port) = (packet.l3, packet.nic_port);
        }
        datagram.held += piece.len;
        datagram.pieces += 1;
        datagram.ecn |= 1 << piece.ecn;
        // What counts is what will be sent again: without the odd bytes that were cut off.
        let ip_len = (piece.data_at - usize::from(packet.l3)) as u16 + piece.len as u16;
        datagram.largest = datagram.largest.max(ip_len);
        if piece.dont_fragment {
            datagram.largest_df = datagram.largest_df.max(ip_len);
        }
    }

    /// The first of the cells that now hold these bytes.
    fn fill_chain(&mut self, bytes: &[u8]) -> u16 {
        let first = self.free_cell;
        let mut last = first;
        for part in bytes.chunks(CELL_LEN) {
            last = self.free_cell;
            self.bytes[usize::from(last)][..part.len()].copy_from_slice(part);
            self.free_cell = self.cells[usize::from(last)].chain;
            self.cells_left -= 1;
        }
        self.cells[usize::from(last)].chain = NONE;
        first
    }

    fn free_chain(&mut self, first: u16) {
        let mut cell = first;
        while cell != NONE {
            let next = std::mem::replace(&mut self.cells[usize::from(cell)].chain, self.free_cell);
            self.free_cell = cell;
            self.cells_left += 1;
            cell = next;
        }
    }

    /// It can be found no more, and waits for its decision.
    fn make_ready(&mut self, index: u16) {
        self.unlink(index);
        self.unqueue(index);
        // Being in no bucket is what tells it from those that wait.
        self.datagrams[usize::from(index)].bucket = NONE;
        self.enqueue(index);
    }

    /// Takes it out of its bucket.
    fn unlink(&mut self, index: u16) {
        let Datagram { bucket, bucket_next, .. } = self.datagrams[usize::from(index)];
        let mut at = self.buckets[usize::from(bucket)];
        if at == index {
            self.buckets[usize::from(bucket)] = bucket_next;
            return;
        }
        while self.datagrams[usize::from(at)].bucket_next != index {
            at = self.datagrams[usize::from(at)].bucket_next;
        }
        self.datagrams[usize::from(at)].bucket_next = bucket_next;
    }

    /// The queue that a datagram is in.
    fn queue_of(&mut self, index: u16) -> &mut Queue {
        match &self.datagrams[usize::from(index)] {
            Datagram { bucket: NONE, .. } => &mut self.ready,
            Datagram { key: Key { family: Family::V4, .. }, .. } => &mut self.waiting_v4,
            Datagram { key: Key { family: Family::V6, .. }, .. } => &mut self.waiting_v6,
        }
    }

    fn enqueue(&mut self, index: u16) {
        let queue = self.queue_of(index);
        let older = std::mem::replace(&mut queue.newest, index);
        if older == NONE {
            queue.oldest = index;
        } else {
            self.datagrams[usize::from(older)].newer = index;
        }
        let datagram = &mut self.datagrams[usize::from(index)];
        (datagram.older, datagram.newer) = (older, NONE);
    }

    fn unqueue(&mut self, index: u16) {
        let Datagram { older, newer, .. } = self.datagrams[usize::from(index)];
        if older == NONE {
            self.queue_of(index).oldest = newer;
        } else {
            self.datagrams[usize::from(older)].newer = newer;
        }
        if newer == NONE {
            self.queue_of(index).newest = older;
        } else {
            self.datagrams[usize::from(newer)].older = older;
        }
    }
}
