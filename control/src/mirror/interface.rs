//! One of the kernel's interfaces, looked up by its name.

use super::netlink::Netlink;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// A network interface of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Bytes of IP packet.
    pub mtu: u32,
    /// Its first IPv4 address, if it has one.
    pub ipv4: Option<Ipv4Addr>,
}

impl Interface {
    /// Asks the kernel, in the network namespace of the calling thread. `None` if there is none of this name.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn find(name: &str) -> io::Result<Option<Interface>> {
        let topology = Netlink::open()?.interfaces()?;
        let Some(link) = topology.links.iter().find(|link| link.name == name) else { return Ok(None) };
        let ipv4 = topology.addresses.iter().find_map(|address| match address.address {
            IpAddr::V4(ipv4) if address.interface == link.index => Some(ipv4),
            _ => None,
        });
        Ok(Some(Interface { index: link.index, mtu: link.mtu, ipv4 }))
    }
}
