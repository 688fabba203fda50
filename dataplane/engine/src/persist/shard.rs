//! Templates behind one lock.

use super::key::TemplateKey;
use crate::announce::Note;
use crate::conn::flag;
use crate::sip::CALL_ID_MAX;
use crate::tables::{ForwardingMethod, ServerId};
use crate::tick::{Tick, idle_ms};
use hashbrown::HashMap;
use std::net::IpAddr;

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
    pub(super) controls: u32,
    pub(crate) timeout_ms: u32,
    pub(super) last_seen: u32,
    /// Packets of the connections that it controls, while a synchronisation master ran.
    pub(super) in_packets: u32,
    /// When it was last announced to a peer.
    pub(super) note: Option<Note>,
    /// Found by its key? A template whose server went away is not, and only waits for its connections.
    pub(crate) listed: bool,
}

/// The connection flags of a template that leads to a server forwarded to like this.
pub(crate) fn flags_of(method: ForwardingMethod) -> u16 {
    let no_output = if method == ForwardingMethod::Nat { 0 } else { flag::NO_OUTPUT };
    flag::TEMPLATE | flag::INACTIVE | no_output | method as u16
}

impl Template {
    /// Milliseconds left at `stamp`; 0 or less if it is due. Another worker may have used it since that clock was read.
    pub(crate) fn remaining_ms(&self, stamp: u32) -> i64 {
        i64::from(self.timeout_ms) - i64::from(idle_ms(stamp, self.last_seen))
    }
}

/// Some of the templates.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) index: HashMap<TemplateKey, u32>,
    pub(super) slots: Vec<Option<Template>>,
    pub(super) free: Vec<u32>,
    /// By slot: data of persistence engines. Address space only, until there are such templates.
    call_ids: Vec<CallId>,
}

impl Shard {
    /// [`Templates::join`](super::Templates::join) behind the lock. Returns the slot and the server.
    pub(super) fn join(
        &mut self,
        key: &TemplateKey,
        now: Tick,
        usable: impl Fn(ServerId) -> bool,
    ) -> Option<(u32, ServerId)> {
        let slot = *self.index.get(key)?;
        let template = self.slots[slot as usize].as_mut()?;
        if !usable(template.server) {
            template.listed = false;
            self.index.remove(key);
            return None;
        }
        template.controls += 1;
        template.last_seen = now.stamp();
        Some((slot, template.server))
    }

    /// The data of a slot's persistence engine; empty: none.
    pub(super) fn call_id(&self, slot: usize) -> &[u8] {
        let has = |template: &Template| template.key.has_call_id();
        let kept = self.slots.get(slot).and_then(Option::as_ref).is_some_and(has);
        self.call_ids.get(slot).filter(|_| kept).map_or(&[], CallId::text)
    }

    /// Keeps a slot's Call-ID. Never allocates: there is room for each slot.
    pub(super) fn keep(&mut self, slot: u32, call_id: &[u8]) {
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

impl Shard {
    /// Room for so many. Takes all memory now.
    pub(super) fn new(capacity: usize) -> Shard {
        Shard {
            index: HashMap::with_capacity(capacity),
            slots: vec![None; capacity],
            free: (0..capacity as u32).rev().collect(),
            call_ids: Vec::with_capacity(capacity),
        }
    }
}
