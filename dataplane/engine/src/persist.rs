//! Persistence templates: which real server a client's network keeps (spec `connections.md` §4.3, §8).
//!
//! A client's next connection may land on any worker, so templates are shared by all of them, behind one lock per
//! shard. Only new connections of persistent services, and the end of such connections, take a lock; packets of
//! established flows never do.

use crate::announce::{Candidate, Note};
use crate::conn::flag;
use crate::connection_info::{ConnectionInfo, ControlKey};
use crate::dump::template_info;
use crate::sip::CALL_ID_MAX;
use crate::tables::{ForwardingMethod, Persistence, Server, ServerId, Service, ServiceKey, SyncRules};
use crate::tick::Tick;
use hashbrown::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shards, as a shift: 64 locks, so that two workers seldom want the same one.
const SHARD_SHIFT: u32 = 6;
const SHARDS: usize = 1 << SHARD_SHIFT;
/// Life of a template that ran out while connections still used it: from then on for good (spec §8).
pub(crate) const CONTROLLING_MS: u32 = 60_000;
/// Templates go so long after they are due, milliseconds: two slots of the connections' wheel. A connection that is due
/// at the same moment then goes first, as in the kernel, and does not keep its template for another [`CONTROLLING_MS`].
const AFTER_CONNECTIONS_MS: i64 = 256;
/// The protocol of templates for firewall marks: "IP".
const ANY_PROTOCOL: u8 = 0;
const FTP: u16 = 21;

/// Names a template for as long as a connection is controlled by it, or it has not expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(pub(crate) u32);

/// What makes a template unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TemplateKey {
    protocol: u8,
    client_net: IpAddr,
    vaddr: IpAddr,
    vport: u16,
    mark: bool,
    /// Of a persistence engine's data, which the hash stands for: 64 bits under a secret key. 0: none.
    digest: u64,
}

impl TemplateKey {
    /// The same for one dialog.
    pub(crate) fn with_call_id(self, digest: u64) -> TemplateKey {
        TemplateKey { digest, ..self }
    }

    /// Has it data of a persistence engine?
    pub(crate) fn has_call_id(&self) -> bool {
        self.digest != 0
    }

    /// The key for a packet of a persistent service, and the server port that its template carries (the table of spec
    /// §4.3): `true` stands for the configured one.
    pub(crate) fn new(
        service: &Service,
        persistence: Persistence,
        packet: &NewConnection,
    ) -> (TemplateKey, bool) {
        let client_net = masked(packet.caddr, persistence.netmask);
        let key = |protocol, vaddr, vport, mark| TemplateKey {
            protocol,
            client_net,
            vaddr,
            vport,
            mark,
            digest: 0,
        };
        match service.key {
            ServiceKey::Fwmark { mark, .. } => {
                (key(ANY_PROTOCOL, mark_as_address(mark, packet.vaddr), 0, true), false)
            }
            ServiceKey::Address { vport, .. } if vport == packet.vport && vport != FTP => {
                (key(packet.protocol, packet.vaddr, vport, false), true)
            }
            ServiceKey::Address { .. } => (key(packet.protocol, packet.vaddr, 0, false), false),
        }
    }
}

/// The first packet of a connection, as templates see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewConnection {
    pub(crate) protocol: u8,
    pub(crate) caddr: IpAddr,
    pub(crate) vaddr: IpAddr,
    pub(crate) vport: u16,
}

/// A firewall mark in the place of a virtual address: the first four bytes of one of that family.
fn mark_as_address(mark: u32, family_of: IpAddr) -> IpAddr {
    const REST: u32 = 96;
    match family_of {
        IpAddr::V4(_) => Ipv4Addr::from_bits(mark).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(u128::from(mark) << REST).into(),
    }
}

/// A client address under a service's netmask.
fn masked(address: IpAddr, netmask: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & netmask).into(),
        IpAddr::V6(address) => {
            let ignored = 128 - netmask.min(128);
            let mask = u128::MAX.checked_shl(ignored).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// A template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) key: TemplateKey,
    pub(crate) server: ServerId,
    /// The server's address, which is known even if the server is not.
    pub(crate) daddr: IpAddr,
    /// Connection flags as IPVS lists them.
    pub(crate) flags: u16,
    pub(crate) dport: u16,
    pub(crate) assured: bool,
    /// Connections that it controls.
    controls: u32,
    pub(crate) timeout_ms: u32,
    last_seen: u32,
    /// Packets of the connections that it controls, while a synchronisation master ran.
    in_packets: u32,
    /// When it was last announced to a peer.
    note: Option<Note>,
    /// Found by its key? A template whose server went away is not, and only waits for its connections.
    pub(crate) listed: bool,
}

/// The connection flags of a template that leads to a server forwarded to like this.
pub(crate) fn flags_of(method: ForwardingMethod) -> u16 {
    let no_output = if method == ForwardingMethod::Nat { 0 } else { flag::NO_OUTPUT };
    flag::TEMPLATE | flag::INACTIVE | no_output | method as u16
}

