//! Scheduling: which real server takes a new flow (spec `scheduling.md`). One algorithm per file.
//!
//! # Who keeps what
//!
//! A [`Service`] in a snapshot carries a [`SchedulerPlan`], made by control: look-up tables (`dh`, `sh`, `mh`), the
//! cycle of `wrr`, and the latest edits of the server list. A worker carries [`Schedulers`]: per service the position of
//! `rr` and `wrr`, the caches of `lblc` and `lblcr`, and random numbers for `twos`. All its memory is taken at
//! construction. A worker that sees version 5 of a service and then version 9 brings its position up at its next pick,
//! by replaying the edits between; nothing is done for services that nobody asks for.
//!
//! Control changes a service only through [`Service::link`], [`Service::unlink`], [`Service::edit`] and
//! [`Service::reschedule`], which keep list and plan together and call the hooks that the kernel would call.
//!
//! # Exactness
//!
//! With one worker every sequence of picks is the kernel's, edits in between included, but for:
//! * `twos`, which is random;
//! * loads above 2³¹: here products do not overflow;
//! * a change of load that the worker was not told of ([`Schedulers::load_changed`]) is seen a tick (1 ms) later, in
//!   services of more than 64 servers as many ticks later as there are 64s;
//! * a worker that made no pick for more than [`HISTORY`] edits of one `rr` or `wrr` service starts its round anew;
//! * `lblc` and `lblcr` share one bounded pool of entries per worker. If it is full, a new destination is not
//!   remembered (the kernel allocates). Their housekeeping runs in small steps, so entries may go some seconds later.
//!
//! With several workers, each owns the flows of some clients:
//! * `sh`, `mh`, `dh`, `fo` depend on the packet and the list only: the same answer on every worker.
//! * `lc`, `wlc`, `sed`, `nq`, `ovf`, `twos` read the load of the whole director from [`Boards`]. What another worker
//!   counted a moment ago may not be visible yet (for up to 1 ms per 64 servers of the service), so two workers may
//!   choose the same server at the same instant; later picks see both connections and even it out.
//! * `rr` and `wrr`: each worker has its own position. Each worker's picks have exact shares over a cycle, so the sum is
//!   off by less than one cycle per worker, however many flows there were: shares converge.
//! * `lblc`, `lblcr`: each worker remembers destinations for its own flows. A destination may thus be served by as many
//!   servers as there are workers, where the kernel would use one.

mod dh;
mod fo;
mod hash;
mod lblc;
mod lblcr;
mod lc;
mod load;
mod locality;
mod mh;
mod nq;
mod ovf;
mod plan;
mod position;
mod random;
mod ranking;
mod rr;
mod sed;
mod service;
mod sh;
mod siphash;
mod tournament;
mod twos;
mod wlc;
mod wrr;

#[cfg(test)]
mod tests;

pub use plan::{HISTORY, SchedulerPlan, TooManyServers};

use crate::board::{Boards, ServerCounts};
use crate::tables::{SchedulerKind, ServerId, Service, Tables};
use crate::tick::Tick;
use locality::Localities;
use position::Position;
use random::Random;
use std::net::IpAddr;
use tournament::Tournaments;

/// A new flow, as a scheduler sees it. For a flow derived from an ICMP error (spec `scheduling.md` §10) the client is
/// where the quoted packet went to.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow {
    /// IP protocol number.
    pub protocol: u8,
    /// Client address.
    pub caddr: IpAddr,
    /// Client port, host order.
    pub cport: u16,
    /// Destination address of the packet, or of the one that an ICMP error quotes: for `dh`, `lblc` and `lblcr`.
    pub daddr: IpAddr,
    /// Destination port of the packet, host order.
    pub vport: u16,
    /// Time.
    pub now: Tick,
}

impl NewFlow {
    /// The client port as `sh-port` and `mh-port` use it: 0 unless asked for and the protocol has ports.
    fn hashed_cport(&self, wanted: bool) -> u16 {
        const TCP: u8 = 6;
        const UDP: u8 = 17;
        const SCTP: u8 = 132;
        if wanted && matches!(self.protocol, TCP | UDP | SCTP) { self.cport } else { 0 }
    }
}

/// What one worker remembers between picks, for all services.
#[derive(Debug)]
pub struct Schedulers {
    positions: Box<[Position]>,
    localities: Localities,
    tournaments: Tournaments,
    random: Random,
}

impl Schedulers {
    /// Memory for services with ids below `services_max` (24 bytes each, and 24 for `lblc` and `lblcr`), and for
    /// `locality_entries` destinations that `lblc` and `lblcr` remember (100 bytes each). `seed` is for `twos`.
    #[must_use]
    pub fn new(services_max: usize, locality_entries: usize, seed: u64) -> Schedulers {
        Schedulers {
            positions: vec![Position::default(); services_max].into(),
            localities: Localities::new(services_max, locality_entries),
            tournaments: Tournaments::default(),
            random: Random::new(seed),
        }
    }

