//! The transport part of a crafted packet: header, payload, checksum.

use super::{Ends, Sum};
use crate::checksum;
use crate::gre::{CHECKSUM_PRESENT, GreChecksum, GreHeader};
use crate::header::Header;
use crate::ip_protocol;
use crate::sctp::{self, ChunkHeader, SctpHeader};
use crate::tcp::{Flags, TcpHeader};
use crate::udp::UdpHeader;
use zerocopy::IntoBytes;
use zerocopy::network_endian::{U16, U32};

/// What lies between the IP header and the payload.
#[derive(Clone, Debug)]
pub(super) enum Transport {
    Raw { protocol: u8 },
    Tcp { sport: u16, dport: u16, flags: Flags, sequence: u32, acknowledgment: u32, options: Vec<u8> },
    Udp { sport: u16, dport: u16 },
    Sctp { sport: u16, dport: u16, tag: u32, chunks: Vec<(u8, Vec<u8>)> },
    Icmp { kind: u8, code: u8, rest: u32 },
    Gre { ethertype: u16, checksum: bool },
}

impl Transport {
    pub(super) fn protocol(&self, ends: &Ends) -> u8 {
        match (self, ends) {
            (Transport::Raw { protocol }, _) => *protocol,
            (Transport::Tcp { .. }, _) => ip_protocol::TCP,
            (Transport::Udp { .. }, _) => ip_protocol::UDP,
            (Transport::Sctp { .. }, _) => ip_protocol::SCTP,
            (Transport::Icmp { .. }, Ends::V4 { .. }) => ip_protocol::ICMP,
            (Transport::Icmp { .. }, Ends::V6 { .. }) => ip_protocol::ICMPV6,
            (Transport::Gre { .. }, _) => ip_protocol::GRE,
        }
    }

    pub(super) fn reverse(&mut self) {
        if let Transport::Tcp { sport, dport, .. }
        | Transport::Udp { sport, dport }
        | Transport::Sctp { sport, dport, .. } = self
        {
            std::mem::swap(sport, dport);
        }
    }

    /// Header and payload, with the checksum that was asked for.
    pub(super) fn bytes(&self, ends: &Ends, payload: &[u8], sum: Sum) -> Vec<u8> {
        let mut bytes = self.header(payload);
        if let Transport::Sctp { chunks, .. } = self {
            push_chunks(&mut bytes, chunks, payload);
        } else {
            bytes.extend_from_slice(payload);
        }
        let Some(place) = self.checksum_place() else { return bytes };
        if matches!(self, Transport::Sctp { .. }) {
            sctp_checksum(&mut bytes, sum);
            return bytes;
        }
        let pseudo = self.pseudo_sum(ends, bytes.len());
        let right = match self {
            Transport::Udp { .. } => checksum::udp(pseudo, &bytes),
            _ => checksum::transport(pseudo, &bytes),
        };
        let value = match sum {
            Sum::Right => right,
            // Another number in one's complement as well, and never UDP's "none".
            Sum::Wrong => checksum::add(right, 1),
            Sum::Zero => 0,
        };
        bytes[place..place + 2].copy_from_slice(&value.to_be_bytes());
        bytes
    }

    /// The header with a checksum of 0.
    fn header(&self, payload: &[u8]) -> Vec<u8> {
        match self {
            Transport::Raw { .. } => Vec::new(),
            Transport::Tcp { sport, dport, flags, sequence, acknowledgment, options } => {
                let header = TcpHeader {
                    sport: U16::new(*sport),
                    dport: U16::new(*dport),
                    sequence: U32::new(*sequence),
                    acknowledgment: U32::new(*acknowledgment),
                    data_offset: (((TcpHeader::LEN + options.len()) / 4) << 4) as u8,
                    flags: *flags,
                    window: U16::MAX_VALUE,
                    checksum: U16::ZERO,
                    urgent: U16::ZERO,
                };
                [header.as_bytes(), options].concat()
            }
            Transport::Udp { sport, dport } => {
                let datagram_len = claim(UdpHeader::LEN + payload.len());
                let (sport, dport) = (U16::new(*sport), U16::new(*dport));
                UdpHeader { sport, dport, datagram_len, checksum: U16::ZERO }.as_bytes().to_vec()
            }
            Transport::Sctp { sport, dport, tag, .. } => {
                let (sport, dport) = (U16::new(*sport), U16::new(*dport));
                SctpHeader { sport, dport, verification_tag: U32::new(*tag), checksum: [0; 4] }
                    .as_bytes()
                    .to_vec()
            }
            Transport::Icmp { kind, code, rest } => [&[*kind, *code, 0, 0][..], &rest.to_be_bytes()].concat(),
            Transport::Gre { ethertype, checksum } => {
                let flags = if *checksum { CHECKSUM_PRESENT } else { 0 };
                let header =
                    GreHeader { flags_and_version: U16::new(flags), ethertype: U16::new(*ethertype) };
                let optional = GreChecksum::default();
                [header.as_bytes(), if *checksum { optional.as_bytes() } else { &[] }].concat()
            }
        }
    }

    fn checksum_place(&self) -> Option<usize> {
        match self {
            Transport::Tcp { .. } => Some(16),
            Transport::Udp { .. } => Some(6),
            Transport::Sctp { .. } => Some(8),
            Transport::Icmp { .. } => Some(2),
            Transport::Gre { checksum: true, .. } => Some(4),
            Transport::Gre { checksum: false, .. } | Transport::Raw { .. } => None,
        }
    }

    fn pseudo_sum(&self, ends: &Ends, len: usize) -> u64 {
        let protocol = self.protocol(ends);
        match (self, ends) {
            (Transport::Gre { .. }, _) | (Transport::Icmp { .. }, Ends::V4 { .. }) => 0,
            (_, Ends::V4 { src, dst }) => {
                checksum::pseudo_v4(src.octets(), dst.octets(), protocol, claim(len).get())
            }
            (_, Ends::V6 { src, dst }) => {
                checksum::pseudo_v6(src.octets(), dst.octets(), protocol, len as u32)
            }
        }
    }
}

/// A length as a 16-bit field can say it.
pub(super) fn claim(len: usize) -> U16 {
    U16::new(u16::try_from(len).unwrap_or(u16::MAX))
}

/// All chunks; the last has the payload behind its own value. Chunks are padded to 4 bytes, which their length does not
/// count (RFC 9260 §3.2).
fn push_chunks(bytes: &mut Vec<u8>, chunks: &[(u8, Vec<u8>)], payload: &[u8]) {
    for (place, (kind, value)) in chunks.iter().enumerate() {
        let payload = if place + 1 == chunks.len() { payload } else { &[] };
        let chunk_len = claim(ChunkHeader::LEN + value.len() + payload.len());
        bytes.extend_from_slice(ChunkHeader { kind: *kind, flags: 0, chunk_len }.as_bytes());
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
}

fn sctp_checksum(bytes: &mut [u8], sum: Sum) {
    if sum != Sum::Zero {
        sctp::set_checksum(bytes);
    }
    if sum == Sum::Wrong
        && let Some(header) = SctpHeader::at_mut(bytes, 0)
    {
        header.checksum[0] ^= 1;
    }
}
