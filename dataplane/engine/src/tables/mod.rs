//! The snapshot that workers read: services, real servers, routes, settings.
//!
//! `Tables` is immutable once published. Control keeps a working copy, changes it through the methods here (each copies
//! only what it touches) and publishes a clone. Nothing here knows of `ipvsadm`; control decides what may be added.

mod addresses;
mod blocks;
mod chunks;
mod local;
mod mark_index;
mod marks;
mod nat_ends;
mod routes;
mod server;
mod service;
mod settings;
mod spread;

use addresses::AddressCounts;
pub use chunks::Chunks;
pub use marks::{MarkRule, Marked, Marks, Prefix};
pub use routes::Routes;
pub use server::{ForwardingMethod, Hop, Ipip, NextHop, Outer, Server, ServerId, TunnelChecksum, TunnelKind};
pub use service::{
    Candidate, Family, Persistence, SchedulerKind, Service, ServiceFlags, ServiceId, ServiceKey,
};
pub use settings::{Settings, SyncRules};
pub use spread::chosen_next_hop;

use crate::conn::Address;
use hashbrown::{HashMap, HashSet};
use local::LocalAddresses;
use nat_ends::NatEnds;
use shunt_wire::MacAddr;
use std::net::IpAddr;
use std::sync::Arc;

/// Shards of the service index: a change copies one shard. 64 shards of 20,000 services hold about 310 each.
const SHARDS: usize = 64;

/// What control knows of a NIC port, and the engine needs for packets that it originates.
#[derive(Clone, Debug)]
pub struct NicPortInfo {
    /// Its link-layer address.
    pub mac: MacAddr,
    /// Others to which frames for the director may go: of interfaces that the operator put on its twin (a virtual MAC of
    /// VRRP), the twin's own if it was changed.
    pub other_macs: Vec<MacAddr>,
    /// MTU in bytes of IP packet.
    pub mtu: u16,
    /// The address that the kernel would use as source of ICMP errors on this port, per family.
    pub address_v4: Option<std::net::Ipv4Addr>,
    /// The same for IPv6.
    pub address_v6: Option<std::net::Ipv6Addr>,
}

impl NicPortInfo {
    /// The address of these that a frame bears, if it bears one: `address` is the frame's first 6 bytes, or its source.
    #[inline]
    #[must_use]
    pub fn own_mac(&self, address: &[u8]) -> Option<MacAddr> {
        if address == self.mac.0 {
            return Some(self.mac);
        }
        self.other_macs.iter().copied().find(|mac| address == mac.0)
    }
}

/// An immutable snapshot of everything that control decides.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    index: Vec<Arc<HashMap<ServiceKey, ServiceId>>>,
    services: Chunks<Arc<Service>>,
    servers: Chunks<Server>,
    /// Real servers by (protocol-less) address: is a packet from one of them? Counts the records of the address.
    real_addresses: AddressCounts,
    nat_ends: NatEnds,
    sip_services: u32,
    /// Services whose port is 0 or which match a firewall mark (spec §3.1 step 4).
    any_port_services: u32,
    /// Services on port 21 (spec §3.1 step 3).
    ftp_services: u32,
    fwmark_services: u32,
    ipv4_services: u32,
    ipv6_services: u32,
    had_ipv6_services: bool,
    /// Servers that became unavailable, ever.
    deletions: u64,
    /// Servers that are unavailable.
    deleted_servers: u32,
    /// Addresses of address services, with the number of services on each.
    virtual_addresses: AddressCounts,
    marks: Arc<Marks>,
    routes: Arc<Routes>,
    local: Arc<LocalAddresses>,
    nic_ports: Arc<[NicPortInfo]>,
    settings: Arc<Settings>,
}

fn shard(key: &ServiceKey) -> usize {
    // Any spread will do: it only decides which small map is copied when a service is added.
    let fold = match key {
        ServiceKey::Address { protocol, vaddr, vport } => {
            addresses::fold(vaddr) ^ u32::from(*vport) ^ (u32::from(*protocol) << 16)
        }
        ServiceKey::Fwmark { mark, .. } => *mark,
    };
    (fold.wrapping_mul(0x9E37_79B1) >> 26) as usize % SHARDS
}

