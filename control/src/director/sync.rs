//! Synchronisation daemons: which run, and the settings that they and the workers obey (spec `sync.md`).

use super::{Director, Errno, Refusal};
use crate::sync::{DaemonConfig, DaemonHost, DaemonOptions, Role, SyncCounters, SyncSettings, WaitingDaemon};
use shunt_engine::tables::{Family, ServiceId};
use std::collections::HashMap;
use std::sync::Arc;

impl Director {
    /// Tells where daemons run. Without it, there is no interface that they could use.
    pub fn set_daemon_host(&mut self, host: Arc<dyn DaemonHost>) {
        self.daemons.set_host(host);
    }

    /// Starts a daemon. Needs a [`Director::publish`], by which workers begin to tell the master of connections.
    ///
    /// # Errors
    /// As the kernel answers: EINVAL (no multicast group; a server of another family than its service), ENODEV, EEXIST,
    /// or what it says to sockets.
    pub fn start_daemon(&mut self, role: Role, options: &DaemonOptions) -> Result<(), Refusal> {
        if self.has_mixed_families() {
            return Err(Errno::Einval.into());
        }
        self.daemons.start(role, options, self.dataplane.clone())?;
        self.sync_changed();
        Ok(())
    }

    /// As [`Director::start_daemon`], but one that cannot be started is tried again by each [`Director::tick`]: its
    /// interface may come later than shuntd.
    ///
    /// # Errors
    /// Why it waits.
    pub fn want_daemon(&mut self, role: Role, options: &DaemonOptions) -> Result<(), Refusal> {
        self.start_daemon(role, options).inspect_err(|why| self.daemons.wait(role, options, why.clone()))
    }

    /// Stops daemons whose interface is gone or another by now, and tries again to start those that wait. True if there was
    /// a change.
    pub(super) fn retry_daemons(&mut self) -> bool {
        let cut_off = self.daemons.let_wait_those_cut_off();
        for (role, interface) in &cut_off {
            let role = role.name();
            tracing::warn!(
                "the synchronisation daemon {role} has lost its interface {interface}, or its address"
            );
        }
        if !cut_off.is_empty() {
            self.sync_changed();
        }
        let mut started = !cut_off.is_empty();
        for WaitingDaemon { role, options, .. } in self.daemons.waiting() {
            if self.want_daemon(role, &options).is_ok() {
                let (role, interface) = (role.name(), &options.interface);
                tracing::info!("the synchronisation daemon {role} on {interface} runs now");
                started = true;
            }
        }
        started
    }

    /// Stops a daemon, or the waiting for it; returns when it has stopped. Needs a [`Director::publish`].
    ///
    /// # Errors
    /// ESRCH if it does not run.
    pub fn stop_daemon(&mut self, role: Role) -> Result<(), Refusal> {
        self.daemons.stop(role)?;
        self.sync_changed();
        Ok(())
    }

    /// The daemons that run, the master first.
    #[must_use]
    pub fn daemons(&self) -> Vec<DaemonConfig> {
        self.daemons.list()
    }

    /// The daemons that cannot be started yet.
    #[must_use]
    pub fn waiting_daemons(&self) -> Vec<WaitingDaemon> {
        self.daemons.waiting()
    }

    /// The daemons that run or wait, as they were asked for, the master first.
    #[must_use]
    pub fn wanted_daemons(&self) -> Vec<(Role, DaemonOptions)> {
        self.daemons.options()
    }

    /// What the daemons have done.
    #[must_use]
    pub fn sync_counters(&self) -> Arc<SyncCounters> {
        self.daemons.counters().clone()
    }

    pub(super) fn runs_daemon(&self) -> bool {
        self.daemons.any()
    }

    pub(super) fn sync_settings(&self) -> SyncSettings {
        self.daemons.settings()
    }

    pub(super) fn set_sync_settings(&mut self, settings: SyncSettings) {
        self.daemons.set_settings(settings);
        self.sync_changed();
    }

    fn sync_changed(&mut self) {
        self.tables.settings_mut().sync = self.daemons.settings().rules;
        self.unpublished = true;
    }

    /// Has a tunnel's server another family than its service? Messages cannot say that.
    fn has_mixed_families(&self) -> bool {
        let families: HashMap<ServiceId, Family> =
            self.services.values().map(|record| (record.service.id, record.service.key.family())).collect();
        self.live
            .keys()
            .any(|(service, daddr, _)| families.get(service).is_some_and(|have| *have != Family::of(daddr)))
    }
}
