//! The memory of `lblc` and `lblcr`: which servers a destination was sent to (spec `scheduling.md` §7, §8).
//!
//! All services of a worker share one pool of entries and one of set members, taken at construction. Chains hang on
//! regions of 1024 buckets; a service's id tells its region, several services may share one. Within a service all is as in
//! the kernel: bucket by address, at most [`ENTRIES_MAX`] entries, a check each minute. A check walks the region in steps
//! of bounded work, so it may take some calls of [`Localities::housekeep`].

use super::hash::{fold, hash_32};
use crate::tables::{Family, SchedulerKind, ServerId, Service, ServiceId, Settings, Tables};
use crate::tick::Tick;
use std::net::IpAddr;

/// Buckets of one service (Linux: 2^10).
const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 10;
/// Above this many entries a check looks for idle ones to delete.
const ENTRIES_WANTED: u32 = 16 * BUCKETS as u32;
/// No service remembers more destinations.
const ENTRIES_MAX: u32 = ENTRIES_WANTED / 2 * 3;
/// Time between two checks of a service.
const CHECK_MS: u64 = 60_000;
/// Each so many checks the entries that have expired are deleted, however few there are.
const CHECKS_TO_FULL: u8 = 30;
/// An entry that may be deleted because there are too many has been idle for this long.
const IDLE_MS: u64 = 360_000;
/// Bounds of one call of housekeeping: about 100 µs of cache misses each.
const BUCKETS_PER_CALL: usize = BUCKETS;
const ENTRIES_PER_CALL: usize = 4096;
const SERVICES_PER_CALL: usize = 4096;
/// Regions: 4 KiB each. Services beyond this number share.
const REGIONS_MAX: usize = 256;

const NIL: u32 = u32::MAX;
/// The epoch of a table that no service owns.
const NOBODY: u64 = u64::MAX;

/// One remembered destination.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The destination; IPv4 in the low bits.
    daddr: u128,
    epoch: u64,
    used: Tick,
    /// When the set last grew or shrank.
    changed: Tick,
    service: u32,
    /// Next entry of the bucket, or of the free list.
    next: u32,
    /// First of the set.
    members: u32,
    members_count: u32,
}

/// One server of a set.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The server.
    pub id: ServerId,
    /// Its weight when it was last seen in the service's list.
    pub weight: i32,
    next: u32,
}

/// What belongs to a service as a whole.
#[derive(Clone, Copy, Debug)]
struct Table {
    epoch: u64,
    /// When the next check is due.
    due: Tick,
    entries: u32,
    /// The bucket at which the last partial check stopped.
    rover: u16,
    checks: u8,
    /// Entries of earlier epochs may still be in the region.
    is_haunted: bool,
}

const UNUSED: Table =
    Table { epoch: NOBODY, due: Tick(0), entries: 0, rover: 0, checks: 1, is_haunted: false };

/// A walk over a service's region that is under way.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    service: u32,
    epoch: u64,
    /// Entries idle for at least this long go; `None`: only those of earlier epochs.
    idle_ms: Option<u64>,
    /// How many should go; `None`: look at all buckets.
    goal: Option<u32>,
    bucket: usize,
    buckets_left: usize,
}

/// Names an entry until the next call of [`Localities::insert`], [`Localities::replace`] or
/// [`Localities::housekeep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryIndex(u32);

/// The destinations that one worker remembers, for all services.
#[derive(Debug)]
pub struct Localities {
    heads: Box<[u32]>,
    entries: Box<[Entry]>,
    free_entry: u32,
    members: Box<[Member]>,
    free_member: u32,
    tables: Box<[Table]>,
    sweep: Option<Sweep>,
    /// The service that housekeeping looked at last.
    last_service: usize,
    /// As of the latest housekeeping.
    set_expiration_ms: u64,
}

impl Localities {
    /// Memory for `entries_max` destinations with two servers each on average.
    pub fn new(services_max: usize, entries_max: usize) -> Localities {
        let regions = entries_max.div_ceil(BUCKETS).clamp(1, REGIONS_MAX).next_power_of_two();
        let follower = |index: usize, len: usize| if index + 1 < len { index as u32 + 1 } else { NIL };
        let members_max = entries_max * 2;
        Localities {
            heads: vec![NIL; regions * BUCKETS].into(),
            entries: (0..entries_max)
                .map(|index| Entry { next: follower(index, entries_max), ..Entry::default() })
                .collect(),
            free_entry: if entries_max > 0 { 0 } else { NIL },
            members: (0..members_max)
                .map(|index| Member { id: ServerId::NONE, weight: 0, next: follower(index, members_max) })
                .collect(),
            free_member: if entries_max > 0 { 0 } else { NIL },
            tables: vec![UNUSED; services_max].into(),
            sweep: None,
            last_service: 0,
            set_expiration_ms: u64::from(Settings::default().lblcr_expiration) * 1000,
        }
    }

