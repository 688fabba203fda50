//! Listing connections, a piece at a time, so that a table of millions does not hold up packets.

use crate::conn::{Address, Conn, ConnTable, Index, NIL, flag};
use crate::connection_info::ConnectionInfo;
use crate::engine::Engine;
use crate::ftp::{ControlId, Expected};
use crate::persist::{Handle, Template};
use crate::tables::{Family, Tables};
use crate::tick::Tick;

/// Places looked at in one step, used or not: 64 KiB of entries, read in a row in some 10 µs.
const LOOKS: u32 = 1024;

/// Where a listing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpCursor {
    /// IPv4 connections, from this place.
    V4(Index),
    /// IPv6 connections, from this place.
    V6(Index),
    /// Persistence templates: this of the shards that the worker lists, from this place.
    Templates(usize, Index),
    /// Data connections that FTP announced, of the same shard: [`EXPECTED_MAX`](crate::EXPECTED_MAX) at most, at once.
    Expected(usize),
}

impl Default for DumpCursor {
    fn default() -> Self {
        DumpCursor::V4(0)
    }
}

impl Engine {
    /// Tells `each` of at most `count` connections from `cursor` on, or of all data connections that are announced in one
    /// shard; perhaps of none, for it looks at a bounded number of places. Of templates it also tells the data of their
    /// persistence engine, else nothing (see [`ConnectionInfo::with_call_id`]): so it allocates nothing. Returns where to
    /// go on, `None` at the end.
    ///
    /// An entry that stays is told exactly once; one that comes or goes meanwhile may be missed.
    pub fn dump(
        &self,
        tables: &Tables,
        now: Tick,
        cursor: DumpCursor,
        count: usize,
        mut each: impl FnMut(ConnectionInfo, &[u8]),
    ) -> Option<DumpCursor> {
        let (v4, v6) = self.conn_tables();
        match cursor {
            DumpCursor::V4(first) => Some(match self.dump_table(v4, tables, now, first, count, &mut each) {
                Some(next) => DumpCursor::V4(next),
                None => DumpCursor::V6(0),
            }),
            DumpCursor::V6(first) => Some(match self.dump_table(v6, tables, now, first, count, &mut each) {
                Some(next) => DumpCursor::V6(next),
                None => DumpCursor::Templates(0, 0),
            }),
            DumpCursor::Templates(nth, first) => {
                let shard = self.own_template_shards().nth(nth)?;
                let places = first..first.saturating_add(count.min(LOOKS as usize) as u32);
                let until = places.end;
                let more = self.templates().each(shard, places, |template, call_id| {
                    each(template_info(template, now), call_id);
                });
                if more {
                    return Some(DumpCursor::Templates(nth, until));
                }
                Some(DumpCursor::Expected(nth))
            }
            DumpCursor::Expected(nth) => {
                let shard = self.own_template_shards().nth(nth)?;
                self.expectations().each(shard, |expected| {
                    let control = expected.control.and_then(|id| self.expectations().controls().key(id));
                    each(ConnectionInfo { control, ..expected_info(expected, tables, now) }, &[]);
                });
                Some(DumpCursor::Templates(nth + 1, 0))
            }
        }
    }

    fn dump_table<A: Address>(
        &self,
        table: &ConnTable<A>,
        tables: &Tables,
        now: Tick,
        first: Index,
        count: usize,
        each: &mut impl FnMut(ConnectionInfo, &[u8]),
    ) -> Option<Index> {
        let until = first.saturating_add(LOOKS).min(table.capacity());
        for (told, (index, conn)) in table.iter_in(first..until).enumerate() {
            if told == count {
                return Some(index);
            }
            let control = match ControlId::of_word(conn.control) {
                Some(id) => self.expectations().controls().key(id),
                None if conn.control != NIL => self.templates().name(Handle(conn.control)),
                None => None,
            };
            let mut info = ConnectionInfo { control, ..info(conn, tables, now) };
            if conn.has(flag::HELPED) {
                self.ftp().describe(A::FAMILY, index, &mut info);
            }
            each(info, &[]);
        }
        (until < table.capacity()).then_some(until)
    }
}

/// A template as listings show it.
pub(crate) fn template_info(template: &Template, now: Tick) -> ConnectionInfo {
    let key = template.key.name();
    // One that no new connection may join is shown under a key that no packet has (spec `connections.md` §4.3).
    const DISABLED: u16 = u16::MAX;
    let (vport, dport) = if template.listed { (key.vport, template.dport) } else { (DISABLED, DISABLED) };
    ConnectionInfo {
        protocol: key.protocol,
        family: Family::of(&key.client_net),
        caddr: key.client_net,
        cport: 0,
        vaddr: key.vaddr,
        vport,
        daddr: template.daddr,
        dport,
        state: u8::from(template.assured),
        timeout_ms: template.timeout_ms,
        expires_ms: template.remaining_ms(now.stamp()).max(0) as u64,
        flags: u32::from(template.flags),
        fwmark: template.key.fwmark(),
        in_packets: 0,
        server: template.server,
        control: None,
        sequence: None,
        pe_data: None,
    }
}

/// A data connection that is announced, as listings show it.
pub(crate) fn expected_info(expected: &Expected, tables: &Tables, now: Tick) -> ConnectionInfo {
    let expires_ms = expected.remaining_ms(now);
    match expected.family {
        Family::V4 => ConnectionInfo { expires_ms, ..info(&expected.conn::<u32>(), tables, now) },
        Family::V6 => ConnectionInfo { expires_ms, ..info(&expected.conn::<u128>(), tables, now) },
    }
}

/// A connection as listings show it, but for what controls it, and what the FTP helper knows of it.
pub(crate) fn info<A: Address>(conn: &Conn<A>, tables: &Tables, now: Tick) -> ConnectionInfo {
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
        state: conn.state,
        timeout_ms: conn.timeout_ms,
        expires_ms: conn.remaining_ms(now.stamp()).max(0) as u64,
        flags: u32::from(conn.flags & !(flag::HASHED | flag::PRIVATE)),
        fwmark: conn.fwmark,
        in_packets: conn.in_packets,
        server: conn.server,
        control: None,
        sequence: None,
        pe_data: None,
    }
}
