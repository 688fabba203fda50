//! The fast path: a plain packet of an established connection whose server is there, or one that opens a connection
//! ([`open`]).
//!
//! It decides nothing that the general way ([`crate::flow`]) does not decide alike: it only leaves out the questions
//! whose answers are known. Every condition is checked before anything is changed, so a packet for which one fails goes
//! the general way as if nothing had been tried. A test sends the same packets both ways and compares.

mod open;
mod plain;

pub use plain::{Gate, Head, Plain, Read};

use crate::binding;
use crate::conn::{ConnTable, Index, NIL, flag};
use crate::engine::{Core, Origin};
use crate::flow::Pass;
use crate::forward::{link, nat::Rewrite, tunnel};
use crate::state::{protocol, tcp};
use crate::tables::{ForwardingMethod, Hop, NextHop, Server, Tables};
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

impl<'a, A: Read> Lane<'a, A> {
    /// Forwards a request of the connection at `guess` or, with `REPLIES`, a reply of NAT, and writes the verdict; or does
    /// nothing, and returns `None`. Not to be called while the director stands by.
    #[inline(always)]
    pub(crate) fn forward<const REPLIES: bool, F: Frame>(
        &mut self,
        plain: &Plain<A>,
        guess: Index,
        frame: &mut F,
        verdict: &mut Verdict,
    ) -> Option<()> {
        if REPLIES {
            self.reply(plain, guess, frame, verdict)
        } else {
            self.request(plain, guess, frame, verdict)
        }
    }

    #[inline(always)]
    fn request<F: Frame>(
        &mut self,
        plain: &Plain<A>,
        guess: Index,
        frame: &mut F,
        verdict: &mut Verdict,
    ) -> Option<()> {
        let conn = self.table.at(guess)?;
        if !conn.is_request(&plain.tuple()) {
            return None;
        }
        let server = self.steady(plain, guess)?;
        self.forward_to(plain, guess, server, frame, verdict)
    }

