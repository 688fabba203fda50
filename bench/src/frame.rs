//! A frame in a fixed buffer, as an mbuf is.

use shunt_wire::{Frame, NicPortId};

/// Room in front of the packet, bytes: that of an mbuf.
const HEADROOM: u8 = 128;

/// More than any start and length together, which are bytes: then no access needs a check, as none of an mbuf does.
const MEMORY: usize = 512;

/// A frame that holds its bytes itself.
#[derive(Clone, Debug)]
pub struct FixedFrame {
    memory: [u8; MEMORY],
    start: u8,
    len: u8,
    nic_port: NicPortId,
}

impl FixedFrame {
    /// An empty frame.
    pub fn new() -> FixedFrame {
        FixedFrame { memory: [0; MEMORY], start: HEADROOM, len: 0, nic_port: NicPortId(0) }
    }

    /// Makes it hold a packet of 64 bytes from a NIC port.
    #[inline]
    pub fn load(&mut self, packet: &[u8; 64], nic_port: NicPortId) {
        (self.start, self.len, self.nic_port) = (HEADROOM, 64, nic_port);
        self.bytes_mut().copy_from_slice(packet);
    }
}

impl Frame for FixedFrame {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        let start = usize::from(self.start);
        &self.memory[start..start + usize::from(self.len)]
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let start = usize::from(self.start);
        &mut self.memory[start..start + usize::from(self.len)]
    }

    #[inline]
    fn prepend(&mut self, len: usize) -> bool {
        let fits = len <= usize::from(self.start) && len <= usize::from(u8::MAX - self.len);
        if fits {
            self.start -= len as u8;
            self.len += len as u8;
        }
        fits
    }

    fn trim_front(&mut self, len: usize) -> bool {
        let fits = len <= usize::from(self.len) && len <= usize::from(u8::MAX - self.start);
        if fits {
            self.start += len as u8;
            self.len -= len as u8;
        }
        fits
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        self.len = u8::try_from(len).map_or(self.len, |len| self.len.min(len));
    }

    fn append(&mut self, len: usize) -> bool {
        let fits = len <= usize::from(u8::MAX - self.len);
        if fits {
            self.len += len as u8;
        }
        fits
    }

    #[inline]
    fn nic_port(&self) -> NicPortId {
        self.nic_port
    }
}
