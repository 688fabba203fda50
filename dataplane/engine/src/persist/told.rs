//! Templates that somebody else made, and what others are told of ours (spec `sync.md` §4, §5).

use super::key::TemplateKey;
use super::shard::{Shard, Template};
use super::{Handle, Templates};
use crate::announce::Candidate;
use crate::connection_info::ConnectionInfo;
use crate::dump::template_info;
use crate::tables::{ServerId, SyncRules};
use crate::tick::Tick;
use std::net::IpAddr;

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

impl Templates {
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
}
