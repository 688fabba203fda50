//! Watches what neither the kernel nor an operator would notice: the link of each NIC, which the twin's carrier follows, and
//! whether the twin is still there.

use super::MirrorPort;
use super::kernel::{Link, Topology};
use super::netlink::Netlink;
use crate::dataplane::Dataplane;

/// What was seen last of each NIC port.
pub(super) struct Watch(Vec<Seen>);

struct Seen {
    link_up: bool,
    has_twin: bool,
}

fn twin_of<'a>(port: &MirrorPort, topology: &'a Topology) -> Option<&'a Link> {
    topology.links.iter().find(|link| Some(&link.name) == port.twin.as_ref())
}

impl Watch {
    /// Begins with the links as they are: a driver that never tells of one keeps its twin's carrier.
    pub fn new(ports: &[MirrorPort], dataplane: &dyn Dataplane) -> Watch {
        let seen = |nic_port| Seen { link_up: dataplane.link_up(nic_port), has_twin: true };
        let watch = Watch((0..ports.len()).map(seen).collect());
        for (nic_port, seen) in watch.0.iter().enumerate().filter(|(_, seen)| !seen.link_up) {
            tracing::warn!(nic_port, link_up = seen.link_up, "a NIC port has no link");
        }
        watch
    }

    /// Looks once more, at what changed since.
    pub fn look(
        &mut self,
        ports: &[MirrorPort],
        topology: &Topology,
        dataplane: &dyn Dataplane,
        netlink: &mut Netlink,
    ) {
        for (nic_port, (port, seen)) in ports.iter().zip(&mut self.0).enumerate() {
            let twin = twin_of(port, topology);
            let name = port.twin.as_deref().unwrap_or("none");
            let link_up = dataplane.link_up(nic_port);
            if link_up != seen.link_up {
                tracing::warn!(nic_port, twin = name, link_up, "the link of a NIC port has changed");
                if let Some(Err(error)) = twin.map(|twin| netlink.set_carrier(twin.index, link_up)) {
                    tracing::warn!(twin = name, %error, "the twin's carrier does not follow");
                }
                seen.link_up = link_up;
            }
            let has_twin = port.twin.is_none() || twin.is_some();
            if has_twin != seen.has_twin {
                match has_twin {
                    false => tracing::error!(
                        twin = name,
                        "the twin of a NIC port is gone, and with it its addresses and routes: restart shuntd"
                    ),
                    true => tracing::info!(twin = name, "there is an interface of the twin's name again"),
                }
                seen.has_twin = has_twin;
            }
        }
    }
}
