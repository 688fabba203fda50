//! Connections of deleted servers, removed at once if the operator wants that (spec `connections.md` §7.3).
//!
//! With `expire_nodest_conn` the deletion of a server starts a sweep over both tables. It is bounded per call, so that
//! no packet waits for it.

use crate::conn::{Address, Index, flag};
use crate::engine::{Core, Engine, Origin};
use crate::flow::Pass;
use crate::persist::Templates;
use crate::tables::Tables;
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
    /// Shards of templates that are not waited for: they are looked through one after the other.
    pub(crate) shards: usize,
}

impl Engine {
    /// Takes the sweep a step further, if servers were deleted since the last one began.
    pub(crate) fn sweep_orphans(&mut self, tables: &Tables, now: Tick) {
        let orphans = &mut self.orphans;
        if orphans.deletions != tables.deletions() {
            // Deletions while the setting is off leave their connections alone for good.
            orphans.deletions = tables.deletions();
            let is_wanted = tables.settings().expire_nodest_conn;
            let all = |of: u32| if is_wanted { of } else { 0 };
            (orphans.v4.left, orphans.v6.left) = (all(self.v4.capacity()), all(self.v6.capacity()));
            orphans.shards = if is_wanted { Templates::shards() } else { 0 };
        }
        if orphans.v4.left > 0 {
            pass(&mut self.v4, &mut self.core, tables, now).remove_orphans(&mut orphans.v4);
        }
        if orphans.v6.left > 0 {
            pass(&mut self.v6, &mut self.core, tables, now).remove_orphans(&mut orphans.v6);
        }
    }
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
    /// Removes the connections of deleted servers among the next [`LOOKS`] entries.
    fn remove_orphans(&mut self, round: &mut Round) {
        let capacity = self.table.capacity();
        let looks = LOOKS.min(round.left).min(capacity - round.next);
        let until = round.next + looks;
        for index in round.next..until {
            let is_orphan = |id| self.tables.server(id).is_some_and(|server| !server.available);
            let keeps = |conn: &crate::conn::Conn<A>| conn.has(flag::HELPED) && self.controls_others(index);
            let conn = self.table.get(index);
            if self.table.is_used(index) && is_orphan(conn.server) && !keeps(conn) {
                self.discard(index);
            }
        }
        round.left -= looks;
        round.next = if until < capacity { until } else { 0 };
    }
}
