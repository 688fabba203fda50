//! One packet in memory that NICs can reach.

use dpdk_sys::{rte_mbuf, shim_mbuf};
use shunt_wire::{Frame, NicPortId};
use std::ptr::NonNull;

/// Bytes in front of a received frame, as DPDK was built: 128 everywhere we know of. An outer IPv6 and a UDP header with
/// GUE options fit twice.
pub const HEADROOM: usize = dpdk_sys::SHIM_HEADROOM as usize;

/// A packet, owned. Dropping it gives the buffer back to its pool.
///
/// It may move between threads, and exactly one owns it at a time: that is all that DPDK asks for an mbuf with one
/// reference, and the fence never makes a second one.
#[repr(transparent)]
pub struct Mbuf {
    raw: NonNull<rte_mbuf>,
}

// SAFETY: an mbuf is plain memory without ties to a thread; rte_pktmbuf_free may be called from any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes ownership.
    ///
    /// # Safety
    /// `raw` is an mbuf that came from DPDK with one reference, which the caller gives away.
    pub(crate) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Mbuf {
        Mbuf { raw }
    }

    #[inline]
    fn view(&self) -> &shim_mbuf {
        // SAFETY: dpdk-sys asserts that the view's fields lie where those of rte_mbuf lie; we own the mbuf, so it is
        // alive, and nobody writes it while we are borrowed.
        unsafe { self.raw.cast().as_ref() }
    }

    #[inline]
    fn view_mut(&mut self) -> &mut shim_mbuf {
        // SAFETY: as in `view`, and `&mut self` makes us the only one that looks.
        unsafe { self.raw.cast().as_mut() }
    }

    /// Is the whole packet in one piece? If not, [`Frame::bytes`] shows the first piece only.
    #[inline]
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        self.view().nb_segs == 1
    }

    /// Length of the whole packet in bytes, all pieces.
    #[must_use]
    pub fn packet_len(&self) -> usize {
        self.view().pkt_len as usize
    }

    /// Makes one piece of the packet.
    /// Returns false, and changes nothing, if the first piece's buffer has no room for all of it.
    #[must_use]
    pub fn linearize(&mut self) -> bool {
        // SAFETY: we own the mbuf and all its pieces.
        unsafe { dpdk_sys::shim_mbuf_linearize(self.raw.as_ptr()) == 0 }
    }

    /// States where the frame came from.
    #[inline]
    pub fn set_nic_port(&mut self, nic_port: NicPortId) {
        self.view_mut().port = u16::from(nic_port.0);
    }

    /// Bytes free in front of the packet.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.view().data_off)
    }

    /// Bytes free behind the (first piece of the) packet.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        let view = self.view();
        usize::from(view.buf_len).saturating_sub(usize::from(view.data_off) + usize::from(view.data_len))
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: we own the only reference, and it ends here.
        unsafe { dpdk_sys::shim_mbuf_free(self.raw.as_ptr()) }
    }
}

impl Frame for Mbuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        let view = self.view();
        // SAFETY: DPDK keeps data_off within the buffer.
        let start = unsafe { view.buf_addr.cast::<u8>().add(usize::from(view.data_off)) };
        // SAFETY: data_off + data_len is within the buffer, whose memory was initialised when the pool was made and
        // belongs to this mbuf alone.
        unsafe { std::slice::from_raw_parts(start, usize::from(view.data_len)) }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let view = self.view_mut();
        // SAFETY: as in `bytes`.
        let start = unsafe { view.buf_addr.cast::<u8>().add(usize::from(view.data_off)) };
        // SAFETY: as in `bytes`, and we are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(start, usize::from(view.data_len)) }
    }

    #[inline]
    fn prepend(&mut self, len: usize) -> bool {
        let room = self.headroom();
        let view = self.view_mut();
        if len > room || len > usize::from(u16::MAX - view.data_len) {
            return false;
        }
        view.data_off -= len as u16;
        view.data_len += len as u16;
        view.pkt_len += len as u32;
        true
    }

    #[inline]
    fn trim_front(&mut self, len: usize) -> bool {
        let view = self.view_mut();
        if len > usize::from(view.data_len) {
            return false;
        }
        view.data_off += len as u16;
        view.data_len -= len as u16;
        view.pkt_len -= len as u32;
        true
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        let view = self.view_mut();
        if view.nb_segs == 1 && len < usize::from(view.data_len) {
            view.data_len = len as u16;
            view.pkt_len = len as u32;
        }
    }

    #[inline]
    fn append(&mut self, len: usize) -> bool {
        let room = self.tailroom();
        let view = self.view_mut();
        if view.nb_segs != 1 || len > room {
            return false;
        }
        view.data_len += len as u16;
        view.pkt_len += len as u32;
        true
    }

    #[inline]
    fn nic_port(&self) -> NicPortId {
        // Set by RxQueue and Mbuf::set_nic_port from an 8-bit id; a fresh mbuf has 0xffff.
        NicPortId(self.view().port as u8)
    }
}

impl std::fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mbuf({} bytes)", self.packet_len())
    }
}
