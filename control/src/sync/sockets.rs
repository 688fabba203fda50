//! Multicast sockets of the kernel, opened as its own daemons open theirs (spec `sync.md` §1).

use super::daemon::DaemonConfig;
use crate::mirror::Interface;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The sockets of a master, connected to the group.
///
/// # Errors
/// What the kernel said.
pub(super) fn for_master(config: &DaemonConfig, interface: &Interface) -> io::Result<Vec<UdpSocket>> {
    (0..config.sockets)
        .map(|nth| {
            let socket = open(config)?;
            match config.group {
                IpAddr::V4(_) => {
                    set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
                    socket.set_multicast_loop_v4(false)?;
                    socket.set_multicast_ttl_v4(config.ttl.into())?;
                    let address = interface.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED);
                    socket.set_multicast_if_v4(&address)?;
                    socket.bind(&SockAddr::from(SocketAddr::from((address, 0))))?;
                }
                IpAddr::V6(_) => {
                    set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DONT)?;
                    socket.set_multicast_loop_v6(false)?;
                    socket.set_multicast_hops_v6(config.ttl.into())?;
                    socket.set_multicast_if_v6(interface.index)?;
                }
            }
            if config.sock_size > 0 {
                socket.set_send_buffer_size(config.sock_size as usize)?;
            }
            socket.connect(&group(config, nth, interface))?;
            Ok(socket.into())
        })
        .collect()
}

/// The sockets of a backup, which hear the group on one interface.
///
/// # Errors
/// What the kernel said.
pub(super) fn for_backup(config: &DaemonConfig, interface: &Interface) -> io::Result<Vec<UdpSocket>> {
    (0..config.sockets)
        .map(|nth| {
            let socket = open(config)?;
            socket.set_reuse_address(true)?;
            if config.sock_size > 0 {
                socket.set_recv_buffer_size(config.sock_size as usize)?;
            }
            socket.bind(&group(config, nth, interface))?;
            match config.group {
                IpAddr::V4(group) => {
                    let place = InterfaceIndexOrAddress::Index(interface.index);
                    socket.join_multicast_v4_n(&group, &place)?;
                }
                IpAddr::V6(group) => socket.join_multicast_v6(&group, interface.index)?,
            }
            Ok(socket.into())
        })
        .collect()
}

fn open(config: &DaemonConfig) -> io::Result<Socket> {
    let domain = if config.group.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.bind_device(Some(config.interface.as_bytes()))?;
    Ok(socket)
}

/// Where socket `nth` of each daemon sends to and listens.
fn group(config: &DaemonConfig, nth: u16, interface: &Interface) -> SockAddr {
    let l4_port = config.l4_port.wrapping_add(nth);
    match config.group {
        IpAddr::V4(group) => SocketAddr::from((group, l4_port)).into(),
        IpAddr::V6(group) => {
            SocketAddr::V6(std::net::SocketAddrV6::new(group, l4_port, 0, interface.index)).into()
        }
    }
}
