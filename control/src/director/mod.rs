//! The desired state: services and real servers as IPVS keeps them, settings, statistics.
//!
//! The director owns a working copy of [`Tables`] and changes it in step with its own records. A command changes the
//! working copy through the methods here; [`Director::publish`] then puts it in force on every worker. So a batch is
//! many changes and one publication. The cost of a change depends on the service that it touches, not on the number
//! of services.
//!
//! It resolves no names, reads no clock and opens no file: it may be held locked without fear.

mod refusal;
mod resolver;

pub use refusal::{Errno, Refusal};
pub use resolver::{Resolver, StaticResolver};

use crate::dataplane::{Dataplane, Lagging};
use shunt_engine::tables::{Hop, NicPortInfo, Routes, Tables};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Bounds of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Virtual services.
    pub services: usize,
    /// Real servers, deleted ones with living connections included.
    pub servers: usize,
}

/// The desired state of the whole director. One lock around it serialises all changes.
pub struct Director {
    dataplane: Arc<dyn Dataplane>,
    resolver: Arc<dyn Resolver>,
    limits: Limits,
    tables: Tables,
    /// The working copy differs from what workers see.
    unpublished: bool,
}

impl Director {
    /// An empty director. The bound on servers is the smaller one of `limits` and what the boards of the workers hold.
    #[must_use]
    pub fn new(
        dataplane: Arc<dyn Dataplane>,
        resolver: Arc<dyn Resolver>,
        nic_ports: Vec<NicPortInfo>,
        limits: Limits,
    ) -> Director {
        let servers = limits.servers.min(dataplane.boards().servers_max());
        Director {
            dataplane,
            resolver,
            limits: Limits { servers, ..limits },
            tables: Tables::new(nic_ports),
            unpublished: true,
        }
    }

    /// The workers.
    #[must_use]
    pub fn dataplane(&self) -> &Arc<dyn Dataplane> {
        &self.dataplane
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Puts all changes since the last publication in force on every worker; does nothing if there are none.
    ///
    /// # Errors
    /// [`Lagging`] if a worker did not observe the change in time. It is published all the same.
    pub fn publish(&mut self) -> Result<(), Lagging> {
        if !self.unpublished {
            return Ok(());
        }
        self.unpublished = false;
        self.dataplane.publish(self.tables.clone())
    }

    /// Takes over a new view of routes and neighbours and updates every server whose way changed.
    /// Publishes nothing: call [`Director::publish`] after all parts of the view are set.
    /// Returns the number of servers that changed.
    pub fn refresh_hops(&mut self, resolver: Arc<dyn Resolver>) -> usize {
        self.resolver = resolver;
        let changed: Vec<_> = self
            .tables
            .servers()
            .filter_map(|server| {
                let (hop, tunnel_source) = self.resolver.resolve(server.daddr);
                let same = hop == server.hop && tunnel_source == server.tunnel_source;
                (!same).then(|| shunt_engine::tables::Server { hop, tunnel_source, ..server.clone() })
            })
            .collect();
        let count = changed.len();
        for server in changed {
            self.tables.put_server(server);
            self.unpublished = true;
        }
        count
    }

    /// Replaces the routes that packets to clients follow. Needs a [`Director::publish`].
    pub fn set_routes(&mut self, routes: Routes) {
        self.tables.set_routes(routes);
        self.unpublished = true;
    }

    /// Replaces the set of the director's own addresses. Needs a [`Director::publish`].
    pub fn set_local(&mut self, local: HashSet<IpAddr>) {
        self.tables.set_local(local.into_iter().collect());
        self.unpublished = true;
    }

    /// Replaces what is known of the NIC ports. Needs a [`Director::publish`].
    pub fn set_nic_ports(&mut self, nic_ports: Vec<NicPortInfo>) {
        self.tables.set_nic_ports(nic_ports);
        self.unpublished = true;
    }

    fn hop_of(&self, daddr: IpAddr) -> (Hop, Option<IpAddr>) {
        self.resolver.resolve(daddr)
    }
}