impl Tables {
    /// An empty snapshot for these NIC ports.
    #[must_use]
    pub fn new(nic_ports: Vec<NicPortInfo>) -> Tables {
        Tables {
            index: (0..SHARDS).map(|_| Arc::default()).collect(),
            nic_ports: nic_ports.into(),
            ..Tables::default()
        }
    }

    /// The service with exactly this key.
    #[must_use]
    pub fn service_by_key(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        let id = self.index.get(shard(key))?.get(key)?;
        self.services.get(id.0)
    }

    /// The service that a packet of a new flow belongs to (spec `connections.md` §3.1). `mark` 0 = none.
    #[must_use]
    pub fn service_for(&self, mark: u32, protocol: u8, vaddr: IpAddr, vport: u16) -> Option<&Arc<Service>> {
        if mark != 0 && self.fwmark_services > 0 {
            let key = ServiceKey::Fwmark { family: Family::of(&vaddr), mark };
            if let Some(service) = self.service_by_key(&key) {
                return Some(service);
            }
        }
        let address = |vport| ServiceKey::Address { protocol, vaddr, vport };
        if let Some(service) = self.service_by_key(&address(vport)) {
            return Some(service);
        }
        const FTP: u16 = 21;
        const FTP_DATA: u16 = 20;
        const UNPRIVILEGED: u16 = 1024;
        const TCP: u8 = 6;
        if protocol == TCP
            && self.ftp_services > 0
            && (vport == FTP_DATA || vport >= UNPRIVILEGED)
            && let Some(service) = self.service_by_key(&address(FTP))
        {
            return Some(service);
        }
        if self.any_port_services > 0 { self.service_by_key(&address(0)) } else { None }
    }