    /// The entry of a destination, now used. What was remembered under another epoch of the service is forgotten.
    pub fn find(&mut self, service: &Service, daddr: IpAddr, now: Tick) -> Option<EntryIndex> {
        let table = self.tables.get_mut(service.id.0 as usize)?;
        let epoch = service.plan.epoch();
        if table.epoch != epoch {
            let is_haunted = table.is_haunted || table.entries > 0;
            *table = Table { epoch, due: Tick(now.0 + CHECK_MS), is_haunted, ..UNUSED };
        }
        let wanted = bits(daddr);
        let mut at = self.heads[self.head_of(service.id.0, bucket_of(service.family(), daddr))];
        while at != NIL {
            let entry = &mut self.entries[at as usize];
            if entry.daddr == wanted && entry.service == service.id.0 && entry.epoch == epoch {
                entry.used = now;
                return Some(EntryIndex(at));
            }
            at = entry.next;
        }
        None
    }

    /// Remembers one server for a destination that has no entry. Does nothing if there are too many entries already.
    /// To be called after [`Localities::find`] of the same service.
    pub fn insert(&mut self, service: &Service, daddr: IpAddr, now: Tick, id: ServerId, weight: i32) {
        let Some(table) = self.tables.get_mut(service.id.0 as usize) else { return };
        if table.entries >= ENTRIES_MAX || self.free_entry == NIL || self.free_member == NIL {
            return;
        }
        table.entries += 1;
        let at = self.free_entry;
        let head = self.head_of(service.id.0, bucket_of(service.family(), daddr));
        self.free_entry = self.entries[at as usize].next;
        self.entries[at as usize] = Entry {
            daddr: bits(daddr),
            epoch: service.plan.epoch(),
            used: now,
            changed: now,
            service: service.id.0,
            next: self.heads[head],
            members: NIL,
            members_count: 0,
        };
        self.heads[head] = at;
        self.join(EntryIndex(at), now, id, weight);
    }

    /// Makes this the only server of a destination.
    pub fn replace(&mut self, entry: EntryIndex, now: Tick, id: ServerId, weight: i32) {
        loop {
            let Some(member) = self.member_ids(entry).next() else { break };
            self.leave(entry, now, member);
        }
        self.join(entry, now, id, weight);
    }

    /// Puts a server before the others of the set. False if there is no room.
    pub fn join(&mut self, entry: EntryIndex, now: Tick, id: ServerId, weight: i32) -> bool {
        let at = self.free_member;
        if at == NIL {
            return false;
        }
        let entry = &mut self.entries[entry.0 as usize];
        self.free_member = self.members[at as usize].next;
        self.members[at as usize] = Member { id, weight, next: entry.members };
        entry.members = at;
        entry.members_count += 1;
        entry.changed = now;
        true
    }

    /// Takes a server out of the set.
    pub fn leave(&mut self, entry: EntryIndex, now: Tick, id: ServerId) {
        let entry = &mut self.entries[entry.0 as usize];
        let (mut before, mut at) = (NIL, entry.members);
        while at != NIL && self.members[at as usize].id != id {
            (before, at) = (at, self.members[at as usize].next);
        }
        if at == NIL {
            return;
        }
        let next = self.members[at as usize].next;
        match before {
            NIL => entry.members = next,
            before => self.members[before as usize].next = next,
        }
        self.members[at as usize].next = self.free_member;
        self.free_member = at;
        entry.members_count -= 1;
        entry.changed = now;
    }

    /// Calls `each` for the servers of the set, the latest first. It may correct their weights.
    pub fn visit(&mut self, entry: EntryIndex, mut each: impl FnMut(&mut Member)) {
        let mut at = self.entries[entry.0 as usize].members;
        while at != NIL {
            let member = &mut self.members[at as usize];
            each(member);
            at = member.next;
        }
    }

    /// The servers of the set, the latest first.
    pub fn member_ids(&self, entry: EntryIndex) -> impl Iterator<Item = ServerId> {
        let member = |at: u32| self.members.get(at as usize);
        std::iter::successors(member(self.entries[entry.0 as usize].members), move |last| member(last.next))
            .map(|member| member.id)
    }

    /// How many servers the set has.
    pub fn members_count(&self, entry: EntryIndex) -> u32 {
        self.entries[entry.0 as usize].members_count
    }

    /// When the set last grew or shrank.
    pub fn changed(&self, entry: EntryIndex) -> Tick {
        self.entries[entry.0 as usize].changed
    }

    /// A set that did not change for longer than this loses a server: `lblcr_expiration`, in milliseconds.
    pub fn set_expiration_ms(&self) -> u64 {
        self.set_expiration_ms
    }

    /// Entries in use, by all services and epochs.
    #[cfg(test)]
    pub fn used_entries(&self) -> usize {
        let free = |at: u32| self.entries.get(at as usize).map(|_| at);
        let next = |at: &u32| free(self.entries[*at as usize].next);
        self.entries.len() - std::iter::successors(free(self.free_entry), next).count()
    }

