//! ICMP for IPv6 (RFC 4443 §2.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     Type      |     Code      |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! |   unused  |  Identifier, Sequence Number  |  MTU              |
//! +---------------------------------------------------------------+
//! |  of an error: as much of the packet that caused it as fits    |
//! |  into 1280 bytes                                              |
//! +---------------------------------------------------------------+
//! ```
//!
//! The checksum covers the message under a pseudo header (RFC 4443 §2.3).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Message types. Those below 128 are errors (RFC 4443 §2.1).
pub mod kind {
    /// The packet could not be delivered; why is in the code.
    pub const UNREACHABLE: u8 = 1;
    /// Too big for the next hop.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Hop limit or reassembly time at its end.
    pub const TIME_EXCEEDED: u8 = 3;
    /// A header field makes no sense.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Ping.
    pub const ECHO_REQUEST: u8 = 128;
    /// Answer to [`ECHO_REQUEST`].
    pub const ECHO_REPLY: u8 = 129;
    /// Router solicitation (RFC 4861 §4.1).
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement (RFC 4861 §4.2).
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbor solicitation (RFC 4861 §4.3).
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Neighbor advertisement (RFC 4861 §4.4).
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    /// Redirect (RFC 4861 §4.5).
    pub const REDIRECT: u8 = 137;
}

/// Codes of [`kind::UNREACHABLE`] (RFC 4443 §3.1).
pub mod unreachable {
    /// No route.
    pub const NO_ROUTE: u8 = 0;
    /// Forbidden by a filter.
    pub const PROHIBITED: u8 = 1;
    /// The host does not answer.
    pub const ADDRESS: u8 = 3;
    /// Nobody listens.
    pub const PORT: u8 = 4;
}

/// Codes of [`kind::TIME_EXCEEDED`] (RFC 4443 §3.3).
pub mod time_exceeded {
    /// The hop limit ran out in transit.
    pub const HOP_LIMIT: u8 = 0;
    /// Not all fragments came in time.
    pub const REASSEMBLY: u8 = 1;
}

/// The header, 8 bytes; a quoted packet or echo data follows.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Icmpv6Header {
    /// Type: see [`kind`].
    pub kind: u8,
    /// Code: the meaning depends on the type.
    pub code: u8,
    /// Checksum over pseudo header and message.
    pub checksum: U16,
    /// MTU of the next hop, bytes, in "packet too big"; identifier and sequence number of an echo; otherwise unused.
    pub rest: U32,
}

impl Icmpv6Header {
    /// Does the message quote a packet, in response to which no other error may be sent (RFC 4443 §2.4 e)?
    #[inline]
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.kind < kind::ECHO_REQUEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;

    #[test]
    fn fields() {
        let header = Icmpv6Header::at(&[2, 0, 0xab, 0xcd, 0, 0, 0x05, 0x78], 0).unwrap();
        assert_eq!((header.kind, header.code), (kind::PACKET_TOO_BIG, 0));
        assert_eq!((header.checksum.get(), header.rest.get()), (0xabcd, 1400));
        assert!(header.is_error());
        assert!(!Icmpv6Header { kind: kind::ECHO_REPLY, ..*header }.is_error());
    }
}
