//! Listing connections, a piece at a time, so that a table of millions does not hold up packets.

use crate::conn::{Address, Conn, ConnTable, Index, flag};
use crate::connection_info::ConnectionInfo;
use crate::engine::Engine;
use crate::persist::Template;
use crate::state;
use crate::tables::{Family, Tables};
use crate::tick::Tick;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Where a listing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpCursor {
    /// IPv4 connections, from this place.
    V4(Index),
    /// IPv6 connections, from this place.
    V6(Index),
    /// Persistence templates: this of the shards that the worker lists.
    Templates(usize),
}

impl Default for DumpCursor {
    fn default() -> Self {
        DumpCursor::V4(0)
    }
}

impl Engine {
    /// Tells `each` of at most `count` connections from `cursor` on. Returns where to go on, `None` at the end.
    ///
    /// An entry that stays is told exactly once; one that comes or goes meanwhile may be missed.
    pub fn dump(
        &self,
        tables: &Tables,
        now: Tick,
        cursor: DumpCursor,
        count: usize,
        mut each: impl FnMut(ConnectionInfo),
    ) -> Option<DumpCursor> {
        let (v4, v6) = self.conn_tables();
        match cursor {
            DumpCursor::V4(first) => Some(match dump_table(v4, tables, now, first, count, &mut each) {
                Some(next) => DumpCursor::V4(next),
                None => DumpCursor::V6(0),
            }),
            DumpCursor::V6(first) => Some(match dump_table(v6, tables, now, first, count, &mut each) {
                Some(next) => DumpCursor::V6(next),
                None => DumpCursor::Templates(0),
            }),
            DumpCursor::Templates(nth) => {
                let shard = self.own_template_shards().nth(nth)?;
                self.templates().each(shard, |template| each(template_info(template, tables, now)));
                Some(DumpCursor::Templates(nth + 1))
            }
        }
    }
}

fn template_info(template: &Template, tables: &Tables, now: Tick) -> ConnectionInfo {
    let (key, server) = (&template.key, tables.server(template.server));
    let any =
        if key.client_net().is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // One that no new connection may join is shown under a key that no packet has (spec `connections.md` §4.3).
    const DISABLED: u16 = u16::MAX;
    let (vport, dport) = if template.listed { (key.vport(), template.dport) } else { (DISABLED, DISABLED) };
    ConnectionInfo {
        protocol: key.protocol(),
        family: Family::of(&key.client_net()),
        caddr: key.client_net(),
        cport: 0,
        vaddr: key.vaddr(),
        vport,
        daddr: server.map_or(any, |server| server.daddr),
        dport,
        state: if template.assured { "ASSURED" } else { "NONE" },
        expires_ms: template.remaining_ms(now.stamp()).max(0) as u64,
        flags: u32::from(flag::TEMPLATE),
        server: template.server,
        pe_data: None,
    }
}

fn dump_table<A: Address>(
    table: &ConnTable<A>,
    tables: &Tables,
    now: Tick,
    first: Index,
    count: usize,
    each: &mut impl FnMut(ConnectionInfo),
) -> Option<Index> {
    for (told, (index, conn)) in table.iter_from(first).enumerate() {
        if told == count {
            return Some(index);
        }
        each(info(conn, tables, now));
    }
    None
}

fn info<A: Address>(conn: &Conn<A>, tables: &Tables, now: Tick) -> ConnectionInfo {
    // A tunnel's server may be of the other family, which the entry has no room for.
    let daddr = match tables.server(conn.server) {
        Some(server) if A::from_ip(server.daddr).is_none() => server.daddr,
        _ => conn.daddr.ip(),
    };
    ConnectionInfo {
        protocol: conn.protocol,
        family: A::FAMILY,
        caddr: conn.caddr.ip(),
        cport: conn.cport,
        vaddr: conn.vaddr.ip(),
        vport: conn.vport,
        daddr,
        dport: conn.dport,
        state: state::name(conn.protocol, conn.state),
        expires_ms: conn.remaining_ms(now.stamp()).max(0) as u64,
        flags: u32::from(conn.flags),
        server: conn.server,
        pe_data: None,
    }
}