    /// Does a bounded piece of the checks that are due.
    pub fn housekeep(&mut self, tables: &Tables, now: Tick) {
        self.set_expiration_ms = u64::from(tables.settings().lblcr_expiration) * 1000;
        let (mut buckets, mut entries, mut services) =
            (BUCKETS_PER_CALL, ENTRIES_PER_CALL, SERVICES_PER_CALL);
        while buckets > 0 && entries > 0 {
            // A service that began a new epoch meanwhile is haunted, and will be swept again.
            self.sweep = self.sweep.filter(|sweep| self.tables[sweep.service as usize].epoch == sweep.epoch);
            if let Some(mut sweep) = self.sweep {
                buckets -= 1;
                entries = entries.saturating_sub(self.sweep_bucket(&mut sweep, now));
                let is_done = sweep.buckets_left == 0 || sweep.goal == Some(0);
                self.sweep = (!is_done).then_some(sweep);
                if is_done {
                    self.finish(sweep);
                }
            } else if services > 0 && !self.tables.is_empty() {
                services -= 1;
                self.last_service = (self.last_service + 1) % self.tables.len();
                self.sweep = self.check(tables, self.last_service as u32, now);
            } else {
                break;
            }
        }
    }

    /// What is to be swept of a service now.
    fn check(&mut self, tables: &Tables, service: u32, now: Tick) -> Option<Sweep> {
        let table = &mut self.tables[service as usize];
        if table.epoch == NOBODY && !table.is_haunted {
            return None;
        }
        let owner = tables.service(ServiceId(service));
        let is_alive = owner.is_some_and(|owner| owner.plan.epoch() == table.epoch);
        if table.entries > 0 && !is_alive {
            *table = Table { is_haunted: true, ..UNUSED };
        }
        let first = (usize::from(table.rover) + 1) % BUCKETS;
        let sweep = Sweep {
            service,
            epoch: table.epoch,
            idle_ms: None,
            goal: None,
            bucket: first,
            buckets_left: BUCKETS,
        };
        if table.epoch == NOBODY || now < table.due {
            return table.is_haunted.then_some(sweep);
        }
        table.due = Tick(now.0 + CHECK_MS);
        if table.checks.is_multiple_of(CHECKS_TO_FULL) {
            table.checks = 1;
            let settings = tables.settings();
            let expiration_s = match owner.map(|owner| owner.scheduler) {
                Some(SchedulerKind::Lblcr) => settings.lblcr_expiration,
                _ => settings.lblc_expiration,
            };
            return Some(Sweep { idle_ms: Some(u64::from(expiration_s) * 1000), ..sweep });
        }
        if table.entries <= ENTRIES_WANTED {
            table.checks += 1;
            return table.is_haunted.then_some(sweep);
        }
        let goal = ((table.entries - ENTRIES_WANTED) * 4 / 3).min(ENTRIES_WANTED / 2);
        Some(Sweep { idle_ms: Some(IDLE_MS), goal: Some(goal), ..sweep })
    }

    /// Sweeps one bucket; returns how many entries it looked at.
    fn sweep_bucket(&mut self, sweep: &mut Sweep, now: Tick) -> usize {
        let head = self.head_of(sweep.service, sweep.bucket);
        let (mut before, mut at, mut seen) = (NIL, self.heads[head], 0);
        while at != NIL {
            seen += 1;
            let Entry { service, epoch, used, next, .. } = self.entries[at as usize];
            let is_ghost = epoch != sweep.epoch; // and sweep.epoch is the table's: see `housekeep`
            let is_idle = sweep.idle_ms.is_some_and(|idle_ms| now.0.saturating_sub(used.0) >= idle_ms);
            if service == sweep.service && (is_ghost || is_idle) {
                match before {
                    NIL => self.heads[head] = next,
                    before => self.entries[before as usize].next = next,
                }
                if !is_ghost {
                    self.tables[service as usize].entries -= 1;
                    sweep.goal = sweep.goal.map(|goal| goal.saturating_sub(1));
                }
                self.free(at);
            } else {
                before = at;
            }
            at = next;
        }
        sweep.buckets_left -= 1;
        sweep.bucket = (sweep.bucket + 1) % BUCKETS;
        seen
    }

    fn finish(&mut self, sweep: Sweep) {
        let table = &mut self.tables[sweep.service as usize];
        table.rover = ((sweep.bucket + BUCKETS - 1) % BUCKETS) as u16;
        table.is_haunted &= sweep.buckets_left > 0;
    }

    /// Gives an unlinked entry and its set back to the pools.
    fn free(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        let mut member = std::mem::replace(&mut entry.members, NIL);
        entry.next = self.free_entry;
        self.free_entry = at;
        while member != NIL {
            let next = std::mem::replace(&mut self.members[member as usize].next, self.free_member);
            self.free_member = member;
            member = next;
        }
    }

    fn head_of(&self, service: u32, bucket: usize) -> usize {
        let regions = self.heads.len() / BUCKETS;
        (service as usize % regions) * BUCKETS + bucket
    }
}

fn bucket_of(family: Family, daddr: IpAddr) -> usize {
    hash_32(fold(family, daddr), BUCKET_BITS) as usize
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}
