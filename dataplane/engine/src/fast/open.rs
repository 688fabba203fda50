//! A plain packet that opens a connection: the short way into the table.
//!
//! Nearly all new flows are of services that ask for nothing special, and then most questions of the general way
//! ([`crate::admit`]) have known answers. What is decided is the same, by the same schedulers and into the same table.

use super::{Lane, Plain, Read};
use crate::admit::{Choice, FTP_DATA, is_expendable, is_martian, is_stateless};
use crate::binding;
use crate::conn::{Conn, ConnTable, NIL, Probe, flag};
use crate::counters::Counter;
use crate::engine::Core;
use crate::forward::nat;
use crate::sched::NewFlow;
use crate::state::{protocol, tcp};
use crate::tables::{ForwardingMethod, Hop, NextHop, Server, ServerId, Service, ServiceKey, Tables};
use crate::tick::Tick;
use crate::verdict::Verdict;
use shunt_wire::Frame;

/// What new flows in a row have in common.
pub(crate) struct Openings<'a> {
    /// Are there rules for marks?
    has_rules: bool,
    /// The service of the latest new flow.
    recent: Option<&'a Service>,
}

impl<'a, A: Read> Lane<'a, A> {
    /// Prepares for packets that may open connections. `None` if more is to be asked of each than the short way asks: as
    /// the director stands by, defends itself, or has to look for flows that are expected or come from servers.
    #[inline(always)]
    pub(crate) fn openings(&self) -> Option<Openings<'a>> {
        let Lane { core, tables, .. } = self;
        let asks_more = core.stands_by
            || core.defence.drops_packets()
            || tables.watches_servers()
            || !core.expectations.is_empty();
        (!asks_more).then(|| Openings {
            has_rules: !tables.marks().is_empty(),
            recent: tables.service(core.recent_service).map(|service| &**service),
        })
    }

    /// Makes a connection for a packet that has none, forwards it and writes the verdict; or does nothing, and returns
    /// `None`. `probe` is that of the packet.
    #[inline(always)]
    pub(crate) fn open<F: Frame>(
        &mut self,
        openings: &mut Openings<'a>,
        plain: &Plain<A>,
        probe: Probe,
        frame: &mut F,
        verdict: &mut Verdict,
    ) -> Option<()> {
        if !plain.opens() || !self.is_certainly_new(plain, probe) {
            return None;
        }
        let tables = self.tables;
        let (service, mark) = self.service_of(openings, plain, frame)?;
        let asks_more = service.persistence.is_some() || service.flags.one_packet;
        if asks_more || is_helped(plain, tables.settings().ftp_port) || is_martian(tables, plain.src) {
            return None;
        }
        // Room is made before a server is chosen, as a connection that goes may change the choice.
        if self.table.is_full() {
            if is_stateless(service) {
                return None;
            }
            if !evict(self.table, self.core, tables, self.now) && !self.pass().make_room() {
                *verdict = Verdict::Drop(Counter::ConnTableFull);
                return Some(());
            }
        }
        let flow = || NewFlow {
            protocol: plain.protocol,
            caddr: plain.src.ip(),
            cport: plain.sport,
            daddr: plain.dst.ip(),
            vport: plain.dport,
            now: self.now,
        };
        // From here on the packet's way is decided: schedulers remember what they chose.
        let chosen = self.core.schedulers.pick_for(service, &self.core.boards, self.now, flow);
        match chosen.and_then(|id| Some((id, tables.server(id)?))) {
            Some(choice) => self.begin(plain, probe, choice, mark, frame, verdict)?,
            None => *verdict = self.pass().no_server(service, mark, &plain.packet(frame.nic_port()), frame),
        }
        Some(())
    }

    /// Is there certainly no connection that the packet could belong to, here or with another worker?
    #[inline(always)]
    fn is_certainly_new(&self, plain: &Plain<A>, probe: Probe) -> bool {
        let core = &self.core;
        self.table.is_absent(probe)
            && (core.workers == 1 || core.owner.of(plain.src, plain.sport) == core.worker)
    }

    /// The service of the packet's mark, or with just its address and port; and the mark.
    #[inline(always)]
    fn service_of<F: Frame>(
        &mut self,
        openings: &mut Openings<'a>,
        plain: &Plain<A>,
        frame: &F,
    ) -> Option<(&'a Service, u32)> {
        let tables = self.tables;
        let mark =
            if openings.has_rules { tables.mark_of(&plain.packet(frame.nic_port()).marked()) } else { 0 };
        if mark == 0
            && let Some(recent) = openings.recent
            && is_of(recent, plain)
        {
            return Some((recent, mark));
        }
        let service = tables.service_for(mark, plain.protocol, plain.dst.ip(), plain.dport)?;
        (self.core.recent_service, openings.recent) = (service.id, Some(&**service));
        let takes = is_of(service, plain) || matches!(service.key, ServiceKey::Fwmark { .. });
        takes.then_some((service, mark))
    }

    /// The connection to this server begins.
    #[inline(always)]
    fn begin<F: Frame>(
        &mut self,
        plain: &Plain<A>,
        probe: Probe,
        (id, server): (ServerId, &Server),
        mark: u32,
        frame: &mut F,
        verdict: &mut Verdict,
    ) -> Option<()> {
        let dport = if server.dport == 0 { plain.dport } else { server.dport };
        let Some(next) = self.way(plain, server) else {
            let choice = Choice { server, control: None, dport };
            *verdict = self.pass().begin(&choice, mark, &plain.packet(frame.nic_port()), frame);
            return Some(());
        };
        let conn = Conn { fwmark: mark, ..self.connection(plain, server, dport) };
        let is_active = !conn.has(flag::INACTIVE);
        let Some(index) = self.table.insert_at(probe, conn, self.now) else {
            *verdict = Verdict::Drop(Counter::ConnTableFull);
            return Some(());
        };
        if server.method == ForwardingMethod::Nat {
            nat::prepare(self.table.get_mut(index));
        }
        binding::begin(self.core, id, server, is_active, plain.ip_len);
        self.core.counters.add(Counter::NewConnections, 1);
        self.announce(index);
        self.send::<false, F>(plain, index, (server.method, server, next), frame, verdict)
    }

    /// The next hop on the way to this server, if [`Lane::send`] takes the packet there.
    #[inline(always)]
    fn way<'s>(&self, plain: &Plain<A>, server: &'s Server) -> Option<&'s NextHop> {
        let Hop::Via(next) = &server.hop else { return None };
        self.fits(plain, server.method, server, next).then_some(next)
    }

    /// As it is after its first packet, but for what NAT rewrites.
    #[inline(always)]
    fn connection(&self, plain: &Plain<A>, server: &Server, dport: u16) -> Conn<A> {
        let core = &self.core;
        let daddr = A::from_ip(server.daddr).unwrap_or_default();
        let conn = Conn::new(plain.tuple(), server.method, server.id, daddr, dport);
        if plain.protocol == protocol::UDP {
            return Conn { timeout_ms: core.timeouts.udp(), in_packets: 1, ..conn };
        }
        let state = tcp::first(conn.request_way(), core.defence.secure_tcp);
        let flags = if tcp::is_active(state) { conn.flags & !flag::INACTIVE } else { conn.flags };
        Conn { state, flags, timeout_ms: core.timeouts.tcp(state), in_packets: 1, ..conn }
    }
}