/// A template that a peer or a state file tells of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) key: TemplateKey,
    /// [`ServerId::NONE`] if the server is not known here.
    pub(crate) server: ServerId,
    pub(crate) daddr: IpAddr,
    pub(crate) dport: u16,
    pub(crate) flags: u16,
    pub(crate) assured: bool,
    pub(crate) timeout_ms: u32,
    /// Part of the timeout that has passed.
    pub(crate) idle_ms: u32,
}

/// What became of a template that somebody told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is new; or it was here without a server, and now has this one.
    Bound(ServerId),
    /// It was here, or it is new without a server.
    Known,
    /// There is no room.
    NoRoom,
}

impl Template {
    pub(crate) fn remaining_ms(&self, stamp: u32) -> i64 {
        i64::from(self.timeout_ms) - i64::from(stamp.wrapping_sub(self.last_seen))
    }
}

#[derive(Debug, Default)]
struct Shard {
    index: HashMap<TemplateKey, u32>,
    slots: Vec<Option<Template>>,
    free: Vec<u32>,
    /// By slot: data of persistence engines. Address space only, until there are such templates.
    call_ids: Vec<CallId>,
}

impl Shard {
    /// The data of a slot's persistence engine; empty: none.
    fn call_id(&self, slot: usize) -> &[u8] {
        let has = |template: &Template| template.key.has_call_id();
        let kept = self.slots.get(slot).and_then(Option::as_ref).is_some_and(has);
        self.call_ids.get(slot).filter(|_| kept).map_or(&[], CallId::text)
    }

    /// Keeps a slot's Call-ID. Never allocates: there is room for each slot.
    fn keep(&mut self, slot: u32, call_id: &[u8]) {
        let at = slot as usize;
        if !call_id.is_empty() && at < self.slots.len() {
            if self.call_ids.len() <= at {
                self.call_ids.resize(at + 1, CallId::EMPTY);
            }
            self.call_ids[at] = CallId::new(call_id);
        }
    }
}

/// A Call-ID.
#[derive(Clone, Copy, Debug)]
struct CallId {
    len: u8,
    bytes: [u8; CALL_ID_MAX],
}

impl CallId {
    const EMPTY: CallId = CallId { len: 0, bytes: [0; CALL_ID_MAX] };

    fn new(text: &[u8]) -> CallId {
        let mut call_id = CallId::EMPTY;
        let len = text.len().min(CALL_ID_MAX);
        call_id.bytes[..len].copy_from_slice(&text[..len]);
        CallId { len: len as u8, ..call_id }
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
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
        let shard = || Shard {
            index: HashMap::with_capacity(each),
            slots: vec![None; each],
            free: (0..each as u32).rev().collect(),
            call_ids: Vec::with_capacity(each),
        };
        Templates { shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(), hasher: RandomState::new() }
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
        let mut shard = self.lock(number);
        let slot = *shard.index.get(key)?;
        let template = shard.slots[slot as usize].as_mut()?;
        if !usable(template.server) {
            template.listed = false;
            shard.index.remove(key);
            return None;
        }
        template.controls += 1;
        template.last_seen = now.stamp();
        Some((Templates::handle(number, slot), template.server))
    }

    /// A new template that controls one connection. `None` if there is no room.
    pub(crate) fn create(
        &self,
        key: TemplateKey,
        server: &Server,
        own_port: bool,
        timeout_s: u32,
        call_id: &[u8],
        now: Tick,
    ) -> Option<Handle> {
        let number = Templates::shard_of(&key);
        let mut shard = self.lock(number);
        let slot = shard.free.pop()?;
        shard.slots[slot as usize] = Some(Template {
            key,
            server: server.id,
            daddr: server.daddr,
            flags: flags_of(server.method),
            dport: if own_port { server.dport } else { 0 },
            assured: false,
            controls: 1,
            timeout_ms: timeout_s.saturating_mul(1000),
            last_seen: now.stamp(),
            in_packets: 0,
            note: None,
            listed: true,
        });
        shard.keep(slot, call_id);
        shard.index.insert(key, slot);
        Some(Templates::handle(number, slot))
    }

    /// Takes over a template. One that is here keeps its server, and is left as it is unless `renew`.
    pub(crate) fn install(&self, told: &Told, call_id: &[u8], renew: bool, now: Tick) -> Taken {
        let number = Templates::shard_of(&told.key);
        let mut shard = self.lock(number);
        let Shard { index, slots, free, .. } = &mut *shard;
        if let Some(&slot) = index.get(&told.key)
            && let Some(template) = slots[slot as usize].as_mut()
        {
            if renew {
                template.assured = told.assured;
                template.timeout_ms = told.timeout_ms;
                template.last_seen = now.stamp().wrapping_sub(told.idle_ms);
            }
            if template.server != ServerId::NONE || told.server == ServerId::NONE {
                return Taken::Known;
            }
            (template.server, template.dport, template.flags) = (told.server, told.dport, told.flags);
            return Taken::Bound(told.server);
        }
        let Some(slot) = free.pop() else { return Taken::NoRoom };
        slots[slot as usize] = Some(Template {
            key: told.key,
            server: told.server,
            daddr: told.daddr,
            flags: told.flags,
            dport: told.dport,
            assured: told.assured,
            controls: 0,
            timeout_ms: told.timeout_ms,
            last_seen: now.stamp().wrapping_sub(told.idle_ms),
            in_packets: 0,
            note: None,
            listed: true,
        });
        index.insert(told.key, slot);
        shard.keep(slot, call_id);
        if told.server == ServerId::NONE { Taken::Known } else { Taken::Bound(told.server) }
    }

