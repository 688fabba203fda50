//! The director as a listing sees it: taken quickly under the lock, read at leisure.

use super::Director;
use super::service::ServiceStatistics;
use super::statistics::Statistics;
use shunt_engine::board::Boards;
use shunt_engine::tables::{Chunks, Server, ServerId, Service, ServiceId, ServiceKey, Settings, Tables};
use std::cmp::Reverse;
use std::sync::Arc;

/// A moment of the director. Counts of connections are read when they are asked for.
#[derive(Clone, Debug)]
pub struct Snapshot {
    tables: Tables,
    boards: Boards,
    service_statistics: Chunks<ServiceStatistics>,
    server_statistics: Chunks<Statistics>,
    total: Statistics,
}

/// Connections of a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Active ones.
    pub active: u32,
    /// All others but templates.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
}

impl Director {
    /// A copy of the present moment: a few pointers for each 64 services or servers.
    pub fn snapshot(&mut self) -> Snapshot {
        self.settle();
        Snapshot {
            tables: self.tables.clone(),
            boards: self.dataplane.boards().clone(),
            service_statistics: self.service_statistics.clone(),
            server_statistics: self.server_statistics.clone(),
            total: self.total,
        }
    }
}

impl Snapshot {
    /// All services as the kernel dumps them: address services, then firewall marks, newest first.
    #[must_use]
    pub fn services(&self) -> Vec<&Arc<Service>> {
        let born = |service: &Service| self.service_statistics.get(service.id.0).map_or(0, |have| have.born);
        let mut services: Vec<_> = self.tables.services().collect();
        services.sort_by_cached_key(|service| {
            (matches!(service.key, ServiceKey::Fwmark { .. }), Reverse(born(service)))
        });
        services
    }

    /// One service.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.tables.service_by_key(key)
    }

    /// The servers of a service, newest first.
    pub fn servers<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Server> {
        service.servers.iter().filter_map(|candidate| self.tables.server(candidate.id))
    }

    /// One server.
    #[must_use]
    pub fn server(&self, id: ServerId) -> Option<&Server> {
        self.tables.server(id)
    }

    /// Was the server with this id deleted?
    #[must_use]
    pub fn is_deleted(&self, id: ServerId) -> bool {
        self.tables.server(id).is_some_and(|server| !server.available)
    }

    /// Connections of a server, now.
    #[must_use]
    pub fn connections(&self, id: ServerId) -> ConnectionCounts {
        let active = self.boards.active(id);
        ConnectionCounts {
            active,
            inactive: self.boards.total(id).saturating_sub(active),
            persistent: self.boards.sum(id, |counts| &counts.persistent),
        }
    }

    /// Counters and rates of a service.
    #[must_use]
    pub fn service_statistics(&self, id: ServiceId) -> Statistics {
        self.service_statistics.get(id.0).map_or_else(Statistics::default, |have| have.statistics)
    }

    /// Counters and rates of a server.
    #[must_use]
    pub fn server_statistics(&self, id: ServerId) -> Statistics {
        self.server_statistics.get(id.0).copied().unwrap_or_default()
    }

    /// Counters and rates of the whole director.
    #[must_use]
    pub fn total(&self) -> Statistics {
        self.total
    }

    /// Settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.tables.settings()
    }
}
