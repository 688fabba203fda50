//! The records of a director whose workers belong to the test: commands change them, and what they publish lies on a
//! shelf until the test takes it.

use shunt_control::dataplane::{Dataplane, Lagging};
use shunt_control::director::{Director, Limits};
use shunt_control::ipvsadm::{self, Access, Names};
use shunt_engine::board::Boards;
use shunt_engine::counters::WorkerCounters;
use shunt_engine::tables::SyncRules;
use shunt_engine::tables::Tables;
use shunt_engine::{ConnectionInfo, InstallFrom, Tally, Tick};
use shunt_replay::topology::Topology;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

/// Bound on services.
pub const SERVICES_MAX: usize = 32;
/// Bound on servers.
pub const SERVERS_MAX: usize = 64;

/// Knows no names.
struct Silent;

impl Names for Silent {
    fn host_address(&self, _: &str) -> Option<Ipv4Addr> {
        None
    }
    fn host_name(&self, _: IpAddr) -> Option<String> {
        None
    }
    fn service_port(&self, _: &str, _: u8) -> Option<u16> {
        None
    }
    fn service_name(&self, _: u16, _: u8) -> Option<&str> {
        None
    }
}

/// The published tables.
struct Shelf {
    tables: Mutex<Tables>,
    boards: Boards,
}

impl Dataplane for Shelf {
    fn publish(&self, tables: Tables) -> Result<(), Lagging> {
        *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = tables;
        Ok(())
    }
    fn boards(&self) -> &Boards {
        &self.boards
    }
    fn worker_counters(&self) -> Vec<WorkerCounters> {
        Vec::new()
    }
    fn connections(&self, _: &mut dyn FnMut(&ConnectionInfo) -> ControlFlow<()>) {}
    fn announcements(&self, _: &SyncRules, _: &mut dyn FnMut(ConnectionInfo)) {}
    fn install(&self, _: &mut dyn Iterator<Item = ConnectionInfo>, _: InstallFrom) -> Tally {
        Tally::default()
    }
}

/// The records.
pub struct Records {
    director: Mutex<Director>,
    shelf: Arc<Shelf>,
}

impl Records {
    /// A director without services, in the network of [`Topology::recorded`], for these workers' counts.
    #[must_use]
    pub fn new(boards: Boards) -> Records {
        let topology = Topology::recorded();
        let nic_ports = topology.nic_port_infos();
        let tables = Mutex::new(Tables::new(nic_ports.clone()));
        let shelf = Arc::new(Shelf { tables, boards });
        let limits = Limits { services: SERVICES_MAX, servers: SERVERS_MAX };
        let mut director = Director::new(shelf.clone(), Arc::new(topology.clone()), nic_ports, limits);
        director.set_local(topology.local().clone());
        director.set_routes(topology.routes());
        director.publish().expect("nobody lags");
        Records { director: Mutex::new(director), shelf }
    }

    /// What was published last.
    #[must_use]
    pub fn tables(&self) -> Tables {
        self.shelf.tables.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts of all workers.
    #[must_use]
    pub fn boards(&self) -> &Boards {
        &self.shelf.boards
    }

    /// Runs ipvsadm with these arguments. Returns its status and output.
    pub fn ipvsadm(&self, arguments: &[&str], stdin: &str) -> (u8, String) {
        let argv: Vec<String> =
            std::iter::once("ipvsadm").chain(arguments.iter().copied()).map(str::to_owned).collect();
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        let status = ipvsadm::run(
            &argv,
            &mut stdin.as_bytes(),
            &mut out,
            &mut complaints,
            &self.director,
            &Silent,
            Access::ReadWrite,
        );
        (status, String::from_utf8_lossy(&out).into_owned())
    }

    /// Changes a setting.
    pub fn set(&self, name: &str, value: &str) {
        let mut director = self.director.lock().unwrap_or_else(PoisonError::into_inner);
        director.set_sysctl(name, value).expect("a setting of this crate");
        director.publish().expect("nobody lags");
    }

    /// What control does every two seconds: deleted servers that nobody uses are forgotten at last.
    pub fn tick(&self, now: Tick) {
        let mut director = self.director.lock().unwrap_or_else(PoisonError::into_inner);
        director.tick(now).expect("nobody lags");
    }
}