    /// The service with this id.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id.0)
    }

    /// All services, in no particular order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// The server with this id, deleted ones included while connections may name them.
    #[inline]
    #[must_use]
    pub fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(id.0)
    }

    /// All servers, deleted ones included.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter()
    }

    /// A NAT server whose packets come from this address and port, for this protocol or for a mark.
    #[must_use]
    pub fn nat_server(&self, address: IpAddr, l4_port: u16, protocol: u8) -> Option<&Server> {
        self.nat_ends.find(address, l4_port, protocol).and_then(|id| self.server(id))
    }

    /// Are there services with the persistence engine `sip`?
    #[must_use]
    pub fn has_sip_services(&self) -> bool {
        self.sip_services > 0
    }

    /// Is anything to be done about packets of servers without a connection?
    #[must_use]
    pub fn watches_servers(&self) -> bool {
        self.has_sip_services() || self.settings.nat_icmp_send
    }

    /// Does any server, deleted ones included, have this address?
    #[must_use]
    pub fn is_real_address(&self, address: &IpAddr) -> bool {
        self.real_addresses.contains(address)
    }

    /// Is there any service of this family? While there is none, the kernel's IPVS looks at no packet of it (spec
    /// `connections.md` §2), whatever connections remain.
    #[must_use]
    pub fn balances(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.ipv4_services > 0,
            Family::V6 => self.ipv6_services > 0,
        }
    }

    /// Was there ever an IPv6 service? The first one makes netfilter gather all fragments of IPv6, for good (spec
    /// `connections.md` §12).
    #[must_use]
    pub fn gathers_ipv6(&self) -> bool {
        self.had_ipv6_services
    }

    /// Adds a service or replaces the one with the same id.
    pub fn put_service(&mut self, service: Service) {
        self.remove_service(service.id);
        self.count_kinds(&service.key, true);
        self.sip_services += u32::from(service.sip);
        Arc::make_mut(&mut self.index[shard(&service.key)]).insert(service.key, service.id);
        let id = service.id;
        self.services.set(id.0, Some(Arc::new(service)));
    }

    /// Removes a service; its servers stay until [`Tables::remove_server`].
    pub fn remove_service(&mut self, id: ServiceId) {
        let Some(service) = self.services.get(id.0) else { return };
        let key = service.key;
        self.sip_services -= u32::from(service.sip);
        self.count_kinds(&key, false);
        Arc::make_mut(&mut self.index[shard(&key)]).remove(&key);
        self.services.set(id.0, None);
    }

    fn count_kinds(&mut self, key: &ServiceKey, added: bool) {
        let step = |count: &mut u32| *count = if added { *count + 1 } else { *count - 1 };
        match key.family() {
            Family::V4 => step(&mut self.ipv4_services),
            Family::V6 => step(&mut self.ipv6_services),
        }
        self.had_ipv6_services |= self.ipv6_services > 0;
        match key {
            ServiceKey::Fwmark { .. } => {
                step(&mut self.fwmark_services);
                step(&mut self.any_port_services);
            }
            ServiceKey::Address { vport: 0, .. } => step(&mut self.any_port_services),
            ServiceKey::Address { vport: 21, .. } => step(&mut self.ftp_services),
            ServiceKey::Address { .. } => {}
        }
        if let ServiceKey::Address { vaddr, .. } = key {
            self.virtual_addresses.count(*vaddr, added);
        }
    }

    /// Adds a server or replaces the one with the same id.
    pub fn put_server(&mut self, server: Server) {
        let server = server.prepared();
        let before = self.servers.get(server.id.0).map(|old| old.daddr);
        if before != Some(server.daddr) {
            if let Some(before) = before {
                self.real_addresses.count(before, false);
            }
            self.real_addresses.count(server.daddr, true);
        }
        let id = server.id;
        let was_deleted = self.servers.get(id.0).is_some_and(|before| !before.available);
        self.deleted_servers += u32::from(!server.available);
        self.deleted_servers -= u32::from(was_deleted);
        let service = self.services.get(server.service.0).map(|service| service.key);
        self.nat_ends.put(before, &server, service.as_ref());
        if !server.available && self.servers.get(id.0).is_some_and(|before| before.available) {
            self.deletions += 1;
        }
        self.servers.set(id.0, Some(server));
    }

    /// How often a server became unavailable: tells workers that there may be connections without a server.
    #[inline]
    #[must_use]
    pub fn deletions(&self) -> u64 {
        self.deletions
    }

    /// Forgets a server. No connection may name it any more.
    pub fn remove_server(&mut self, id: ServerId) {
        if let Some((address, available)) =
            self.servers.get(id.0).map(|server| (server.daddr, server.available))
        {
            self.real_addresses.count(address, false);
            self.deleted_servers -= u32::from(!available);
            self.servers.set(id.0, None);
            self.nat_ends.remove(id, address);
        }
    }

    /// Are there servers that were deleted, and that connections still name?
    #[inline]
    #[must_use]
    pub fn has_deleted_servers(&self) -> bool {
        self.deleted_servers > 0
    }

    /// Does any address service have this virtual address?
    #[must_use]
    pub fn has_virtual_address(&self, address: &IpAddr) -> bool {
        self.virtual_addresses.contains(address)
    }

    /// The firewall mark of a packet; 0 = none.
    #[inline]
    #[must_use]
    pub fn mark_of(&self, packet: &Marked) -> u32 {
        if self.marks.is_empty() { 0 } else { self.marks.mark_of(packet) }
    }

    /// Does any service go by a mark?
    #[inline]
    #[must_use]
    pub fn has_mark_services(&self) -> bool {
        self.fwmark_services > 0
    }

    /// The rules that mark packets.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Replaces the rules that mark packets.
    pub fn set_marks(&mut self, marks: Marks) {
        self.marks = Arc::new(marks);
    }

    /// The way to any address.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Replaces all routes.
    pub fn set_routes(&mut self, routes: Routes) {
        self.routes = Arc::new(routes);
    }

    /// Is this one of the director's own addresses (VIPs included)?
    #[inline]
    #[must_use]
    pub fn is_local(&self, address: &IpAddr) -> bool {
        match *address {
            IpAddr::V4(address) => self.is_own(address.to_bits()),
            IpAddr::V6(address) => self.is_own(address.to_bits()),
        }
    }

    /// The same of an address whose family is known.
    #[inline(always)]
    #[must_use]
    pub fn is_own<A: Address>(&self, address: A) -> bool {
        self.local.contains(address)
    }

    /// Replaces the set of the director's own addresses.
    pub fn set_local(&mut self, local: HashSet<IpAddr>) {
        self.local = Arc::new(local.into());
    }

    /// The NIC ports, in the order of the configuration.
    #[must_use]
    pub fn nic_ports(&self) -> &[NicPortInfo] {
        &self.nic_ports
    }

    /// Replaces what is known of the NIC ports.
    pub fn set_nic_ports(&mut self, nic_ports: Vec<NicPortInfo>) {
        self.nic_ports = nic_ports.into();
    }

    /// Settings in force.
    #[inline]
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Settings, to be changed.
    pub fn settings_mut(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}
