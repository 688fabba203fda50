//! The two families as one type parameter, so that every body is compiled for each.

use crate::tables::Family;
use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address in host order: `u32` or `u128`.
pub trait Address: Copy + Eq + Ord + Hash + Debug + Default + Send + 'static {
    /// Which family.
    const FAMILY: Family;
    /// From the low bits.
    fn from_bits(bits: u128) -> Self;
    /// To the low bits.
    fn bits(self) -> u128;
    /// As the standard library has it.
    fn ip(self) -> IpAddr;
    /// From the standard library's; `None` for the other family.
    fn from_ip(ip: IpAddr) -> Option<Self>;
    /// Can no host have it, so that it is no packet's source?
    fn is_nobodys(self) -> bool;
    /// 0 if two pairs of addresses are the same.
    fn difference(one: (Self, Self), other: (Self, Self)) -> u64;
}

impl Address for u32 {
    const FAMILY: Family = Family::V4;

    #[inline]
    fn from_bits(bits: u128) -> u32 {
        bits as u32
    }

    #[inline]
    fn bits(self) -> u128 {
        u128::from(self)
    }

    fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(self))
    }

    fn from_ip(ip: IpAddr) -> Option<u32> {
        match ip {
            IpAddr::V4(ip) => Some(ip.to_bits()),
            IpAddr::V6(_) => None,
        }
    }

    #[inline(always)]
    fn is_nobodys(self) -> bool {
        let is_hosts = matches!(self >> 24, 1..=126 | 128..=223);
        let address = Ipv4Addr::from_bits(self);
        !is_hosts && (self >> 24 == 0 || address.is_loopback() || address.is_multicast() || self == u32::MAX)
    }

    #[inline(always)]
    fn difference(one: (u32, u32), other: (u32, u32)) -> u64 {
        // Side by side, as they lie in memory: one load for both.
        let pair = |(low, high): (u32, u32)| u64::from(high) << 32 | u64::from(low);
        pair(one) ^ pair(other)
    }
}

impl Address for u128 {
    const FAMILY: Family = Family::V6;

    #[inline]
    fn from_bits(bits: u128) -> u128 {
        bits
    }

    #[inline]
    fn bits(self) -> u128 {
        self
    }

    fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(self))
    }

    fn from_ip(ip: IpAddr) -> Option<u128> {
        match ip {
            IpAddr::V6(ip) => Some(ip.to_bits()),
            IpAddr::V4(_) => None,
        }
    }

    fn is_nobodys(self) -> bool {
        let address = Ipv6Addr::from_bits(self);
        address.is_loopback() || address.is_multicast()
    }

    #[inline(always)]
    fn difference(one: (u128, u128), other: (u128, u128)) -> u64 {
        u64::from((one.0 ^ other.0) | (one.1 ^ other.1) != 0)
    }
}
