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
    /// Are two pairs of addresses the same? Of IPv4 a pair is one word, if it lies in memory side by side.
    fn same_pair(one: (Self, Self), other: (Self, Self)) -> bool;
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

    #[inline]
    fn same_pair(one: (u32, u32), other: (u32, u32)) -> bool {
        let word = |pair: (u32, u32)| u64::from(pair.0) | u64::from(pair.1) << 32;
        word(one) == word(other)
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

    #[inline]
    fn same_pair(one: (u128, u128), other: (u128, u128)) -> bool {
        (one.0 == other.0) & (one.1 == other.1)
    }
}
