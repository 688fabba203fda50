//! The mirror of the kernel: what it knows of routes, neighbours and addresses is put in force on the workers.
//!
//! Each NIC port has a twin, a network interface of the kernel. The mirror dumps links, addresses, routes and neighbours
//! once, then hears of changes, and keeps the director's tables in step. A neighbour is in force within about a
//! millisecond; changes that come together are put in force together. It decides nothing: `ip route` and BIRD do.
//!
//! It mirrors the main table (and `local` routes). Policy rules are not mirrored.

mod interface;
mod kernel;
mod netlink;
mod prefixes;
mod solicitor;
mod view;
mod watch;

pub use interface::Interface;
pub use solicitor::NeighbourRequests;

use crate::config::Config;
use crate::director::{Director, Resolver};
use ipnet::IpNet;
use kernel::{NeighbourKey, Neighbours, Topology};
use netlink::{Heard, Netlink};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shunt_engine::tables::{Hop, NicPortInfo};
use shunt_wire::{MacAddr, NicPortId};
use solicitor::Limiter;
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use view::View;
use watch::Watch;

/// Changes that come within this time are put in force together.
const GATHER: Duration = Duration::from_micros(500);
/// How often neighbours that real servers and routes need are looked after.
const CARE: Duration = Duration::from_secs(1);
/// In every so many rounds of care, each known neighbour is confirmed once, before the kernel forgets it.
const CONFIRM_ROUNDS: u64 = 10;

/// A NIC port and its twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorPort {
    /// The NIC's own address: source of the frames that it sends.
    pub mac: MacAddr,
    /// Bytes of IP packet.
    pub mtu: u16,
    /// Name of the twin's interface.
    pub twin: Option<String>,
}

/// Ways and addresses of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StaticWays {
    /// Prefix, NIC port and link-layer address of the next hop.
    pub next_hops: Vec<(IpNet, NicPortId, MacAddr)>,
    /// Own addresses and the NIC port whose packets use them.
    pub local: Vec<(IpAddr, NicPortId)>,
}

