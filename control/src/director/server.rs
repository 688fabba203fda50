//! Real servers: add, edit, delete (spec `connections.md` §6, §10).

use super::{Counters, Director, Errno, Refusal};
use shunt_engine::tables::{
    Candidate, Family, ForwardingMethod, Outer, Server, ServerId, ServiceId, ServiceKey, TunnelChecksum,
    TunnelKind,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an operator says of a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Its address.
    pub daddr: IpAddr,
    /// Its port, host order; 0 = the packet's own.
    pub dport: u16,
    /// How packets reach it.
    pub method: ForwardingMethod,
    /// Encapsulation, for tunnels.
    pub tunnel: TunnelKind,
    /// Checksum option, for tunnels.
    pub tunnel_checksum: TunnelChecksum,
    /// Weight; 0 = quiesced.
    pub weight: i32,
    /// Upper connection threshold; 0 = none.
    pub upper_threshold: u32,
    /// Lower connection threshold; 0 = three quarters of the upper one.
    pub lower_threshold: u32,
}

/// What control remembers of a server, live or deleted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServerRecord {
    /// The latest weight that was not 0.
    pub(super) last_weight: i32,
    /// Birth number of the service that it is, or was, part of.
    pub(super) service_born: u64,
    /// What it had counted when it came to that service, if no tick has shown it yet: it counted for another.
    pub(super) counted_elsewhere: Option<Counters>,
}

impl ServerOptions {
    fn check(&self, service: &ServiceKey) -> Result<(), Errno> {
        if self.weight < 0 || self.lower_threshold > self.upper_threshold {
            return Err(Errno::Erange);
        }
        let bad_tunnel =
            self.method == ForwardingMethod::Tunnel && self.tunnel == TunnelKind::Gue { dport: 0 };
        if self.upper_threshold > i32::MAX as u32 || bad_tunnel {
            return Err(Errno::Einval);
        }
        if Family::of(&self.daddr) != service.family() && self.method != ForwardingMethod::Tunnel {
            return Err(Errno::Einval);
        }
        Ok(())
    }
}

/// May a server have this address, if it is none of the director's own?
fn is_unicast(address: &IpAddr) -> bool {
    match address {
        // Since Linux 5.3 the rest of 0.0.0.0/8 is as good as any.
        IpAddr::V4(address) => {
            !(address.is_unspecified() || address.is_multicast() || *address == Ipv4Addr::BROADCAST)
        }
        IpAddr::V6(address) => {
            let mapped = address.to_ipv4_mapped().is_some();
            !(mapped
                || address.is_multicast()
                || *address == Ipv6Addr::UNSPECIFIED
                || address.is_unicast_link_local())
        }
    }
}

/// The total at which an overloaded server is no longer overloaded, plus one.
fn effective_lower_threshold(upper: u32, lower: u32) -> u32 {
    if lower != 0 { lower } else { upper - upper / 4 }
}

impl Director {
    /// Adds a real server to a service. One that was deleted lately comes back with its connections.
    ///
    /// # Errors
    /// ESRCH if there is no such service; ERANGE for a negative weight or a lower threshold above the upper one; EINVAL
    /// for a threshold above 2^31 - 1, a GUE tunnel without port, or an address that is not unicast; EEXIST;
    /// [`Refusal::ServersFull`].
    pub fn add_server(&mut self, key: &ServiceKey, options: &ServerOptions) -> Result<(), Refusal> {
        let record = self.services.get(key).ok_or(Errno::Esrch)?;
        let (service, born) = (record.service.id, record.born);
        self.check_family(key, options)?;
        options.check(key)?;
        if self.live.contains_key(&(service, options.daddr, options.dport)) {
            return Err(Errno::Eexist.into());
        }
        let mut counted_elsewhere = None;
        let id = match self.trash.take(&(*key, options.daddr, options.dport)) {
            Some(id) => {
                counted_elsewhere = self.take_back(id, born);
                id
            }
            None if !self.may_be_server(&options.daddr) => return Err(Errno::Einval.into()),
            None => self.fresh_server_id().ok_or(Refusal::ServersFull(self.limits.servers))?,
        };
        // Unlike an edit, an addition sets the latest weight to 0 too, whatever the trash remembers.
        *self.record_of(id) =
            ServerRecord { last_weight: options.weight, service_born: born, counted_elsewhere };
        self.live.insert((service, options.daddr, options.dport), id);
        let candidate = self.put_server(id, service, options);
        if let Some(record) = self.services.get_mut(key) {
            record.link(candidate);
        }
        self.touch(key);
        Ok(())
    }

    fn may_be_server(&self, address: &IpAddr) -> bool {
        self.tables.is_local(address) || is_unicast(address) && !self.broadcast.contains(address)
    }

    /// Replaces all parameters of a real server. Connections keep the forwarding method that they were made with.
    ///
    /// # Errors
    /// ESRCH if there is no such service; ERANGE and EINVAL as [`Director::add_server`]; ENOENT.
    pub fn edit_server(&mut self, key: &ServiceKey, options: &ServerOptions) -> Result<(), Refusal> {
        let service = self.services.get(key).ok_or(Errno::Esrch)?.service.id;
        self.check_family(key, options)?;
        options.check(key)?;
        let id = *self.live.get(&(service, options.daddr, options.dport)).ok_or(Errno::Enoent)?;
        let candidate = self.put_server(id, service, options);
        if let Some(record) = self.services.get_mut(key) {
            record.link_joining();
            record.service.edit(candidate);
        }
        self.touch(key);
        Ok(())
    }

