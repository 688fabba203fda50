//! The kernel twin of a NIC port: a TAP interface with the same address and MTU.

use shunt_dpdk::{Mbuf, Mempool};
use shunt_wire::{Frame, MacAddr, NicPortId};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// Bytes of a frame beyond the MTU: Ethernet header and two VLAN tags.
const L2_OVERHEAD: usize = 14 + 8;

/// A TAP interface, up. It goes with the value.
pub(crate) struct Twin {
    pub(crate) nic_port: NicPortId,
    device: SyncDevice,
    frame_len_max: usize,
    /// The buffer for the next frame.
    spare: Option<Mbuf>,
}

impl Twin {
    /// Makes the interface `name` in the network namespace of the calling thread.
    pub(crate) fn create(name: &str, nic_port: NicPortId, mac: MacAddr, mtu: u16) -> io::Result<Twin> {
        // Without a virtio header the kernel completes checksums and cuts segments before we see a frame.
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L2)
            .packet_information(false)
            .mac_addr(mac.0)
            .mtu(mtu)
            .enable(true)
            .build_sync()?;
        device.set_nonblocking(true)?;
        Ok(Twin { nic_port, device, frame_len_max: usize::from(mtu) + L2_OVERHEAD, spare: None })
    }

    /// Gives a frame to the kernel. False if the kernel does not take it: the interface is down, or its queue is full.
    pub(crate) fn write(&self, frame: &Mbuf) -> bool {
        self.device.send(frame.bytes()).is_ok()
    }

    /// A frame that the kernel sends, if there is one.
    pub(crate) fn read(&mut self, pool: &Mempool) -> Option<Mbuf> {
        let mut frame = self.spare.take().or_else(|| pool.alloc())?;
        frame.truncate(0);
        if !frame.append(self.frame_len_max.min(frame.tailroom())) {
            return None;
        }
        match self.device.recv(frame.bytes_mut()) {
            Ok(len) if len > 0 => {
                frame.truncate(len);
                Some(frame)
            }
            _ => {
                self.spare = Some(frame);
                None
            }
        }
    }
}

impl AsFd for Twin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
