//! One frame, large enough for any datagram.

use shunt_wire::{Frame, NicPortId};

/// Room in front: that of an mbuf, which is enough for every tunnel.
const HEADROOM: usize = 128;
/// Ethernet with two tags, and the largest IP packet.
const LONGEST: usize = 22 + 65_535;

/// A datagram put together.
#[derive(Debug)]
pub(crate) struct Whole {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
    nic_port: NicPortId,
}

impl Default for Whole {
    fn default() -> Self {
        let memory = vec![0; HEADROOM + LONGEST].into_boxed_slice();
        Whole { memory, start: HEADROOM, end: HEADROOM, nic_port: NicPortId(0) }
    }
}

impl Whole {
    /// Empties it.
    pub(super) fn restart(&mut self, nic_port: NicPortId) {
        (self.start, self.end, self.nic_port) = (HEADROOM, HEADROOM, nic_port);
    }
}

impl Frame for Whole {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    fn prepend(&mut self, len: usize) -> bool {
        let fits = len <= self.start;
        if fits {
            self.start -= len;
        }
        fits
    }

    fn trim_front(&mut self, len: usize) -> bool {
        let fits = len <= self.end - self.start;
        if fits {
            self.start += len;
        }
        fits
    }

    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(len));
    }

    fn append(&mut self, len: usize) -> bool {
        let fits = len <= self.memory.len() - self.end;
        if fits {
            self.end += len;
        }
        fits
    }

    fn nic_port(&self) -> NicPortId {
        self.nic_port
    }
}
