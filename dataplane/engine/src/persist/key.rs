//! What makes a persistence template unique (spec `connections.md` §4.3).

use crate::connection_info::{ConnectionInfo, ControlKey};
use crate::tables::{Persistence, Service, ServiceKey};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The protocol of templates for firewall marks: "IP".
const ANY_PROTOCOL: u8 = 0;
/// Port of services whose templates are for all ports, whatever port the helper listens to.
pub(crate) const FTP: u16 = 21;

/// What makes a template unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TemplateKey {
    protocol: u8,
    pub(super) client_net: IpAddr,
    vaddr: IpAddr,
    vport: u16,
    mark: bool,
    /// Of a persistence engine's data, which the hash stands for: 64 bits under a secret key. 0: none.
    pub(super) digest: u64,
}

impl TemplateKey {
    /// The same for one dialog.
    pub(crate) fn with_call_id(self, digest: u64) -> TemplateKey {
        TemplateKey { digest, ..self }
    }

    /// Has it data of a persistence engine?
    pub(crate) fn has_call_id(&self) -> bool {
        self.digest != 0
    }

    /// The key for a packet of a persistent service, and the server port that its template carries (the table of spec
    /// §4.3): `true` stands for the configured one.
    pub(crate) fn new(
        service: &Service,
        persistence: Persistence,
        packet: &NewConnection,
    ) -> (TemplateKey, bool) {
        let client_net = masked(packet.caddr, persistence.netmask);
        let key = |protocol, vaddr, vport, mark| TemplateKey {
            protocol,
            client_net,
            vaddr,
            vport,
            mark,
            digest: 0,
        };
        match service.key {
            ServiceKey::Fwmark { mark, .. } => {
                (key(ANY_PROTOCOL, mark_as_address(mark, packet.vaddr), 0, true), false)
            }
            ServiceKey::Address { vport, .. } if vport == packet.vport && vport != FTP => {
                (key(packet.protocol, packet.vaddr, vport, false), true)
            }
            ServiceKey::Address { .. } => (key(packet.protocol, packet.vaddr, 0, false), false),
        }
    }
}

/// The first packet of a connection, as templates see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewConnection {
    pub(crate) protocol: u8,
    pub(crate) caddr: IpAddr,
    pub(crate) vaddr: IpAddr,
    pub(crate) vport: u16,
}

/// Bits of an IPv6 address behind a mark.
const REST: u32 = 96;

/// A firewall mark in the place of a virtual address: the first four bytes of one of that family.
fn mark_as_address(mark: u32, family_of: IpAddr) -> IpAddr {
    match family_of {
        IpAddr::V4(_) => Ipv4Addr::from_bits(mark).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(u128::from(mark) << REST).into(),
    }
}

/// A client address under a service's netmask.
fn masked(address: IpAddr, netmask: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & netmask).into(),
        IpAddr::V6(address) => {
            let ignored = 128 - netmask.min(128);
            let mask = u128::MAX.checked_shl(ignored).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl TemplateKey {
    /// Of a template that somebody tells of.
    pub(crate) fn told(info: &ConnectionInfo) -> TemplateKey {
        let ConnectionInfo { protocol, caddr, vaddr, vport, .. } = *info;
        ControlKey { protocol, client_net: caddr, cport: 0, vaddr, vport }.into()
    }
}

impl From<ControlKey> for TemplateKey {
    fn from(name: ControlKey) -> TemplateKey {
        let ControlKey { protocol, client_net, vaddr, vport, .. } = name;
        TemplateKey { protocol, client_net, vaddr, vport, mark: protocol == ANY_PROTOCOL, digest: 0 }
    }
}

impl TemplateKey {
    /// The firewall mark that stands in the place of the virtual address; 0: none.
    pub(crate) fn fwmark(&self) -> u32 {
        match self.vaddr {
            _ if !self.mark => 0,
            IpAddr::V4(mark) => mark.to_bits(),
            IpAddr::V6(mark) => (mark.to_bits() >> REST) as u32,
        }
    }

    /// What others call it.
    pub(crate) fn name(&self) -> ControlKey {
        let TemplateKey { protocol, client_net, vaddr, vport, .. } = *self;
        ControlKey { protocol, client_net, cport: 0, vaddr, vport }
    }
}
