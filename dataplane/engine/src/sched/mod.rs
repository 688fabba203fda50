//! Scheduling: which real server takes a new flow (spec `scheduling.md`). One algorithm per file.

use crate::board::Boards;
use crate::tables::{ServerId, Service};
use crate::tick::Tick;
use std::net::IpAddr;

/// What control works out once per change of a service, so that workers need not: lookup tables of the hashing
/// schedulers, history of edits for those that keep a position.
#[derive(Clone, Debug, Default)]
pub struct SchedulerPlan {}

/// A new flow, as a scheduler sees it.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow {
    /// IP protocol number.
    pub protocol: u8,
    /// Client address.
    pub caddr: IpAddr,
    /// Client port, host order.
    pub cport: u16,
    /// Destination address of the packet.
    pub vaddr: IpAddr,
    /// Destination port of the packet, host order.
    pub vport: u16,
    /// Time.
    pub now: Tick,
}

/// What one worker remembers between picks, for all services.
#[derive(Debug, Default)]
pub struct Schedulers {}

impl Schedulers {
    /// Chooses a server for a new flow, or none (spec `scheduling.md` §1, eligibility).
    pub fn pick(&mut self, service: &Service, boards: &Boards, flow: &NewFlow) -> Option<ServerId> {
        let _ = (boards, flow);
        service.servers.iter().find(|server| server.weight > 0).map(|server| server.id)
    }
}