impl StaticWays {
    /// Those of a checked configuration.
    #[must_use]
    pub fn of(config: &Config) -> StaticWays {
        let id = |name: &str| config.nic_port_index(name).map(|index| NicPortId(index as u8));
        let next_hops = config.next_hop.iter();
        let local = config.local_address.iter();
        StaticWays {
            next_hops: next_hops
                .filter_map(|hop| Some((hop.prefix, id(&hop.nic_port)?, hop.mac.0)))
                .collect(),
            local: local.filter_map(|local| Some((local.address, id(&local.nic_port)?))).collect(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running mirror. Stops when it is dropped.
pub struct Mirror {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    requests: Arc<NeighbourRequests>,
    stop: AtomicBool,
    /// Static ways of a re-read configuration, until the mirror takes them over.
    reload: Mutex<Option<StaticWays>>,
}

impl Mirror {
    /// Dumps what the kernel knows, puts it in force, and keeps it so. Runs in the network namespace of the calling
    /// thread. Without any twin the kernel is not asked. `requests` is where the data plane reports missing neighbours.
    ///
    /// # Errors
    /// If the kernel does not answer, or the thread cannot be started.
    pub fn start(
        ports: Vec<MirrorPort>,
        fixed: StaticWays,
        director: Arc<Mutex<Director>>,
        requests: Arc<NeighbourRequests>,
    ) -> io::Result<Mirror> {
        let shared = Arc::new(Shared { requests, stop: AtomicBool::new(false), reload: Mutex::default() });
        let watch = Watch::new(&ports, &**lock(&director).dataplane());
        let netlink = ports.iter().any(|port| port.twin.is_some()).then(Netlink::open).transpose()?;
        let mut keeper = Keeper {
            ports,
            fixed,
            director,
            shared: shared.clone(),
            netlink,
            topology: Topology::default(),
            neighbours: Neighbours::default(),
            current: None,
            limiter: Limiter::default(),
            rounds: 0,
            watch,
        };
        keeper.look(true)?;
        keeper.put_in_force();
        let thread = Builder::new().name("mirror".to_owned()).spawn(move || keeper.run())?;
        Ok(Mirror { shared, thread: Some(thread) })
    }

    /// Takes over the static ways of a re-read configuration, soon.
    pub fn reload(&self, fixed: StaticWays) {
        *lock(&self.shared.reload) = Some(fixed);
        self.shared.requests.wake();
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.shared.requests.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A view that answers the director, and remembers whom it was asked for.
struct Current {
    view: View,
    requests: Arc<NeighbourRequests>,
    /// Neighbours on the way to real servers.
    needed: Mutex<HashSet<NeighbourKey>>,
}

impl Resolver for Current {
    fn resolve(&self, daddr: IpAddr) -> (Hop, Option<IpAddr>) {
        let (hop, source) = self.view.resolve(daddr);
        if let Some(key) = self.view.neighbour_of(daddr) {
            lock(&self.needed).insert(key);
        }
        if hop == Hop::Unresolved {
            self.requests.resolve_neighbour(daddr);
        }
        (hop, source)
    }
}

/// When what was heard is to be put in force.
struct Due {
    at: Instant,
    look: bool,
    all: bool,
}

/// The mirror's thread.
struct Keeper {
    ports: Vec<MirrorPort>,
    fixed: StaticWays,
    director: Arc<Mutex<Director>>,
    shared: Arc<Shared>,
    netlink: Option<Netlink>,
    topology: Topology,
    neighbours: Neighbours,
    current: Option<Arc<Current>>,
    limiter: Limiter,
    rounds: u64,
    watch: Watch,
}

impl Keeper {
    fn run(mut self) {
        let mut care_at = Instant::now();
        let mut due: Option<Due> = None;
        // Floods must not keep the director locked: after each turn, as much time again belongs to others.
        let mut not_before = Instant::now();
        while !self.shared.stop.load(Relaxed) {
            let wait_until = due.as_ref().map_or(care_at, |due| due.at.min(care_at));
            self.wait(wait_until);
            let heard =
                self.netlink.as_mut().map(|netlink| netlink.hear(&mut self.neighbours)).unwrap_or_default();
            let reloaded = lock(&self.shared.reload).take();
            if heard != Heard::default() || reloaded.is_some() {
                let at = (Instant::now() + GATHER).max(not_before);
                let due = due.get_or_insert(Due { at, look: false, all: false });
                due.look |= heard.topology || heard.overrun;
                due.all |= heard.overrun;
                self.fixed = reloaded.unwrap_or(std::mem::take(&mut self.fixed));
            }
            if let Some(now) = due.take_if(|due| Instant::now() >= due.at) {
                let begun = Instant::now();
                self.turn(&now);
                not_before = Instant::now() + begun.elapsed();
            }
            self.solicit_requested();
            if Instant::now() >= care_at {
                self.care();
                care_at = Instant::now() + CARE;
            }
        }
    }

    fn wait(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let wake = PollFd::from_borrowed_fd(self.shared.requests.fd(), PollFlags::IN);
        // Errors, EINTR for one, only make the turn come early.
        let _ = match &self.netlink {
            Some(netlink) => {
                poll(&mut [wake, PollFd::from_borrowed_fd(netlink.events(), PollFlags::IN)], Some(&timeout))
            }
            None => poll(&mut [wake], Some(&timeout)),
        };
    }

    /// Puts in force what was heard.
    fn turn(&mut self, due: &Due) {
        if due.look {
            match self.look(due.all) {
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "the kernel does not tell its routes; the old ones stay")
                }
            }
        }
        self.put_in_force();
    }

    /// Dumps the topology, and neighbours too if `all`.
    fn look(&mut self, all: bool) -> io::Result<()> {
        let Some(netlink) = &mut self.netlink else { return Ok(()) };
        self.topology = netlink.topology()?;
        if all {
            self.neighbours = netlink.neighbours()?;
        }
        Ok(())
    }

    fn put_in_force(&mut self) {
        let view = View::new(&self.ports, &self.fixed, &self.topology, &self.neighbours);
        let nic_ports: Vec<NicPortInfo> = view.nic_ports.clone();
        let (routes, local, broadcast) = (view.routes.clone(), view.local.clone(), view.broadcast.clone());
        let needed = Mutex::new(view.gateways.clone());
        let current = Arc::new(Current { view, requests: self.shared.requests.clone(), needed });
        let mut director = lock(&self.director);
        let changed = director.refresh_hops(current.clone());
        director.set_routes(routes);
        director.set_local(local);
        director.set_broadcast(broadcast);
        director.set_nic_ports(nic_ports);
        if let Err(lagging) = director.publish() {
            tracing::warn!(%lagging, "routes are published");
        }
        drop(director);
        tracing::debug!(servers = changed, "the kernel's view is in force");
        self.current = Some(current);
    }

    /// Asks for the neighbours that packets miss.
    fn solicit_requested(&mut self) {
        let waiting = self.shared.requests.take();
        let Some(current) = self.current.clone() else { return };
        let keys: HashSet<_> =
            waiting.into_iter().filter_map(|daddr| current.view.neighbour_of(daddr)).collect();
        keys.into_iter().for_each(|key| self.solicit(key));
    }

    /// Keeps the neighbours known that real servers and routes need, and an eye on NICs and twins.
    fn care(&mut self) {
        self.rounds += 1;
        if let Some(netlink) = &mut self.netlink {
            let dataplane = lock(&self.director).dataplane().clone();
            self.watch.look(&self.ports, &self.topology, &*dataplane, netlink);
        }
        let Some(current) = self.current.clone() else { return };
        let turn = self.rounds % CONFIRM_ROUNDS;
        let needed: Vec<_> = lock(&current.needed).iter().copied().collect();
        for key in needed {
            if turn_of(key.1) == turn || self.neighbours.get(key).is_none() {
                self.solicit(key);
            }
        }
    }

    fn solicit(&mut self, key: NeighbourKey) {
        let Some(netlink) = &mut self.netlink else { return };
        if !self.limiter.admit(key, Instant::now()) {
            return;
        }
        if let Err(error) = netlink.solicit(key) {
            tracing::debug!(address = %key.1, %error, "the kernel does not resolve a neighbour");
        }
    }
}

/// Spreads confirmations over the rounds, so that many neighbours do not make one long round.
fn turn_of(address: IpAddr) -> u64 {
    let last = match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    };
    u64::from(last) % CONFIRM_ROUNDS
}

#[cfg(test)]
mod tests;
