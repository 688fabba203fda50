//! The Internet checksum: one's complement arithmetic (RFC 1071), and its incremental update (RFC 1624).
//!
//! Sums are taken over 16-bit words in network order and held in a `u64`, so that partial sums may be added with `+`
//! and folded once at the end: `!fold(pseudo_v4(..) + sum(segment))`. [`sum`] returns at most 16 bits, so no number of
//! additions that a packet can cause overflows. All pieces but the last must have an even length.
//!
//! A checksum that was right before an incremental update is right, and the same as a fresh one, after it. A checksum
//! that was wrong stays wrong: corruption is never hidden.

use zerocopy::network_endian::U16;

/// Adds up 16-bit words in network order; an odd byte at the end counts as if a zero followed it. The result is folded
/// already: it is at most `0xffff`.
///
/// RFC 1071 §2 (B): the sum does not depend on the byte order, so words are added as the machine reads them, four bytes
/// at a time into eight, and swapped once at the end. That form is one that compilers vectorise.
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let (fours, rest) = bytes.as_chunks::<4>();
    // 2^32 additions of 32 bits fit: more than any packet has.
    let mut sum: u64 = fours.iter().map(|four| u64::from(u32::from_ne_bytes(*four))).sum();
    // Spelled out: a copy of a length known only at run time is a call.
    sum += match *rest {
        [a] => u64::from(u16::from_ne_bytes([a, 0])),
        [a, b] => u64::from(u16::from_ne_bytes([a, b])),
        [a, b, c] => u64::from(u32::from_ne_bytes([a, b, c, 0])),
        _ => 0,
    };
    u64::from(u16::from_be(fold(sum)))
}

/// Brings a sum down to 16 bits by adding the carries back in. It is 0 only if the sum is.
#[inline]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    // Halves are added with the carry that leaves at one end coming in at the other. Of two equal sums of halves that
    // way, in the upper half stands the sum with its carry.
    let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let sum = sum + carry as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// One's complement sum of two words.
#[inline]
#[must_use]
pub const fn add(one: u16, other: u16) -> u16 {
    let (sum, carry) = one.overflowing_add(other);
    // If there is a carry the sum is at most 0xfffe, so this cannot overflow.
    sum + carry as u16
}

/// An IPv4 header's checksum field after the TTL has gone down by one: what [`Delta::TTL_DECREMENT`] makes of it, in fewer
/// steps. One's complement sums come out alike in either byte order (RFC 1071 §2 B), so nothing is swapped.
#[inline(always)]
#[must_use]
pub const fn after_ttl_decrement(field: [u8; 2]) -> [u8; 2] {
    let sum = u16::from_ne_bytes(field) as u32 + u16::from_ne_bytes([1, 0]) as u32;
    // The carry comes in at the other end; and of the two zeros RFC 1624 gives the one without bits.
    ((sum + (sum >= 0xffff) as u32) as u16).to_ne_bytes()
}

/// The checksum of these bytes, to be written into a field that counted as zero.
/// Over bytes that hold a right checksum it is 0.
#[inline]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// Do these bytes, with the checksum that they hold, add up as they should?
#[inline]
#[must_use]
pub fn is_valid(bytes: &[u8]) -> bool {
    fold(sum(bytes)) == 0xffff
}

/// Sum of the pseudo header of TCP and UDP over IPv4 (RFC 9293 §3.1, RFC 768): addresses, protocol, and the length of
/// the transport header and payload in bytes. ICMP and SCTP have none.
#[inline]
#[must_use]
pub fn pseudo_v4(src: [u8; 4], dst: [u8; 4], protocol: u8, len: u16) -> u64 {
    sum(&src) + sum(&dst) + u64::from(protocol) + u64::from(len)
}

/// Sum of the pseudo header of TCP, UDP and ICMPv6 over IPv6 (RFC 8200 §8.1). `len` is the length of the transport
/// header and payload in bytes, without extension headers.
#[inline]
#[must_use]
pub fn pseudo_v6(src: [u8; 16], dst: [u8; 16], next_header: u8, len: u32) -> u64 {
    sum(&src) + sum(&dst) + u64::from(next_header) + u64::from(len >> 16) + u64::from(len & 0xffff)
}

