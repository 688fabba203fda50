//! `lblcr`: locality-based least connection with replication (spec `scheduling.md` §8). A set of servers per destination,
//! that grows when they are overloaded and shrinks when nothing changed for a long time.

use super::NewFlow;
use super::lblc::is_locally_overloaded;
use super::load::{is_lighter, is_open, overhead};
use super::locality::{EntryIndex, Localities};
use crate::board::Boards;
use crate::tables::{Candidate, ServerId, Service};

/// The least busy server of the destination's set; one more by `wlc` if there is none that is not overloaded.
pub fn pick<'a>(
    service: &'a Service,
    boards: &Boards,
    flow: &NewFlow,
    localities: &mut Localities,
    by_wlc: impl FnOnce() -> Option<&'a Candidate>,
) -> Option<&'a Candidate> {
    let servers = &service.servers[..];
    let Some(entry) = localities.find(service, flow.daddr, flow.now) else {
        let chosen = by_wlc()?;
        localities.insert(service, flow.daddr, flow.now, chosen.id, chosen.weight);
        return Some(chosen);
    };
    let (least, most) = extremes(service, boards, localities, entry);
    let aged = localities.changed(entry).0 + localities.set_expiration_ms();
    if localities.members_count(entry) > 1
        && flow.now.0 > aged
        && let Some(most) = most
    {
        localities.leave(entry, flow.now, most);
    }
    if let Some(least) = least.filter(|least| !is_locally_overloaded(servers, boards, least)) {
        return Some(least);
    }
    let chosen = by_wlc()?;
    if localities.member_ids(entry).all(|id| id != chosen.id) {
        localities.join(entry, flow.now, chosen.id, chosen.weight);
    }
    Some(chosen)
}

/// Of the set the least busy open server, and the busiest of those with a weight, deleted and overloaded ones included.
fn extremes<'a>(
    service: &'a Service,
    boards: &Boards,
    localities: &mut Localities,
    entry: EntryIndex,
) -> (Option<&'a Candidate>, Option<ServerId>) {
    let mut least: Option<(&Candidate, u64)> = None;
    let mut most: Option<(ServerId, u64, i32)> = None;
    localities.visit(entry, |member| {
        let listed = service.plan.find(&service.servers, member.id);
        if let Some(listed) = listed {
            member.weight = listed.weight;
        }
        let cost = overhead(boards, member.id);
        let is_busier = |&(_, most_cost, most_weight): &(ServerId, u64, i32)| {
            is_lighter(most_cost, most_weight, cost, member.weight)
        };
        if member.weight > 0 && most.as_ref().is_none_or(is_busier) {
            most = Some((member.id, cost, member.weight));
        }
        let Some(server) = listed.filter(|server| is_open(boards, server)) else { return };
        if least.is_none_or(|(least, least_cost)| is_lighter(cost, server.weight, least_cost, least.weight)) {
            least = Some((server, cost));
        }
    });
    (least.map(|(server, _)| server), most.map(|(id, ..)| id))
}
