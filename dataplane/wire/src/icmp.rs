//! ICMP for IPv4 (RFC 792).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     Type      |     Code      |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! | unused | Identifier, Sequence Number | unused, Next-Hop MTU    |
//! +---------------------------------------------------------------+
//! |  of an error: the IP header and at least 8 bytes of what      |
//! |  follows it in the packet that caused it                      |
//! +---------------------------------------------------------------+
//! ```
//!
//! The checksum covers the message, without a pseudo header.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Message types (RFC 792) that IPVS deals with.
pub mod kind {
    /// Answer to [`ECHO`].
    pub const ECHO_REPLY: u8 = 0;
    /// The packet could not be delivered; why is in the code.
    pub const UNREACHABLE: u8 = 3;
    /// Send more slowly (deprecated by RFC 6633, still relayed by IPVS).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Use another router.
    pub const REDIRECT: u8 = 5;
    /// Ping.
    pub const ECHO: u8 = 8;
    /// TTL or reassembly time at its end.
    pub const TIME_EXCEEDED: u8 = 11;
    /// A header field makes no sense.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Codes of [`kind::UNREACHABLE`] (RFC 792, RFC 1122 §3.2.2.1).
pub mod unreachable {
    /// No route to the network.
    pub const NET: u8 = 0;
    /// The host does not answer.
    pub const HOST: u8 = 1;
    /// The host does not know the protocol.
    pub const PROTOCOL: u8 = 2;
    /// Nobody listens.
    pub const PORT: u8 = 3;
    /// Too big for the next hop, and DF is set (RFC 1191 §4).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
}

/// Codes of [`kind::TIME_EXCEEDED`].
pub mod time_exceeded {
    /// The TTL ran out in transit.
    pub const TTL: u8 = 0;
    /// Not all fragments came in time.
    pub const REASSEMBLY: u8 = 1;
}

/// The header, 8 bytes; a quoted packet or echo data follows.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct IcmpHeader {
    /// Type: see [`kind`].
    pub kind: u8,
    /// Code: the meaning depends on the type.
    pub code: u8,
    /// Checksum over the message.
    pub checksum: U16,
    /// Identifier of an echo; unused in errors.
    pub id: U16,
    /// Sequence number of an echo; MTU of the next hop, bytes, in "fragmentation needed" (RFC 1191 §4).
    pub sequence_or_mtu: U16,
}

impl IcmpHeader {
    /// Does the message quote a packet, in response to which no other error may be sent (RFC 1122 §3.2.2)?
    #[inline]
    #[must_use]
    pub const fn is_error(&self) -> bool {
        use kind::{PARAMETER_PROBLEM, REDIRECT, SOURCE_QUENCH, TIME_EXCEEDED, UNREACHABLE};
        matches!(self.kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;

    #[test]
    fn fields() {
        let header = IcmpHeader::at(&[3, 4, 0xab, 0xcd, 0, 0, 0x05, 0x78], 0).unwrap();
        assert_eq!((header.kind, header.code), (kind::UNREACHABLE, unreachable::FRAGMENTATION_NEEDED));
        assert_eq!((header.checksum.get(), header.sequence_or_mtu.get()), (0xabcd, 1400));
        assert!(header.is_error());
        let echo = IcmpHeader { kind: kind::ECHO, id: U16::new(7), ..IcmpHeader::default() };
        assert!(!echo.is_error());
        assert_eq!(echo.as_bytes(), [8, 0, 0, 0, 0, 7, 0, 0]);
    }
}
