//! Pools of packet buffers.

use crate::error::DpdkError;
use crate::{Burst, Eal, HEADROOM, Mbuf};
use dpdk_sys::rte_mempool;
use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

/// Buffers that a thread keeps for itself, so that it takes and gives most of them without touching the shared ring.
const CACHE_LEN: u32 = 256;

/// Frames beyond the MTU: Ethernet header, two VLAN tags, FCS.
const L2_OVERHEAD: usize = 14 + 8 + 4;

/// Some NICs use a buffer in whole KiB and round down.
const ROOM_STEP: usize = 1024;

/// No NIC wants less than this for whole standard frames.
const ROOM_MIN: usize = 2048;

#[derive(Debug)]
struct Pool {
    raw: NonNull<rte_mempool>,
    eal: Eal,
}

// SAFETY: a mempool with the default ring is made for use from many threads at once.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the pool is alive.
        let all_home = unsafe { dpdk_sys::shim_mempool_full(self.raw.as_ptr()) };
        if all_home {
            // SAFETY: every buffer is back and no queue refers to the pool (queues hold an Arc), so nobody will
            // touch its memory again.
            unsafe { dpdk_sys::rte_mempool_free(self.raw.as_ptr()) };
        } else {
            // Somebody still owns an Mbuf: neither the pool nor the EAL's memory may go before it.
            std::mem::forget(self.eal.clone());
        }
    }
}

/// A pool of packet buffers on one NUMA node. Clones share it; it goes with the last clone and the last queue.
#[derive(Clone, Debug)]
pub struct Mempool {
    pool: Arc<Pool>,
    room: usize,
}

impl Mempool {
    /// A pool named `name` (at most 20 characters, unique in the process) of `count` buffers, each with room for a
    /// frame of `mtu` bytes of IP packet in one piece. `socket` `None` = on any NUMA node.
    ///
    /// # Errors
    /// Mostly when memory does not suffice; the hint says how much is needed.
    pub fn create(
        eal: &Eal,
        name: &str,
        count: u32,
        mtu: u16,
        socket: Option<u32>,
    ) -> Result<Mempool, DpdkError> {
        const CALL: &str = "rte_pktmbuf_pool_create";
        let room = (usize::from(mtu) + L2_OVERHEAD).next_multiple_of(ROOM_STEP).max(ROOM_MIN);
        let data_room = u16::try_from(room + HEADROOM).map_err(|_| {
            DpdkError::foreseen(CALL, format!("an MTU of {mtu} is more than a buffer can hold"))
        })?;
        let c_name = CString::new(name)
            .map_err(|_| DpdkError::foreseen(CALL, "the name of a pool holds no zero byte"))?;
        // DPDK wants the cache to be at most two thirds of the pool.
        let cache = CACHE_LEN.min(count / 2);
        eal.count_pool()?;
        // SAFETY: the EAL is initialised (`eal` proves it) and the name is a C string.
        let raw = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(
                c_name.as_ptr(),
                count,
                cache,
                0,
                data_room,
                socket.map_or(-1, |socket| socket as i32),
            )
        };
        let raw = NonNull::new(raw).ok_or_else(|| {
            let mib = (u64::from(count) * (data_room as u64 + 256)) >> 20;
            let hint = format!("no memory for {count} packet buffers (about {mib} MiB): raise memory_mb");
            DpdkError::returned(CALL, -1, hint)
        })?;
        Ok(Mempool { pool: Arc::new(Pool { raw, eal: eal.clone() }), room })
    }

    /// Bytes that a received frame can have in one piece.
    #[must_use]
    pub fn frame_room(&self) -> usize {
        self.room
    }

    /// A fresh, empty buffer with [`HEADROOM`] in front. `None` if the pool is empty.
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive.
        let raw = unsafe { dpdk_sys::shim_mbuf_alloc(self.pool.raw.as_ptr()) };
        // SAFETY: a fresh mbuf has one reference, ours.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// Fills what is left of a burst with fresh buffers, or, if the pool has too few, does nothing.
    /// Returns how many it added.
    pub fn alloc_bulk<const N: usize>(&self, burst: &mut Burst<N>) -> usize {
        let pool = self.pool.raw.as_ptr();
        let alloc = |frames, count: u16| {
            // SAFETY: `frames` has room for `count` pointers; on success all are written, otherwise none.
            let result = unsafe { dpdk_sys::shim_mbuf_alloc_bulk(pool, frames, u32::from(count)) };
            if result == 0 { count } else { 0 }
        };
        // SAFETY: `alloc` writes as many fresh mbufs as it returns.
        unsafe { burst.fill(alloc) }.len()
    }

    /// Buffers that are free now, those in the caches of threads included.
    #[must_use]
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is alive.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.pool.raw.as_ptr()) }
    }

    pub(crate) fn raw(&self) -> *mut rte_mempool {
        self.pool.raw.as_ptr()
    }
}
