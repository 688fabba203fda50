//! NAT servers by where their packets come from: address, port and protocol.

use super::addresses::fold;
use super::server::{ForwardingMethod, Server, ServerId};
use super::service::ServiceKey;
use hashbrown::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Address, port in host order, and protocol; 0 for servers of marks, which have any.
type End = (IpAddr, u16, u8);

/// Shards by address: a change copies one.
const SHARDS: usize = 256;

/// All available NAT servers whose service is known.
#[derive(Clone, Debug)]
pub(super) struct NatEnds {
    shards: Vec<Arc<Shard>>,
}

#[derive(Clone, Debug, Default)]
struct Shard {
    /// How many there are of an end, and the latest of them.
    servers: HashMap<End, (u32, ServerId)>,
    ends: HashMap<ServerId, End>,
}

impl Default for NatEnds {
    fn default() -> Self {
        NatEnds { shards: vec![Arc::default(); SHARDS] }
    }
}

fn shard_of(address: &IpAddr) -> usize {
    (fold(address).wrapping_mul(0x9E37_79B1) >> 24) as usize % SHARDS
}

impl NatEnds {
    /// A server came or changed; it was at `before`.
    pub(super) fn put(&mut self, before: Option<IpAddr>, server: &Server, service: Option<&ServiceKey>) {
        if let Some(before) = before {
            self.remove(server.id, before);
        }
        let protocol = match service {
            Some(ServiceKey::Address { protocol, .. }) => *protocol,
            Some(ServiceKey::Fwmark { .. }) => 0,
            None => return,
        };
        if server.method == ForwardingMethod::Nat && server.available {
            let end = (server.daddr, server.dport, protocol);
            let shard = Arc::make_mut(&mut self.shards[shard_of(&server.daddr)]);
            let place = shard.servers.entry(end).or_insert((0, server.id));
            *place = (place.0 + 1, server.id);
            shard.ends.insert(server.id, end);
        }
    }

    /// The server that was at this address is gone.
    pub(super) fn remove(&mut self, id: ServerId, address: IpAddr) {
        let shard = &mut self.shards[shard_of(&address)];
        if !shard.ends.contains_key(&id) {
            return;
        }
        let Shard { servers, ends } = Arc::make_mut(shard);
        let Some(end) = ends.remove(&id) else { return };
        if let Some(place) = servers.get_mut(&end) {
            place.0 -= 1;
            if place.0 == 0 {
                servers.remove(&end);
            } else if place.1 == id {
                // Rare, and seldom asked for: any other one will do.
                let other = ends.iter().find(|(_, other)| **other == end).map(|(id, _)| *id);
                place.1 = other.unwrap_or(id);
            }
        }
    }

    /// A server whose packets come from there.
    pub(super) fn find(&self, address: IpAddr, l4_port: u16, protocol: u8) -> Option<ServerId> {
        let servers = &self.shards[shard_of(&address)].servers;
        let of = |protocol| servers.get(&(address, l4_port, protocol)).map(|place| place.1);
        of(protocol).or_else(|| of(0))
    }
}
