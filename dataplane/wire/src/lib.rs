//! Bytes on the wire: one protocol header per file, checksums, and the [`Frame`] that holds them.
//!
//! Headers are views of the bytes where they lie ([`Header::at`], [`Header::at_mut`]); no bytes can make them panic or
//! read beyond the end. This crate reads no clock, opens no file, starts no thread and logs nothing; what allocates
//! ([`HeapFrame`], [`pcap`], [`craft`]) is for tests and tools.
#![forbid(unsafe_code)]

pub mod checksum;
pub mod ext;
mod frame;
mod header;
pub mod ip_protocol;
mod mac;
pub mod sctp;

pub use frame::{Frame, NicPortId};
pub use header::Header;
pub use mac::{MacAddr, MacAddrParseError};
pub use sctp::{ChunkHeader, SctpHeader};
