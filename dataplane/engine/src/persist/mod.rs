//! Persistence templates: which real server a client's network keeps (spec `connections.md` §4.3, §8).
//!
//! A client's next connection may land on any worker, so templates are shared by all of them, behind one lock per
//! shard. Only new connections of persistent services, and the end of such connections, take a lock; packets of
//! established flows never do.

mod key;
mod shard;
#[cfg(test)]
mod tests;
mod told;

pub(crate) use key::{FTP, NewConnection, TemplateKey};
use shard::Shard;
pub(crate) use shard::{Template, flags_of};
pub(crate) use told::{Taken, Told};

use crate::connection_info::ControlKey;
use crate::tables::{Server, ServerId};
use crate::tick::Tick;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shards, as a shift: 64 locks, so that two workers seldom want the same one.
const SHARD_SHIFT: u32 = 6;
const SHARDS: usize = 1 << SHARD_SHIFT;
/// Life of a template (or control connection) that ran out while connections still used it, milliseconds: from then on for
/// good (spec `connections.md` §8).
pub const CONTROLLING_MS: u32 = 60_000;
/// Templates go so long after they are due, milliseconds: two slots of the connections' wheel. A connection that is due
/// at the same moment then goes first, as in the kernel, and does not keep its template for another [`CONTROLLING_MS`].
const AFTER_CONNECTIONS_MS: i64 = 256;

/// Templates that [`Templates::expire`] looks at: 30 KB, which take 4 µs from memory, 9 µs if as many go as may.
const LOOKS: u32 = 256;
/// As many of these as removing one takes time.
const REMOVAL: u32 = 8;

/// How far [`Templates::expire`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// The next slot.
    UpTo(u32),
    /// The end of the shard, in which so many templates are left.
    All(u32),
}

/// Names a template for as long as a connection is controlled by it, or it has not expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(pub(crate) u32);

/// What a template is to be made of.
pub(crate) struct New<'a> {
    pub(crate) key: TemplateKey,
    pub(crate) server: &'a Server,
    /// Does it carry the server's configured port?
    pub(crate) own_port: bool,
    pub(crate) timeout_s: u32,
    /// Data of the persistence engine; empty: none.
    pub(crate) call_id: &'a [u8],
}

/// The template of a new connection for which there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    New(Handle),
    /// Another worker was faster: this is its template, which leads to this server.
    Joined(Handle, ServerId),
}

/// All templates.
#[derive(Clone, Debug)]
pub struct Templates {
    shards: Arc<[Mutex<Shard>]>,
    /// Secret, so that nobody can make two Call-IDs alike.
    hasher: RandomState,
}

