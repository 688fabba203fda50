//! UDP (RFC 768).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |          Source Port          |       Destination Port        |
//! +-------------------------------+-------------------------------+
//! |            Length             |           Checksum            |
//! +-------------------------------+-------------------------------+
//! ```

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The header, 8 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct UdpHeader {
    /// Source port.
    pub sport: U16,
    /// Destination port.
    pub dport: U16,
    /// Length of header and payload, bytes: at least 8.
    pub datagram_len: U16,
    /// Checksum over pseudo header, header and payload. 0 means none, which only IPv4 allows, and tunnels over IPv6
    /// (RFC 6935).
    pub checksum: U16,
}

impl UdpHeader {
    /// Does the datagram go without a checksum?
    #[inline]
    #[must_use]
    pub const fn is_unchecked(&self) -> bool {
        self.checksum.get() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;

    #[test]
    fn fields() {
        let header = UdpHeader::at(&[0x9c, 0x40, 0, 53, 0, 12, 0xab, 0xcd], 0).unwrap();
        assert_eq!((header.sport.get(), header.dport.get()), (40_000, 53));
        assert_eq!((header.datagram_len.get(), header.checksum.get()), (12, 0xabcd));
        assert!(!header.is_unchecked());
    }
}