    /// Begins the sequence of random numbers anew: who replays a recording can choose what `twos` draws next.
    pub fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// Also takes memory (112 bytes) for servers with ids below `servers_max`, so that `lc`, `wlc`, `sed`, `nq`, `fo` and
    /// `ovf` need not look at all servers of a large service at each pick. Who uses it calls
    /// [`Schedulers::load_changed`].
    #[must_use]
    pub fn with_servers_max(mut self, servers_max: usize) -> Schedulers {
        self.tournaments = Tournaments::new(self.positions.len(), servers_max);
        self
    }

    /// To be called after this worker changed the active or total count of a server, which `counts` are. Without it picks
    /// are right to some milliseconds only.
    #[inline(always)]
    pub fn load_changed(&mut self, boards: &Boards, counts: &ServerCounts, id: ServerId) {
        self.tournaments.counted(boards, counts, id);
    }

    /// The same after it may have changed the overload flag.
    pub fn overload_changed(&mut self, boards: &Boards, id: ServerId) {
        self.tournaments.reconsider(boards, id);
    }

    /// [`Schedulers::pick`] for nearly all new flows: the schedulers that most services have in fewer steps, and the flow
    /// described only for those that look at it.
    #[inline(always)]
    pub(crate) fn pick_for(
        &mut self,
        service: &Service,
        boards: &Boards,
        now: Tick,
        flow: impl FnOnce() -> NewFlow,
    ) -> Option<ServerId> {
        match service.scheduler {
            SchedulerKind::Rr => self.pick_in_turn(service, boards),
            SchedulerKind::Wlc => self.tournaments.pick_lightest(service, boards, now),
            _ => self.pick(service, boards, &flow()),
        }
    }

    /// `rr`.
    #[inline(never)]
    fn pick_in_turn(&mut self, service: &Service, boards: &Boards) -> Option<ServerId> {
        Some(rr::pick(&service.servers, boards, self.position(service)?)?.id)
    }

    /// Chooses a server for a new flow, or none (spec `scheduling.md` §1, eligibility). Also none for services with ids
    /// out of range whose scheduler needs a position.
    pub fn pick(&mut self, service: &Service, boards: &Boards, flow: &NewFlow) -> Option<ServerId> {
        let servers = &service.servers[..];
        let chosen = match service.scheduler {
            SchedulerKind::Rr => return self.pick_in_turn(service, boards),
            SchedulerKind::Wrr => wrr::pick(servers, boards, service.plan.cycle(), self.position(service)?),
            SchedulerKind::Lc => self.tournaments.pick(service, boards, flow.now, lc::Lc),
            SchedulerKind::Wlc => return self.tournaments.pick_lightest(service, boards, flow.now),
            SchedulerKind::Lblc => {
                let by_wlc = || self.tournaments.pick(service, boards, flow.now, wlc::Wlc);
                lblc::pick(service, boards, flow, &mut self.localities, by_wlc)
            }
            SchedulerKind::Lblcr => {
                let by_wlc = || self.tournaments.pick(service, boards, flow.now, wlc::Wlc);
                lblcr::pick(service, boards, flow, &mut self.localities, by_wlc)
            }
            SchedulerKind::Dh => dh::pick(service, boards, flow),
            SchedulerKind::Sh => sh::pick(service, boards, flow),
            SchedulerKind::Sed => self.tournaments.pick(service, boards, flow.now, sed::Sed),
            SchedulerKind::Nq => self.tournaments.pick(service, boards, flow.now, nq::Nq),
            SchedulerKind::Fo => self.tournaments.pick(service, boards, flow.now, fo::Fo),
            SchedulerKind::Ovf => self.tournaments.pick(service, boards, flow.now, ovf::Ovf),
            SchedulerKind::Mh => mh::pick(service, boards, flow),
            SchedulerKind::Twos => twos::pick(servers, boards, &mut self.random),
            SchedulerKind::None => None,
        };
        Some(chosen?.id)
    }

    /// Ages the caches of `lblc` and `lblcr`. To be called about once a second; each call does a bounded piece of work
    /// (about 4,000 entries). Expirations are those of the snapshot's settings.
    pub fn housekeep(&mut self, tables: &Tables, now: Tick) {
        self.localities.housekeep(tables, now);
    }

    /// This worker's position in a service, brought up to the service's version.
    fn position(&mut self, service: &Service) -> Option<&mut Position> {
        let position = self.positions.get_mut(service.id.0 as usize)?;
        if position.catch_up(&service.plan) {
            // It may have had another scheduler.
            self.tournaments.retire(service.id);
        }
        Some(position)
    }
}
