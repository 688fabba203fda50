//! A frame on the heap, for tests and tools. The packet path's frames are mbufs.

use crate::frame::{Frame, NicPortId};

/// A frame in a vector, with the headroom of an mbuf and as much tailroom as was asked for.
///
/// Bytes that [`Frame::prepend`] and [`Frame::append`] add hold [`HeapFrame::POISON`]: their content is undefined, and
/// code that counts on zeros should fail its test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapFrame {
    memory: Vec<u8>,
    start: usize,
    end: usize,
    nic_port: NicPortId,
}

impl HeapFrame {
    /// Room in front, bytes: that of DPDK's default mbuf (`RTE_PKTMBUF_HEADROOM`).
    pub const HEADROOM: usize = 128;
    /// Room at the end, bytes: what a full-sized frame of 1514 bytes leaves of an mbuf's 2048, rounded down.
    pub const TAILROOM: usize = 512;
    /// The content of bytes that nobody has written.
    pub const POISON: u8 = 0xa5;

    /// A frame of these bytes, received from this NIC port.
    #[must_use]
    pub fn new(bytes: &[u8], nic_port: NicPortId) -> HeapFrame {
        HeapFrame::with_room(bytes, nic_port, HeapFrame::HEADROOM, HeapFrame::TAILROOM)
    }

    /// The same with other room in front and at the end, bytes.
    #[must_use]
    pub fn with_room(bytes: &[u8], nic_port: NicPortId, headroom: usize, tailroom: usize) -> HeapFrame {
        let mut memory = vec![HeapFrame::POISON; headroom + bytes.len() + tailroom];
        let end = headroom + bytes.len();
        memory[headroom..end].copy_from_slice(bytes);
        HeapFrame { memory, start: headroom, end, nic_port }
    }

    /// Room in front that is left, bytes.
    #[must_use]
    pub fn headroom_len(&self) -> usize {
        self.start
    }

    /// Room at the end that is left, bytes.
    #[must_use]
    pub fn tailroom_len(&self) -> usize {
        self.memory.len() - self.end
    }
}

impl Frame for HeapFrame {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    fn prepend(&mut self, len: usize) -> bool {
        let fits = len <= self.headroom_len();
        if fits {
            self.start -= len;
            self.memory[self.start..self.start + len].fill(HeapFrame::POISON);
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
        let fits = len <= self.tailroom_len();
        if fits {
            self.memory[self.end..self.end + len].fill(HeapFrame::POISON);
            self.end += len;
        }
        fits
    }

    fn nic_port(&self) -> NicPortId {
        self.nic_port
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bolero::TypeGenerator;

    #[test]
    fn grows_and_shrinks() {
        let mut frame = HeapFrame::new(b"packet", NicPortId(3));
        assert!(frame.prepend(2));
        frame.bytes_mut()[..2].copy_from_slice(b"a ");
        assert!(frame.append(1));
        assert_eq!(frame.bytes(), [b"a packet".as_slice(), &[HeapFrame::POISON]].concat());
        frame.truncate(8);
        assert!(frame.trim_front(2));
        assert_eq!((frame.bytes(), frame.nic_port()), (b"packet".as_slice(), NicPortId(3)));
        assert_eq!((frame.headroom_len(), frame.tailroom_len()), (HeapFrame::HEADROOM, HeapFrame::TAILROOM));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut frame = HeapFrame::with_room(b"abc", NicPortId(0), 4, 2);
        assert!(!frame.prepend(5) && !frame.prepend(usize::MAX));
        assert!(!frame.append(3) && !frame.append(usize::MAX));
        assert!(!frame.trim_front(4));
        frame.truncate(usize::MAX);
        assert_eq!(frame.bytes(), b"abc");
        assert!(frame.prepend(4) && frame.append(2) && frame.trim_front(9));
        assert!(frame.bytes().is_empty());
    }

    #[derive(Clone, Copy, Debug, TypeGenerator)]
    enum Operation {
        Prepend(u8),
        TrimFront(u8),
        Truncate(u8),
        Append(u8),
    }

    /// Any sequence of operations does what it would do to a vector of bytes without bounds, unless refused.
    #[test]
    fn behaves_like_a_vector() {
        bolero::check!().with_type::<(Vec<u8>, Vec<Operation>)>().for_each(|(bytes, operations)| {
            let mut frame = HeapFrame::with_room(bytes, NicPortId(0), 64, 64);
            let mut model = bytes.clone();
            for operation in operations {
                match *operation {
                    Operation::Prepend(len) if frame.prepend(len.into()) => {
                        model.splice(0..0, vec![HeapFrame::POISON; len.into()]);
                    }
                    Operation::TrimFront(len) if frame.trim_front(len.into()) => {
                        model.drain(..usize::from(len));
                    }
                    Operation::Append(len) if frame.append(len.into()) => {
                        model.resize(model.len() + usize::from(len), HeapFrame::POISON);
                    }
                    Operation::Truncate(len) => {
                        frame.truncate(len.into());
                        model.truncate(len.into());
                    }
                    _ => {}
                }
                assert_eq!(frame.bytes(), model);
                assert_eq!(frame.bytes_mut(), model);
            }
        });
    }
}
