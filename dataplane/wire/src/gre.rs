//! Generic routing encapsulation (RFC 2784 §2; the key and sequence bits are RFC 2890's).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-----------------+-----+-------------------------------+
//! |C|0|K|S|    Reserved0    | Ver |         Protocol Type         |
//! +-+-+-+-+-----------------+-----+-------------------------------+
//! |  if C: Checksum               |  if C: Reserved1              |
//! +-------------------------------+-------------------------------+
//! ```

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// [`GreHeader::flags_and_version`]: a checksum follows.
pub const CHECKSUM_PRESENT: u16 = 0x8000;
/// [`GreHeader::flags_and_version`]: a key follows.
pub const KEY_PRESENT: u16 = 0x2000;
/// [`GreHeader::flags_and_version`]: a sequence number follows.
pub const SEQUENCE_PRESENT: u16 = 0x1000;

/// The header that is always there, 4 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct GreHeader {
    /// Flags, and the version, 0, in the lowest three bits.
    pub flags_and_version: U16,
    /// EtherType of the payload.
    pub ethertype: U16,
}

impl GreHeader {
    /// Length of the header with the optional fields that its flags announce, bytes: 4 to 16.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        let flags = self.flags_and_version.get();
        let optional = flags & CHECKSUM_PRESENT | flags & KEY_PRESENT | flags & SEQUENCE_PRESENT;
        4 + 4 * optional.count_ones() as usize
    }

    /// 0 for GRE, 1 for PPTP's variant (RFC 2637).
    #[must_use]
    pub const fn version(&self) -> u8 {
        (self.flags_and_version.get() & 7) as u8
    }
}

/// What follows [`GreHeader`] if [`CHECKSUM_PRESENT`] is set, 4 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct GreChecksum {
    /// Checksum over the GRE header and the payload, no pseudo header.
    pub checksum: U16,
    /// Zero.
    pub reserved: U16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;

    #[test]
    fn fields() {
        let bytes = [0xb0, 0, 0x86, 0xdd, 0xab, 0xcd, 0, 0];
        let header = GreHeader::at(&bytes, 0).unwrap();
        assert_eq!((header.header_len(), header.version(), header.ethertype.get()), (16, 0, 0x86dd));
        assert_eq!(GreChecksum::at(&bytes, GreHeader::LEN).map(|field| field.checksum.get()), Some(0xabcd));
        assert_eq!(GreHeader::default().header_len(), 4);
    }
}
