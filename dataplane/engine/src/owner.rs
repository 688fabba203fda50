//! Which worker owns a flow: `reta[toeplitz(client address, client port)]`, alike in both directions.
//!
//! NICs that can hash one side only compute the very same function (Microsoft's RSS hash), so a packet that the hardware
//! steered lands at home. Everywhere else the worker that received a packet computes it and hands the packet over.

use crate::conn::Address;
use crate::tables::Family;

/// Length of the hash key in bytes: covers two IPv6 addresses and two ports, as NICs want it.
pub const KEY_LEN: usize = 40;
/// Entries of the redirection table; every NIC's size is a multiple or a divisor of it.
pub const RETA_LEN: usize = 128;

/// Bytes of the longest input: an IPv6 address and a port.
const INPUT_LEN: usize = 18;

/// The hash with its key expanded, so that a byte costs one look-up: 18 KiB shared by all flows, of which IPv4 uses 6.
#[derive(Clone, Debug)]
pub struct Owner {
    by_byte: Box<[[u32; 256]; INPUT_LEN]>,
    reta: [u8; RETA_LEN],
}

impl Owner {
    /// Spreads flows evenly over `workers`.
    #[must_use]
    pub fn new(key: &[u8; KEY_LEN], workers: u8) -> Owner {
        let mut by_byte = Box::new([[0; 256]; INPUT_LEN]);
        for (place, row) in by_byte.iter_mut().enumerate() {
            for (byte, cell) in row.iter_mut().enumerate() {
                *cell = (0..8)
                    .filter(|bit| byte & (0x80 >> bit) != 0)
                    .fold(0, |sum, bit| sum ^ window(key, place * 8 + bit));
            }
        }
        let workers = workers.max(1);
        let mut reta = [0; RETA_LEN];
        for (slot, worker) in reta.iter_mut().enumerate() {
            *worker = (slot % usize::from(workers)) as u8;
        }
        Owner { by_byte, reta }
    }

    /// The redirection table, to be given to NICs.
    #[must_use]
    pub fn reta(&self) -> &[u8; RETA_LEN] {
        &self.reta
    }

    /// The worker that owns the flows of this client.
    #[inline]
    #[must_use]
    pub fn of<A: Address>(&self, caddr: A, cport: u16) -> u8 {
        self.reta[self.hash(caddr, cport) as usize % RETA_LEN]
    }

    /// The Toeplitz hash of address and port in network order.
    #[inline]
    #[must_use]
    pub fn hash<A: Address>(&self, caddr: A, cport: u16) -> u32 {
        let bytes = caddr.bits().to_be_bytes();
        let address = match A::FAMILY {
            Family::V4 => &bytes[12..],
            Family::V6 => &bytes[..],
        };
        address
            .iter()
            .chain(&cport.to_be_bytes())
            .zip(self.by_byte.iter())
            .fold(0, |hash, (&byte, row)| hash ^ row[usize::from(byte)])
    }
}

/// The 32 bits of the key that begin at `bit`.
fn window(key: &[u8; KEY_LEN], bit: usize) -> u32 {
    let byte = |place: usize| u64::from(key.get(place).copied().unwrap_or(0));
    let first = bit / 8;
    let five = (0..5).fold(0, |bits, place| bits << 8 | byte(first + place));
    (five >> (8 - bit % 8)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSOFT: [u8; KEY_LEN] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    /// The bit-by-bit definition of the hash, as an oracle.
    fn toeplitz(key: &[u8; KEY_LEN], input: &[u8]) -> u32 {
        (0..input.len() * 8)
            .filter(|bit| input[bit / 8] & (0x80 >> (bit % 8)) != 0)
            .fold(0, |hash, bit| hash ^ window(key, bit))
    }

    #[test]
    fn the_definition_agrees_with_the_published_vector() {
        // RSS verification suite: 66.9.149.187:2794 -> 161.142.100.80:1766, addresses first, then ports.
        let input = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(toeplitz(&MICROSOFT, &input), 0x51cc_c178);
    }

    #[test]
    fn the_expanded_key_agrees_with_the_definition() {
        let owner = Owner::new(&MICROSOFT, 3);
        for n in 0..1000u32 {
            let (caddr, cport) = (n.wrapping_mul(0x9e37_79b1), (n * 77) as u16);
            let mut input = caddr.to_be_bytes().to_vec();
            input.extend(cport.to_be_bytes());
            assert_eq!(owner.hash(caddr, cport), toeplitz(&MICROSOFT, &input));
            let caddr = u128::from(caddr) << 90 | u128::from(caddr);
            let mut input = caddr.to_be_bytes().to_vec();
            input.extend(cport.to_be_bytes());
            assert_eq!(owner.hash(caddr, cport), toeplitz(&MICROSOFT, &input));
            assert!(owner.of(caddr, cport) < 3);
        }
    }
}
