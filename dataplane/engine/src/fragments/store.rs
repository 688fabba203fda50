//! Fragments whose datagrams are not complete yet, in memory that is taken at start.
//!
//! A fragment's bytes lie in a chain of cells. The first cell of each also says where the fragment belongs, and these
//! form a list in the order of offsets. Datagrams are found through hash buckets and wait in the order of their arrival,
//! so that what is due, or has to go, stands at the front.

use super::cells::{Cells, Held, NONE};
use super::datagram::{Datagram, Key, Queue, Ready};
use super::piece::Piece;
use crate::conn::{FlowKey, Tuple};
use crate::counters::{Counter, WorkerCounters};
use crate::packet::Packet;
use crate::tables::Family;
use crate::tick::Tick;
use crate::verdict::Verdict;

/// Datagrams in the making.
const DATAGRAMS: usize = 1024;
/// Fragments of one datagram: 64 KiB at the smallest MTU that IPv4 hosts must take (576) are 119. More are an attack on
/// those who sort them.
const PIECES_MAX: u16 = 128;
/// Buckets; a power of two.
const BUCKETS: usize = 2048;
/// How long a datagram may take: the kernel's `ipfrag_time` and `nf_conntrack_frag6_timeout`.
const PATIENCE_V4_MS: u64 = 30_000;
const PATIENCE_V6_MS: u64 = 60_000;
const _: () = assert!(DATAGRAMS < NONE as usize);
const _: () = assert!(BUCKETS < NONE as usize);

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
    cells: Cells,
    free_datagram: u16,
    waiting_v4: Queue,
    waiting_v6: Queue,
    ready: Queue,
}

impl Store {
    /// Takes all memory that it will ever use.
    pub(crate) fn new(key: FlowKey) -> Store {
        let following = |index: usize, count: usize| if index + 1 < count { index as u16 + 1 } else { NONE };
        let datagram = |index| Datagram { newer: following(index, DATAGRAMS), ..Datagram::EMPTY };
        Store {
            key,
            buckets: vec![NONE; BUCKETS].into_boxed_slice(),
            datagrams: (0..DATAGRAMS).map(datagram).collect(),
            cells: Cells::new(),
            free_datagram: 0,
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
        while !self.cells.have_room_for(bytes.len()) || self.free_datagram == NONE {
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
        self.datagrams.get(usize::from(index)).map(|datagram| datagram.ready(index))
    }

    /// The fragments of a datagram, in the order of their offsets.
    pub(super) fn pieces(&self, index: u16) -> impl Iterator<Item = Held> + '_ {
        let first = self.cells.held(self.datagrams[usize::from(index)].first);
        std::iter::successors(first, |piece| self.cells.held(self.cells.list[usize::from(piece.cell)].next))
    }

    /// Copies bytes of a fragment's frame, from `from` on, until `to` is full.
    pub(super) fn copy(&self, piece: &Held, from: usize, to: &mut [u8]) {
        self.cells.copy(piece, from, to);
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
                self.cells.list.get(usize::from(datagram.first)).is_some_and(|first| first.offset == 0);
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
            let next = self.cells.list[usize::from(piece)].next;
            self.cells.free_chain(piece);
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

    fn place(&self, index: u16, offset: u32, end: u32) -> Place {
        let datagram = &self.datagrams[usize::from(index)];
        // The usual case: in order.
        if datagram.last == NONE || self.cells.end_of(datagram.last) <= offset {
            return Place::After(datagram.last);
        }
        let (mut before, mut at) = (NONE, datagram.first);
        while self.cells.end_of(at) <= offset {
            (before, at) = (at, self.cells.list[usize::from(at)].next);
        }
        if end <= self.cells.list[usize::from(at)].offset {
            return Place::After(before);
        }
        if offset < self.cells.list[usize::from(at)].offset {
            return Place::Overlap;
        }
        let mut covered = self.cells.end_of(at);
        while covered < end {
            at = self.cells.list[usize::from(at)].next;
            if at == NONE || self.cells.list[usize::from(at)].offset != covered {
                return Place::Overlap;
            }
            covered = self.cells.end_of(at);
        }
        Place::Duplicate
    }

    /// Copies a fragment into cells, of which there are enough, and puts it into the list.
    fn put(&mut self, index: u16, before: u16, piece: &Piece, packet: &Packet, bytes: &[u8]) {
        let first = self.cells.fill_chain(bytes);
        let datagram = &mut self.datagrams[usize::from(index)];
        let next = match before {
            NONE => std::mem::replace(&mut datagram.first, first),
            before => std::mem::replace(&mut self.cells.list[usize::from(before)].next, first),
        };
        if next == NONE {
            datagram.last = first;
        }
        let cell = &mut self.cells.list[usize::from(first)];
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