/// The checksum of a transport segment whose checksum field is zero, under a pseudo header.
/// UDP must send a result of 0 as `0xffff` (RFC 768): see [`udp`].
#[inline]
#[must_use]
pub fn transport(pseudo: u64, segment: &[u8]) -> u16 {
    !fold(pseudo + sum(segment))
}

/// The checksum of a UDP datagram whose checksum field is zero. Never 0, which would mean "none" (RFC 768).
#[inline]
#[must_use]
pub fn udp(pseudo: u64, datagram: &[u8]) -> u16 {
    match transport(pseudo, datagram) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// Does a segment, with the checksum that it holds, add up under its pseudo header?
#[inline]
#[must_use]
pub fn transport_is_valid(pseudo: u64, segment: &[u8]) -> bool {
    fold(pseudo + sum(segment)) == 0xffff
}

/// What a known change of header words does to a checksum: computed once per connection, applied in three
/// instructions per packet.
///
/// ```
/// use shunt_wire::checksum::Delta;
///
/// // A NAT connection: the virtual address and port become the server's.
/// let request = Delta::bytes(&[192, 0, 2, 1], &[10, 0, 2, 7]).and(Delta::word(80, 8080));
/// let reply = -request;
/// assert_eq!(reply.apply(request.apply(0x1234)), 0x1234);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
// As the words lie in memory: one's complement sums come out alike in either byte order (RFC 1071 §2 B), so nothing is
// swapped where fields are updated.
pub struct Delta(u16);

impl Delta {
    /// Nothing changes.
    pub const NONE: Delta = Delta(0);
    /// The TTL of an IPv4 header, the upper byte of its word, goes down by one.
    pub const TTL_DECREMENT: Delta = Delta(!u16::from_ne_bytes([1, 0]));

    /// One's complement has two zeros; the positive one leaves every checksum as it is, even one that no sender should
    /// have produced.
    #[inline]
    const fn of(difference: u16) -> Delta {
        if difference == 0xffff { Delta(0) } else { Delta(difference) }
    }

    /// One word, such as a transport port, becomes another. Host order.
    #[inline]
    #[must_use]
    pub const fn word(old: u16, new: u16) -> Delta {
        Delta::of(add(!old, new).to_be())
    }

    /// Bytes at an even offset become others, such as an address. They should be of the same, even, length; if not, the
    /// shorter ones count as if zeros followed.
    #[must_use]
    pub fn bytes(old: &[u8], new: &[u8]) -> Delta {
        Delta::word(fold(sum(old)), fold(sum(new)))
    }

    /// Both changes.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Delta) -> Delta {
        Delta::of(add(self.0, other.0))
    }

    /// RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`. UDP's rules for 0 are the caller's: a field of 0 is no
    /// checksum and must not be updated, and a result of 0 must be sent as `0xffff`.
    #[inline]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !add(!checksum, u16::from_be(self.0))
    }

    /// The same for a checksum field as it is in a packet.
    #[inline(always)]
    #[must_use]
    pub const fn apply_field(self, field: [u8; 2]) -> [u8; 2] {
        (!add(!u16::from_ne_bytes(field), self.0)).to_ne_bytes()
    }

    /// Updates a checksum field in place.
    #[inline]
    pub fn apply_to(self, field: &mut U16) {
        field.set(self.apply(field.get()));
    }

    /// As it is kept in a connection.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// From what [`Delta::to_bits`] gave.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u16) -> Delta {
        Delta::of(bits)
    }
}

/// The change back.
impl std::ops::Neg for Delta {
    type Output = Delta;