    /// Deletes a real server. Its connections stay, but their packets are no longer forwarded.
    ///
    /// # Errors
    /// ESRCH if there is no such service; ENOENT.
    pub fn delete_server(&mut self, key: &ServiceKey, daddr: IpAddr, dport: u16) -> Result<(), Refusal> {
        let service = self.services.get(key).ok_or(Errno::Esrch)?.service.id;
        let id = *self.live.get(&(service, daddr, dport)).ok_or(Errno::Enoent)?;
        self.unlink(key, id);
        if let Some(record) = self.services.get_mut(key) {
            record.link_joining();
            record.service.unlink(id);
        }
        self.touch(key);
        Ok(())
    }

    /// Synchronisation cannot say that a server has another family than its service.
    fn check_family(&self, key: &ServiceKey, options: &ServerOptions) -> Result<(), Errno> {
        let mixed = key.family() != Family::of(&options.daddr);
        if mixed && self.runs_daemon() { Err(Errno::Einval) } else { Ok(()) }
    }

    /// Makes a server unavailable and puts it into the trash. Its service's list is the caller's business.
    pub(super) fn unlink(&mut self, key: &ServiceKey, id: ServerId) {
        let Some(server) = self.tables.server(id) else { return };
        let server = Server { available: false, ..server.clone() };
        self.live.remove(&(server.service, server.daddr, server.dport));
        self.trash.put(id, (*key, server.daddr, server.dport), self.publications + 1);
        self.tables.put_server(server);
        self.unpublished = true;
    }

    /// A server comes back from the trash. If its service was deleted in between, its statistics begin anew, and what it
    /// has counted, which is returned, is not its new service's.
    fn take_back(&mut self, id: ServerId, born: u64) -> Option<Counters> {
        if self.record_of(id).service_born == born {
            return self.record_of(id).counted_elsewhere;
        }
        if let Some(statistics) = self.server_statistics.get_mut(id.0) {
            statistics.zero();
        }
        Some(Counters::of(self.dataplane.boards(), id))
    }

    /// Puts a server into the working copy, and returns it as schedulers see it.
    fn put_server(&mut self, id: ServerId, service: ServiceId, options: &ServerOptions) -> Candidate {
        let (hop, tunnel_source) = self.resolver.resolve(options.daddr);
        if options.weight != 0 {
            self.record_of(id).last_weight = options.weight;
        }
        self.update_overload(id, options);
        self.tables.put_server(Server {
            hop,
            method: options.method,
            available: true,
            tunnel: options.tunnel,
            tunnel_checksum: options.tunnel_checksum,
            weight: options.weight,
            id,
            service,
            dport: options.dport,
            daddr: options.daddr,
            tunnel_source,
            upper_threshold: options.upper_threshold,
            lower_threshold: options.lower_threshold,
            outer: Outer::default(),
        });
        self.unpublished = true;
        let ServerOptions { daddr, dport, weight, .. } = *options;
        let last_weight = self.record_of(id).last_weight;
        Candidate { id, weight, last_weight, daddr, dport }
    }

    /// Evaluates the overload flag of a server whose thresholds change (spec `connections.md` §6).
    fn update_overload(&mut self, id: ServerId, options: &ServerOptions) {
        let (upper, lower) = (options.upper_threshold, options.lower_threshold);
        let before = self.tables.server(id).map(|server| (server.upper_threshold, server.lower_threshold));
        if before.unwrap_or((0, 0)) == (upper, lower) {
            return;
        }
        let boards = self.dataplane.boards();
        let total = boards.total(id);
        if let Some(undo) = &mut self.undo {
            undo.push((id, boards.is_overloaded(id)));
        }
        if upper > 0 && total >= upper {
            boards.set_overloaded(id, true);
        } else if upper == 0 || total < effective_lower_threshold(upper, lower) {
            boards.set_overloaded(id, false);
        }
    }

    pub(super) fn record_of(&mut self, id: ServerId) -> &mut ServerRecord {
        let index = id.0 as usize;
        if self.servers.len() <= index {
            self.servers.resize(index + 1, ServerRecord::default());
        }
        &mut self.servers[index]
    }

    fn fresh_server_id(&mut self) -> Option<ServerId> {
        let id = match self.trash.fresh() {
            Some(id) => id,
            None if self.undo.is_some() => return None,
            None => {
                self.squeeze_trash();
                self.trash.fresh()?
            }
        };
        self.dataplane.boards().reset(id);
        *self.record_of(id) = ServerRecord::default();
        self.server_statistics.set(id.0, Some(super::Statistics::default()));
        Some(id)
    }
}

impl Director {
    /// Forgets all deleted servers that nothing refers to.
    pub(super) fn squeeze_trash(&mut self) {
        let boards = self.dataplane.boards();
        let freed = self.trash.squeeze(self.in_force, |id| super::is_used(boards, id));
        self.forget(&freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        let good = [
            "10.0.0.1",
            "127.0.0.1",
            "0.0.0.1",
            "0.255.255.255",
            "240.0.0.1",
            "255.255.255.254",
            "fd00::1",
            "::1",
            "::10.0.0.1",
            "fec0::1",
            "2001:db8::1",
        ];
        let bad = ["0.0.0.0", "224.0.0.5", "255.255.255.255", "::", "ff02::1", "fe80::1", "::ffff:10.0.0.1"];
        for address in good {
            assert!(is_unicast(&address.parse().unwrap()), "{address}");
        }
        for address in bad {
            assert!(!is_unicast(&address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn lower_threshold_by_default() {
        assert_eq!(effective_lower_threshold(10, 0), 8);
        assert_eq!(effective_lower_threshold(10, 5), 5);
        assert_eq!(effective_lower_threshold(1, 0), 1);
    }
}
