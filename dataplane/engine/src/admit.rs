//! New flows: service, server, entry (spec `connections.md` §4, §7.1).

use crate::binding;
use crate::board::bump;
use crate::conn::{Address, Conn, Direction, Index, NIL};
use crate::counters::Counter;
use crate::flow::{Pass, opens};
use crate::forward::nat::{self, Rewrite};
use crate::icmp::{self, Answer, Quoted};
use crate::packet::{Kind, Packet};
use crate::persist::{Handle, Made, New, NewConnection, TemplateKey};
use crate::sched::NewFlow;
use crate::sip;
use crate::state::{self, Signal, protocol, sctp, tcp};
use crate::tables::{
    ForwardingMethod, Persistence, SchedulerKind, Server, Service, ServiceKey, Settings, Tables,
};
use crate::verdict::Verdict;
use shunt_wire::Frame;

/// Port of FTP.
const FTP: u16 = 21;
/// Port from which FTP servers open data connections; never scheduled.
pub(crate) const FTP_DATA: u16 = 20;
/// Entries looked at in one place to make room in a full table: 16 in a row share few pages, and most of a flood's entries
/// are half-open, so the first look usually succeeds.
const EVICTION_LOOKS: u32 = 16;

/// A server for a new flow, and the template that led to it.
pub(crate) struct Choice<'a> {
    pub(crate) server: &'a Server,
    pub(crate) control: Option<Handle>,
    pub(crate) dport: u16,
}

/// Why there is none: this is missing.
enum Missing {
    Server,
    /// Room for a template.
    Room,
    /// The persistence engine finds nothing to go by.
    CallId,
}

impl<'a, A: Address> Pass<'a, A> {
    /// Takes a packet without a connection into the table, if a service wants it.
    pub(crate) fn admit<F: Frame>(&mut self, packet: &Packet, frame: &mut F) -> Verdict {
        let tables = self.tables;
        let mark = tables.mark_of(&packet.marked());
        let Some(service) = self.service_for(mark, packet) else {
            return Verdict::Punt(frame.nic_port());
        };
        if is_martian(tables, A::from_bits(packet.src)) {
            return Verdict::Punt(frame.nic_port());
        }
        let may_create = may_create(packet.signal, tables.settings());
        if may_create && self.core.defend_against_new() {
            return Verdict::Drop(Counter::DropPacket);
        }
        let schedulable = may_create && packet.sport != FTP_DATA;
        let goes_on_untracked = is_stateless(service) && self.table.is_full();
        if !schedulable && !goes_on_untracked {
            return Verdict::Punt(frame.nic_port());
        }
        let room = !self.table.is_full() || self.make_room();
        if !schedulable || !room {
            return self.untracked(service, packet, frame);
        }
        let choice = match self.choose_for(service, packet, frame.bytes()) {
            Ok(choice) => choice,
            Err(Missing::Server) => return self.no_server(service, mark, packet, frame),
            Err(Missing::Room) => return Verdict::Drop(Counter::TemplatesFull),
            Err(Missing::CallId) => return Verdict::Drop(Counter::NoCallId),
        };
        if service.flags.one_packet && packet.protocol == protocol::UDP {
            return self.one_packet(&choice, packet, frame);
        }
        self.begin(&choice, mark, packet, frame)
    }

    /// A connection begins with this packet.
    pub(crate) fn begin<F: Frame>(
        &mut self,
        choice: &Choice<'_>,
        mark: u32,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        match self.enrol(choice, mark, packet) {
            Some(index) => self.follow_request(index, choice.server, packet, frame),
            None => {
                self.release_control(choice.control.map_or(NIL, |handle| handle.0));
                Verdict::Drop(Counter::ConnTableFull)
            }
        }
    }

    /// An ICMP error from the client's side about a flow that is not known: with `schedule_icmp` it makes the connection,
    /// whose first packet it is (spec `connections.md` §11.2).
    pub(crate) fn admit_error<F: Frame>(
        &mut self,
        quoted: Quoted,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        let tables = self.tables;
        let mark = tables.mark_of(&icmp::marked(packet, frame.bytes()));
        let Some(service) = self.service_for(mark, packet).filter(|_| packet.sport != FTP_DATA) else {
            return Verdict::Punt(frame.nic_port());
        };
        if self.core.defend_against_new() {
            return Verdict::Drop(Counter::DropPacket);
        }
        if self.table.is_full() && !self.make_room() {
            return Verdict::Drop(Counter::ConnTableFull);
        }
        let choice = match self.choose_for(service, packet, &[]) {
            Ok(choice) => choice,
            Err(Missing::Server) => return Verdict::Drop(Counter::NoRealServer),
            Err(Missing::Room) => return Verdict::Drop(Counter::TemplatesFull),
            Err(Missing::CallId) => return Verdict::Drop(Counter::NoCallId),
        };
        let Some(index) = self.enrol(&choice, mark, packet) else {
            self.release_control(choice.control.map_or(NIL, |handle| handle.0));
            return Verdict::Drop(Counter::ConnTableFull);
        };
        let verdict = self.relay_error(index, Direction::Request, quoted, packet, frame);
        if service.flags.one_packet && packet.protocol == protocol::UDP {
            self.discard(index);
        }
        verdict
    }