impl Templates {
    /// Room for about `capacity` templates. Takes all memory now.
    #[must_use]
    pub fn new(capacity: u32) -> Templates {
        let each = (capacity as usize).div_ceil(SHARDS);
        Templates {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(each))).collect(),
            hasher: RandomState::new(),
        }
    }

    /// What stands for a Call-ID in keys; never 0.
    pub(crate) fn digest(&self, call_id: &[u8]) -> u64 {
        self.hasher.hash_one(call_id).max(1)
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        // Nothing panics while it holds the lock; and if it did, the shard would still be consistent.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard_of(key: &TemplateKey) -> usize {
        let bits = match key.client_net {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                (bits >> 64) as u64 ^ bits as u64
            }
        };
        ((bits ^ key.digest).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SHARD_SHIFT)) as usize
    }

    fn handle(shard: usize, slot: u32) -> Handle {
        Handle(slot << SHARD_SHIFT | shard as u32)
    }

    fn place(handle: Handle) -> (usize, usize) {
        (handle.0 as usize % SHARDS, (handle.0 >> SHARD_SHIFT) as usize)
    }

    /// A usable template, now controlling one connection more and renewed; or none, if there is none or `usable` does
    /// not like its server (then the template is found no more).
    pub(crate) fn join(
        &self,
        key: &TemplateKey,
        now: Tick,
        usable: impl Fn(ServerId) -> bool,
    ) -> Option<(Handle, ServerId)> {
        let number = Templates::shard_of(key);
        let (slot, server) = self.lock(number).join(key, now, usable)?;
        Some((Templates::handle(number, slot), server))
    }

    /// A new template that controls one connection, if there is still none that [`Templates::join`] would find. `None` if
    /// there is no room.
    pub(crate) fn create(&self, new: &New<'_>, now: Tick, usable: impl Fn(ServerId) -> bool) -> Option<Made> {
        let &New { key, server, own_port, timeout_s, call_id } = new;
        let number = Templates::shard_of(&key);
        let mut shard = self.lock(number);
        // The scheduler was asked without the lock. A second template would split the client over two servers.
        if let Some((slot, server)) = shard.join(&key, now, usable) {
            return Some(Made::Joined(Templates::handle(number, slot), server));
        }
        let slot = shard.free.pop()?;
        shard.slots[slot as usize] = Some(Template {
            key,
            server: server.id,
            daddr: server.daddr,
            flags: flags_of(server.method),
            dport: if own_port { server.dport } else { 0 },
            assured: false,
            controls: 1,
            timeout_ms: crate::state::life_ms(timeout_s),
            last_seen: now.stamp(),
            in_packets: 0,
            note: None,
            listed: true,
        });
        shard.keep(slot, call_id);
        shard.index.insert(key, slot);
        Some(Made::New(Templates::handle(number, slot)))
    }

    /// Which template this is; `None` if no new connection can find it.
    pub(crate) fn name(&self, handle: Handle) -> Option<ControlKey> {
        let (shard, slot) = Templates::place(handle);
        let shard = self.lock(shard);
        shard.slots.get(slot)?.as_ref().filter(|template| template.listed).map(|template| template.key.name())
    }

    /// A controlled connection is gone.
    pub(crate) fn leave(&self, handle: Handle) {
        self.with(handle, |template| template.controls = template.controls.saturating_sub(1));
    }

    /// A controlled connection proved to be real (spec §4.4).
    pub(crate) fn assure(&self, handle: Handle) {
        self.with(handle, |template| template.assured = true);
    }

    fn with(&self, handle: Handle, change: impl FnOnce(&mut Template)) {
        let (shard, slot) = Templates::place(handle);
        if let Some(Some(template)) = self.lock(shard).slots.get_mut(slot) {
            change(template);
        }
    }

    /// Removes what is due in one shard, and what controls nothing and has an orphan's server, or is not assured and
    /// `unproven_go`, telling `gone` the server of each, and `outlived` of each whose time has run out but which still
    /// controls connections. Looks at a bounded number from a slot on.
    pub(crate) fn expire(
        &self,
        (shard, from): (usize, u32),
        now: Tick,
        is_orphan: impl Fn(ServerId) -> bool,
        unproven_go: bool,
        mut gone: impl FnMut(ServerId),
        mut outlived: impl FnMut(Handle),
    ) -> Looked {
        let number = shard % SHARDS;
        let mut shard = self.lock(number);
        let Shard { index, slots, free, .. } = &mut *shard;
        if index.is_empty() && free.len() == slots.len() {
            return Looked::All(0);
        }
        let (mut slot, mut budget) = (from as usize, LOOKS);
        while let Some(place) = slots.get_mut(slot)
            && budget > 0
        {
            slot += 1;
            budget -= 1;
            let Some(template) = place else { continue };
            let expendable = unproven_go && !template.assured;
            let orphan = template.controls == 0 && (is_orphan(template.server) || expendable);
            let remaining_ms = template.remaining_ms(now.stamp());
            if remaining_ms > -AFTER_CONNECTIONS_MS && !orphan {
                continue;
            }
            let nth = slot as u32 - 1;
            if template.controls > 0 {
                // From the moment at which it was due.
                let late_ms = (-remaining_ms).clamp(0, CONTROLLING_MS.into()) as u32;
                template.timeout_ms = CONTROLLING_MS;
                template.last_seen = now.stamp().wrapping_sub(late_ms);
                outlived(Templates::handle(number, nth));
                continue;
            }
            gone(template.server);
            // Only its own place: another one may have been made for the same client since.
            if index.get(&template.key) == Some(&nth) {
                index.remove(&template.key);
            }
            *place = None;
            free.push(nth);
            budget = budget.saturating_sub(REMOVAL);
        }
        if slot < slots.len() {
            Looked::UpTo(slot as u32)
        } else {
            Looked::All((slots.len() - free.len()) as u32)
        }
    }

    /// Templates for which each shard has room.
    pub(crate) fn room_of_shard(&self) -> u32 {
        self.lock(0).slots.len() as u32
    }

    /// Number of shards: [`Templates::expire`] and [`Templates::each`] take one at a time.
    pub(crate) const fn shards() -> usize {
        SHARDS
    }

    /// Tells of the templates in these places of one shard, each with the data of its persistence engine (empty: none).
    /// Returns whether there are places after them.
    pub(crate) fn each(
        &self,
        shard: usize,
        places: Range<u32>,
        mut each: impl FnMut(&Template, &[u8]),
    ) -> bool {
        let shard = self.lock(shard % SHARDS);
        let until = (places.end as usize).min(shard.slots.len());
        let from = (places.start as usize).min(until);
        for (slot, template) in (from..until).zip(&shard.slots[from..until]) {
            if let Some(template) = template {
                each(template, shard.call_id(slot));
            }
        }
        until < shard.slots.len()
    }
}
