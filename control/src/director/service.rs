//! Virtual services: add, edit, delete, flush, zero (spec `connections.md` §10).

use super::scheduler_name::scheduler_of_name;
use super::statistics::Statistics;
use super::{Director, Errno, Refusal};
use shunt_engine::sched::SchedulerPlan;
use shunt_engine::tables::{
    Candidate, Family, Persistence, SchedulerKind, ServerId, Service, ServiceFlags, ServiceId, ServiceKey,
};
use std::sync::Arc;

/// What an operator says of a service beside its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Name of the scheduler.
    pub scheduler: String,
    /// Flags.
    pub flags: ServiceFlags,
    /// Persistence timeout in seconds, if the service is persistent.
    pub persistence_timeout_s: Option<u32>,
    /// IPv4: a mask in host order. IPv6: a prefix length. Used by persistence only, checked in any case.
    pub netmask: u32,
    /// Name of the persistence engine.
    pub persistence_engine: Option<String>,
}

/// What control remembers of a service.
#[derive(Clone, Debug)]
pub(super) struct ServiceRecord {
    /// As workers get it, but for those who join.
    pub(super) service: Service,
    /// Servers that were added to a service that no worker knows yet, oldest first. They are linked all at once: so a
    /// service of many servers is restored in time.
    pub(super) joining: Vec<Candidate>,
    /// Counts services ever added: tells two services apart that had the same id or key.
    pub(super) born: u64,
    /// Changed since it was put into the working copy.
    pub(super) changed: bool,
    /// Never yet put into the working copy.
    pub(super) new: bool,
}

impl ServiceRecord {
    /// Adds a server to the list.
    pub(super) fn link(&mut self, server: Candidate) {
        if self.new { self.joining.push(server) } else { self.service.link(server) }
    }

    /// Links those who join. The result is that of linking them one by one.
    pub(super) fn link_joining(&mut self) {
        let joining = std::mem::take(&mut self.joining);
        if joining.is_empty() {
            return;
        }
        let service = &mut self.service;
        let newest_first: Arc<[Candidate]> = joining.iter().rev().copied().collect();
        let is_first = service.servers.is_empty();
        let plan = SchedulerPlan::init(service.scheduler, service.family(), &[]);
        let fits = SchedulerPlan::init(service.scheduler, service.family(), &newest_first).is_ok();
        match plan {
            Ok(plan) if is_first && fits => {
                // `wrr` begins at the level that the first server with a weight gives it.
                let first = joining.iter().find(|server| server.weight > 0);
                let plan = first.map_or(plan.clone(), |first| plan.added(&[*first]));
                service.plan = plan.added(&newest_first);
                service.servers = newest_first;
            }
            _ => joining.into_iter().for_each(|server| service.link(server)),
        }
    }

    /// The ids of its servers.
    pub(super) fn server_ids(&self) -> impl Iterator<Item = ServerId> {
        self.service.servers.iter().chain(&self.joining).map(|server| server.id)
    }
}

/// Statistics of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceStatistics {
    pub(super) born: u64,
    pub(super) statistics: Statistics,
}

/// The options that the kernel checks before it adds or changes a service.
struct Checked {
    scheduler: SchedulerKind,
    sip: bool,
    persistence: Option<Persistence>,
}

fn check(key: &ServiceKey, options: &ServiceOptions) -> Result<Checked, Errno> {
    let scheduler = scheduler_of_name(&options.scheduler).ok_or(Errno::Enoent)?;
    let sip = match options.persistence_engine.as_deref() {
        None | Some("") => false,
        Some("sip") => true,
        Some(_) => return Err(Errno::Enoent),
    };
    let family = match key {
        ServiceKey::Address { vaddr, .. } => Family::of(vaddr),
        ServiceKey::Fwmark { family, .. } => *family,
    };
    if family == Family::V6 && !(1..=128).contains(&options.netmask) {
        return Err(Errno::Einval);
    }
    let netmask = options.netmask;
    let persistence = options.persistence_timeout_s.map(|timeout_s| Persistence { timeout_s, netmask });
    Ok(Checked { scheduler, sip, persistence })
}

