//! Requests of connections whose real server is gone, or was not known when a peer told of the connection (spec
//! `connections.md` §7.3, `sync.md` §5 step 4).

use crate::conn::{Address, Index, NIL};
use crate::connection_info::ConnectionInfo;
use crate::counters::Counter;
use crate::dump;
use crate::flow::Pass;
use crate::install::{self, InstallFrom};
use crate::packet::Packet;
use crate::tables::{ForwardingMethod, Outer, Server, ServerId, ServiceId, TunnelChecksum, TunnelKind};
use crate::verdict::Verdict;
use shunt_wire::Frame;

impl<A: Address> Pass<'_, A> {
    /// A packet from the client of a connection without an available server.
    #[cold]
    #[inline(never)]
    pub(crate) fn request_without_server<F: Frame>(
        &mut self,
        index: Index,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        // IPVS does not even look at packets while there is no service of their family.
        if !self.tables.balances(A::FAMILY) {
            return Verdict::Punt(frame.nic_port());
        }
        let conn = self.table.get(index);
        if conn.server == ServerId::NONE && conn.method() != ForwardingMethod::Bypass {
            return self.request_unbound(index, packet, frame);
        }
        if conn.method() == ForwardingMethod::Bypass {
            return self.follow_bypass(index, packet, frame);
        }
        if !self.tables.settings().expire_nodest_conn {
            return Verdict::Drop(Counter::ServerGone);
        }
        self.start_over(index, packet, frame)
    }

    /// A packet of a connection that a peer told of before its service was configured here.
    fn request_unbound<F: Frame>(&mut self, index: Index, packet: &Packet, frame: &mut F) -> Verdict {
        let mut info = dump::info(self.table.get(index), self.tables, self.now);
        self.core.ftp.describe(A::FAMILY, index, &mut info);
        if let Some(server) = install::server_of(self.tables, &info) {
            return match self.bind_late(index, &info) {
                Some(index) => self.follow_request(index, server, packet, frame),
                None => Verdict::Drop(Counter::ConnTableFull),
            };
        }
        if self.table.get(index).method() == ForwardingMethod::Tunnel {
            // Only the server says how it wants its packets wrapped.
            return Verdict::Drop(Counter::ServerGone);
        }
        let server = self.stand_in(&info);
        self.follow_request(index, &server, packet, frame)
    }

    /// Puts the entry into the table anew, under the method of its server.
    fn bind_late(&mut self, index: Index, info: &ConnectionInfo) -> Option<Index> {
        let control = self.table.get(index).control;
        self.table.get_mut(index).control = NIL;
        self.discard(index);
        let index = self.enter(info, InstallFrom::Peer)?;
        self.put_under(index, control);
        Some(index)
    }

    /// A server that nobody configured: where the connection's packets go all the same.
    fn stand_in(&self, info: &ConnectionInfo) -> Server {
        Server {
            hop: self.tables.routes().lookup(info.daddr),
            method: crate::conn::method_of(info.flags as u16),
            available: true,
            tunnel: TunnelKind::Ipip,
            tunnel_checksum: TunnelChecksum::None,
            weight: 0,
            id: ServerId::NONE,
            service: ServiceId(u32::MAX),
            dport: info.dport,
            daddr: info.daddr,
            tunnel_source: None,
            upper_threshold: 0,
            lower_threshold: 0,
            outer: Outer::default(),
        }
        .prepared()
    }
}
