//! From the parts of a crafted packet to its bytes: link header, IP header, extension headers, fragments.

use super::transport::claim;
use super::{Craft, Ends, Sum};
use crate::ethernet::{EthernetHeader, VlanTag};
use crate::ext::{ExtensionHeader, FragmentHeader};
use crate::header::Header;
use crate::ip_protocol;
use crate::ipv4::{self, Ipv4Header};
use crate::ipv6::Ipv6Header;
use std::net::{Ipv4Addr, Ipv6Addr};
use zerocopy::IntoBytes;
use zerocopy::network_endian::{U16, U32};

impl Craft {
    /// The IP packet, without the link header.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let bytes = self.transport.bytes(&self.ends, &self.payload, self.transport_sum);
        self.ip_packet(self.fragment, &bytes)
    }

    /// The frames of the packet cut into fragments whose IP packets are at most `mtu` bytes long, each with at least 8
    /// bytes of data, in order. One frame, without a fragment header, if it fits.
    #[must_use]
    pub fn fragments(&self, mtu: usize) -> Vec<Vec<u8>> {
        if self.packet().len() <= mtu {
            return vec![self.frame()];
        }
        let bytes = self.transport.bytes(&self.ends, &self.payload, self.transport_sum);
        let overhead = self.ip_packet(Some((0, true, 0)), &[]).len();
        let piece_len = (mtu.saturating_sub(overhead) & !7).max(8);
        let count = bytes.len().div_ceil(piece_len);
        let cut = |(place, piece): (usize, &[u8])| {
            let offset = claim(place * piece_len).get();
            let fragment = (offset, place + 1 < count, u32::from(self.id));
            [self.link_header(), self.ip_packet(Some(fragment), piece)].concat()
        };
        bytes.chunks(piece_len).enumerate().map(cut).collect()
    }

    /// Ethernet header and tags.
    pub(super) fn link_header(&self) -> Vec<u8> {
        let own = self.ethertype();
        let first = self.tags.first().map_or(own, |tag| tag.0);
        let header = EthernetHeader { dst: self.dst_mac, src: self.src_mac, ethertype: U16::new(first) };
        let mut bytes = header.as_bytes().to_vec();
        for (place, (_, tci)) in self.tags.iter().enumerate() {
            let next = self.tags.get(place + 1).map_or(own, |tag| tag.0);
            let tag = VlanTag { tci: U16::new(*tci), ethertype: U16::new(next) };
            bytes.extend_from_slice(tag.as_bytes());
        }
        bytes
    }

    fn ip_packet(&self, fragment: Option<(u16, bool, u32)>, data: &[u8]) -> Vec<u8> {
        match self.ends {
            Ends::V4 { src, dst } => self.ipv4(src, dst, fragment, data),
            Ends::V6 { src, dst } => self.ipv6(src, dst, fragment, data),
        }
    }

    fn ipv4(&self, src: Ipv4Addr, dst: Ipv4Addr, fragment: Option<(u16, bool, u32)>, data: &[u8]) -> Vec<u8> {
        let header_len = Ipv4Header::LEN + self.options.len();
        let (offset, more, id) = fragment.unwrap_or((0, false, u32::from(self.id)));
        let df = if self.dont_fragment { ipv4::DF } else { 0 };
        let mf = if more { ipv4::MF } else { 0 };
        let header = Ipv4Header {
            version_and_ihl: 0x40 | (header_len / 4) as u8,
            tos: self.traffic_class,
            total_len: claim(header_len + data.len()),
            id: U16::new(id as u16),
            flags_and_offset: U16::new(df | mf | (offset / 8)),
            ttl: self.ttl,
            protocol: self.transport.protocol(&self.ends),
            checksum: U16::ZERO,
            src: U32::new(src.to_bits()),
            dst: U32::new(dst.to_bits()),
        };
        let mut packet = [header.as_bytes(), &self.options].concat();
        ipv4::fill_checksum(&mut packet);
        if let Some(header) = Ipv4Header::at_mut(&mut packet, 0) {
            match self.ip_sum {
                Sum::Right => {}
                // A flipped bit is neither the same number nor the other zero.
                Sum::Wrong => header.checksum.set(header.checksum.get() ^ 1),
                Sum::Zero => header.checksum.set(0),
            }
        }
        packet.extend_from_slice(data);
        packet
    }

    fn ipv6(&self, src: Ipv6Addr, dst: Ipv6Addr, fragment: Option<(u16, bool, u32)>, data: &[u8]) -> Vec<u8> {
        let last = self.transport.protocol(&self.ends);
        let behind_extensions = if fragment.is_some() { ip_protocol::FRAGMENT } else { last };
        let mut extensions = Vec::new();
        for (place, (kind, body)) in self.extensions.iter().enumerate() {
            let next = self.extensions.get(place + 1).map_or(behind_extensions, |extension| extension.0);
            push_extension(&mut extensions, *kind, next, body);
        }
        if let Some((offset, more, id)) = fragment {
            extensions.extend_from_slice(FragmentHeader::new(last, offset, more, id).as_bytes());
        }
        let mut header = Ipv6Header {
            payload_len: claim(extensions.len() + data.len()),
            next_header: self.extensions.first().map_or(behind_extensions, |extension| extension.0),
            hop_limit: self.ttl,
            src: src.octets(),
            dst: dst.octets(),
            ..Ipv6Header::default()
        };
        header.set_class_and_flow(self.traffic_class, self.flow_label);
        [header.as_bytes(), &extensions, data].concat()
    }
}

/// One extension header, padded to the next length that its type can say.
fn push_extension(bytes: &mut Vec<u8>, kind: u8, next_header: u8, body: &[u8]) {
    let mut header = ExtensionHeader { next_header, hdr_ext_len: 0 };
    while header.len(kind) < ExtensionHeader::LEN + body.len() && header.hdr_ext_len < u8::MAX {
        header.hdr_ext_len += 1;
    }
    // The length field of a fragment header is reserved; an authentication header of IPv6 has a multiple of 8 bytes
    // (RFC 4302 §2.2), which its length in units of 4 does not ensure.
    let odd = kind == ip_protocol::AH && !header.len(kind).is_multiple_of(8);
    header.hdr_ext_len = header.hdr_ext_len.saturating_add(u8::from(odd));
    let end = bytes.len() + header.len(kind);
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(end, 0);
}