    #[inline]
    fn neg(self) -> Delta {
        Delta::of(!self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C code of RFC 1071 §4.1, word by word.
    fn rfc1071(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        let mut rest = bytes;
        while rest.len() > 1 {
            sum += u32::from(rest[0]) << 8 | u32::from(rest[1]);
            rest = &rest[2..];
        }
        if let [last] = rest {
            sum += u32::from(*last) << 8;
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn example_of_rfc1071() {
        // RFC 1071 §3: the words 0001 f203 f4f5 f6f7 add up to ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&bytes), 0xddf2);
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn equals_the_code_of_rfc1071() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            assert_eq!(checksum(bytes), rfc1071(bytes));
            // Every alignment.
            for start in 1..bytes.len().min(8) {
                assert_eq!(checksum(&bytes[start..]), rfc1071(&bytes[start..]));
            }
        });
    }

    #[test]
    fn longest_packet_of_ones() {
        assert_eq!(checksum(&[0xff; 65_535]), rfc1071(&[0xff; 65_535]));
    }

    #[test]
    fn pieces_add_up() {
        bolero::check!().with_type::<(Vec<[u8; 2]>, Vec<u8>)>().for_each(|(even, rest)| {
            let whole = [even.as_flattened(), rest].concat();
            assert_eq!(fold(sum(even.as_flattened()) + sum(rest)), fold(sum(&whole)));
        });
    }

    #[test]
    fn example_of_rfc1624() {
        // RFC 1624 §4: HC = dd2f, m = 5555, m' = 3285; the result is 0000, and not ffff as RFC 1141 would give.
        assert_eq!(Delta::word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn incremental_equals_recomputed_and_returns() {
        type Case = ([u8; 32], [u8; 16], [u8; 2], u8);
        bolero::check!().with_type::<Case>().for_each(|(before, address, l4_port, last)| {
            // Not all zero, as no real header is: only then is a checksum unique.
            let mut before = *before;
            before[31] = last | 1;
            let mut after = before;
            after[4..20].copy_from_slice(address);
            after[22..24].copy_from_slice(l4_port);
            let word = |bytes: &[u8]| u16::from_be_bytes([bytes[22], bytes[23]]);
            let delta = Delta::bytes(&before[4..20], address).and(Delta::word(word(&before), word(&after)));
            assert_eq!(delta.apply(checksum(&before)), checksum(&after));
            assert_eq!((-delta).apply(checksum(&after)), checksum(&before));
            assert_eq!(Delta::from_bits(delta.to_bits()), delta);
        });
    }

    #[test]
    fn no_change_keeps_even_an_odd_checksum() {
        for checksum in [0, 1, 0xfffe, 0xffff] {
            assert_eq!(Delta::NONE.apply(checksum), checksum);
            assert_eq!(Delta::word(80, 80).apply(checksum), checksum);
            assert_eq!((-Delta::word(80, 80)).apply(checksum), checksum);
        }
    }

    #[test]
    fn a_wrong_checksum_stays_wrong() {
        bolero::check!().with_type::<([u8; 20], u16, [u8; 4])>().for_each(|(before, error, address)| {
            let mut before = *before;
            before[0] = 0x45;
            let error = (*error).clamp(1, 0xfffe);
            let wrong = add(checksum(&before), error);
            let mut after = before;
            after[16..20].copy_from_slice(address);
            let updated = Delta::bytes(&before[16..20], address).apply(wrong);
            assert_ne!(fold(sum(&after) + u64::from(updated)), 0xffff);
        });
    }

    #[test]
    fn udp_never_sends_zero() {
        // Data that adds up to ffff.
        let datagram = [0xff, 0xff];
        assert_eq!(transport(0, &datagram), 0);
        assert_eq!(udp(0, &datagram), 0xffff);
    }

    #[test]
    fn pseudo_headers_equal_their_bytes() {
        bolero::check!().with_type::<([u8; 4], [u8; 4], u8, u16)>().for_each(|(src, dst, protocol, len)| {
            let bytes = [&src[..], dst, &[0, *protocol], &len.to_be_bytes()].concat();
            assert_eq!(fold(pseudo_v4(*src, *dst, *protocol, *len)), fold(sum(&bytes)));
        });
        bolero::check!().with_type::<([u8; 16], [u8; 16], u8, u32)>().for_each(
            |(src, dst, protocol, len)| {
                let bytes = [&src[..], dst, &len.to_be_bytes(), &[0, 0, 0, *protocol]].concat();
                assert_eq!(fold(pseudo_v6(*src, *dst, *protocol, *len)), fold(sum(&bytes)));
            },
        );
    }

    #[test]
    fn a_lower_ttl_does_to_every_checksum_what_its_delta_does() {
        for checksum in 0..=u16::MAX {
            let expected = Delta::TTL_DECREMENT.apply(checksum).to_be_bytes();
            assert_eq!(after_ttl_decrement(checksum.to_be_bytes()), expected, "{checksum:#06x}");
        }
    }
}
