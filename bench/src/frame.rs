//! A frame in a fixed buffer, as an mbuf is.

use shunt_wire::{Frame, NicPortId};

/// Room in front of the packet, bytes: that of an mbuf.
const HEADROOM: usize = 128;

/// A frame that holds its bytes itself.
#[derive(Clone, Debug)]
pub struct FixedFrame {
    memory: [u8; 320],
    start: u16,
    end: u16,
    nic_port: NicPortId,
}

impl FixedFrame {
    /// An empty frame.
    pub fn new() -> FixedFrame {
        FixedFrame { memory: [0; 320], start: HEADROOM as u16, end: HEADROOM as u16, nic_port: NicPortId(0) }
    }

    /// Makes it hold a packet of 64 bytes from a NIC port.
    #[inline]
    pub fn load(&mut self, packet: &[u8; 64], nic_port: NicPortId) {
        self.memory[HEADROOM..HEADROOM + 64].copy_from_slice(packet);
        (self.start, self.end) = (HEADROOM as u16, HEADROOM as u16 + 64);
        self.nic_port = nic_port;
    }
}

impl Frame for FixedFrame {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.memory[usize::from(self.start)..usize::from(self.end)]
    }

    // As an mbuf's, whatever else the compiler does.
    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[usize::from(self.start)..usize::from(self.end)]
    }

    #[inline]
    fn prepend(&mut self, len: usize) -> bool {
        let fits = len <= usize::from(self.start);
        if fits {
            self.start -= len as u16;
        }
        fits
    }

    fn trim_front(&mut self, len: usize) -> bool {
        let fits = len <= usize::from(self.end - self.start);
        if fits {
            self.start += len as u16;
        }
        fits
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len as u16);
    }

    fn append(&mut self, len: usize) -> bool {
        let fits = usize::from(self.end) + len <= self.memory.len();
        if fits {
            self.end += len as u16;
        }
        fits
    }

    #[inline]
    fn nic_port(&self) -> NicPortId {
        self.nic_port
    }
}