    /// The server of a connection that a packet leaves in the state in which it is.
    #[inline(always)]
    fn steady(&self, plain: &Plain<A>, index: Index) -> Option<&'a Server> {
        let timeouts = &self.core.timeouts;
        let conn = self.table.get(index);
        let is_udp = plain.protocol == protocol::UDP;
        let timeout_ms = if is_udp { timeouts.udp() } else { timeouts.established_tcp() };
        let state_stays = plain.is_steady() && (is_udp || conn.state == tcp::ESTABLISHED);
        let owes_template = conn.control != NIL && !conn.has(flag::PROVEN);
        if !state_stays || conn.has(flag::HELPED) || owes_template || conn.timeout_ms != timeout_ms {
            return None;
        }
        self.tables.server(conn.server).filter(|server| server.available)
    }

    #[inline(always)]
    fn forward_to<F: Frame>(
        &mut self,
        plain: &Plain<A>,
        index: Index,
        server: &Server,
        frame: &mut F,
        verdict: &mut Verdict,
    ) -> Option<()> {
        let Hop::Via(next) = &server.hop else { return None };
        let method = self.table.get(index).method();
        if !self.fits(plain, method, server, next) {
            return None;
        }
        self.send::<true, F>(plain, index, (method, server, next), frame, verdict)
    }

    /// Rewrites a packet that fits and sends it on. With `COUNT` it has still to be counted, which each method does
    /// for itself, so that a packet's method is asked for once.
    #[inline(always)]
    fn send<const COUNT: bool, F: Frame>(
        &mut self,
        plain: &Plain<A>,
        index: Index,
        (method, server, next): (ForwardingMethod, &Server, &NextHop),
        frame: &mut F,
        verdict: &mut Verdict,
    ) -> Option<()> {
        match method {
            ForwardingMethod::DirectRouting => {
                self.count_request::<COUNT>(plain, index, server);
                let head = head(frame)?;
                A::lower_ttl(head);
                *verdict = link::address_head(next, head);
            }
            ForwardingMethod::Nat => {
                self.count_request::<COUNT>(plain, index, server);
                *verdict = Rewrite::request(self.table.get(index)).apply_plain(plain, next, frame);
            }
            ForwardingMethod::Tunnel => {
                self.count_request::<COUNT>(plain, index, server);
                self.encapsulate(plain, server, next, frame, verdict);
            }
            ForwardingMethod::Local | ForwardingMethod::Bypass => return None,
        }
        Some(())
    }

    /// Is this a way for plain packets, and one that takes packets of this length?
    #[inline(always)]
    fn fits(&self, plain: &Plain<A>, method: ForwardingMethod, server: &Server, next: &NextHop) -> bool {
        match method {
            ForwardingMethod::DirectRouting | ForwardingMethod::Nat => plain.ip_len <= next.mtu,
            ForwardingMethod::Tunnel => {
                let len = u32::from(plain.ip_len) + u32::from(tunnel::overhead(server));
                len <= u32::from(next.mtu) && self.core.boards.path_mtus().lets_pass(server.id, len, self.now)
            }
            ForwardingMethod::Local | ForwardingMethod::Bypass => false,
        }
    }

    #[inline(always)]
    fn count_request<const COUNT: bool>(&mut self, plain: &Plain<A>, index: Index, server: &Server) {
        if !COUNT {
            return;
        }
        let conn = self.table.get_mut(index);
        conn.in_packets = conn.in_packets.wrapping_add(1);
        conn.last_seen = self.now.stamp();
        binding::count_request(&self.core.boards, server.id, plain.ip_len);
        self.announce(index);
    }

    /// Tells peers of a packet, if there are any.
    #[inline(always)]
    fn announce(&mut self, index: Index) {
        if self.core.announces {
            announce(self.table, self.core, self.tables, self.now, index);
        }
    }

    #[inline(always)]
    fn encapsulate<F: Frame>(
        &mut self,
        plain: &Plain<A>,
        server: &Server,
        next: &NextHop,
        frame: &mut F,
        verdict: &mut Verdict,
    ) {
        if let Some(outer) = A::ipip(server) {
            let Core { df_mask, ip_id, .. } = self.core;
            return tunnel::ipip((outer, next), plain.ip_len, (*df_mask, ip_id), frame, verdict);
        }
        if let Some(head) = head(frame) {
            A::lower_ttl(head);
        }
        let flow = self.core.owner.hash(plain.src, plain.sport);
        let packet = plain.packet(frame.nic_port());
        let Core { df_mask, ip_id, .. } = self.core;
        *verdict = match tunnel::encapsulate(&packet, server, (*df_mask, ip_id), flow, frame) {
            Ok(()) => link::address(next, frame),
            Err(counter) => Verdict::Drop(counter),
        };
    }

    /// The general way, for what need not be fast.
    #[inline]
    fn pass(&mut self) -> Pass<'_, A> {
        let Lane { table, core, tables, now } = self;
        Pass { table, core, tables, now: *now, origin: Origin::Wire }
    }

    #[inline(always)]
    fn reply<F: Frame>(
        &mut self,
        plain: &Plain<A>,
        index: Index,
        frame: &mut F,
        verdict: &mut Verdict,
    ) -> Option<()> {
        let conn = self.table.at(index)?;
        let is_nat = conn.method() == ForwardingMethod::Nat && !conn.has(flag::NO_OUTPUT);
        if !is_nat || !conn.is_reply(&plain.tuple()) {
            return None;
        }
        let server = self.steady(plain, index)?;
        let Hop::Via(next) = A::route(self.tables.routes(), plain.dst) else { return None };
        if plain.ip_len > next.mtu {
            return None;
        }
        let conn = self.table.get_mut(index);
        conn.last_seen = self.now.stamp();
        *verdict = Rewrite::reply(conn).apply_plain(plain, &next, frame);
        binding::count_reply(&self.core.boards, server.id, plain.ip_len);
        Some(())
    }
}

/// Takes the parts of a lane, so that a lane need not lie in memory.
#[cold]
#[inline(never)]
fn announce<A: Read>(table: &mut ConnTable<A>, core: &mut Core, tables: &Tables, now: Tick, index: Index) {
    Pass { table, core, tables, now, origin: Origin::Wire }.announce(index);
}

/// What every plain frame has: the shortest has so many bytes.
#[inline(always)]
fn head<F: Frame>(frame: &mut F) -> Option<&mut Head> {
    frame.bytes_mut().first_chunk_mut()
}
