//! Templates whose time is over: all are looked through about once a second, a few at a time, so that no packet waits.
//! Where there are millions it takes longer, rather than more of the worker's time.

use crate::announce;
use crate::binding;
use crate::counters::Counter;
use crate::engine::{Core, Engine};
use crate::persist::{Looked, Templates};
use crate::tables::Tables;
use crate::tick::Tick;

/// Between the beginnings of two shards: all 64 in about a second.
const PAUSE_MS: u64 = 16;
/// Templates of a shard for which the pause is long enough: 1 M a second.
const IN_PAUSE: u32 = 16_384;

/// How far a worker is with the shards that are its own.
#[derive(Debug)]
pub(crate) struct TemplateRound {
    /// The shard to be looked through, from this slot on.
    shard: usize,
    slot: u32,
    /// When the latest shard was begun.
    begun: Tick,
    pause_ms: u64,
    /// Templates in the shards looked through since the round began.
    seen: u32,
}

impl TemplateRound {
    pub(crate) fn new(worker: u8, templates: &Templates, now: Tick) -> TemplateRound {
        let pause_ms = PAUSE_MS * u64::from(templates.room_of_shard().div_ceil(IN_PAUSE).max(1));
        TemplateRound { shard: worker.into(), slot: 0, begun: now, pause_ms, seen: 0 }
    }

    /// Is it time to begin a shard, or is one begun?
    fn is_due(&self, now: Tick) -> bool {
        self.slot > 0 || now.0 >= self.begun.0 + self.pause_ms
    }
}

impl Engine {
    /// Takes the round a step further. The shards are shared out among the workers.
    pub(crate) fn expire_templates(&mut self, tables: &Tables, now: Tick) {
        let swept = self.orphans.shards > 0;
        if !swept && !self.template_round.is_due(now) {
            return;
        }
        if self.template_round.slot == 0 {
            self.begin_shard(tables, now);
        }
        let thins = self.core.thins_templates(tables.settings());
        let is_orphan = |id| swept && tables.server(id).is_some_and(|server| !server.available);
        let Core { boards, templates, outbox, counters, announces, .. } = &mut self.core;
        let gone = |server| binding::count_template(boards, server, -1);
        let outlived = |handle| {
            if *announces {
                announce::template(outbox, counters, handle, true);
            }
        };
        let round = &mut self.template_round;
        match templates.expire((round.shard, round.slot), now, is_orphan, thins, gone, outlived) {
            Looked::UpTo(slot) => round.slot = slot,
            Looked::All(left) => {
                round.seen += left;
                self.end_shard();
            }
        }
    }

    fn begin_shard(&mut self, tables: &Tables, now: Tick) {
        let (core, shard) = (&mut self.core, self.template_round.shard);
        self.template_round.begun = now;
        if shard < usize::from(core.workers) {
            // About once a second.
            core.schedulers.housekeep(tables, now);
        }
        let expectations = core.expectations.clone();
        expectations.expire(shard, now, |expected| core.disappoint(tables, &expected));
    }

    fn end_shard(&mut self) {
        let (core, round) = (&self.core, &mut self.template_round);
        self.orphans.shards = self.orphans.shards.saturating_sub(core.workers.into());
        round.slot = 0;
        round.shard += usize::from(core.workers);
        if round.shard >= Templates::shards() {
            core.counters.set(Counter::Templates, round.seen.into());
            (round.shard, round.seen) = (core.worker.into(), 0);
        }
    }
}
