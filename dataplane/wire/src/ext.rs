//! IPv6 extension headers (RFC 8200 §4): the walk from the fixed header to the transport header.
//!
//! ```text
//! hop-by-hop options, routing,       fragment                           authentication
//! destination options
//!  0               1                  0               1                  0               1
//! +---------------+---------------+  +---------------+---------------+  +---------------+---------------+
//! | Next Header   | Length / 8 - 1|  | Next Header   | Reserved      |  | Next Header   | Length / 4 - 2|
//! +---------------+---------------+  +---------------+-----------+-+-+  +---------------+---------------+
//! | …                             |  | Offset / 8                |0|M|  | …                             |
//! +---------------+---------------+  +---------------+-----------+-+-+  +---------------+---------------+
//!                                    | Identification                |
//!                                    |                               |
//!                                    +---------------+---------------+
//! ```
//!
//! The walk accepts the headers in any order and number up to [`MAX_HEADERS`], as the Linux function that IPVS uses
//! does: to enforce RFC 8200's order is the receiver's business, not a router's. It does not read options.

use crate::header::Header;
use crate::ip_protocol::{AH, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most extension headers that the walk passes. RFC 8200 §4.1 lists at most seven in a packet, each type once but
/// destination options twice; more is an attack on routers.
pub const MAX_HEADERS: usize = 8;

/// The first two bytes of every extension header that the walk passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct ExtensionHeader {
    /// Type of the header behind this one.
    pub next_header: u8,
    /// Length in units that depend on the type: see [`ExtensionHeader::len`].
    pub hdr_ext_len: u8,
}

impl ExtensionHeader {
    /// Length of this header in bytes, if its type is `kind`; at least 8.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self, kind: u8) -> usize {
        match kind {
            // The second byte is reserved.
            FRAGMENT => FragmentHeader::LEN,
            // RFC 4302 §2.2: in 4-byte units minus 2.
            AH => (self.hdr_ext_len as usize + 2) * 4,
            _ => (self.hdr_ext_len as usize + 1) * 8,
        }
    }
}

/// The fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct FragmentHeader {
    /// Type of the first header of the fragmentable part.
    pub next_header: u8,
    /// Zero.
    pub reserved: u8,
    /// Offset in units of 8 bytes in the upper 13 bits; the lowest bit says that more fragments follow.
    pub offset_and_more: U16,
    /// The same for all fragments of a packet.
    pub id: U32,
}

impl FragmentHeader {
    /// A fragment at `offset` bytes, of which the lowest three bits are ignored.
    #[must_use]
    pub fn new(next_header: u8, offset: u16, more: bool, id: u32) -> FragmentHeader {
        let offset_and_more = U16::new(offset & !7 | u16::from(more));
        FragmentHeader { next_header, reserved: 0, offset_and_more, id: U32::new(id) }
    }

    /// Place of the fragment's data in the fragmentable part, bytes.
    #[must_use]
    pub const fn offset(&self) -> u16 {
        self.offset_and_more.get() & !7
    }

    /// True for all fragments but the last.
    #[must_use]
    pub const fn more(&self) -> bool {
        self.offset_and_more.get() & 1 != 0
    }
}

/// What a fragment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Place of the fragment's data in the fragmentable part, bytes.
    pub offset: u16,
    /// Not the last fragment.
    pub more: bool,
    /// The same for all fragments of a packet.
    pub id: u32,
    /// Where the fragment header itself lies, bytes from the start of the walk.
    pub at: usize,
}

impl Fragment {
    /// Is the packet whole in spite of its fragment header (an "atomic fragment", RFC 6946)?
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// Where the walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The protocol of what lies at `offset`: a transport protocol, ESP, "no next header", or a type that is unknown.
    /// In a fragment other than the first, the protocol that its first fragment begins with, which may be an extension
    /// header.
    pub protocol: u8,
    /// Bytes of extension headers: where the transport header begins, counted from the start of the walk. Behind a
    /// fragment header whose offset is not 0 there is data, and no header.
    pub offset: usize,
    /// The first fragment header, if there is one.
    pub fragment: Option<Fragment>,
}

/// Why a chain of extension headers makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A header reaches beyond the packet.
    Truncated,
    /// More than [`MAX_HEADERS`] headers.
    TooMany,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Malformed::Truncated => "an IPv6 extension header reaches beyond the packet",
            Malformed::TooMany => "more IPv6 extension headers than any sender needs",
        })
    }
}

impl std::error::Error for Malformed {}

/// Walks the extension headers. `next_header` is the fixed header's field, `bytes` what follows the fixed header, up to
/// the end of the packet.
///
/// # Errors
/// [`Malformed`]; the caller drops the packet and counts it.
#[inline]
pub fn walk(next_header: u8, bytes: &[u8]) -> Result<Walk, Malformed> {
    let mut walk = Walk { protocol: next_header, offset: 0, fragment: None };
    for _ in 0..MAX_HEADERS {
        if !is_extension(walk.protocol) {
            return Ok(walk);
        }
        let header = ExtensionHeader::at(bytes, walk.offset).ok_or(Malformed::Truncated)?;
        let end = walk.offset + header.len(walk.protocol);
        if end > bytes.len() {
            return Err(Malformed::Truncated);
        }
        if walk.protocol == FRAGMENT && walk.fragment.is_none() {
            let header = FragmentHeader::at(bytes, walk.offset).ok_or(Malformed::Truncated)?;
            let (offset, more, id) = (header.offset(), header.more(), header.id.get());
            walk.fragment = Some(Fragment { offset, more, id, at: walk.offset });
        }
        (walk.protocol, walk.offset) = (header.next_header, end);
        // What follows is the middle of something.
        if walk.fragment.is_some_and(|fragment| fragment.offset != 0) {
            return Ok(walk);
        }
    }
    if is_extension(walk.protocol) { Err(Malformed::TooMany) } else { Ok(walk) }
}

