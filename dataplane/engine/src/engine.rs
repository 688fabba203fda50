//! The engine of one worker: bursts in, verdicts out.

use crate::announce::Outbox;
use crate::board::Boards;
use crate::burst::Stages;
use crate::conn::{ConnTable, FlowKey};
use crate::counters::{Counter, WorkerCounters};
use crate::defence::Defence;
use crate::flow::Pass;
use crate::forward::tunnel;
use crate::fragments::{Long, Store, Whole, is_atomic};
use crate::ftp::{Controls, Expectations};
use crate::icmp::Budget;
use crate::orphans::Orphans;
use crate::owner::{KEY_LEN, Owner};
use crate::packet::{Kind, Packet};
use crate::persist::Templates;
use crate::sched::Schedulers;
use crate::state::Timeouts;
use crate::tables::{Family, ServiceId, Settings, Tables};
use crate::template_round::TemplateRound;
use crate::tick::Tick;
use crate::verdict::Verdict;

/// Packets in a burst, at most: as many as an rx queue yields at once.
pub const BURST: usize = 32;

/// Connections of a family looked at by one call of [`Engine::expire`]: bounds the time between two bursts.
const EXPIRE_BUDGET: u32 = 64;

/// And how many more for each that began since the last call. As many go as come, in the long run.
const EXPIRE_FOR_NEW: u32 = 2;

/// No more can have begun between two calls, whatever number of NIC ports a worker has.
const NEW_MAX: u64 = 1 << 14;

/// Unfinished datagrams given up by one call of [`Engine::expire`], at most.
const FRAGMENTS_BUDGET: u32 = 8;

/// Destinations that the schedulers `lblc` and `lblcr` remember, over all services of a worker: the kernel's bound for
/// one service.
const LOCALITIES: usize = 24_576;

/// What an engine is made for.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// This worker's number, from 0.
    pub worker: u8,
    /// Number of workers.
    pub workers: u8,
    /// Do the NIC ports steer every packet to its owner? If not, the owner is worked out before the look-up, so that a
    /// packet of another worker costs no access to this one's table.
    pub hardware_steering: bool,
    /// Bound on IPv4 connections.
    pub max_ipv4: u32,
    /// Bound on IPv6 connections.
    pub max_ipv6: u32,
    /// Bound on services.
    pub services_max: u32,
    /// Counts of all workers.
    pub boards: Boards,
    /// Persistence templates of all workers.
    pub templates: Templates,
    /// Data connections that the FTP helpers of all workers expect.
    pub expectations: Expectations,
    /// This worker's counters.
    pub counters: WorkerCounters,
    /// 32 random bytes for the hash of flows: secret, else clients could aim at one bucket.
    pub seed: [u64; 4],
    /// Key of the owner hash; the same for all workers, and that of the NICs.
    pub owner_key: [u8; KEY_LEN],
    /// Time at the start.
    pub now: Tick,
}

/// Where a burst comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From an rx queue.
    Wire,
    /// From another worker, which found that this one owns it. Not handed over again.
    HandOver,
    /// From the kernel twin of its NIC port, addressed and ready to leave. Of these only the answers of real servers
    /// that are the director itself are changed; all others leave as they are.
    Twin,
    /// The same, from another worker, which found that this one owns the flow.
    TwinHandOver,
    /// From any of them in fragments, of which the largest was an IP packet of this length. Not handed over again.
    Fragments {
        /// Bytes.
        largest: u16,
    },
}

impl Origin {
    /// Did the director's own kernel make it?
    #[inline]
    #[must_use]
    pub fn is_kernel(self) -> bool {
        matches!(self, Origin::Twin | Origin::TwinHandOver)
    }
}

/// Everything of a worker but its connections.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) worker: u8,
    pub(crate) workers: u8,
    pub(crate) boards: Boards,
    pub(crate) templates: Templates,
    pub(crate) expectations: Expectations,
    /// Control connections of FTP.
    pub(crate) ftp: Controls,
    pub(crate) counters: WorkerCounters,
    pub(crate) schedulers: Schedulers,
    /// The service of the latest new flow. It may be gone, or another by now.
    pub(crate) recent_service: ServiceId,
    pub(crate) owner: Owner,
    pub(crate) timeouts: Timeouts,
    /// The settings that `timeouts` was made from.
    settings: Settings,
    /// Does a synchronisation master want to be told of connections?
    pub(crate) announces: bool,
    /// Is the director a mere backup, which balances nothing (`backup_only`)?
    pub(crate) stands_by: bool,
    /// The way to the master.
    pub(crate) outbox: Option<Outbox>,
    pub(crate) budget: Budget,
    pub(crate) defence: Defence,
    /// Identification of IPv4 headers that this worker writes.
    pub(crate) ip_id: u16,
    /// What outer headers take of the inner byte of flags: [`tunnel::DF`] or nothing.
    pub(crate) df_mask: u8,
    /// Path MTU of the datagram under decision, which is longer; `u16::MAX` if it fits.
    pub(crate) cut_mtu: u16,
    /// Packets of this round that have to be cut.
    pub(crate) long: Long,
}

