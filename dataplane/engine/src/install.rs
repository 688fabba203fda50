//! Connections and templates that somebody else made: a peer that synchronises, or this director before it was restarted
//! (spec `sync.md` §5).
//!
//! What is told finds its real server among the services in force; if it does not, it is kept without one.

use crate::announce::Note;
use crate::binding;
use crate::conn::{Address, Conn, Direction, Index, NIL, Tuple, flag, method_of};
use crate::connection_info::ConnectionInfo;
use crate::engine::{Engine, Origin};
use crate::flow::Pass;
use crate::forward::nat;
use crate::ftp::{self, ControlId};
use crate::persist::{FTP, Taken, TemplateKey, Told, flags_of};
use crate::state::TIMEOUT_MAX_MS;
use crate::tables::{Family, ForwardingMethod, Server, ServerId, ServiceKey, Tables};
use crate::tick::Tick;

/// Life of a template that came without one (spec `sync.md` §5).
const TEMPLATE_TIMEOUT_MS: u32 = 180_000;
/// What is taken over of a new one.
const KEPT: u16 = flag::METHOD | flag::SYNC | flag::NO_OUTPUT | flag::INACTIVE;

/// Who tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallFrom {
    /// A peer, whose word is newer than ours.
    Peer,
    /// A state file, which knows nothing newer than we do: connections and templates that are here stay as they are.
    StateFile,
}

/// What became of connections that were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// New entries.
    pub created: u32,
    /// Entries that were here, and were changed.
    pub updated: u32,
    /// Entries that were here and stay as they are; contradictions; the end of a connection that was replaced.
    pub ignored: u32,
    /// No room in the table.
    pub no_room: u32,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: Tally) {
        self.created += other.created;
        self.updated += other.updated;
        self.ignored += other.ignored;
        self.no_room += other.no_room;
    }

    fn count(&mut self, installed: Installed) {
        let place = match installed {
            Installed::Created => &mut self.created,
            Installed::Updated => &mut self.updated,
            Installed::Ignored => &mut self.ignored,
            Installed::NoRoom => &mut self.no_room,
        };
        *place += 1;
    }
}

enum Installed {
    Created,
    Updated,
    Ignored,
    NoRoom,
}

impl Engine {
    /// Takes over a connection or template. This worker must own the connection; templates are everyone's.
    ///
    /// Of `info`, `expires_ms` says how long it still lives, and `timeout_ms` 0 stands for the protocol's own timeout;
    /// `server` says nothing, the addresses do. `control` makes a template that is here control it again.
    pub fn install(
        &mut self,
        tables: &Tables,
        now: Tick,
        info: &ConnectionInfo,
        from: InstallFrom,
        tally: &mut Tally,
    ) {
        self.core.observe(tables.settings());
        let (core, origin) = (&mut self.core, Origin::Wire);
        tally.count(match (info.is_template(), info.family) {
            (true, _) => self.install_template(tables, now, info, from),
            (false, Family::V4) => {
                Pass { table: &mut self.v4, core, tables, now, origin }.install(info, from)
            }
            (false, Family::V6) => {
                Pass { table: &mut self.v6, core, tables, now, origin }.install(info, from)
            }
        });
    }

    fn install_template(
        &mut self,
        tables: &Tables,
        now: Tick,
        info: &ConnectionInfo,
        from: InstallFrom,
    ) -> Installed {
        let call_id = info.pe_data.as_deref().unwrap_or_default().as_bytes();
        let key = match call_id.is_empty() {
            true => TemplateKey::told(info),
            false => TemplateKey::told(info).with_call_id(self.core.templates.digest(call_id)),
        };
        let server = server_told(tables, info, from);
        let timeout_ms = if info.timeout_ms == 0 { TEMPLATE_TIMEOUT_MS } else { info.timeout_ms };
        let timeout_ms = timeout_ms.min(TIMEOUT_MAX_MS);
        let told = Told {
            key,
            server: server.map_or(ServerId::NONE, |server| server.id),
            daddr: info.daddr,
            dport: info.dport,
            flags: info.flags as u16 & flag::SYNC
                | server.map_or(info.flags as u16 & KEPT | flag::TEMPLATE, |server| flags_of(server.method)),
            assured: info.state == 1,
            timeout_ms,
            idle_ms: idle_ms(info, timeout_ms),
        };
        match self.core.templates.install(&told, call_id, from == InstallFrom::Peer, now) {
            Taken::Bound(server) => {
                binding::count_template(&self.core.boards, server, 1);
                Installed::Created
            }
            Taken::Known if from == InstallFrom::Peer => Installed::Updated,
            Taken::Known => Installed::Ignored,
            Taken::NoRoom => Installed::NoRoom,
        }
    }
}

