//! IPv4 (RFC 791 §3.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+-----------+---+-------------------------------+
//! |Version|  IHL  |   DSCP    |ECN|         Total Length          |
//! +-------+-------+-----------+---+-+-+-+-------------------------+
//! |        Identification         |0|D|M|   Fragment Offset / 8   |
//! +---------------+---------------+-+-+-+-------------------------+
//! | Time to Live  |   Protocol    |        Header Checksum        |
//! +---------------+---------------+-------------------------------+
//! |                        Source Address                         |
//! +---------------------------------------------------------------+
//! |                      Destination Address                      |
//! +---------------------------------------------------------------+
//! |                Options, up to 40 bytes                        |
//! +---------------------------------------------------------------+
//! ```

use crate::checksum::{self, Delta};
use crate::header::Header;
use std::net::Ipv4Addr;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// "Don't fragment" in [`Ipv4Header::flags_and_offset`].
pub const DF: u16 = 0x4000;
/// "More fragments".
pub const MF: u16 = 0x2000;
/// The fragment offset in units of 8 bytes.
pub const OFFSET_MASK: u16 = 0x1fff;

/// The fixed part of the header, 20 bytes. Options follow if [`header_len`](Ipv4Header::header_len) says so.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version, and header length in units of 4 bytes.
    pub version_and_ihl: u8,
    /// DSCP (RFC 2474) and ECN (RFC 3168); once the type of service.
    pub tos: u8,
    /// Length of the packet with this header, bytes.
    pub total_len: U16,
    /// The same for all fragments of a packet.
    pub id: U16,
    /// [`DF`], [`MF`] and the fragment offset.
    pub flags_and_offset: U16,
    /// Time to live, hops.
    pub ttl: u8,
    /// What follows: see [`crate::ip_protocol`].
    pub protocol: u8,
    /// Checksum of the header.
    pub checksum: U16,
    /// Source address.
    pub src: U32,
    /// Destination address.
    pub dst: U32,
}

impl Ipv4Header {
    /// [`version_and_ihl`](Ipv4Header::version_and_ihl) of a header without options.
    pub const VERSION_AND_IHL: u8 = 0x45;

    /// 4 in an IPv4 packet.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_and_ihl >> 4
    }

    /// Length of the header with its options, bytes: a multiple of 4 up to 60. Less than 20 is malformed.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        (self.version_and_ihl & 0x0f) as usize * 4
    }

    /// Differentiated services code point, 0 to 63.
    #[inline]
    #[must_use]
    pub const fn dscp(&self) -> u8 {
        self.tos >> 2
    }

    /// Explicit congestion notification, 0 to 3.
    #[inline]
    #[must_use]
    pub const fn ecn(&self) -> u8 {
        self.tos & 3
    }

    /// Must the packet not be fragmented?
    #[inline]
    #[must_use]
    pub const fn df(&self) -> bool {
        self.flags_and_offset.get() & DF != 0
    }

    /// Is this a fragment other than the last?
    #[inline]
    #[must_use]
    pub const fn mf(&self) -> bool {
        self.flags_and_offset.get() & MF != 0
    }

    /// Place of this fragment's data in the packet, bytes; 0 in a packet that is whole.
    #[inline]
    #[must_use]
    pub const fn fragment_offset(&self) -> usize {
        (self.flags_and_offset.get() & OFFSET_MASK) as usize * 8
    }

    /// Is this a fragment, first or later?
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.flags_and_offset.get() & (MF | OFFSET_MASK) != 0
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn src_addr(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.src.get())
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn dst_addr(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.dst.get())
    }

    /// Sum of the pseudo header for a transport segment of `len` bytes.
    #[inline]
    #[must_use]
    pub fn pseudo_sum(&self, len: u16) -> u64 {
        checksum::pseudo_v4(self.src.to_bytes(), self.dst.to_bytes(), self.protocol, len)
    }

    /// The header with its options, if `packet` begins with one that is well formed: version, header length and total
    /// length agree with each other and with the bytes there are, which may be more (Ethernet padding).
    #[inline]
    #[must_use]
    pub fn well_formed(packet: &[u8]) -> Option<&Ipv4Header> {
        let header = Ipv4Header::at(packet, 0)?;
        let total_len = usize::from(header.total_len.get());
        (header.version() == 4
            && header.header_len() >= Ipv4Header::LEN
            && header.header_len() <= total_len
            && total_len <= packet.len())
        .then_some(header)
    }

    /// Lowers the TTL by one and updates the checksum (RFC 1624). Returns false, and changes nothing, if the packet
    /// must not travel on: "If the TTL is reduced to zero, the packet MUST be discarded" (RFC 1812 §5.3.1).
    #[inline]
    pub fn decrement_ttl(&mut self) -> bool {
        if self.ttl <= 1 {
            return false;
        }
        self.ttl -= 1;
        Delta::TTL_DECREMENT.apply_to(&mut self.checksum);
        true
    }

    /// Writes the checksum of a header without options.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.checksum.set(0);
        let checksum = checksum::checksum(self.as_bytes());
        self.checksum.set(checksum);
    }
}