/// One worker's load balancer.
#[derive(Debug)]
pub struct Engine {
    pub(crate) v4: ConnTable<u32>,
    pub(crate) v6: ConnTable<u128>,
    pub(crate) core: Core,
    /// Fragments of datagrams that are not complete yet, and the datagram under decision.
    pub(crate) fragments: Store,
    pub(crate) whole: Whole,
    pub(crate) steer_first: bool,
    pub(crate) stages: Box<Stages>,
    pub(crate) orphans: Orphans,
    pub(crate) template_round: TemplateRound,
    /// Connections that had begun at the last [`Engine::expire`].
    begun: u64,
}

impl Engine {
    /// Takes all memory that it will ever use.
    #[must_use]
    pub fn new(config: EngineConfig) -> Engine {
        let key = FlowKey::new(config.seed);
        let settings = Settings::default();
        let shards =
            (usize::from(config.worker)..Templates::shards()).step_by(usize::from(config.workers).max(1));
        let templates_max = shards.len() as u64 * u64::from(config.templates.room_of_shard());
        config.counters.set(Counter::TemplatesMax, templates_max);
        Engine {
            v4: ConnTable::new(config.max_ipv4, key, config.now),
            v6: ConnTable::new(config.max_ipv6, key, config.now),
            stages: Stages::new(),
            orphans: Orphans::default(),
            template_round: TemplateRound::new(config.worker, &config.templates, config.now),
            begun: 0,
            steer_first: config.workers > 1 && !config.hardware_steering,
            core: Core {
                worker: config.worker,
                workers: config.workers,
                boards: config.boards.for_worker(usize::from(config.worker)),
                templates: config.templates,
                expectations: config.expectations,
                ftp: Controls::default(),
                counters: config.counters,
                recent_service: ServiceId(0),
                schedulers: Schedulers::new(config.services_max as usize, LOCALITIES, config.seed[3])
                    .with_servers_max(config.boards.servers_max()),
                owner: Owner::new(&config.owner_key, config.workers),
                timeouts: Timeouts::new(&settings),
                df_mask: df_mask(&settings),
                settings,
                announces: false,
                stands_by: false,
                outbox: None,
                budget: Budget::default(),
                defence: Defence::default(),
                ip_id: config.seed[0] as u16,
                cut_mtu: u16::MAX,
                long: Long::default(),
            },
            fragments: Store::new(key),
            whole: Whole::default(),
        }
    }

    /// Gives it a way to tell a synchronisation master of connections. Without one, nothing is announced.
    #[must_use]
    pub fn with_outbox(mut self, outbox: Outbox) -> Engine {
        self.core.outbox = Some(outbox);
        self
    }

    /// Begins the random numbers of the schedulers anew: see [`Schedulers::reseed`].
    pub fn reseed(&mut self, seed: u64) {
        self.core.schedulers.reseed(seed);
    }

    /// Removes connections that are due: a bounded number, so call it once per round of the poll loop.
    pub fn expire(&mut self, tables: &Tables, now: Tick) {
        let begun = self.core.counters.get(Counter::NewConnections);
        let new = begun.wrapping_sub(std::mem::replace(&mut self.begun, begun)).min(NEW_MAX);
        // Each family has a budget of its own, so that neither has to wait for the other.
        let budget = EXPIRE_BUDGET + EXPIRE_FOR_NEW * new as u32;
        let (core, origin) = (&mut self.core, Origin::Wire);
        Pass { table: &mut self.v4, core, tables, now, origin }.expire(&mut budget.clone());
        let (core, origin) = (&mut self.core, Origin::Wire);
        Pass { table: &mut self.v6, core, tables, now, origin }.expire(&mut budget.clone());
        self.fragments.expire(now, FRAGMENTS_BUDGET, &self.core.counters);
        self.sweep_orphans(tables, now);
        self.expire_templates(tables, now);
        self.defend(tables, now);
    }

    /// Connections in both tables.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.v4.len() + self.v6.len()
    }

    /// Connections in the table of IPv4 or of IPv6.
    #[inline]
    #[must_use]
    pub fn connections_of(&self, family: u8) -> u32 {
        if family == 4 { self.v4.len() } else { self.v6.len() }
    }

    /// The tables, for listings.
    pub(crate) fn conn_tables(&self) -> (&ConnTable<u32>, &ConnTable<u128>) {
        (&self.v4, &self.v6)
    }

    /// The shards of persistence templates that this worker lists: each is some worker's.
    pub(crate) fn own_template_shards(&self) -> impl Iterator<Item = usize> {
        (usize::from(self.core.worker)..Templates::shards()).step_by(usize::from(self.core.workers).max(1))
    }

    /// What the FTP helpers expect.
    pub(crate) fn expectations(&self) -> &Expectations {
        &self.core.expectations
    }

    /// Control connections of FTP.
    pub(crate) fn ftp(&self) -> &Controls {
        &self.core.ftp
    }

    /// Persistence templates.
    pub(crate) fn templates(&self) -> &Templates {
        &self.core.templates
    }

    /// This worker's counters.
    #[must_use]
    pub fn counters(&self) -> &WorkerCounters {
        &self.core.counters
    }
}

