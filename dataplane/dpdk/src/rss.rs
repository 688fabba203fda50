//! How a NIC port spreads packets over its receive queues.

use dpdk_sys::{
    SHIM_RSS_IPV4, SHIM_RSS_IPV6, SHIM_RSS_L3_DST_ONLY, SHIM_RSS_L3_SRC_ONLY, SHIM_RSS_L4_DST_ONLY,
    SHIM_RSS_L4_SRC_ONLY, SHIM_RSS_SCTP, SHIM_RSS_TCP, SHIM_RSS_UDP,
};
use std::fmt;

/// The secret of the Toeplitz hash.
pub type RssKey = [u8; 40];

/// Which end of a packet the hash covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RssSide {
    /// Both.
    Both,
    /// The source only: on ports that face clients.
    Source,
    /// The destination only: on ports that face real servers.
    Destination,
}

/// What is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RssReport {
    /// Hash types, as DPDK's bits.
    pub(crate) types: u64,
    /// The covered side. [`RssSide::Both`] if the port cannot hash one side only.
    pub side: RssSide,
    /// Is the key the one that was asked for?
    pub our_key: bool,
    /// Entries of the redirection table, dealt out to the queues in turn; 0 if the port has none that we may set.
    pub reta_len: u16,
}

/// The hash types to ask for, of those in `offered` (`flow_type_rss_offloads`); `None` if the port has no RSS.
pub(crate) fn choose(offered: u64, side: RssSide) -> Option<(u64, RssSide)> {
    let types = offered & (SHIM_RSS_IPV4 | SHIM_RSS_IPV6 | SHIM_RSS_TCP | SHIM_RSS_UDP | SHIM_RSS_SCTP);
    if types == 0 {
        return None;
    }
    let only = match side {
        RssSide::Both => 0,
        RssSide::Source => SHIM_RSS_L3_SRC_ONLY | SHIM_RSS_L4_SRC_ONLY,
        RssSide::Destination => SHIM_RSS_L3_DST_ONLY | SHIM_RSS_L4_DST_ONLY,
    };
    // Half of it would be worse than none: address of one end, port of both.
    if only != 0 && offered & only == only {
        Some((types | only, side))
    } else {
        Some((types, RssSide::Both))
    }
}

impl fmt::Display for RssReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (SHIM_RSS_IPV4, "ipv4"),
            (SHIM_RSS_IPV6, "ipv6"),
            (SHIM_RSS_TCP, "tcp"),
            (SHIM_RSS_UDP, "udp"),
            (SHIM_RSS_SCTP, "sctp"),
        ];
        let on = names.iter().filter(|(bits, _)| self.types & bits != 0);
        write!(f, "{}", on.map(|&(_, name)| name).collect::<Vec<_>>().join("+"))?;
        match self.side {
            RssSide::Both => {}
            RssSide::Source => write!(f, " of the source")?,
            RssSide::Destination => write!(f, " of the destination")?,
        }
        if self.reta_len > 0 { write!(f, ", table of {}", self.reta_len) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sided_hashing_needs_both_layers() {
        let both = SHIM_RSS_IPV4 | SHIM_RSS_TCP;
        assert_eq!(choose(0, RssSide::Source), None);
        assert_eq!(choose(both, RssSide::Source), Some((both, RssSide::Both)));
        let half = both | SHIM_RSS_L3_SRC_ONLY;
        assert_eq!(choose(half, RssSide::Source), Some((both, RssSide::Both)));
        let full = half | SHIM_RSS_L4_SRC_ONLY;
        assert_eq!(choose(full, RssSide::Source), Some((full, RssSide::Source)));
        assert_eq!(choose(full, RssSide::Destination), Some((both, RssSide::Both)));
    }
}