/// Makes room in a full table, if there is nothing to expire and the next connection to look at is an expendable one on
/// which nothing hangs.
#[inline(never)]
fn evict<A: Read>(table: &mut ConnTable<A>, core: &mut Core, tables: &Tables, now: Tick) -> bool {
    let expendable = |conn: &Conn<A>| is_expendable(conn) && conn.control == NIL && !conn.has(flag::HELPED);
    if table.may_be_due(now) {
        return false;
    }
    let Some(index) = table.take_under_hand(expendable) else { return false };
    let conn = table.remove(index);
    binding::unbind(core, tables, &conn);
    table.expect_sweep();
    true
}

/// Is this the service of just this address and port?
#[inline(always)]
fn is_of<A: Read>(service: &Service, plain: &Plain<A>) -> bool {
    match service.key {
        ServiceKey::Address { protocol, vaddr, vport } => {
            vport == plain.dport && protocol == plain.protocol && A::from_ip(vaddr) == Some(plain.dst)
        }
        ServiceKey::Fwmark { .. } => false,
    }
}

/// Does a helper care for it: a connection of FTP, or one from its data port?
#[inline(always)]
fn is_helped<A: Read>(plain: &Plain<A>, ftp_port: u32) -> bool {
    let is_control = plain.protocol == protocol::TCP && u32::from(plain.dport) == ftp_port;
    is_control || plain.sport == FTP_DATA
}
