//! Connections of deleted servers, removed at once if the operator wants that (spec `connections.md` §7.3).
//!
//! With `expire_nodest_conn` the deletion of a server starts a sweep over both tables. It is bounded per call, so that
//! no packet waits for it.

use crate::conn::{Address, Index, flag};
use crate::engine::{Core, Engine, Origin};
use crate::flow::Pass;
use crate::ftp::{Expectations, Expected};
use crate::persist::Templates;
use crate::tables::{ServerId, Tables};
use crate::tick::Tick;

/// Entries looked at by one call: at a million rounds of the poll loop per second, a table of a million entries is
/// swept in a few milliseconds.
const LOOKS: u32 = 256;

/// How far the sweep of a table is. A deletion meanwhile does not begin it anew but has it go on once around: else steady
/// deletions would never let it come to the table's end.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// The next entry to be looked at.
    next: Index,
    /// Entries that are still to be looked at.
    left: u32,
}

/// How far the sweeps are.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// Deletions up to which both tables are swept, or being swept.
    deletions: u64,
    v4: Round,
    v6: Round,
    /// Was a control connection left, because data connections were still there? Then the tables are swept once more,
    /// and no oftener: what other workers still have ends in its own time.
    left: bool,
    once_more: bool,
    /// Shards of templates that are not waited for: they are looked through one after the other.
    pub(crate) shards: usize,
}

impl Orphans {
    /// Both tables, of so many entries, are to be swept; or neither.
    fn go_round(&mut self, is_wanted: bool, (v4, v6): (u32, u32)) {
        (self.v4.left, self.v6.left) = if is_wanted { (v4, v6) } else { (0, 0) };
    }
}

impl Engine {
    /// Takes the sweep a step further, if servers were deleted since the last one began.
    pub(crate) fn sweep_orphans(&mut self, tables: &Tables, now: Tick) {
        let orphans = &mut self.orphans;
        if orphans.deletions != tables.deletions() {
            // Deletions while the setting is off leave their connections alone for good.
            orphans.deletions = tables.deletions();
            let is_wanted = tables.settings().expire_nodest_conn;
            (orphans.left, orphans.once_more) = (false, is_wanted);
            // One more for each worker: it may be in the middle of one.
            let shards = Templates::shards() + usize::from(self.core.workers);
            orphans.shards = if is_wanted { shards } else { 0 };
            orphans.go_round(is_wanted, (self.v4.capacity(), self.v6.capacity()));
            if is_wanted {
                self.core.disappoint_orphans(tables);
            }
        }
        if orphans.v4.left > 0 {
            let mut pass = pass(&mut self.v4, &mut self.core, tables, now);
            orphans.left |= pass.remove_orphans(&mut orphans.v4);
        }
        if orphans.v6.left > 0 {
            let mut pass = pass(&mut self.v6, &mut self.core, tables, now);
            orphans.left |= pass.remove_orphans(&mut orphans.v6);
        }
        let is_swept = orphans.v4.left == 0 && orphans.v6.left == 0;
        if is_swept && orphans.left && orphans.once_more {
            (orphans.left, orphans.once_more) = (false, false);
            orphans.go_round(true, (self.v4.capacity(), self.v6.capacity()));
        }
    }
}

impl Core {
    /// Nobody will come to a server that is deleted.
    #[cold]
    fn disappoint_orphans(&mut self, tables: &Tables) {
        let expectations = self.expectations.clone();
        for shard in 0..Expectations::shards() {
            let is_orphan = |expected: &Expected| is_orphan(tables, expected.server);
            expectations.give_up(shard, is_orphan, |expected| self.disappoint(tables, &expected));
        }
    }
}

/// Is this server deleted?
fn is_orphan(tables: &Tables, id: ServerId) -> bool {
    tables.server(id).is_some_and(|server| !server.available)
}

fn pass<'a, A>(
    table: &'a mut crate::conn::ConnTable<A>,
    core: &'a mut Core,
    tables: &'a Tables,
    now: Tick,
) -> Pass<'a, A> {
    Pass { table, core, tables, now, origin: Origin::Wire }
}

impl<A: Address> Pass<'_, A> {
    /// Removes the connections of deleted servers among the next [`LOOKS`] entries. Returns whether a control connection was
    /// left because it has data connections that live, which may be orphans too.
    fn remove_orphans(&mut self, round: &mut Round) -> bool {
        let capacity = self.table.capacity();
        let looks = LOOKS.min(round.left).min(capacity - round.next);
        let until = round.next + looks;
        let mut left = false;
        for index in round.next..until {
            let conn = self.table.get(index);
            if self.table.is_used(index) && is_orphan(self.tables, conn.server) {
                if conn.has(flag::HELPED) && self.controls_others(index) {
                    left = true;
                } else {
                    self.discard(index);
                }
            }
        }
        round.left -= looks;
        round.next = if until < capacity { until } else { 0 };
        left
    }
}