    /// A connection that was controlled before it came here is so again: the template is not renewed by it.
    pub(crate) fn rejoin(&self, key: &TemplateKey) -> Option<Handle> {
        let number = Templates::shard_of(key);
        let mut shard = self.lock(number);
        let slot = *shard.index.get(key)?;
        shard.slots[slot as usize].as_mut()?.controls += 1;
        Some(Templates::handle(number, slot))
    }

    /// Which template this is; `None` if no new connection can find it.
    pub(crate) fn name(&self, handle: Handle) -> Option<ControlKey> {
        let (shard, slot) = Templates::place(handle);
        let shard = self.lock(shard);
        shard.slots.get(slot)?.as_ref().filter(|template| template.listed).map(|template| template.key.name())
    }

    /// A template that a packet used, or that has `outlived` its time, as a peer shall know it; `None` if the rules say
    /// that it need not know now (spec `sync.md` §4).
    pub(crate) fn announce(
        &self,
        handle: Handle,
        outlived: bool,
        rules: &SyncRules,
        now: Tick,
    ) -> Option<ConnectionInfo> {
        let (shard, slot) = Templates::place(handle);
        let mut shard = self.lock(shard);
        let template = shard.slots.get_mut(slot)?.as_mut().filter(|template| template.listed)?;
        if rules.version == 0 && template.key.client_net.is_ipv6() {
            return None;
        }
        let packets = if outlived {
            rules.threshold
        } else {
            template.in_packets = template.in_packets.wrapping_add(1);
            template.in_packets
        };
        let candidate = Candidate {
            is_template: true,
            at_once: false,
            state: u8::from(template.assured),
            packets,
            timeout_ms: template.timeout_ms,
        };
        template.note = Some(candidate.due(template.note, rules, now)?);
        let info = template_info(template, now);
        Some(info.with_call_id(shard.call_id(slot)))
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
    /// controls connections. Returns how many are left.
    pub(crate) fn expire(
        &self,
        shard: usize,
        now: Tick,
        is_orphan: impl Fn(ServerId) -> bool,
        unproven_go: bool,
        mut gone: impl FnMut(ServerId),
        mut outlived: impl FnMut(Handle),
    ) -> u32 {
        let number = shard % SHARDS;
        let mut shard = self.lock(number);
        let Shard { index, slots, free, .. } = &mut *shard;
        if index.is_empty() && free.len() == slots.len() {
            return 0;
        }
        for (slot, place) in slots.iter_mut().enumerate() {
            let Some(template) = place else { continue };
            let expendable = unproven_go && !template.assured;
            let orphan = template.controls == 0 && (is_orphan(template.server) || expendable);
            let remaining_ms = template.remaining_ms(now.stamp());
            if remaining_ms > -AFTER_CONNECTIONS_MS && !orphan {
                continue;
            }
            if template.controls > 0 {
                // From the moment at which it was due.
                let late_ms = (-remaining_ms).clamp(0, CONTROLLING_MS.into()) as u32;
                template.timeout_ms = CONTROLLING_MS;
                template.last_seen = now.stamp().wrapping_sub(late_ms);
                outlived(Templates::handle(number, slot as u32));
                continue;
            }
            gone(template.server);
            if template.listed {
                index.remove(&template.key);
            }
            *place = None;
            free.push(slot as u32);
        }
        (slots.len() - free.len()) as u32
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

impl TemplateKey {
    /// Of a template that somebody tells of.
    pub(crate) fn told(info: &ConnectionInfo) -> TemplateKey {
        let ConnectionInfo { protocol, caddr, vaddr, vport, .. } = *info;
        ControlKey { protocol, client_net: caddr, cport: 0, vaddr, vport }.into()
    }
}

impl From<ControlKey> for TemplateKey {
    fn from(name: ControlKey) -> TemplateKey {
        let ControlKey { protocol, client_net, vaddr, vport, .. } = name;
        TemplateKey { protocol, client_net, vaddr, vport, mark: protocol == ANY_PROTOCOL, digest: 0 }
    }
}

impl TemplateKey {
    /// What others call it.
    pub(crate) fn name(&self) -> ControlKey {
        let TemplateKey { protocol, client_net, vaddr, vport, .. } = *self;
        ControlKey { protocol, client_net, cport: 0, vaddr, vport }
    }
}
