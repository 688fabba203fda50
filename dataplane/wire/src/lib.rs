//! Bytes on the wire: one protocol header per file, checksums, and the [`Frame`] that holds them.
#![forbid(unsafe_code)]

mod frame;

pub use frame::{Frame, NicPortId};

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);