impl Director {
    /// Adds a service without servers.
    ///
    /// # Errors
    /// EEXIST; ENOENT for an unknown scheduler or persistence engine; EINVAL for an IPv6 prefix length beyond 1..=128;
    /// [`Refusal::ServicesFull`].
    pub fn add_service(&mut self, key: ServiceKey, options: &ServiceOptions) -> Result<(), Refusal> {
        if self.services.contains_key(&key) {
            return Err(Errno::Eexist.into());
        }
        let checked = check(&key, options)?;
        let id = self.fresh_service_id().ok_or(Refusal::ServicesFull(self.limits.services))?;
        self.born += 1;
        let mut service = Service {
            id,
            key,
            scheduler: checked.scheduler,
            flags: options.flags,
            persistence: checked.persistence,
            sip: checked.sip,
            servers: Arc::new([]),
            plan: SchedulerPlan::default(),
        };
        service.reschedule(checked.scheduler).map_err(|_| Errno::Einval)?;
        let statistics = ServiceStatistics { born: self.born, ..ServiceStatistics::default() };
        self.service_statistics.set(id.0, Some(statistics));
        // Servers that come within the same batch need to know it, as `Tables::nat_server` does.
        self.tables.put_service(service.clone());
        let record =
            ServiceRecord { service, joining: Vec::new(), born: self.born, changed: false, new: true };
        self.services.insert(key, record);
        self.touch(&key);
        Ok(())
    }

    /// Replaces all options of a service. Its servers, connections and templates stay as they are.
    ///
    /// # Errors
    /// ESRCH; ENOENT and EINVAL as [`Director::add_service`].
    pub fn edit_service(&mut self, key: &ServiceKey, options: &ServiceOptions) -> Result<(), Refusal> {
        if !self.services.contains_key(key) {
            return Err(Errno::Esrch.into());
        }
        let checked = check(key, options)?;
        self.touch(key);
        let record = self.services.get_mut(key).ok_or(Errno::Esrch)?;
        record.link_joining();
        // If this fails, the old scheduler stays and starts anew.
        record.service.reschedule(checked.scheduler).map_err(|_| Errno::Einval)?;
        record.service.flags = options.flags;
        record.service.persistence = checked.persistence;
        record.service.sip = checked.sip;
        Ok(())
    }

    /// Deletes a service and its servers. Connections stay.
    ///
    /// # Errors
    /// ESRCH
    pub fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Refusal> {
        let record = self.services.remove(key).ok_or(Errno::Esrch)?;
        for id in record.server_ids() {
            self.unlink(key, id);
        }
        let id = record.service.id;
        self.tables.remove_service(id);
        self.service_statistics.set(id.0, None);
        self.free_service_ids.push_back(id);
        self.unpublished = true;
        Ok(())
    }

    /// Deletes all services and servers. Connections stay.
    pub fn flush(&mut self) {
        let mut keys: Vec<ServiceKey> = self.services.keys().copied().collect();
        keys.sort_unstable();
        for key in &keys {
            // It was there a moment ago.
            let _ = self.delete_service(key);
        }
    }

    /// `-Z`: the visible counters of a service and its servers become zero; without a key, those of everything.
    ///
    /// # Errors
    /// ESRCH
    pub fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), Refusal> {
        let Some(key) = key else {
            let keys: Vec<ServiceKey> = self.services.keys().copied().collect();
            for key in &keys {
                self.zero(Some(key))?;
            }
            self.total.zero();
            return Ok(());
        };
        let record = self.services.get(key).ok_or(Errno::Esrch)?;
        for id in record.server_ids() {
            if let Some(statistics) = self.server_statistics.get_mut(id.0) {
                statistics.zero();
            }
        }
        if let Some(service) = self.service_statistics.get_mut(record.service.id.0) {
            service.statistics.zero();
        }
        Ok(())
    }

    /// Notes that workers have to hear of a service.
    pub(super) fn touch(&mut self, key: &ServiceKey) {
        self.unpublished = true;
        if let Some(record) = self.services.get_mut(key)
            && !record.changed
        {
            record.changed = true;
            self.unsettled.push(*key);
        }
    }

    fn fresh_service_id(&mut self) -> Option<ServiceId> {
        // Unused ids first: a reused one appears as late as possible.
        if (self.next_service_id as usize) < self.limits.services {
            self.next_service_id += 1;
            return Some(ServiceId(self.next_service_id - 1));
        }
        self.free_service_ids.pop_front()
    }
}
