//! What the headers of one fragment say.

use crate::packet::{IPV4_LEN, IPV6_LEN, Packet};
use crate::tables::Family;
use shunt_wire::ext;

/// Length of the IPv6 fragment header.
pub(super) const FRAGMENT_HEADER_LEN: usize = 8;
/// The IPv6 next header value of a fragment header.
pub(super) const FRAGMENT_HEADER: u8 = 44;

/// One fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The same for all fragments of a datagram.
    pub(super) id: u32,
    /// IPv4: the protocol, which is part of a datagram's identity. IPv6: 0.
    pub(super) protocol: u8,
    /// Place of its data in the datagram, bytes.
    pub(super) offset: u32,
    /// Length of its data, bytes; never 0.
    pub(super) len: u32,
    /// Where its data begin in the frame.
    pub(super) data_at: usize,
    /// Not the last one.
    pub(super) more: bool,
    /// IPv4: the sender forbids to cut it further.
    pub(super) dont_fragment: bool,
    /// The ECN bits, 0 to 3.
    pub(super) ecn: u8,
}

impl Piece {
    /// Reads a classified fragment. `None` if it makes no sense: no data, or an end beyond the largest datagram.
    pub(crate) fn read(packet: &Packet, bytes: &[u8]) -> Option<Piece> {
        let l3 = usize::from(packet.l3);
        let piece = match packet.family {
            Family::V4 => Piece::read_v4(packet, bytes.get(l3..)?)?,
            Family::V6 => Piece::read_v6(packet, bytes.get(l3..)?)?,
        };
        let header_len = (piece.data_at - l3) as u32;
        let fits = piece.offset + piece.len + header_len <= u32::from(u16::MAX);
        (piece.len > 0 && fits).then_some(piece)
    }

    fn read_v4(packet: &Packet, header: &[u8]) -> Option<Piece> {
        const MORE: u16 = 0x2000;
        const DONT: u16 = 0x4000;
        let header: &[u8; IPV4_LEN] = header.first_chunk()?;
        let flags = u16::from_be_bytes([header[6], header[7]]);
        let more = flags & MORE != 0;
        let len = u32::from(packet.ip_len) - u32::from(packet.l4 - packet.l3);
        Some(Piece {
            id: u32::from(u16::from_be_bytes([header[4], header[5]])),
            protocol: header[9],
            offset: u32::from(flags & 0x1fff) * 8,
            // As the kernel does: the next one begins at a multiple of 8, so what lies beyond is cut off.
            len: if more { len & !7 } else { len },
            data_at: usize::from(packet.l4),
            more,
            dont_fragment: flags & DONT != 0,
            ecn: header[1] & 3,
        })
    }

    fn read_v6(packet: &Packet, bytes: &[u8]) -> Option<Piece> {
        let header: &[u8; IPV6_LEN] = bytes.first_chunk()?;
        let end = usize::from(packet.ip_len);
        let walk = ext::walk(header[6], bytes.get(IPV6_LEN..end)?).ok()?;
        let fragment = walk.fragment?;
        let data = IPV6_LEN + fragment.at + FRAGMENT_HEADER_LEN;
        let len = end.checked_sub(data)? as u32;
        // RFC 8200 §4.5: the length of all but the last is a multiple of 8, or the fragment is discarded.
        (!fragment.more || len.is_multiple_of(8)).then_some(Piece {
            id: fragment.id,
            protocol: 0,
            offset: u32::from(fragment.offset),
            len,
            data_at: usize::from(packet.l3) + data,
            more: fragment.more,
            dont_fragment: false,
            ecn: header[1] >> 4 & 3,
        })
    }
}

/// Is a fragment all of its packet (RFC 6946)?
pub(crate) fn is_atomic(packet: &Packet, bytes: &[u8]) -> bool {
    Piece::read(packet, bytes).is_some_and(|piece| piece.offset == 0 && !piece.more)
}

/// Where the next header field that names the fragment header lies, and where that header begins, both from the start of
/// an IPv6 header.
pub(super) fn fragment_header_at(header: &[u8]) -> Option<(usize, usize)> {
    let (mut named_at, mut at) = (6, IPV6_LEN);
    for _ in 0..ext::MAX_HEADERS {
        let kind = *header.get(named_at)?;
        if kind == FRAGMENT_HEADER {
            return Some((named_at, at));
        }
        if !ext::is_extension(kind) {
            return None;
        }
        let extension =
            ext::ExtensionHeader { next_header: *header.get(at)?, hdr_ext_len: *header.get(at + 1)? };
        (named_at, at) = (at, at + extension.len(kind));
    }
    None
}
