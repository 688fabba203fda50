//! The desired state: services and real servers as IPVS keeps them, settings, statistics.
//!
//! The director owns a working copy of [`Tables`] and changes it in step with its own records. A command changes the
//! working copy through the methods here; [`Director::publish`] then puts it in force on every worker. So a batch is
//! many changes and one publication. The cost of a change depends on the service that it touches, not on the number
//! of services.
//!
//! It resolves no names, reads no clock and opens no file: it may be held locked without fear.

mod attempt;
mod mark;
pub(crate) mod prefix;
mod refusal;
mod resolver;
mod scheduler_name;
mod server;
mod service;
mod settings;
mod snapshot;
mod statistics;
mod sync;
mod trash;

pub(crate) use mark::rules_of;
pub use mark::{L4Ports, MARK_KEYS_MAX, Mark, MarkError, Protocol};
pub use refusal::{Errno, Refusal};
pub use resolver::{Resolver, StaticResolver};
pub use scheduler_name::{name_of_scheduler, scheduler_of_name};
pub use server::ServerOptions;
pub use service::ServiceOptions;
pub(crate) use settings::check_sysctl;
pub use settings::{SettingError, without_effect};
pub use snapshot::{ConnectionCounts, Snapshot};
pub use statistics::{Counters, Statistics};

use crate::dataplane::{Dataplane, Lagging};
use crate::sync::{Daemons, NoHost};
use server::ServerRecord;
use service::{ServiceRecord, ServiceStatistics};
use shunt_engine::Tick;
use shunt_engine::board::Boards;
use shunt_engine::tables::{Chunks, NicPortInfo, Routes, Server, ServerId, ServiceId, ServiceKey, Tables};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use trash::Trash;

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
    /// The working copy.
    tables: Tables,
    services: HashMap<ServiceKey, ServiceRecord>,
    /// Services whose record is ahead of the working copy.
    unsettled: Vec<ServiceKey>,
    next_service_id: u32,
    free_service_ids: VecDeque<ServiceId>,
    /// Services ever added.
    born: u64,
    /// Servers that are not deleted.
    live: HashMap<(ServiceId, IpAddr, u16), ServerId>,
    /// By server id, deleted ones included.
    servers: Vec<ServerRecord>,
    trash: Trash,
    service_statistics: Chunks<ServiceStatistics>,
    server_statistics: Chunks<Statistics>,
    total: Statistics,
    /// Do ticks move counters and rates? (Sysctl `run_estimation`.)
    run_estimation: bool,
    /// Settings that are only kept.
    unheeded: settings::Unheeded,
    /// Rules of firewall marks, in order.
    marks: Vec<Mark>,
    /// Names of the NIC ports, by id.
    nic_port_names: Vec<String>,
    /// Broadcast addresses of the director's networks.
    broadcast: HashSet<IpAddr>,
    /// Synchronisation with other directors.
    daemons: Daemons,
    /// The working copy differs from what workers see.
    unpublished: bool,
    /// Publications so far.
    publications: u64,
    /// The latest publication that every worker has observed.
    in_force: u64,
    /// During an attempt: marks on the boards as they were.
    undo: Option<attempt::Undo>,
}

