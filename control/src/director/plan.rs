//! What the schedulers work out per change of a service (spec `scheduling.md` §1, hook calls).

use super::Director;
use shunt_engine::sched::SchedulerPlan;
use shunt_engine::tables::{ServerId, Service, ServiceKey};

/// The scheduler of a service starts: false if it cannot.
pub(super) fn init(service: &mut Service) -> bool {
    service.plan = SchedulerPlan::default();
    true
}

/// The list of servers is final for this publication.
pub(super) fn settle(_service: &mut Service) {}

impl Director {
    pub(super) fn plan_added(&mut self, _key: &ServiceKey, _id: ServerId) {}

    pub(super) fn plan_edited(&mut self, _key: &ServiceKey, _id: ServerId) {}

    pub(super) fn plan_removed(&mut self, _key: &ServiceKey, _id: ServerId) {}
}
