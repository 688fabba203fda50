//! The flows: which clients there are, the service, the real servers. A flow is a number; its addresses are computed from
//! it and it from them, so that 10 million flows need no table.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The virtual service.
pub const VIP4: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 100);
/// The same for IPv6.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100);
/// The port of the real servers.
pub const DPORT: u16 = 8080;
/// Link-layer address of the generator.
pub const GENERATOR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// Link-layer address of the director.
pub const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0xfe];

/// Odd, so that numbers are permuted and neighbours fall far apart; 2³² divided by the golden ratio.
const STRIDE: u32 = 0x9e37_79b1;

/// The first L4 port of clients.
const CPORT_FIRST: u16 = 1024;

/// Address and L4 port of the client of flow `n` in a network.
#[inline]
#[must_use]
pub fn client(network: u8, n: u32) -> (u32, u16) {
    let mixed = n.wrapping_mul(STRIDE);
    (u32::from(network) << 24 | mixed >> 8, CPORT_FIRST + (mixed & 0xff) as u16)
}

/// The network and flow of a client; any number for what is no client of ours.
#[inline]
#[must_use]
pub fn flow_of(address: u32, cport: u16) -> (u8, u32) {
    let mixed = address << 8 | u32::from(cport.wrapping_sub(CPORT_FIRST) & 0xff);
    ((address >> 24) as u8, mixed.wrapping_mul(inverse(STRIDE)))
}

/// Of an odd number, modulo 2³²: each step of Newton's method doubles the correct bits.
const fn inverse(of: u32) -> u32 {
    let mut guess = of;
    let mut step = 0;
    while step < 5 {
        guess = guess.wrapping_mul(2u32.wrapping_sub(of.wrapping_mul(guess)));
        step += 1;
    }
    guess
}

/// The address of real server `n`.
#[must_use]
pub fn real4(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0001 + n)
}

/// The same for IPv6.
#[must_use]
pub fn real6(n: u32) -> Ipv6Addr {
    Ipv6Addr::from((0x2001_0db8_0002 << 80) + 1 + u128::from(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_found_by_its_client() {
        for n in (0..u32::MAX - 70_000).step_by(65_537) {
            let (address, cport) = client(48, n);
            assert_eq!(flow_of(address, cport), (48, n));
        }
    }
}
