//! Bytes on the wire: one protocol header per file, checksums, and the [`Frame`] that holds them.
//!
//! Headers are views of the bytes where they lie ([`Header::at`], [`Header::at_mut`]); no bytes can make them panic or
//! read beyond the end. This crate reads no clock, opens no file, starts no thread and logs nothing; what allocates
//! ([`HeapFrame`], [`pcap`], [`craft`]) is for tests and tools.
#![forbid(unsafe_code)]

pub mod checksum;
pub mod craft;
pub mod ethernet;
pub mod ext;
mod frame;
pub mod gre;
pub mod gue;
mod header;
mod heap_frame;
pub mod icmp;
pub mod icmpv6;
pub mod ip_protocol;
pub mod ipv4;
pub mod ipv6;
mod mac;
pub mod pcap;
pub mod sctp;
pub mod tcp;
pub mod udp;

pub use ethernet::{EthernetHeader, VlanTag, ether_type};
pub use ext::FragmentHeader;
pub use frame::{Frame, NicPortId};
pub use gre::GreHeader;
pub use gue::GueHeader;
pub use header::Header;
pub use heap_frame::HeapFrame;
pub use icmp::IcmpHeader;
pub use icmpv6::Icmpv6Header;
pub use ipv4::Ipv4Header;
pub use ipv6::Ipv6Header;
pub use mac::{MacAddr, MacAddrParseError};
pub use sctp::{ChunkHeader, SctpHeader};
pub use tcp::{Flags, TcpHeader};
pub use udp::UdpHeader;