/// Does any connection refer to this server?
fn is_used(boards: &Boards, id: ServerId) -> bool {
    boards.total(id) != 0 || boards.sum(id, |counts| &counts.persistent) != 0
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
            services: HashMap::new(),
            unsettled: Vec::new(),
            next_service_id: 0,
            free_service_ids: VecDeque::new(),
            born: 0,
            live: HashMap::new(),
            servers: Vec::new(),
            trash: Trash::new(servers),
            service_statistics: Chunks::default(),
            server_statistics: Chunks::default(),
            total: Statistics::default(),
            run_estimation: true,
            unheeded: settings::Unheeded::default(),
            marks: Vec::new(),
            nic_port_names: Vec::new(),
            broadcast: HashSet::new(),
            daemons: Daemons::new(Arc::new(NoHost)),
            unpublished: true,
            publications: 0,
            in_force: 0,
            undo: None,
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
        self.settle();
        self.unpublished = false;
        self.publications += 1;
        self.dataplane.publish(self.tables.clone())?;
        self.in_force = self.publications;
        Ok(())
    }

    /// Brings the working copy up to date with the records of services.
    fn settle(&mut self) {
        for key in std::mem::take(&mut self.unsettled) {
            let Some(record) = self.services.get_mut(&key).filter(|record| record.changed) else { continue };
            record.changed = false;
            record.link_joining();
            record.new = false;
            self.tables.put_service(record.service.clone());
        }
    }

    /// The tick of 2 s: moves visible counters and rates, tries again to start daemons that wait, and once a minute frees
    /// deleted servers to which no connection refers any more.
    ///
    /// # Errors
    /// [`Lagging`] of the publication that may be needed.
    pub fn tick(&mut self, now: Tick) -> Result<(), Lagging> {
        if self.run_estimation {
            self.estimate();
        }
        let boards = self.dataplane.boards().clone();
        let freed = self.trash.run(now, self.in_force, |id| is_used(&boards, id));
        self.forget(&freed);
        // A restore that is under way has changes that are not to be published before its end.
        if self.retry_daemons() || !freed.is_empty() { self.publish() } else { Ok(()) }
    }

    fn forget(&mut self, freed: &[ServerId]) {
        for id in freed {
            self.tables.remove_server(*id);
            self.server_statistics.set(id.0, None);
            self.unpublished = true;
        }
    }

    /// Makes visible what workers counted since the last tick. Service and total take what their servers counted, the
    /// last packets of deleted ones included.
    fn estimate(&mut self) {
        let boards = self.dataplane.boards();
        let mut of_services: HashMap<ServiceId, Counters> = HashMap::new();
        let mut of_all = Counters::default();
        for server in self.tables.servers() {
            let now = Counters::of(boards, server.id);
            let Some(statistics) = self.server_statistics.get(server.id.0) else { continue };
            let counted = now.since(statistics.seen());
            let is_live = !self.trash.contains(server.id);
            if counted == Counters::default() && (!is_live || statistics.is_still(now)) {
                continue;
            }
            of_all = of_all.plus(counted);
            let record = self.servers.get_mut(server.id.0 as usize);
            let (born, elsewhere) =
                record.map(|record| (record.service_born, record.counted_elsewhere.take())).unzip();
            if self.service_statistics.get(server.service.0).map(|service| service.born) == born {
                let sum = of_services.entry(server.service).or_default();
                *sum = sum.plus(elsewhere.flatten().map_or(counted, |before| now.since(before)));
            }
            if let Some(statistics) = self.server_statistics.get_mut(server.id.0) {
                if is_live { statistics.tick(now) } else { statistics.see(now) }
            }
        }
        for record in self.services.values() {
            let id = record.service.id;
            let Some(have) = self.service_statistics.get(id.0) else { continue };
            let now = have.statistics.seen().plus(of_services.get(&id).copied().unwrap_or_default());
            if !have.statistics.is_still(now)
                && let Some(have) = self.service_statistics.get_mut(id.0)
            {
                have.statistics.tick(now);
            }
        }
        self.total.tick(self.total.seen().plus(of_all));
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
                (!same).then(|| Server { hop, tunnel_source, ..server.clone() })
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

    /// Replaces the set of broadcast addresses, which no server may have.
    pub fn set_broadcast(&mut self, broadcast: HashSet<IpAddr>) {
        self.broadcast = broadcast;
    }

    /// Replaces what is known of the NIC ports. Needs a [`Director::publish`].
    pub fn set_nic_ports(&mut self, nic_ports: Vec<NicPortInfo>) {
        self.tables.set_nic_ports(nic_ports);
        self.unpublished = true;
    }

    /// Tells the names of the NIC ports, which rules of marks may use.
    pub fn set_nic_port_names(&mut self, names: Vec<String>) {
        self.nic_port_names = names;
    }

    /// The rules of firewall marks, in order.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Replaces the rules of firewall marks. Needs a [`Director::publish`].
    ///
    /// # Errors
    /// The first rule that makes no sense, by its place from 0, and why. Nothing is changed then.
    pub fn set_marks(&mut self, marks: Vec<Mark>) -> Result<(), (usize, MarkError)> {
        let rules = mark::rules_of(&marks, &self.nic_port_names)?;
        self.tables.set_marks(shunt_engine::tables::Marks::new(rules));
        self.marks = marks;
        self.unpublished = true;
        Ok(())
    }
}
