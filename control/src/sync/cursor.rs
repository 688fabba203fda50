//! Bytes, read from front to back: what is not there is a fault, never a panic.

use super::record::Fault;

/// A place in a datagram.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn slice(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let slice = self.bytes.get(self.at..self.at + len).ok_or(Fault::Broken)?;
        self.at += len;
        Ok(slice)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.slice(N)?.try_into().map_err(|_| Fault::Broken)
    }

    pub(super) fn skip(&mut self, len: usize) -> Result<(), Fault> {
        self.slice(len).map(drop)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }
}
