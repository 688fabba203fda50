//! The hash of the kernel's `dh`, `sh`, `lblc` and `lblcr` (spec `scheduling.md` §1).

use crate::tables::Family;
use std::net::IpAddr;

/// An address as a 32-bit number in host order. IPv6: its four words, xored.
///
/// `family` is the service's. A server of the other family (behind a tunnel) is folded as the kernel does it: of an IPv6
/// address in an IPv4 service only the first word counts.
pub fn fold(family: Family, address: IpAddr) -> u32 {
    match (address, family) {
        (IpAddr::V4(address), _) => address.to_bits(),
        (IpAddr::V6(address), Family::V4) => (address.to_bits() >> 96) as u32,
        (IpAddr::V6(address), Family::V6) => {
            let bits = address.to_bits();
            (bits ^ (bits >> 32) ^ (bits >> 64) ^ (bits >> 96)) as u32
        }
    }
}

/// Multiplicative hash to `bits` bits, 1..=32.
pub fn hash_32(value: u32, bits: u32) -> u32 {
    value.wrapping_mul(0x61C8_8647) >> (32 - bits)
}
