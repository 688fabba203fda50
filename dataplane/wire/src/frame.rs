//! A frame: the bytes of one packet with room in front of it.
//!
//! The engine sees packets only through this trait, so that it runs on a NIC's mbufs and on a test's vectors alike.

/// The NIC port that a frame came from or leaves by: an index into the ports of the configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NicPortId(pub u8);

/// One packet in one contiguous piece of memory, starting with its Ethernet header.
pub trait Frame {
    /// All bytes, from the Ethernet destination address to the last byte of the payload (padding included, FCS not).
    fn bytes(&self) -> &[u8];
    /// The same bytes, to be written.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Grows the frame by `len` bytes at the front. Their content is undefined.
    /// Returns false, and changes nothing, if the headroom is too small.
    #[must_use]
    fn prepend(&mut self, len: usize) -> bool;
    /// Removes `len` bytes from the front.
    /// Returns false, and changes nothing, if the frame is shorter.
    #[must_use]
    fn trim_front(&mut self, len: usize) -> bool;
    /// Cuts the frame to `len` bytes; does nothing if it is not longer.
    fn truncate(&mut self, len: usize);
    /// Grows the frame by `len` bytes at the end. Their content is undefined.
    /// Returns false, and changes nothing, if the tailroom is too small.
    #[must_use]
    fn append(&mut self, len: usize) -> bool;
    /// The NIC port that the frame was received from.
    fn nic_port(&self) -> NicPortId;
}