/// Milliseconds of the timeout that have passed; none if the timeout is not told.
fn idle_ms(info: &ConnectionInfo, timeout_ms: u32) -> u32 {
    if info.timeout_ms == 0 { 0 } else { u64::from(timeout_ms).saturating_sub(info.expires_ms) as u32 }
}

/// The real server that a connection or template names, if it is configured (spec `sync.md` §5 step 4).
pub(crate) fn server_of<'a>(tables: &'a Tables, info: &ConnectionInfo) -> Option<&'a Server> {
    let service = tables.service_for(info.fwmark, info.protocol, info.vaddr, info.vport)?;
    let by_mark = info.fwmark != 0 && method_of(info.flags as u16) != ForwardingMethod::Nat;
    let dports = if by_mark { [0, info.dport] } else { [info.dport, 0] };
    let candidate = |dport: u16| {
        service.servers.iter().find(|server| server.daddr == info.daddr && server.dport == dport)
    };
    // A data connection has its service's servers under other ports. IPVS finds none, and keeps it without one.
    let of_ftp = || {
        let ServiceKey::Address { vport, .. } = service.key else { return None };
        let is_data = u32::from(vport) == tables.settings().ftp_port && info.vport != vport;
        service.servers.iter().find(|server| is_data && server.daddr == info.daddr)
    };
    let candidate = dports.into_iter().find_map(candidate).or_else(of_ftp)?;
    tables.server(candidate.id).filter(|server| server.available)
}

/// [`server_of`], or what a state file tells more.
fn server_told<'a>(tables: &'a Tables, info: &ConnectionInfo, from: InstallFrom) -> Option<&'a Server> {
    server_of(tables, info).or_else(|| match from {
        InstallFrom::StateFile => server_by_address(tables, info),
        InstallFrom::Peer => None,
    })
}

/// The only server with this address, if there is only one, of which the configured port is not told: templates of FTP, of
/// port 0 and of marks have no ports, and connections of persistent services for all ports keep the client's (spec
/// `connections.md` §4.3). A kernel that hears of them does not find it, but a restart must not cost clients their servers.
fn server_by_address<'a>(tables: &'a Tables, info: &ConnectionInfo) -> Option<&'a Server> {
    let vports: &[u16] = match (info.vport, info.dport) {
        (0, 0) => &[0, FTP],
        (vport, dport) if vport == dport => &[vport],
        _ => return None,
    };
    let only_of = |&vport: &u16| {
        let service = tables.service_for(info.fwmark, info.protocol, info.vaddr, vport)?;
        let keeps_ports = service.persistence.is_some() && !service.key.has_port();
        if info.vport != 0 && !keeps_ports {
            return None;
        }
        let mut servers = service.servers.iter().filter(|server| server.daddr == info.daddr);
        let only = servers.next().filter(|_| servers.next().is_none())?;
        tables.server(only.id).filter(|server| server.available)
    };
    vports.iter().find_map(only_of)
}

