//! SCTP (RFC 9260 §3): the common header and the header of a chunk. Its checksum is CRC32c (RFC 9260 appendix A).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! | Source Port                   | Destination Port              |
//! +-------------------------------+-------------------------------+
//! | Verification Tag                                              |
//! +---------------------------------------------------------------+
//! | Checksum                                                      |
//! +---------------+---------------+-------------------------------+
//! | Chunk Type    | Chunk Flags   | Chunk Length                  |   the first of one or more chunks
//! +---------------+---------------+-------------------------------+
//! ```

use crate::header::Header;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The common header, 12 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct SctpHeader {
    /// Source port.
    pub sport: U16,
    /// Destination port.
    pub dport: U16,
    /// Verification tag of the association; 0 in an INIT.
    pub verification_tag: U32,
    /// CRC32c over header and chunks, with this field as zero.
    pub checksum: [u8; 4],
}

/// Header of a chunk, 4 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct ChunkHeader {
    /// Type: see [`chunk`].
    pub kind: u8,
    /// Flags; their meaning depends on the type.
    pub flags: u8,
    /// Length in bytes with this header, without the padding to 4 bytes that follows: at least 4.
    pub chunk_len: U16,
}

/// Chunk types (RFC 9260 §3.2) that the state machine of IPVS knows.
pub mod chunk {
    /// Payload.
    pub const DATA: u8 = 0;
    /// Opens an association.
    pub const INIT: u8 = 1;
    /// Answer to INIT.
    pub const INIT_ACK: u8 = 2;
    /// Selective acknowledgement.
    pub const SACK: u8 = 3;
    /// Are you there?
    pub const HEARTBEAT: u8 = 4;
    /// Yes.
    pub const HEARTBEAT_ACK: u8 = 5;
    /// Ends an association at once.
    pub const ABORT: u8 = 6;
    /// Ends an association in order.
    pub const SHUTDOWN: u8 = 7;
    /// Answer to SHUTDOWN.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// An error that does not end the association.
    pub const ERROR: u8 = 9;
    /// The cookie of INIT ACK comes back.
    pub const COOKIE_ECHO: u8 = 10;
    /// Answer to COOKIE ECHO: the association stands.
    pub const COOKIE_ACK: u8 = 11;
    /// Answer to SHUTDOWN ACK: the association is over.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// The checksum of a packet, `packet` being everything from the common header on; what its checksum field holds does
/// not matter. `None` if it is shorter than the common header.
///
/// The bytes are in the order of the wire: RFC 9260 appendix A sends the CRC's least significant byte first.
#[inline]
#[must_use]
pub fn checksum(packet: &[u8]) -> Option<[u8; 4]> {
    let header = SctpHeader { checksum: [0; 4], ..*SctpHeader::at(packet, 0)? };
    let crc = crc32c::crc32c(header.as_bytes());
    Some(crc32c::crc32c_append(crc, packet.get(SctpHeader::LEN..)?).to_le_bytes())
}

/// Writes the checksum of a packet into it. A packet that is shorter than the common header is left as it is.
#[inline]
pub fn set_checksum(packet: &mut [u8]) {
    if let Some(checksum) = checksum(packet)
        && let Some(header) = SctpHeader::at_mut(packet, 0)
    {
        header.checksum = checksum;
    }
}

/// Does a packet hold the right checksum?
#[inline]
#[must_use]
pub fn is_valid(packet: &[u8]) -> bool {
    SctpHeader::at(packet, 0).is_some_and(|header| Some(header.checksum) == checksum(packet))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as RFC 9260 appendix A defines it: the reflected polynomial 1EDC6F41.
    fn crc32c_by_bits(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(
                crc ^ u32::from(*byte),
                |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
            )
        })
    }

    #[test]
    fn check_value() {
        // The check value of CRC-32C (RFC 3720 appendix B.4 has others: 32 zeros give 8a9136aa).
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_cookie_ack() {
        let mut packet = [0, 80, 0x80, 0x44, 0xd2, 0x6a, 0xc1, 0xe5, 0, 0, 0, 0, 11, 0, 0, 4];
        let expected = crc32c_by_bits(&packet).to_le_bytes();
        set_checksum(&mut packet);
        assert_eq!(packet[8..12], expected);
        assert!(is_valid(&packet));
    }

    #[test]
    fn equals_the_definition() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let mut packet = bytes.clone();
            set_checksum(&mut packet);
            if bytes.len() < SctpHeader::LEN {
                assert_eq!((&packet, checksum(bytes)), (bytes, None));
                return;
            }
            assert!(is_valid(&packet));
            let mut zeroed = bytes.clone();
            zeroed[8..12].fill(0);
            assert_eq!(packet[8..12], crc32c_by_bits(&zeroed).to_le_bytes());
            packet[0] ^= 1;
            assert!(!is_valid(&packet));
        });
    }
}
