//! Deleted servers that connections may still refer to (spec `connections.md` §10), and the ids of all servers.
//!
//! A deleted server keeps its id, its record and its counts until nothing refers to it. Added again in time, it gets
//! them back. So an id is reused only when no connection names it.

use shunt_engine::Tick;
use shunt_engine::tables::{ServerId, ServiceKey};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// How long a server without references stays, from the moment that this was noticed.
const IDLE_MS: u64 = 120_000;

/// How often that is looked at.
const RUN_EVERY_MS: u64 = 60_000;

/// Where a deleted server belongs: the service that it served, its address and port.
pub(super) type Home = (ServiceKey, IpAddr, u16);

#[derive(Clone, Debug)]
struct Item {
    home: Home,
    /// The publication that tells workers of the deletion. Until it is in force they may still bind connections.
    told_by: u64,
    idle_since: Option<Tick>,
}

/// Ids in use by live servers, ids in the trash, free ids.
#[derive(Clone, Debug)]
pub(super) struct Trash {
    by_home: HashMap<Home, ServerId>,
    items: HashMap<ServerId, Item>,
    latest_run: Option<Tick>,
    free: VecDeque<ServerId>,
    next: u32,
    max: u32,
}

impl Trash {
    pub(super) fn new(servers_max: usize) -> Trash {
        // `ServerId::NONE` is no id.
        let max = u32::try_from(servers_max).unwrap_or(u32::MAX).min(u32::MAX - 1);
        Trash {
            by_home: HashMap::new(),
            items: HashMap::new(),
            latest_run: None,
            free: VecDeque::new(),
            next: 0,
            max,
        }
    }

    /// An id that nothing refers to, if there is one.
    pub(super) fn fresh(&mut self) -> Option<ServerId> {
        if let Some(id) = self.free.pop_front() {
            return Some(id);
        }
        (self.next < self.max).then(|| {
            self.next += 1;
            ServerId(self.next - 1)
        })
    }

    /// How many ids [`Trash::fresh`] has left.
    pub(super) fn room(&self) -> usize {
        self.free.len() + (self.max - self.next) as usize
    }

    /// Takes a deleted server in.
    pub(super) fn put(&mut self, id: ServerId, home: Home, told_by: u64) {
        self.by_home.insert(home, id);
        self.items.insert(id, Item { home, told_by, idle_since: None });
    }

    /// Gives a deleted server back, if it is there.
    pub(super) fn take(&mut self, home: &Home) -> Option<ServerId> {
        let id = self.by_home.remove(home)?;
        self.items.remove(&id);
        Some(id)
    }

    /// Is this the id of a deleted server?
    pub(super) fn contains(&self, id: ServerId) -> bool {
        self.items.contains_key(&id)
    }

    /// Frees the servers that nothing has referred to for long enough, and returns them. To be called often; it works
    /// once a minute. `in_force` is the latest publication that every worker has observed.
    pub(super) fn run(
        &mut self,
        now: Tick,
        in_force: u64,
        is_used: impl Fn(ServerId) -> bool,
    ) -> Vec<ServerId> {
        if self.items.is_empty() {
            self.latest_run = None;
            return Vec::new();
        }
        let latest = *self.latest_run.get_or_insert(now);
        if now.0.saturating_sub(latest.0) < RUN_EVERY_MS {
            return Vec::new();
        }
        self.latest_run = Some(now);
        self.free_if(|id, item| {
            if item.told_by > in_force || is_used(id) {
                item.idle_since = None;
                return false;
            }
            let since = *item.idle_since.get_or_insert(now);
            now.0 - since.0 >= IDLE_MS
        })
    }

    /// Frees all servers that nothing refers to now: for when ids run out.
    pub(super) fn squeeze(&mut self, in_force: u64, is_used: impl Fn(ServerId) -> bool) -> Vec<ServerId> {
        self.free_if(|id, item| item.told_by <= in_force && !is_used(id))
    }

    fn free_if(&mut self, mut wanted: impl FnMut(ServerId, &mut Item) -> bool) -> Vec<ServerId> {
        let mut freed: Vec<ServerId> =
            self.items.iter_mut().filter_map(|(id, item)| wanted(*id, item).then_some(*id)).collect();
        // Hash order is random; the same commands shall give the same ids.
        freed.sort_unstable();
        for id in &freed {
            if let Some(item) = self.items.remove(id) {
                self.by_home.remove(&item.home);
            }
        }
        self.free.extend(&freed);
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_engine::tables::Family;
    use std::cell::Cell;

    fn home(dport: u16) -> Home {
        (ServiceKey::Fwmark { family: Family::V4, mark: 1 }, [10, 0, 0, 1].into(), dport)
    }

    #[test]
    fn a_deleted_server_stays_for_two_minutes_after_its_last_reference() {
        let mut trash = Trash::new(1);
        let id = trash.fresh().unwrap();
        assert_eq!(trash.fresh(), None);
        trash.put(id, home(80), 1);
        let used = Cell::new(true);
        let mut run = |seconds: u64| trash.run(Tick(seconds * 1000), 1, |_| used.get());
        assert!(run(0).is_empty() && run(60).is_empty() && run(120).is_empty());
        used.set(false);
        assert!(run(179).is_empty(), "not its minute");
        assert!(run(180).is_empty(), "noticed");
        assert!(run(240).is_empty());
        assert_eq!(run(300), [id]);
        assert_eq!(trash.fresh(), Some(id));
        assert_eq!(trash.take(&home(80)), None);
    }

    #[test]
    fn an_id_is_not_freed_before_workers_know_of_the_deletion() {
        let mut trash = Trash::new(1);
        let id = trash.fresh().unwrap();
        trash.put(id, home(80), 7);
        assert!(trash.squeeze(6, |_| false).is_empty());
        assert!(trash.contains(id));
        assert_eq!(trash.squeeze(7, |_| false), [id]);
    }

    #[test]
    fn taken_back() {
        let mut trash = Trash::new(9);
        let id = trash.fresh().unwrap();
        trash.put(id, home(80), 1);
        assert_eq!(trash.take(&home(81)), None);
        assert_eq!(trash.take(&home(80)), Some(id));
        assert!(!trash.contains(id) && trash.squeeze(9, |_| false).is_empty());
    }
}
