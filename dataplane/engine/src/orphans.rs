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

/// How far the sweep is.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// Deletions up to which both tables are swept, or being swept.
    deletions: u64,
    /// Next entries to be looked at, IPv4 and IPv6; `None` = swept.
    v4: Option<Index>,
    v6: Option<Index>,
    /// Shards of templates that are not waited for: they are looked through one after the other.
    pub(crate) shards: usize,
}

impl Engine {
    /// Takes the sweep a step further, if servers were deleted since the last one began.
    pub(crate) fn sweep_orphans(&mut self, tables: &Tables, now: Tick) {
        let orphans = &mut self.orphans;
        if orphans.deletions != tables.deletions() {
            // Deletions while the setting is off leave their connections alone for good.
            let from = tables.settings().expire_nodest_conn.then_some(0);
            let shards = if from.is_some() { Templates::shards() } else { 0 };
            *orphans = Orphans { deletions: tables.deletions(), v4: from, v6: from, shards };
        }
        if let Some(from) = orphans.v4 {
            orphans.v4 = pass(&mut self.v4, &mut self.core, tables, now).remove_orphans(from);
        }
        if let Some(from) = orphans.v6 {
            orphans.v6 = pass(&mut self.v6, &mut self.core, tables, now).remove_orphans(from);
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
    /// Removes the connections of deleted servers among the next [`LOOKS`] entries. Returns where to go on.
    fn remove_orphans(&mut self, from: Index) -> Option<Index> {
        let until = from.saturating_add(LOOKS).min(self.table.capacity());
        for index in from..until {
            let is_orphan = |id| self.tables.server(id).is_some_and(|server| !server.available);
            let keeps = |conn: &crate::conn::Conn<A>| conn.has(flag::HELPED) && self.controls_others(index);
            let conn = self.table.get(index);
            if self.table.is_used(index) && is_orphan(conn.server) && !keeps(conn) {
                self.discard(index);
            }
        }
        (until < self.table.capacity()).then_some(until)
    }
}
