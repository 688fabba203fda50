//! A handful of packets, as NICs give and take them.

use crate::Mbuf;
use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;
use std::ops::{Deref, DerefMut};

/// Up to `N` packets, in order. What is left in it when it goes is freed in one call.
#[derive(Debug, Default)]
pub struct Burst<const N: usize> {
    frames: ArrayVec<Mbuf, N>,
}

impl<const N: usize> Burst<N> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Burst<N> {
        Burst { frames: ArrayVec::new_const() }
    }

    /// Is there no room left?
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.frames.is_full()
    }

    /// Adds a frame at the end.
    ///
    /// # Errors
    /// Gives the frame back if the burst is full.
    #[inline]
    pub fn push(&mut self, frame: Mbuf) -> Result<(), Mbuf> {
        self.frames.try_push(frame).map_err(|full| full.element())
    }

    /// Keeps the frames of which `keep` returns true, in order, and frees the others.
    #[inline]
    pub fn retain(&mut self, mut keep: impl FnMut(&mut Mbuf) -> bool) {
        self.frames.retain(|frame| keep(frame));
    }

    /// Takes all frames out, in order. Those that the iterator does not reach are freed.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = Mbuf> + '_ {
        self.frames.drain(..)
    }

    /// Frees all frames in one call.
    pub fn clear(&mut self) {
        let count = self.frames.len();
        if count == 0 {
            return;
        }
        let frames = self.raw();
        // SAFETY: 0 is within the capacity; the frames beyond are ours to free now, and nobody else's.
        unsafe { self.frames.set_len(0) };
        // SAFETY: `frames` points to `count` mbufs, each with one reference, which ends here.
        unsafe { dpdk_sys::shim_mbuf_free_bulk(frames, count as u32) }
    }

    /// The array as DPDK sees it: `Mbuf` is a transparent pointer.
    #[inline]
    pub(crate) fn raw(&mut self) -> *mut *mut rte_mbuf {
        self.frames.as_mut_ptr().cast()
    }

    /// Calls `receive(array, room)`, which fills the array from its start and returns how many frames it put there.
    ///
    /// # Safety
    /// `receive` writes that many owned mbufs, and no more than `room`.
    #[inline]
    pub(crate) unsafe fn fill(
        &mut self,
        receive: impl FnOnce(*mut *mut rte_mbuf, u16) -> u16,
    ) -> &mut [Mbuf] {
        let before = self.frames.len();
        // SAFETY: `before` is at most the capacity, so the pointer stays within the array or one past it.
        let start = unsafe { self.raw().add(before) };
        let got = usize::from(receive(start, (N - before) as u16));
        // SAFETY: the caller promises that `got` elements behind `before` are initialised, and that they fit.
        unsafe { self.frames.set_len(before + got) };
        &mut self.frames[before..]
    }

    /// Calls `transmit(array, count)`, which takes the first frames and returns how many. They leave the burst without
    /// being freed.
    ///
    /// # Safety
    /// `transmit` takes ownership of as many mbufs as it says, from the start of the array.
    #[inline]
    pub(crate) unsafe fn give(&mut self, transmit: impl FnOnce(*mut *mut rte_mbuf, u16) -> u16) -> usize {
        let count = self.frames.len();
        let frames = self.raw();
        let taken = usize::from(transmit(frames, count as u16)).min(count);
        let rest = count - taken;
        // First forget all, then move: nothing in between can panic, but a half-moved array must never be dropped.
        // SAFETY: 0 is within the capacity.
        unsafe { self.frames.set_len(0) };
        // SAFETY: `taken` is within the array.
        let left = unsafe { frames.add(taken) };
        // SAFETY: both ranges of `rest` pointers are within the array; they may overlap.
        unsafe { std::ptr::copy(left, frames, rest) };
        // SAFETY: the first `rest` elements are the frames that were not taken.
        unsafe { self.frames.set_len(rest) };
        taken
    }
}

impl<const N: usize> Drop for Burst<N> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<const N: usize> Deref for Burst<N> {
    type Target = [Mbuf];

    #[inline]
    fn deref(&self) -> &[Mbuf] {
        &self.frames
    }
}

impl<const N: usize> DerefMut for Burst<N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Mbuf] {
        &mut self.frames
    }
}