/// Writes the checksum of the header, with its options, that `packet` begins with. A packet that does not hold a whole
/// header is left as it is.
pub fn fill_checksum(packet: &mut [u8]) {
    let Some(header_len) = Ipv4Header::at(packet, 0).map(Ipv4Header::header_len) else { return };
    if let Some(header) = packet.get_mut(..header_len)
        && let Some(fixed) = Ipv4Header::at_mut(header, 0)
    {
        fixed.checksum.set(0);
        let checksum = checksum::checksum(header);
        if let Some(fixed) = Ipv4Header::at_mut(header, 0) {
            fixed.checksum.set(checksum);
        }
    }
}

/// Is the checksum of the header, with its options, that `packet` begins with right?
#[inline]
#[must_use]
pub fn checksum_is_valid(packet: &[u8]) -> bool {
    Ipv4Header::at(packet, 0)
        .and_then(|header| packet.get(..header.header_len()))
        .is_some_and(|header| header.len() >= Ipv4Header::LEN && checksum::is_valid(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 791 §3.1's fields, each with a value of its own.
    const BYTES: [u8; 24] = [
        0x46, 0xb9, 0x05, 0xdc, 0x12, 0x34, 0x60, 0xb9, 0x40, 0x11, 0x00, 0x00, 192, 0, 2, 9, 10, 0, 1, 100,
        1, 1, 1, 0,
    ];

    #[test]
    fn fields() {
        let header = Ipv4Header::at(&BYTES, 0).unwrap();
        assert_eq!((header.version(), header.header_len()), (4, 24));
        assert_eq!((header.dscp(), header.ecn()), (46, 1));
        assert_eq!((header.total_len.get(), header.id.get()), (1500, 0x1234));
        assert_eq!((header.df(), header.mf(), header.fragment_offset()), (true, true, 1480));
        assert_eq!((header.ttl, header.protocol), (64, 17));
        assert_eq!(header.src_addr(), Ipv4Addr::new(192, 0, 2, 9));
        assert_eq!(header.dst_addr(), Ipv4Addr::new(10, 0, 1, 100));
    }

    #[test]
    fn checksum_covers_the_options() {
        let mut packet = BYTES;
        fill_checksum(&mut packet);
        assert!(checksum_is_valid(&packet));
        packet[22] = 7;
        assert!(!checksum_is_valid(&packet));
        assert!(!checksum_is_valid(&packet[..23]));
    }

    #[test]
    fn malformed_headers() {
        let mut packet = [BYTES.to_vec(), vec![0; 1500 - 24]].concat();
        assert!(Ipv4Header::well_formed(&packet).is_some());
        assert!(Ipv4Header::well_formed(&packet[..1499]).is_none(), "longer than its frame");
        packet[0] = 0x44;
        assert!(Ipv4Header::well_formed(&packet).is_none(), "header shorter than 20");
        packet[0] = 0x66;
        assert!(Ipv4Header::well_formed(&packet).is_none(), "version 6");
        packet[0] = 0x46;
        packet[2..4].copy_from_slice(&23u16.to_be_bytes());
        assert!(Ipv4Header::well_formed(&packet).is_none(), "total length shorter than the header");
    }

    #[test]
    fn ttl_goes_down_to_one() {
        bolero::check!().with_type::<[u8; 20]>().for_each(|bytes| {
            let mut header = Ipv4Header::read_from_bytes(bytes).unwrap();
            header.version_and_ihl = Ipv4Header::VERSION_AND_IHL;
            header.fill_checksum();
            let before = header;
            let lowered = header.decrement_ttl();
            assert_eq!(lowered, before.ttl > 1);
            let mut fresh = before;
            fresh.ttl -= u8::from(lowered);
            fresh.fill_checksum();
            assert_eq!(header, fresh);
        });
    }

    #[test]
    fn any_bytes() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            if let Some(header) = Ipv4Header::well_formed(bytes) {
                assert!(
                    header.header_len() <= bytes.len() && usize::from(header.total_len.get()) <= bytes.len()
                );
            }
            let mut filled = bytes.clone();
            fill_checksum(&mut filled);
            if bytes.len() >= 20 && (20..=bytes.len()).contains(&(usize::from(bytes[0] & 15) * 4)) {
                assert!(checksum_is_valid(&filled));
            } else {
                assert!(!checksum_is_valid(bytes));
                assert!(filled.len() == bytes.len());
            }
        });
    }
}
