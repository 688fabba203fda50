//! TCP (RFC 9293 §3.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |          Source Port          |       Destination Port        |
//! +-------------------------------+-------------------------------+
//! |                        Sequence Number                        |
//! +---------------------------------------------------------------+
//! |                    Acknowledgment Number                      |
//! +-------+-------+-+-+-+-+-+-+-+-+-------------------------------+
//! | Offset|  Rsrv |C|E|U|A|P|R|S|F|            Window             |
//! +-------+-------+-+-+-+-+-+-+-+-+-------------------------------+
//! |           Checksum            |         Urgent Pointer        |
//! +-------------------------------+-------------------------------+
//! |                Options, up to 40 bytes                        |
//! +---------------------------------------------------------------+
//! ```

use std::ops::BitOr;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The control bits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronize sequence numbers: opens a connection.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgment number is valid.
    pub const ACK: Flags = Flags(0x10);
    /// The urgent pointer is valid.
    pub const URG: Flags = Flags(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Flags = Flags(0x80);
    /// Answer to SYN.
    pub const SYN_ACK: Flags = Flags(0x12);
    /// Acknowledges all before it, and ends the sender's direction.
    pub const FIN_ACK: Flags = Flags(0x11);

    /// Are all of these set?
    #[inline]
    #[must_use]
    pub const fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Is any of these set?
    #[inline]
    #[must_use]
    pub const fn intersects(self, flags: Flags) -> bool {
        self.0 & flags.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// The fixed part of the header, 20 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct TcpHeader {
    /// Source port.
    pub sport: U16,
    /// Destination port.
    pub dport: U16,
    /// Sequence number of the first byte; in a SYN, the initial one.
    pub sequence: U32,
    /// Next sequence number that the sender expects.
    pub acknowledgment: U32,
    /// Header length in units of 4 bytes in the upper half.
    pub data_offset: u8,
    /// Control bits.
    pub flags: Flags,
    /// Receive window, bytes, unscaled.
    pub window: U16,
    /// Checksum over pseudo header, header and payload.
    pub checksum: U16,
    /// End of urgent data.
    pub urgent: U16,
}

impl TcpHeader {
    /// Length of the header with its options, bytes: a multiple of 4 up to 60. Less than 20 is malformed.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        (self.data_offset >> 4) as usize * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;

    #[test]
    fn fields() {
        let bytes = [0x9c, 0x40, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0x60, 0x12, 0xff, 0xfe, 0xab, 0xcd, 0, 9];
        let header = TcpHeader::at(&bytes, 0).unwrap();
        assert_eq!((header.sport.get(), header.dport.get()), (40_000, 80));
        assert_eq!((header.sequence.get(), header.acknowledgment.get()), (0x0102_0304, 0x0506_0708));
        assert_eq!((header.header_len(), header.flags), (24, Flags::SYN | Flags::ACK));
        assert_eq!((header.window.get(), header.checksum.get(), header.urgent.get()), (0xfffe, 0xabcd, 9));
        assert!(header.flags.contains(Flags::SYN_ACK) && !header.flags.contains(Flags::SYN | Flags::FIN));
        assert!(header.flags.intersects(Flags::FIN_ACK) && !header.flags.intersects(Flags::RST));
    }
}