impl<A: Address> Pass<'_, A> {
    fn install(&mut self, info: &ConnectionInfo, from: InstallFrom) -> Installed {
        let Some(tuple) = request_of::<A>(info) else { return Installed::Ignored };
        if ftp::is_expected(info) {
            return self.expect_told(info, from);
        }
        let Some((index, Direction::Request)) = self.table.lookup(&tuple) else {
            return self.install_new(info, from);
        };
        if from == InstallFrom::StateFile {
            return Installed::Ignored;
        }
        let conn = self.table.get(index);
        let same_server =
            conn.dport == info.dport && conn.daddr == A::from_ip(info.daddr).unwrap_or_default();
        if !same_server && info.flags & u32::from(flag::INACTIVE) != 0 {
            // The end of a connection whose place another one has taken.
            return Installed::Ignored;
        }
        if !same_server || conn.server == ServerId::NONE && server_of(self.tables, info).is_some() {
            // Another server, or one at last.
            self.discard(index);
            return self.install_new(info, from);
        }
        self.update(index, info);
        Installed::Updated
    }

    /// A peer tells of a connection that is here.
    fn update(&mut self, index: Index, info: &ConnectionInfo) {
        let timeout_ms = self.timeout_of(info);
        let conn = self.table.get_mut(index);
        binding::set_active(self.core, conn, info.flags as u16 & flag::INACTIVE == 0);
        conn.in_packets = info.in_packets;
        conn.state = info.state;
        let helped = conn.has(flag::HELPED);
        self.table.touch(index, timeout_ms, self.now);
        self.table.set_note(index, Note::told(info.state, timeout_ms, self.now));
        if helped {
            self.resume_control(index, info);
        }
    }

    /// A data connection of FTP that is announced: not an entry yet, but known to all workers.
    fn expect_told(&mut self, info: &ConnectionInfo, from: InstallFrom) -> Installed {
        let server = server_of(self.tables, info);
        if server.is_some_and(|server| server.method != ForwardingMethod::Nat) {
            // Nobody would translate it.
            return Installed::Ignored;
        }
        let (server, timeout_ms) = (server.map(|server| server.id), self.timeout_of(info));
        let times = (timeout_ms, idle_ms(info, timeout_ms));
        match self.install_expected(info, server, times, from == InstallFrom::Peer) {
            Some(true) => Installed::Created,
            Some(false) if from == InstallFrom::Peer => Installed::Updated,
            _ => Installed::Ignored,
        }
    }

    fn timeout_of(&self, info: &ConnectionInfo) -> u32 {
        match info.timeout_ms {
            0 => self.core.timeouts.of(info.protocol, info.state),
            timeout_ms => timeout_ms.min(TIMEOUT_MAX_MS),
        }
    }

    fn install_new(&mut self, info: &ConnectionInfo, from: InstallFrom) -> Installed {
        let Some(index) = self.enter(info, from) else { return Installed::NoRoom };
        let mut control = self.rejoin(info.control);
        let tuple = self.table.get(index).request();
        if control == NIL && self.core.expectations.may_know(tuple.src.bits(), tuple.dst.bits()) {
            control = self.has_come(&tuple);
        }
        self.put_under(index, control);
        Installed::Created
    }

    /// The entry is controlled by what this handle or name stands for.
    pub(crate) fn put_under(&mut self, index: Index, control: u32) {
        let conn = self.table.get_mut(index);
        conn.control = control;
        if ControlId::of_word(control).is_some() {
            // It has no template to be told.
            conn.flags |= flag::PROVEN;
        }
    }

    /// Makes the entry, bound to its server if that is configured. `None` if there is no room.
    pub(crate) fn enter(&mut self, info: &ConnectionInfo, from: InstallFrom) -> Option<Index> {
        let tuple = request_of(info)?;
        let server = server_told(self.tables, info, from);
        let flags = info.flags as u16 & KEPT;
        let method = server.map_or(method_of(flags), |server| server.method);
        let id = server.map_or(ServerId::NONE, |server| server.id);
        let daddr = A::from_ip(info.daddr).unwrap_or_default();
        let mut conn = Conn::new(tuple, method, id, daddr, info.dport);
        // A peer does not know how its peer forwards: whether a reply was seen begins anew with a server of our own.
        let mut own = flag::METHOD;
        if from == InstallFrom::Peer && server.is_some() {
            own |= flag::NO_OUTPUT;
        }
        conn.flags = conn.flags & own | flags & !own;
        conn.state = info.state;
        conn.fwmark = info.fwmark;
        conn.in_packets = info.in_packets;
        let timeout_ms = self.timeout_of(info);
        conn.timeout_ms = timeout_ms;
        if method == ForwardingMethod::Nat {
            nat::prepare(&mut conn);
        }
        let idle_ms = idle_ms(info, timeout_ms);
        let index = self.table.insert(conn, self.now)?;
        self.adopt(index);
        if self.table.get(index).has(flag::HELPED) {
            self.resume_control(index, info);
        }
        if from == InstallFrom::Peer {
            self.table.set_note(index, Note::told(info.state, timeout_ms, self.now));
        }
        if idle_ms > 0 {
            self.table.backdate(index, idle_ms, self.now);
        }
        if let Some(server) = server {
            binding::bind(self.core, server, self.table.get(index));
        }
        Some(index)
    }
}

/// The tuple of the client's packets, if the addresses are of one family.
fn request_of<A: Address>(info: &ConnectionInfo) -> Option<Tuple<A>> {
    Some(Tuple {
        src: A::from_ip(info.caddr)?,
        dst: A::from_ip(info.vaddr)?,
        sport: info.cport,
        dport: info.vport,
        protocol: info.protocol,
    })
}
