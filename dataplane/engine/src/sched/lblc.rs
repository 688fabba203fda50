//! `lblc`: locality-based least connection (spec `scheduling.md` §7). One server per destination, while it is not
//! overloaded; for caches behind a firewall mark.

use super::NewFlow;
use super::locality::Localities;
use crate::board::Boards;
use crate::tables::{Candidate, Service};

/// The destination's server; a new one by `wlc` if there is none, or if it is gone, quiesced or overloaded by its weight.
/// The threshold flag of the remembered server does not count: the kernel does not look at it.
pub fn pick<'a>(
    service: &'a Service,
    boards: &Boards,
    flow: &NewFlow,
    localities: &mut Localities,
    by_wlc: impl FnOnce() -> Option<&'a Candidate>,
) -> Option<&'a Candidate> {
    let servers = &service.servers[..];
    let entry = localities.find(service, flow.daddr, flow.now);
    let remembered = entry.and_then(|entry| localities.member_ids(entry).next());
    if let Some(server) = remembered.and_then(|id| service.plan.find(servers, id))
        && server.weight > 0
        && !is_locally_overloaded(servers, boards, server)
    {
        return Some(server);
    }
    let chosen = by_wlc()?;
    match entry {
        Some(_) if remembered == Some(chosen.id) => {}
        Some(entry) => localities.replace(entry, flow.now, chosen.id, chosen.weight),
        None => localities.insert(service, flow.daddr, flow.now, chosen.id, chosen.weight),
    }
    Some(chosen)
}

/// Has the server more active connections than its weight, while another has less than half of its own?
pub fn is_locally_overloaded(servers: &[Candidate], boards: &Boards, server: &Candidate) -> bool {
    let active = |server: &Candidate| i64::from(boards.active(server.id));
    active(server) > i64::from(server.weight)
        && servers.iter().any(|other| active(other) * 2 < i64::from(other.weight))
}
