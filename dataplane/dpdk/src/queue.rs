//! The queues of a NIC port.

use crate::nic_port::PortGuard;
use crate::{Burst, Mempool};
use shunt_wire::NicPortId;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

/// DPDK: "a given queue must not be polled by two threads at once". `Cell` is `Send` and not `Sync`, and so is
/// whatever holds this.
pub(crate) type OneThread = PhantomData<Cell<()>>;

/// A receive queue: owned by one thread at a time.
#[derive(Debug)]
pub struct RxQueue {
    pub(crate) port: Arc<PortGuard>,
    pub(crate) queue: u16,
    pub(crate) nic_port: NicPortId,
    /// The NIC fills buffers of this pool.
    pub(crate) _pool: Mempool,
    pub(crate) one_thread: OneThread,
}

impl RxQueue {
    /// Adds what has arrived to the burst, as far as it has room, and returns how many frames that were.
    #[inline]
    pub fn burst<const N: usize>(&mut self, burst: &mut Burst<N>) -> usize {
        let (port, queue) = (self.port.id(), self.queue);
        // SAFETY: the port is started and has this queue as long as `self.port` lives; `&mut self` of a value that is
        // not Sync makes this thread its only user; the array has room for `room` pointers.
        let receive = |frames, room| unsafe { dpdk_sys::shim_rx_burst(port, queue, frames, room) };
        // SAFETY: rte_eth_rx_burst returns how many mbufs it wrote; they are ours from now on.
        let received = unsafe { burst.fill(receive) };
        for frame in received.iter_mut() {
            // The line was just written by the driver; this store is nearly free, and spares a map from DPDK's ids.
            frame.set_nic_port(self.nic_port);
        }
        received.len()
    }

    /// The NIC port it belongs to.
    #[must_use]
    pub fn nic_port(&self) -> NicPortId {
        self.nic_port
    }
}

/// A transmit queue: owned by one thread at a time.
#[derive(Debug)]
pub struct TxQueue {
    pub(crate) port: Arc<PortGuard>,
    pub(crate) queue: u16,
    pub(crate) nic_port: NicPortId,
    pub(crate) one_thread: OneThread,
}

impl TxQueue {
    /// Gives frames to the NIC, first to last, and returns how many it took. The rest stays in the burst.
    #[inline]
    pub fn burst<const N: usize>(&mut self, burst: &mut Burst<N>) -> usize {
        let (port, queue) = (self.port.id(), self.queue);
        // SAFETY: as for RxQueue::burst; the array holds `count` mbufs that are ours.
        let transmit = |frames, count| unsafe { dpdk_sys::shim_tx_burst(port, queue, frames, count) };
        // SAFETY: rte_eth_tx_burst takes ownership of as many mbufs as it returns, from the first on.
        unsafe { burst.give(transmit) }
    }

    /// The NIC port it belongs to.
    #[must_use]
    pub fn nic_port(&self) -> NicPortId {
        self.nic_port
    }
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<RxQueue>();
    is_send::<TxQueue>();
    is_send::<Burst<32>>();
};