fn df_mask(settings: &Settings) -> u8 {
    if settings.pmtu_disc { tunnel::DF } else { 0 }
}

impl Core {
    /// Takes over settings that were changed. Settings change rarely: comparing is cheap and needs no version.
    #[inline]
    pub(crate) fn observe(&mut self, settings: &Settings) {
        if self.settings != *settings {
            self.timeouts = Timeouts::new(settings);
            self.df_mask = df_mask(settings);
            self.announces = settings.sync.master && self.outbox.is_some();
            self.stands_by = settings.backup_only && settings.sync.backup;
            self.arm(settings);
            self.settings = settings.clone();
        }
    }

    /// The verdict on a packet that another worker owns; `None` if it is for this one to decide.
    ///
    /// The client is the source of a packet for a virtual service and the destination of one from a real server.
    #[inline]
    pub(crate) fn hand_over(&self, tables: &Tables, packet: &Packet) -> Option<Verdict> {
        if !matches!(packet.kind, Kind::Flow | Kind::Follower | Kind::Error { .. }) {
            return None;
        }
        self.other_owner(tables, packet).map(Verdict::HandOver)
    }

    /// The worker that owns the flow of this packet, if it is another one.
    #[inline]
    pub(crate) fn other_owner(&self, tables: &Tables, packet: &Packet) -> Option<u8> {
        self.owner_of(tables, packet).filter(|&owner| owner != self.worker)
    }

    fn owner_of(&self, tables: &Tables, packet: &Packet) -> Option<u8> {
        let (src, dst) = (packet.src_ip(), packet.dst_ip());
        let of = |address: u128, l4_port| match packet.family {
            Family::V4 => self.owner.of(address as u32, l4_port),
            Family::V6 => self.owner.of(address, l4_port),
        };
        // Rules are asked last, and only if a service goes by marks: they cost the most.
        if tables.service_for(0, packet.protocol, dst, packet.dport).is_some()
            || tables.has_mark_services()
                && tables
                    .service_for(tables.mark_of(&packet.marked()), packet.protocol, dst, packet.dport)
                    .is_some()
        {
            return Some(of(packet.src, packet.sport));
        }
        if tables.is_real_address(&src) || tables.service_for(0, packet.protocol, src, packet.sport).is_some()
        {
            return Some(of(packet.dst, packet.dport));
        }
        // No service asks for it, but it may be of a connection that has outlived its service, that a peer told of, or that
        // was announced on a control connection of FTP.
        let may_be_known =
            tables.is_local(&dst) || tables.has_virtual_address(&dst) || tables.has_deleted_servers();
        may_be_known.then(|| of(packet.src, packet.sport))
    }

    /// The verdict on a fragment; `None` if it is to be gathered here. Fragments have no ports: the addresses alone tell
    /// which may be load-balanced, and where those meet. What is not load-balanced after all goes to the kernel later.
    ///
    /// One that is the whole packet may be an ICMP error about a connection, whatever its addresses: as in the kernel,
    /// its fragment header ends here.
    pub(crate) fn fragment(
        &self,
        tables: &Tables,
        origin: Origin,
        packet: &Packet,
        bytes: &[u8],
    ) -> Option<Verdict> {
        let (src, dst) = (packet.src_ip(), packet.dst_ip());
        let known = tables.has_virtual_address(&dst)
            || tables.is_local(&dst)
            || tables.is_real_address(&src)
            || tables.has_virtual_address(&src)
            || !tables.marks().is_empty();
        // IPVS gathers fragments of IPv4 itself; those of IPv6 netfilter goes on to gather once IPVS has asked for it.
        let may_be_ours = match packet.family {
            Family::V4 => known && tables.balances(Family::V4),
            Family::V6 => known || tables.gathers_ipv6() && is_atomic(packet, bytes),
        };
        if !may_be_ours {
            return Some(Verdict::Punt(packet.nic_port));
        }
        let gatherer = self.owner.of(packet.src ^ packet.dst.rotate_left(1), 0);
        (origin == Origin::Wire && gatherer != self.worker).then_some(Verdict::HandOver(gatherer))
    }

    /// The next identification for an IPv4 header of our own.
    #[inline]
    pub(crate) fn next_ip_id(&mut self) -> u16 {
        self.ip_id = self.ip_id.wrapping_add(1);
        self.ip_id
    }
}