/// Is this a header to pass? ESP is not: what follows it is encrypted.
#[inline]
#[must_use]
pub const fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | AH | DESTINATION_OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip_protocol::{ESP, NO_NEXT_HEADER, TCP, UDP};

    /// An options or routing header of `units` times 8 bytes.
    fn options(next_header: u8, units: u8) -> Vec<u8> {
        let mut bytes = vec![0; usize::from(units) * 8];
        (bytes[0], bytes[1]) = (next_header, units - 1);
        bytes
    }

    #[test]
    fn none() {
        assert_eq!(walk(TCP, &[]), Ok(Walk { protocol: TCP, offset: 0, fragment: None }));
    }

    #[test]
    fn one_of_each() {
        let authentication = [&[FRAGMENT, 4][..], &[0; 22]].concat();
        let fragment = FragmentHeader::new(DESTINATION_OPTIONS, 0, true, 77);
        let bytes = [
            &options(ROUTING, 1)[..],
            &options(AH, 3),
            &authentication,
            fragment.as_bytes(),
            &options(UDP, 2),
            &[0; 8],
        ]
        .concat();
        let walk = walk(HOP_BY_HOP, &bytes).unwrap();
        assert_eq!((walk.protocol, walk.offset), (UDP, bytes.len() - 8));
        let fragment = walk.fragment.unwrap();
        assert_eq!(fragment, Fragment { offset: 0, more: true, id: 77, at: 8 + 24 + 24 });
        assert!(!fragment.is_whole());
    }

    #[test]
    fn a_later_fragment_ends_the_walk() {
        // Its data looks like a header that reaches beyond the packet.
        let bytes =
            [FragmentHeader::new(DESTINATION_OPTIONS, 1480, false, 1).as_bytes(), &[0xff; 2]].concat();
        let walk = walk(FRAGMENT, &bytes).unwrap();
        assert_eq!((walk.protocol, walk.offset), (DESTINATION_OPTIONS, 8));
        assert_eq!(walk.fragment.map(|fragment| (fragment.offset, fragment.more)), Some((1480, false)));
    }

    #[test]
    fn an_atomic_fragment_is_whole() {
        let bytes = [FragmentHeader::new(TCP, 0, false, 1).as_bytes(), &[0; 20]].concat();
        let walk = walk(FRAGMENT, &bytes).unwrap();
        assert_eq!((walk.protocol, walk.offset), (TCP, 8));
        assert!(walk.fragment.unwrap().is_whole());
    }

    #[test]
    fn esp_and_nothing_end_it() {
        for last in [ESP, NO_NEXT_HEADER] {
            assert_eq!(
                walk(HOP_BY_HOP, &options(last, 1)).map(|walk| (walk.protocol, walk.offset)),
                Ok((last, 8))
            );
        }
    }

    #[test]
    fn as_many_as_allowed_and_one_more() {
        let chain = |count: usize| {
            let mut bytes = options(DESTINATION_OPTIONS, 1).repeat(count - 1);
            bytes.extend(options(TCP, 1));
            bytes
        };
        assert_eq!(
            walk(DESTINATION_OPTIONS, &chain(MAX_HEADERS)).map(|walk| walk.offset),
            Ok(MAX_HEADERS * 8)
        );
        assert_eq!(walk(DESTINATION_OPTIONS, &chain(MAX_HEADERS + 1)), Err(Malformed::TooMany));
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = options(TCP, 4);
        for len in 0..bytes.len() {
            assert_eq!(walk(ROUTING, &bytes[..len]), Err(Malformed::Truncated), "{len}");
        }
        for len in 0..8 {
            assert_eq!(
                walk(FRAGMENT, &[TCP, 0, 0, 0, 0, 0, 0, 0][..len]),
                Err(Malformed::Truncated),
                "{len}"
            );
        }
    }

    #[test]
    fn any_bytes_stay_within_the_packet() {
        bolero::check!().with_type::<(u8, Vec<u8>)>().for_each(|(next_header, bytes)| {
            // Most random numbers are not extension headers: start with one.
            let types = [HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION_OPTIONS];
            let next_header = types[usize::from(*next_header) % types.len()];
            if let Ok(walk) = walk(next_header, bytes) {
                assert!(walk.offset >= 8 && walk.offset <= bytes.len());
                if let Some(fragment) = walk.fragment {
                    let header = FragmentHeader::at(bytes, fragment.at).unwrap();
                    assert_eq!((header.offset(), header.more()), (fragment.offset, fragment.more));
                    assert_eq!(header.id.get(), fragment.id);
                }
            }
        });
    }
}
