//! Ethernet II (IEEE 802.3 §3.1) and the tags of IEEE 802.1Q.
//!
//! ```text
//! +--------------------------+--------------------------+-----------+
//! | Destination (6)          | Source (6)               | EtherType |
//! +--------------------------+--------------------------+-----------+
//! |<------------- with a tag, 0x8100 or 0x88a8 -------->| 0x8100    |
//! +-----+-+------------+-----------+--------------------+-----------+
//! | PCP |D| VLAN ID    | EtherType |
//! +-----+-+------------+-----------+
//! ```

use crate::mac::MacAddr;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What follows an Ethernet header or a tag (IEEE registration authority).
pub mod ether_type {
    /// IPv4 (RFC 894).
    pub const IPV4: u16 = 0x0800;
    /// ARP (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// A customer tag (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// IPv6 (RFC 2464).
    pub const IPV6: u16 = 0x86dd;
    /// A service tag, outside a customer tag (IEEE 802.1ad, "QinQ").
    pub const QINQ: u16 = 0x88a8;
}

/// The shortest frame, bytes without the FCS (IEEE 802.3 §4A.4.2): senders pad to it, so a frame may be longer than its
/// packet.
pub const FRAME_LEN_MIN: usize = 60;

/// The Ethernet header, 14 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct EthernetHeader {
    /// Destination address.
    pub dst: MacAddr,
    /// Source address.
    pub src: MacAddr,
    /// What follows: see [`ether_type`].
    pub ethertype: U16,
}

/// What follows an EtherType of [`ether_type::VLAN`] or [`ether_type::QINQ`], 4 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct VlanTag {
    /// Tag control information: priority, drop eligible, VLAN identifier.
    pub tci: U16,
    /// What follows: see [`ether_type`].
    pub ethertype: U16,
}

impl VlanTag {
    /// VLAN identifier, 0 to 4095; 0 means that only the priority counts.
    #[inline]
    #[must_use]
    pub const fn vlan_id(&self) -> u16 {
        self.tci.get() & 0x0fff
    }

    /// Priority code point, 0 to 7.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        (self.tci.get() >> 13) as u8
    }

    /// May be dropped first.
    #[must_use]
    pub const fn drop_eligible(&self) -> bool {
        self.tci.get() & 0x1000 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;

    #[test]
    fn header_and_tag() {
        let bytes = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16, 0x81, 0, 0xb0, 0x64, 0x08, 0x00];
        let header = EthernetHeader::at(&bytes, 0).unwrap();
        assert_eq!(header.dst, MacAddr([1, 2, 3, 4, 5, 6]));
        assert_eq!(header.src, MacAddr([11, 12, 13, 14, 15, 16]));
        assert_eq!(header.ethertype.get(), ether_type::VLAN);
        let tag = VlanTag::at(&bytes, EthernetHeader::LEN).unwrap();
        assert_eq!((tag.vlan_id(), tag.priority(), tag.drop_eligible()), (100, 5, true));
        assert_eq!(tag.ethertype.get(), ether_type::IPV4);
        assert!(VlanTag::at(&bytes, EthernetHeader::LEN + 1).is_none());
    }
}
