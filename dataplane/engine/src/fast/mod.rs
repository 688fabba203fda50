//! The fast path: a plain packet of an established connection whose server is there.
//!
//! It decides nothing that the general way ([`crate::flow`]) does not decide alike: it only leaves out the questions
//! whose answers are known. Every condition is checked before anything is changed, so a packet for which one fails goes
//! the general way as if nothing had been tried. A test sends the same packets both ways and compares.

mod plain;

pub use plain::{Plain, Read, family};

use crate::binding;
use crate::conn::{Conn, ConnTable, Direction, Index, NIL, flag};
use crate::counters::Counter;
use crate::engine::{Core, Origin};
use crate::flow::Pass;
use crate::forward::{link, nat::Rewrite, tunnel};
use crate::state::{protocol, tcp};
use crate::tables::{ForwardingMethod, Hop, Server, Tables};
use crate::tick::Tick;
use crate::verdict::Verdict;
use shunt_wire::Frame;

/// What the fast path works with.
pub(crate) struct Lane<'a, A> {
    pub(crate) table: &'a mut ConnTable<A>,
    pub(crate) core: &'a mut Core,
    pub(crate) tables: &'a Tables,
    pub(crate) now: Tick,
}

impl<A: Read> Lane<'_, A> {
    /// Forwards a packet of the connection at `guess`, or does nothing and returns `None`.
    #[inline(always)]
    pub(crate) fn forward<F: Frame>(
        &mut self,
        plain: &Plain<A>,
        guess: Index,
        frame: &mut F,
    ) -> Option<Verdict> {
        let conn = self.table.at(guess)?;
        let direction = conn.matches(&plain.tuple())?;
        if !is_steady(conn, plain) {
            return None;
        }
        let server = self.tables.server(conn.server)?;
        if !server.available {
            return None;
        }
        match direction {
            Direction::Request if self.core.stands_by => None,
            Direction::Request => self.request(plain, guess, server, frame),
            Direction::Reply => self.reply(plain, guess, server, frame),
        }
    }

    #[inline(always)]
    fn request<F: Frame>(
        &mut self,
        plain: &Plain<A>,
        index: Index,
        server: &Server,
        frame: &mut F,
    ) -> Option<Verdict> {
        let Hop::Via(next) = &server.hop else { return None };
        match self.table.get(index).method() {
            ForwardingMethod::DirectRouting if plain.ip_len <= next.mtu => {
                self.count_request(plain, index, server);
                A::lower_ttl(frame.bytes_mut());
            }
            ForwardingMethod::Nat if plain.ip_len <= next.mtu => {
                self.count_request(plain, index, server);
                Rewrite::request(self.table.get(index)).apply_plain(plain, frame);
            }
            ForwardingMethod::Tunnel if plain.ip_len <= self.tunnel_limit(server, next.mtu) => {
                self.count_request(plain, index, server);
                A::lower_ttl(frame.bytes_mut());
                if let Err(counter) = self.encapsulate(plain, server, frame) {
                    return Some(Verdict::Drop(counter));
                }
            }
            _ => return None,
        }
        Some(link::address(next, frame))
    }

    /// The longest packet that a tunnel takes.
    #[inline]
    fn tunnel_limit(&self, server: &Server, route_mtu: u16) -> u16 {
        let learnt = self.core.boards.path_mtus().get(server.id, self.now);
        route_mtu.min(learnt).saturating_sub(tunnel::overhead(server))
    }

    #[inline]
    fn encapsulate<F: Frame>(
        &mut self,
        plain: &Plain<A>,
        server: &Server,
        frame: &mut F,
    ) -> Result<(), Counter> {
        let (id, pmtu_disc) = (self.core.next_ip_id(), self.tables.settings().pmtu_disc);
        if let Some((source, daddr)) = A::ipip_ends(server) {
            return tunnel::ipip(source, daddr, plain.ip_len, pmtu_disc, id, frame);
        }
        let flow = self.core.owner.hash(plain.src, plain.sport);
        tunnel::encapsulate(&plain.packet(frame.nic_port()), server, pmtu_disc, id, flow, frame)
    }

    #[inline]
    fn count_request(&mut self, plain: &Plain<A>, index: Index, server: &Server) {
        binding::count_request(&self.core.boards, server.id, plain.ip_len);
        let conn = self.table.get_mut(index);
        conn.in_packets = conn.in_packets.wrapping_add(1);
        self.touch(plain, index);
        if self.core.announces {
            self.announce(index);
        }
    }

    #[inline(never)]
    fn announce(&mut self, index: Index) {
        let Lane { table, core, tables, now } = self;
        Pass { table, core, tables, now: *now, origin: Origin::Wire }.announce(index);
    }

    #[inline]
    fn reply<F: Frame>(
        &mut self,
        plain: &Plain<A>,
        index: Index,
        server: &Server,
        frame: &mut F,
    ) -> Option<Verdict> {
        let conn = self.table.get(index);
        if conn.method() != ForwardingMethod::Nat || conn.has(flag::NO_OUTPUT) {
            return None;
        }
        let Hop::Via(next) = self.tables.routes().lookup(plain.dst.ip()) else { return None };
        if plain.ip_len > next.mtu {
            return None;
        }
        Rewrite::reply(conn).apply_plain(plain, frame);
        binding::count_reply(&self.core.boards, server.id, plain.ip_len);
        self.touch(plain, index);
        Some(link::address(&next, frame))
    }

    /// The life of a connection in the state that [`is_steady`] found it in.
    #[inline]
    fn touch(&mut self, plain: &Plain<A>, index: Index) {
        let timeouts = &self.core.timeouts;
        let tcp = plain.protocol == protocol::TCP;
        let timeout_ms = if tcp { timeouts.established_tcp() } else { timeouts.udp() };
        self.table.touch(index, timeout_ms, self.now);
    }
}

/// Will this packet leave the connection's state and flags as they are, and its template alone?
#[inline]
fn is_steady<A: Read>(conn: &Conn<A>, plain: &Plain<A>) -> bool {
    let state_stays =
        plain.is_steady() && (plain.protocol == protocol::UDP || conn.state == tcp::ESTABLISHED);
    state_stays && (conn.control == NIL || conn.has(flag::PROVEN)) && !conn.has(flag::HELPED)
}
