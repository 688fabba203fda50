//! What a connection counts for at its real server (spec `connections.md` §6).
//!
//! Schedulers that compare loads are told of each change.

use crate::board::{Boards, ServerCounts, bump, step};
use crate::conn::{Address, Conn, flag};
use crate::engine::Core;
use crate::sched::Schedulers;
use crate::state;
use crate::tables::{Server, ServerId, Tables};

/// The effective lower threshold: the configured one, else three quarters of the upper one, rounded up.
#[must_use]
pub fn lower_threshold(server: &Server) -> u32 {
    match server.lower_threshold {
        0 => server.upper_threshold - server.upper_threshold / 4,
        lower => lower,
    }
}

/// A new connection names its server.
#[inline(always)]
pub fn bind<A: Address>(core: &mut Core, server: &Server, conn: &Conn<A>) {
    let Core { boards, schedulers, .. } = core;
    if let Some(counts) = boards.mine(server.id) {
        add(boards, counts, schedulers, (server.id, server), !conn.has(flag::INACTIVE));
    }
}

/// A new connection, active or not, whose first packet has `len` bytes: [`bind`], and what is counted of both. `id` is the
/// server's: the scheduler has it before the server itself has come from memory, and may wait for this.
#[inline(always)]
pub fn begin(core: &mut Core, id: ServerId, server: &Server, is_active: bool, len: u16) {
    let Core { boards, schedulers, .. } = core;
    if let Some(counts) = boards.mine(id) {
        add(boards, counts, schedulers, (id, server), is_active);
        bump(&counts.conns, 1);
        bump(&counts.in_packets, 1);
        bump(&counts.in_bytes, u64::from(len));
    }
}

#[inline(always)]
fn add(
    boards: &Boards,
    counts: &ServerCounts,
    schedulers: &mut Schedulers,
    (id, server): (ServerId, &Server),
    is_active: bool,
) {
    step(&counts.total, 1);
    if is_active {
        step(&counts.active, 1);
    }
    // More than the threshold without the flag: it was lowered, or another worker counted, a moment ago.
    if server.upper_threshold > 0
        && boards.total(id) >= server.upper_threshold
        && boards.set_overloaded(id, true)
    {
        schedulers.overload_changed(boards, id);
    }
    schedulers.load_changed(boards, counts, id);
}

/// A connection is gone.
#[inline(always)]
pub fn unbind<A: Address>(core: &mut Core, tables: &Tables, conn: &Conn<A>) {
    let Core { boards, schedulers, .. } = core;
    let Some(counts) = boards.mine(conn.server) else { return };
    if !conn.has(flag::INACTIVE) {
        step(&counts.active, -1);
    }
    step(&counts.total, -1);
    if boards.is_overloaded(conn.server) {
        relieve(boards, tables, conn.server);
        schedulers.overload_changed(boards, conn.server);
    }
    schedulers.load_changed(boards, counts, conn.server);
}

/// A server that is overloaded has one connection less.
#[cold]
#[inline(never)]
fn relieve(boards: &Boards, tables: &Tables, id: ServerId) {
    let Some(server) = tables.server(id) else { return };
    let total = boards.total(id);
    // Without a threshold the flag is one that was set by a worker that did not know yet.
    if server.upper_threshold == 0 || total < lower_threshold(server) && total < server.upper_threshold {
        boards.set_overloaded(id, false);
    }
}

/// A persistence template of the server comes (1) or goes (-1).
pub fn count_template(boards: &Boards, id: ServerId, by: i32) {
    if let Some(counts) = boards.mine(id) {
        step(&counts.persistent, by);
    }
}

/// The connection enters a state: counts it as active or not.
#[inline]
pub fn enter<A: Address>(core: &mut Core, conn: &mut Conn<A>, state: u8) {
    conn.state = state;
    set_active(core, conn, state::is_active(conn.protocol, state));
}

/// The connection counts as active from here on, or does not.
#[inline]
pub fn set_active<A: Address>(core: &mut Core, conn: &mut Conn<A>, is: bool) {
    if is != conn.has(flag::INACTIVE) {
        return;
    }
    conn.flags ^= flag::INACTIVE;
    let Core { boards, schedulers, .. } = core;
    if let Some(counts) = boards.mine(conn.server) {
        step(&counts.active, if is { 1 } else { -1 });
        schedulers.load_changed(boards, counts, conn.server);
    }
}

/// A packet of the client, `len` bytes of IP packet.
#[inline]
pub fn count_request(boards: &Boards, id: ServerId, len: u16) {
    if let Some(counts) = boards.mine(id) {
        bump(&counts.in_packets, 1);
        bump(&counts.in_bytes, u64::from(len));
    }
}

/// A packet of the server.
#[inline]
pub fn count_reply(boards: &Boards, id: ServerId, len: u16) {
    if let Some(counts) = boards.mine(id) {
        bump(&counts.out_packets, 1);
        bump(&counts.out_bytes, u64::from(len));
    }
}
