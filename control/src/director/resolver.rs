//! The way to a real server, as the mirror of the kernel's routes and neighbours knows it.

use shunt_engine::tables::Hop;
use std::collections::HashMap;
use std::net::IpAddr;

/// Finds the way to a real server. Called while the director is locked: it must not block.
pub trait Resolver: Send + Sync {
    /// The hop towards `daddr`, and the address that routing selects as source of tunnel headers to it.
    fn resolve(&self, daddr: IpAddr) -> (Hop, Option<IpAddr>);
}

/// A fixed answer for each address, [`Hop::Unreachable`] for all others. For tests, and rigs without a kernel.
#[derive(Clone, Debug, Default)]
pub struct StaticResolver {
    hops: HashMap<IpAddr, (Hop, Option<IpAddr>)>,
}

impl StaticResolver {
    /// Sets the answer for one address.
    pub fn insert(&mut self, daddr: IpAddr, hop: Hop, tunnel_source: Option<IpAddr>) {
        self.hops.insert(daddr, (hop, tunnel_source));
    }
}

impl Resolver for StaticResolver {
    fn resolve(&self, daddr: IpAddr) -> (Hop, Option<IpAddr>) {
        self.hops.get(&daddr).copied().unwrap_or((Hop::Unreachable, None))
    }
}
