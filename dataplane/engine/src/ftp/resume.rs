//! Control and data connections that somebody else made, and what others have to know of ours (spec `sync.md` §2, §5).

use super::{ControlId, Controls, Expected};
use crate::binding;
use crate::conn::{Address, Conn, Index, NIL, Tuple, flag};
use crate::connection_info::{ConnectionInfo, ControlKey, SequenceShift};
use crate::dump;
use crate::flow::Pass;
use crate::persist::Handle;
use crate::state::{protocol, tcp};
use crate::tables::{Family, ServerId};
use crate::tick::Tick;

impl ControlKey {
    /// Names a control connection.
    pub(super) fn of<A: Address>(conn: &Conn<A>) -> ControlKey {
        ControlKey {
            protocol: conn.protocol,
            client_net: conn.caddr.ip(),
            cport: conn.cport,
            vaddr: conn.vaddr.ip(),
            vport: conn.vport,
        }
    }
}

impl Controls {
    /// Adds how the stream of a control connection is shifted.
    pub(crate) fn describe(&self, family: Family, index: Index, info: &mut ConnectionInfo) {
        if let Some(control) = self.0.get(&(family, index))
            && !control.shift.is_none()
        {
            info.flags |= u32::from(flag::OUT_SEQUENCE);
            info.sequence = Some([SequenceShift::default(), control.shift.into()]);
        }
    }

    /// Has the shift changed since a master was told of the connection?
    pub(crate) fn is_news(&self, family: Family, index: Index) -> bool {
        self.0.get(&(family, index)).is_some_and(|control| control.news)
    }

    /// A master was told of the connection.
    pub(crate) fn told(&mut self, family: Family, index: Index) {
        if let Some(control) = self.0.get_mut(&(family, index)) {
            control.news = false;
        }
    }
}

/// Is this a data connection that has not come yet?
pub(crate) fn is_expected(info: &ConnectionInfo) -> bool {
    let no_cport = info.flags & u32::from(flag::NO_CPORT) != 0 && info.cport == 0;
    info.protocol == protocol::TCP && (info.state == tcp::LISTEN || no_cport)
}

impl<A: Address> Pass<'_, A> {
    /// Lets all workers know how a control connection is that has data connections, if that is news.
    pub(crate) fn share(&mut self, index: Index) {
        let conn = self.table.get(index);
        let Some(control) = self.core.ftp.0.get_mut(&(A::FAMILY, index)) else { return };
        let Some(id) = control.id else { return };
        let now = Some((conn.state, control.shift));
        if control.shared == now {
            return;
        }
        control.shared = now;
        let of_template = conn.control != NIL && ControlId::of_word(conn.control).is_none();
        let template = of_template.then_some(Handle(conn.control));
        let mut info = dump::info(conn, self.tables, self.now);
        self.core.ftp.describe(A::FAMILY, index, &mut info);
        self.core.expectations.controls().tell(id, info, template);
    }

    /// A control connection comes from elsewhere, or somebody knows better how its stream is shifted.
    #[cold]
    pub(crate) fn resume_control(&mut self, index: Index, info: &ConnectionInfo) {
        let key = ControlKey::of(self.table.get(index));
        let Some(control) = self.core.ftp.0.get_mut(&(A::FAMILY, index)) else { return };
        // Nobody changes what clients send, so the other shift is always 0.
        let [_, server] = info.sequence.unwrap_or_default();
        let told = info.flags & u32::from(flag::OUT_SEQUENCE) != 0;
        control.shift = if told { server.into() } else { super::Shift::default() };
        control.resumed = true;
        control.id = control.id.or_else(|| self.core.expectations.controls().claim(&key));
        self.share(index);
    }

    /// What controls a connection that comes from elsewhere: the handle or name that its entry holds.
    pub(crate) fn rejoin(&self, control: Option<ControlKey>) -> u32 {
        let Some(key) = control else { return NIL };
        if key.is_connection() {
            return self.core.expectations.controls().rejoin(key).map_or(NIL, ControlId::word);
        }
        self.core.templates.rejoin(&key.into()).map_or(NIL, |handle| handle.0)
    }

    /// Takes over a data connection that is announced. `None` if it cannot be one; else whether it is new.
    #[cold]
    pub(crate) fn install_expected(
        &mut self,
        info: &ConnectionInfo,
        server: Option<ServerId>,
        (timeout_ms, idle_ms): (u32, u32),
        renew: bool,
    ) -> Option<bool> {
        let [caddr, vaddr, daddr] =
            [info.caddr, info.vaddr, info.daddr].map(|address| A::from_ip(address).map(Address::bits));
        let mut expected = Expected {
            family: A::FAMILY,
            caddr: caddr?,
            cport: info.cport,
            vaddr: vaddr?,
            vport: info.vport,
            daddr: daddr?,
            dport: info.dport,
            server: server.unwrap_or(ServerId::NONE),
            fwmark: info.fwmark,
            control: None,
            timeout_ms,
            since: Tick(self.now.0.saturating_sub(idle_ms.into())),
        };
        if !renew && self.core.expectations.knows(&expected) {
            return Some(false);
        }
        expected.control = ControlId::of_word(self.rejoin(info.control));
        if let Some(server) = self.tables.server(expected.server) {
            binding::bind(self.core, server, &expected.conn::<A>());
        }
        let gone = self.core.expectations.expect(expected);
        let is_new = gone.is_none_or(|gone| !gone.is_same(&expected));
        if let Some(gone) = gone {
            self.disappoint(&gone);
        }
        Some(is_new)
    }

    /// A data connection that was announced came to a peer, which tells of it. Returns what controls it.
    #[cold]
    pub(crate) fn has_come(&mut self, tuple: &Tuple<A>) -> u32 {
        let Tuple { src, dst, sport, dport, protocol } = *tuple;
        let tuple = Tuple { src: src.bits(), dst: dst.bits(), sport, dport, protocol };
        let Some((expected, _)) = self.core.expectations.take(A::FAMILY, &tuple) else { return NIL };
        // It counted already; what comes in its place counts anew.
        binding::unbind(self.core, self.tables, &expected.conn::<A>());
        expected.control.map_or(NIL, ControlId::word)
    }
}
