//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet address (EUI-48, IEEE 802), in the order of the wire. Written `02:00:5e:00:01:0a`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    FromBytes,
    IntoBytes,
    Unaligned,
    KnownLayout,
    Immutable,
)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address of every station on the link.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// True for group addresses: multicast, and broadcast with it. The group bit is the lowest of the first byte.
    #[inline]
    #[must_use]
    pub const fn is_group(&self) -> bool {
        self.0[0] & 1 != 0
    }

    /// True for an address that can name one station: neither a group nor all zero.
    #[must_use]
    pub fn is_station(&self) -> bool {
        !self.is_group() && *self != MacAddr::default()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// The text is not six pairs of hexadecimal digits separated by colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddrParseError;

impl fmt::Display for MacAddrParseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an Ethernet address is six pairs of hexadecimal digits separated by colons, such as 02:00:00:00:00:01")
    }
}

impl std::error::Error for MacAddrParseError {}

impl FromStr for MacAddr {
    type Err = MacAddrParseError;

    fn from_str(text: &str) -> Result<MacAddr, MacAddrParseError> {
        let mut pairs = text.split(':');
        let mut mac = MacAddr::default();
        for byte in &mut mac.0 {
            let pair = pairs.next().ok_or(MacAddrParseError)?;
            // `from_str_radix` alone would take "+1".
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MacAddrParseError);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| MacAddrParseError)?;
        }
        if pairs.next().is_some() { Err(MacAddrParseError) } else { Ok(mac) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let mac = MacAddr([2, 0, 0x5e, 0xab, 1, 0xff]);
        assert_eq!(mac.to_string(), "02:00:5e:ab:01:ff");
        assert_eq!("02:00:5E:AB:01:ff".parse(), Ok(mac));
    }

    #[test]
    fn refuses_what_is_not_an_address() {
        for text in [
            "",
            "02:00:5e:ab:01",
            "02:00:5e:ab:01:ff:00",
            "2:0:5e:ab:1:ff",
            "02:00:5e:ab:01:+f",
            "02-00-5e-ab-01-ff",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(MacAddrParseError), "{text:?}");
        }
    }

    #[test]
    fn kinds() {
        assert!(MacAddr::BROADCAST.is_group());
        assert!(MacAddr([0x33, 0x33, 0, 0, 0, 1]).is_group());
        assert!(!MacAddr::default().is_station());
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_station());
    }
}