    /// The service of a new flow. Most flows go to the service that the one before went to: its key is compared first.
    fn service_for(&mut self, mark: u32, packet: &Packet) -> Option<&'a Service> {
        let (protocol, vaddr, vport) = (packet.protocol, packet.dst_ip(), packet.dport);
        if mark == 0
            && let Some(recent) = self.tables.service(self.core.recent_service)
            && recent.key == (ServiceKey::Address { protocol, vaddr, vport })
        {
            return Some(recent);
        }
        let service = self.tables.service_for(mark, protocol, vaddr, vport)?;
        self.core.recent_service = service.id;
        Some(service)
    }

    fn choose_for(
        &mut self,
        service: &Service,
        packet: &Packet,
        bytes: &[u8],
    ) -> Result<Choice<'a>, Missing> {
        match service.persistence {
            Some(persistence) => self.choose_persistent(service, persistence, packet, bytes),
            None => self.choose(service, packet),
        }
    }

    /// The server for a flow of a service without persistence.
    fn choose(&mut self, service: &Service, packet: &Packet) -> Result<Choice<'a>, Missing> {
        if let ServiceKey::Address { vport, .. } = service.key {
            // Only a persistent service may serve other ports than its own (spec §4.2).
            if vport != packet.dport {
                return Err(Missing::Server);
            }
        }
        let server = self.pick(service, packet)?;
        let dport = if server.dport == 0 { packet.dport } else { server.dport };
        Ok(Choice { server, control: None, dport })
    }

    fn pick(&mut self, service: &Service, packet: &Packet) -> Result<&'a Server, Missing> {
        // What the packet that an error quotes went to is a client: `dh`, `lblc` and `lblcr` do not turn it round.
        let is_quoted = matches!(packet.kind, Kind::Error { .. });
        let flow = NewFlow {
            protocol: packet.protocol,
            caddr: packet.src_ip(),
            cport: packet.sport,
            daddr: if is_quoted { packet.src_ip() } else { packet.dst_ip() },
            vport: packet.dport,
            now: self.now,
        };
        let id = self.core.schedulers.pick(service, &self.core.boards, &flow).ok_or(Missing::Server)?;
        self.tables.server(id).ok_or(Missing::Server)
    }

    /// The server that the client's network has, or a new one for it (spec §4.3). A template's server is used whatever
    /// its weight and load.
    fn choose_persistent(
        &mut self,
        service: &Service,
        persistence: Persistence,
        packet: &Packet,
        bytes: &[u8],
    ) -> Result<Choice<'a>, Missing> {
        let connection = NewConnection {
            protocol: packet.protocol,
            caddr: packet.src_ip(),
            vaddr: packet.dst_ip(),
            vport: packet.dport,
        };
        let (mut key, own_port) = TemplateKey::new(service, persistence, &connection);
        let mut call_id: &[u8] = &[];
        if service.sip {
            let found = (packet.protocol == protocol::UDP).then(|| sip::call_id(sip::payload(packet, bytes)));
            call_id = found.flatten().ok_or(Missing::CallId)?;
            key = key.with_call_id(self.core.templates.digest(call_id));
        }
        let tables = self.tables;
        let quiescent_expires = tables.settings().expire_quiescent_template;
        let usable = |id| {
            tables
                .server(id)
                .is_some_and(|server| server.available && !(quiescent_expires && server.weight == 0))
        };
        let (handle, server) = match self.core.templates.join(&key, self.now, usable) {
            Some((handle, id)) => (handle, tables.server(id).ok_or(Missing::Server)?),
            None => {
                let server = self.pick(service, packet)?;
                let new = New { key, server, own_port, timeout_s: persistence.timeout_s, call_id };
                match self.core.templates.create(&new, self.now, usable).ok_or(Missing::Room)? {
                    Made::New(handle) => {
                        binding::count_template(&self.core.boards, server.id, 1);
                        (handle, server)
                    }
                    Made::Joined(handle, id) => (handle, tables.server(id).ok_or(Missing::Server)?),
                }
            }
        };
        let same_port = matches!(service.key, ServiceKey::Address { vport, .. } if vport == packet.dport);
        let dport = if same_port && server.dport != 0 { server.dport } else { packet.dport };
        Ok(Choice { server, control: Some(handle), dport })
    }

    fn make_conn(&self, choice: &Choice<'_>, packet: &Packet) -> Conn<A> {
        let server = choice.server;
        let daddr = A::from_ip(server.daddr).unwrap_or_default();
        let mut conn = Conn::new(packet.tuple(), server.method, server.id, daddr, choice.dport);
        if server.method == ForwardingMethod::Nat {
            nat::prepare(&mut conn);
        }
        conn
    }

    /// Makes the entry. `None` if there is no room.
    pub(crate) fn enrol(&mut self, choice: &Choice<'_>, mark: u32, packet: &Packet) -> Option<Index> {
        let mut conn = self.make_conn(choice, packet);
        conn.fwmark = mark;
        conn.control = choice.control.map_or(NIL, |handle| handle.0);
        // One that an ICMP error makes has no state yet: it keeps the 3 s of its birth. Others live on as their first packet
        // wants it; they are filed so at once.
        if packet.kind == Kind::Flow {
            let state =
                state::next(conn.state, conn.request_way(), packet.signal, self.core.defence.secure_tcp);
            conn.timeout_ms = self.core.timeouts.of(conn.protocol, state);
        }
        let index = self.table.insert(conn, self.now)?;
        self.adopt(index);
        binding::bind(self.core, choice.server, self.table.get(index));
        self.count_connection(choice.server);
        Some(index)
    }

    pub(crate) fn count_connection(&self, server: &Server) {
        if let Some(counts) = self.core.boards.mine(server.id) {
            bump(&counts.conns, 1);
        }
        self.core.counters.add(Counter::NewConnections, 1);
    }

    /// One-packet scheduling: no entry, and so no translation of the answer (spec §4.5).
    fn one_packet<F: Frame>(&mut self, choice: &Choice<'_>, packet: &Packet, frame: &mut F) -> Verdict {
        let conn = self.make_conn(choice, packet);
        self.count_connection(choice.server);
        // For a moment the server has one more: that may be the one by which it is overloaded.
        binding::bind(self.core, choice.server, &conn);
        binding::unbind(self.core, self.tables, &conn);
        binding::count_request(&self.core.boards, choice.server.id, packet.ip_len);
        if let Some(handle) = choice.control
            && self.core.announces
            && self.tables.settings().sync.version != 0
        {
            self.announce_template(handle);
        }
        self.release_control(choice.control.map_or(NIL, |handle| handle.0));
        let rewrite = (conn.method() == ForwardingMethod::Nat).then(|| Rewrite::request(&conn));
        self.forward_by(conn.method(), rewrite, choice.server, packet, frame)
    }

    /// Makes room in a full table: what is due first, then half-open and closed connections.
    pub(crate) fn make_room(&mut self) -> bool {
        if self.table.may_be_due(self.now) {
            let mut budget = EVICTION_LOOKS;
            self.expire(&mut budget);
            if !self.table.is_full() {
                return true;
            }
        }
        let candidate = self.table.sweep(EVICTION_LOOKS, is_expendable);
        if let Some(index) = candidate {
            self.discard(index);
            self.table.expect_sweep();
        }
        candidate.is_some()
    }

    /// A flow for which there is no room: hashing schedulers find the same server again without an entry, so direct
    /// routing and tunnels go on; NAT cannot.
    fn untracked<F: Frame>(&mut self, service: &Service, packet: &Packet, frame: &mut F) -> Verdict {
        if !is_stateless(service) || service.persistence.is_some() {
            return Verdict::Drop(Counter::ConnTableFull);
        }
        let Ok(Choice { server, .. }) = self.choose(service, packet) else {
            return self.no_server(service, 0, packet, frame);
        };
        if !matches!(server.method, ForwardingMethod::DirectRouting | ForwardingMethod::Tunnel) {
            return Verdict::Drop(Counter::ConnTableFull);
        }
        self.core.counters.add(Counter::Untracked, 1);
        self.forward_by(server.method, None, server, packet, frame)
    }

    /// A service without an eligible server: ICMP port unreachable, for TCP as well (spec §7.1).
    pub(crate) fn no_server<F: Frame>(
        &mut self,
        service: &Service,
        mark: u32,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        if let ServiceKey::Fwmark { .. } = service.key
            && let Some(verdict) = self.marked_without_server(service, mark, packet, frame)
        {
            return verdict;
        }
        if matches!(service.key, ServiceKey::Address { vport: FTP, .. }) && packet.dport != FTP {
            return Verdict::Punt(frame.nic_port());
        }
        self.answer(Answer::PortUnreachable, Counter::NoRealServer, packet, frame)
    }
}

/// The director's own address, or one that is no host's, as source of a packet from outside: the kernel drops it.
#[inline(always)]
pub(crate) fn is_martian<A: Address>(tables: &Tables, source: A) -> bool {
    source.is_nobodys() || tables.is_own(source)
}

/// May it go when the table is full?
#[inline(always)]
pub(crate) fn is_expendable<A: Address>(conn: &Conn<A>) -> bool {
    conn.protocol == protocol::TCP && tcp::is_expendable(conn.state)
}

/// Does the scheduler find the same server for the same client by itself?
pub(crate) fn is_stateless(service: &Service) -> bool {
    matches!(service.scheduler, SchedulerKind::Sh | SchedulerKind::Mh)
}

/// May this packet create an entry (spec `connections.md` §4.1)?
fn may_create(signal: Signal, settings: &Settings) -> bool {
    match signal {
        Signal::Tcp(flags) => flags & tcp::bits::RST == 0 && (opens(signal) || settings.sloppy_tcp),
        Signal::Udp => true,
        Signal::Sctp(event) => opens(signal) || settings.sloppy_sctp && event != sctp::Event::Abort,
        Signal::Nothing => false,
    }
}
