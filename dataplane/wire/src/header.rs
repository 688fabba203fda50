//! Headers in place: a typed view of bytes at an offset, without a copy.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A header that can be read and written where it lies. Every header type of this crate is one: all bit patterns are
/// valid, there is no padding, the alignment is 1, and numbers of several bytes are big endian by type.
///
/// ```
/// use shunt_wire::{Header, SctpHeader};
///
/// let bytes = [0xff, 0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0];
/// let sctp = SctpHeader::at(&bytes, 1).unwrap();
/// assert_eq!((sctp.sport.get(), sctp.dport.get()), (40_000, 80));
/// assert!(SctpHeader::at(&bytes, 2).is_none());
/// ```
pub trait Header: FromBytes + IntoBytes + Unaligned + KnownLayout + Immutable + Sized {
    /// Length in bytes.
    const LEN: usize = size_of::<Self>();

    /// The header at `offset`; `None` if the bytes end before it does.
    #[inline]
    #[must_use]
    fn at(bytes: &[u8], offset: usize) -> Option<&Self> {
        Some(Self::ref_from_prefix(bytes.get(offset..)?).ok()?.0)
    }

    /// The same, to be written.
    #[inline]
    #[must_use]
    fn at_mut(bytes: &mut [u8], offset: usize) -> Option<&mut Self> {
        Some(Self::mut_from_prefix(bytes.get_mut(offset..)?).ok()?.0)
    }
}

impl<T: FromBytes + IntoBytes + Unaligned + KnownLayout + Immutable> Header for T {}
