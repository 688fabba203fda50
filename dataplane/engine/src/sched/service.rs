//! Changes of a service's server list, with the scheduler hooks that belong to them. Control calls these.

use super::plan::{SchedulerPlan, TooManyServers};
use crate::tables::{Candidate, Family, SchedulerKind, ServerId, Service, ServiceKey};

impl Service {
    /// The family of the packets that the service takes.
    #[must_use]
    pub fn family(&self) -> Family {
        match self.key {
            ServiceKey::Address { vaddr, .. } => Family::of(&vaddr),
            ServiceKey::Fwmark { family, .. } => family,
        }
    }

    /// Puts a server at the head of the list (spec `scheduling.md` §1). Its id must not be in the list yet.
    pub fn link(&mut self, server: Candidate) {
        self.servers = [server].into_iter().chain(self.servers.iter().copied()).collect();
        self.plan = self.plan.added(&self.servers);
    }

    /// Takes a server out of the list; false if it was not there.
    pub fn unlink(&mut self, id: ServerId) -> bool {
        let Some(place) = self.servers.iter().position(|server| server.id == id) else { return false };
        self.servers = self.servers.iter().copied().filter(|server| server.id != id).collect();
        self.plan = self.plan.removed(&self.servers, place);
        true
    }

    /// Replaces what the list says of the server with this id; false if it is not there. To be called at every edit of a
    /// server, even one that schedulers do not see (thresholds, forwarding method): `wrr` starts its round anew at each.
    pub fn edit(&mut self, server: Candidate) -> bool {
        if self.servers.iter().all(|old| old.id != server.id) {
            return false;
        }
        self.servers =
            self.servers.iter().map(|&old| if old.id == server.id { server } else { old }).collect();
        self.plan = self.plan.edited(&self.servers);
        true
    }

    /// Puts a scheduler in charge. If it already is, nothing happens and its state stays. On a service that is being
    /// made this initialises the scheduler.
    ///
    /// # Errors
    /// [`TooManyServers`] if `mh` cannot serve this list. The old scheduler stays, but has lost its state, as in the kernel.
    pub fn reschedule(&mut self, kind: SchedulerKind) -> Result<(), TooManyServers> {
        if self.scheduler == kind && self.plan.kind() == kind {
            return Ok(());
        }
        match SchedulerPlan::init(kind, self.family(), &self.servers) {
            Ok(plan) => {
                (self.scheduler, self.plan) = (kind, plan);
                Ok(())
            }
            Err(refused) => {
                self.plan = SchedulerPlan::init(self.scheduler, self.family(), &self.servers)?;
                Err(refused)
            }
        }
    }
}
