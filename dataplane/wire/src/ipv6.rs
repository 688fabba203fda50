//! IPv6 (RFC 8200 §3). Extension headers are in [`crate::ext`].
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+---------------+---------------------------------------+
//! |Version| Traffic Class |              Flow Label               |
//! +-------+---------------+-------+---------------+---------------+
//! |        Payload Length         |  Next Header  |   Hop Limit   |
//! +-------------------------------+---------------+---------------+
//! |                        Source Address (16)                    |
//! +---------------------------------------------------------------+
//! |                      Destination Address (16)                 |
//! +---------------------------------------------------------------+
//! ```

use crate::checksum;
use crate::header::Header;
use std::net::Ipv6Addr;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The fixed header, 40 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version, traffic class, flow label.
    pub version_class_flow: U32,
    /// Length of everything behind this header, bytes.
    pub payload_len: U16,
    /// What follows: see [`crate::ip_protocol`].
    pub next_header: u8,
    /// Hops that are left.
    pub hop_limit: u8,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
}

impl Ipv6Header {
    /// 6 in an IPv6 packet.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// DSCP and ECN, laid out as in IPv4.
    #[inline]
    #[must_use]
    pub const fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// Flow label, 20 bits.
    #[inline]
    #[must_use]
    pub const fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & 0x000f_ffff
    }

    /// Writes version 6, a traffic class, and the lower 20 bits of a flow label.
    #[inline]
    pub fn set_class_and_flow(&mut self, traffic_class: u8, flow_label: u32) {
        self.version_class_flow.set(6 << 28 | u32::from(traffic_class) << 20 | flow_label & 0x000f_ffff);
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn src_addr(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.src)
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn dst_addr(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.dst)
    }

    /// Sum of the pseudo header for a segment of `len` bytes of protocol `next_header`, which is not this header's if
    /// extension headers follow (RFC 8200 §8.1).
    #[inline]
    #[must_use]
    pub fn pseudo_sum(&self, next_header: u8, len: u32) -> u64 {
        checksum::pseudo_v6(self.src, self.dst, next_header, len)
    }

    /// The header, if `packet` begins with one whose version is right and whose length agrees with the bytes there are,
    /// which may be more (Ethernet padding). A jumbogram (RFC 2675, payload length 0) is read as empty.
    #[inline]
    #[must_use]
    pub fn well_formed(packet: &[u8]) -> Option<&Ipv6Header> {
        let header = Ipv6Header::at(packet, 0)?;
        let fits = usize::from(header.payload_len.get()) <= packet.len() - Ipv6Header::LEN;
        (header.version() == 6 && fits).then_some(header)
    }

    /// Lowers the hop limit by one. Returns false, and changes nothing, if the packet must not travel on (RFC 8200 §3).
    #[inline]
    pub fn decrement_hop_limit(&mut self) -> bool {
        let lowered = self.hop_limit > 1;
        self.hop_limit -= u8::from(lowered);
        lowered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let mut bytes = [0u8; 44];
        bytes[..8].copy_from_slice(&[0x6b, 0x95, 0x43, 0x21, 0, 4, 58, 255]);
        bytes[8..10].copy_from_slice(&[0x20, 1]);
        bytes[39] = 7;
        let header = Ipv6Header::well_formed(&bytes).unwrap();
        assert_eq!((header.version(), header.traffic_class(), header.flow_label()), (6, 0xb9, 0x54321));
        assert_eq!((header.payload_len.get(), header.next_header, header.hop_limit), (4, 58, 255));
        assert_eq!(header.src_addr(), "2001::".parse::<Ipv6Addr>().unwrap());
        assert_eq!(header.dst_addr(), "::7".parse::<Ipv6Addr>().unwrap());
        let mut same = Ipv6Header::default();
        same.set_class_and_flow(0xb9, 0xfff5_4321);
        assert_eq!(same.version_class_flow, header.version_class_flow);
        assert!(Ipv6Header::well_formed(&bytes[..43]).is_none(), "longer than its frame");
        bytes[0] = 0x4b;
        assert!(Ipv6Header::well_formed(&bytes).is_none(), "version 4");
    }

    #[test]
    fn hop_limit_goes_down_to_one() {
        for (before, after, lowered) in [(255, 254, true), (2, 1, true), (1, 1, false), (0, 0, false)] {
            let mut header = Ipv6Header { hop_limit: before, ..Ipv6Header::default() };
            assert_eq!((header.decrement_hop_limit(), header.hop_limit), (lowered, after));
        }
    }
}
