//! Generic UDP encapsulation (draft-ietf-intarea-gue-09 §3.1), variant 0 and the header-less variant 1.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---+-+---------+---------------+-------------------------------+
//! |Var|C|  Hlen   |  Proto/ctype  |             Flags             |
//! +---+-+---------+---------------+-------------------------------+
//! |                Optional fields, Hlen * 4 bytes                |
//! +---------------------------------------------------------------+
//! ```

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The header without its optional fields, 4 bytes; it follows a UDP header.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct GueHeader {
    /// Variant in the upper two bits, the control bit, and the length of optional fields in units of 4 bytes.
    pub variant_control_hlen: u8,
    /// IP protocol of the payload, or the type of a control message.
    pub protocol: u8,
    /// Which optional fields there are.
    pub flags: U16,
}

impl GueHeader {
    /// A data message without optional fields.
    #[must_use]
    pub const fn data(protocol: u8) -> GueHeader {
        GueHeader { variant_control_hlen: 0, protocol, flags: U16::ZERO }
    }

    /// 0 with this header. In variant 1 the two bits belong to the version of an IP header that follows UDP directly.
    #[must_use]
    pub const fn variant(&self) -> u8 {
        self.variant_control_hlen >> 6
    }

    /// Is this a control message, which carries no packet?
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.variant_control_hlen & 0x20 != 0
    }

    /// Length of the header with its optional fields, bytes: 4 to 128.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        4 + (self.variant_control_hlen & 0x1f) as usize * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;

    #[test]
    fn fields() {
        let header = GueHeader::at(&[0x22, 4, 0, 1], 0).unwrap();
        assert_eq!((header.variant(), header.is_control(), header.header_len()), (0, true, 12));
        assert_eq!((header.protocol, header.flags.get()), (4, 1));
        assert_eq!(GueHeader::data(41).as_bytes(), [0, 41, 0, 0]);
        // An IPv4 header directly behind UDP.
        assert_eq!(GueHeader::at(&[0x45, 0, 0, 0], 0).map(GueHeader::variant), Some(1));
    }
}
