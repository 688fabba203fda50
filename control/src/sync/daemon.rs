//! The two daemons as the director keeps them: which run, with which options in force (spec `sync.md` §1).

use super::counters::SyncCounters;
use super::settings::SyncSettings;
use crate::dataplane::Dataplane;
use crate::director::{Errno, Refusal};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// What a daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Tells peers of its connections.
    Master,
    /// Takes over the connections of its peers.
    Backup,
}

impl Role {
    /// As ipvsadm writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Backup => "backup",
        }
    }
}

/// What an operator asks for. What is left out has the kernel's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonOptions {
    /// Name of the kernel's interface; empty = `eth0`.
    pub interface: String,
    /// Only daemons with the same number listen to each other; 0 of a backup = to all.
    pub syncid: u8,
    /// Bytes of a datagram.
    pub maxlen: Option<u16>,
    /// Multicast group.
    pub group: Option<IpAddr>,
    /// First UDP port.
    pub l4_port: Option<u16>,
    /// TTL or hop limit of what is sent.
    pub ttl: Option<u8>,
}

impl DaemonOptions {
    fn with_interface(&self) -> DaemonOptions {
        let mut options = self.clone();
        if options.interface.is_empty() {
            options.interface = DEFAULT_INTERFACE.to_owned();
        }
        options
    }
}

/// Options in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonConfig {
    /// What it does.
    pub role: Role,
    /// Name of the kernel's interface.
    pub interface: String,
    /// Its group of directors.
    pub syncid: u8,
    /// Bytes of a datagram, at most.
    pub maxlen: u16,
    /// Multicast group.
    pub group: IpAddr,
    /// First UDP port; socket k uses port + k.
    pub l4_port: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Number of sockets.
    pub sockets: u16,
    /// Bytes of a socket's buffer; 0 = as the system wants it.
    pub sock_size: u32,
}

const DEFAULT_INTERFACE: &str = "eth0";
const DEFAULT_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 81);
const DEFAULT_PORT: u16 = 8848;
const DEFAULT_TTL: u8 = 1;
/// What a master assumes of the way to its peers.
const MASTER_MTU: u32 = 1500;
const BACKUP_MAXLEN_MIN: u32 = 1024;
const SOCKETS_MAX: u32 = 64;

impl DaemonConfig {
    /// The options in force on an interface with this MTU.
    fn new(role: Role, options: &DaemonOptions, mtu: u32) -> DaemonConfig {
        let group = options.group.unwrap_or(DEFAULT_GROUP.into());
        // IP and UDP.
        let headers_len = if group.is_ipv4() { 28 } else { 48 };
        let longest = u32::from(u16::MAX) - headers_len;
        let maxlen = match (role, options.maxlen.map(u32::from).filter(|len| *len > 0)) {
            (Role::Master, None) => MASTER_MTU - headers_len,
            (Role::Backup, None) => mtu.clamp(MASTER_MTU, u32::from(u16::MAX)) - headers_len,
            (Role::Master, Some(len)) => len.min(longest),
            (Role::Backup, Some(len)) => len.clamp(BACKUP_MAXLEN_MIN, longest),
        };
        DaemonConfig {
            role,
            interface: options.interface.clone(),
            syncid: options.syncid,
            // At most 65,507.
            maxlen: maxlen as u16,
            group,
            l4_port: options.l4_port.filter(|l4_port| *l4_port > 0).unwrap_or(DEFAULT_PORT),
            ttl: options.ttl.filter(|ttl| *ttl > 0).unwrap_or(DEFAULT_TTL),
            sockets: 1,
            sock_size: 0,
        }
    }
}

/// Settings that may change while daemons run.
#[derive(Clone, Debug, Default)]
pub struct LiveSettings(Arc<Mutex<SyncSettings>>);

impl LiveSettings {
    /// As they are now.
    #[must_use]
    pub fn get(&self) -> SyncSettings {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, settings: SyncSettings) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }
}

/// What a daemon works with.
#[derive(Clone)]
pub struct DaemonParts {
    /// Its options.
    pub config: DaemonConfig,
    /// The workers.
    pub dataplane: Arc<dyn Dataplane>,
    /// The sysctls.
    pub settings: LiveSettings,
    /// What it counts.
    pub counters: Arc<SyncCounters>,
}

/// A daemon at work: dropping it stops it.
pub trait Running: Send {
    /// Are its sockets dead, because its interface is gone, or was made anew, or has another address?
    fn is_cut_off(&self) -> bool {
        false
    }
}

/// Where daemons run: over the kernel's sockets, or over what a test has in their place.
pub trait DaemonHost: Send + Sync {
    /// The MTU of an interface.
    ///
    /// # Errors
    /// [`Errno::Enodev`] if there is no such interface.
    fn mtu(&self, interface: &str) -> Result<u32, Refusal>;

    /// Starts a daemon.
    ///
    /// # Errors
    /// What the kernel said to its sockets.
    fn start(&self, parts: DaemonParts) -> Result<Box<dyn Running>, Refusal>;
}

/// A host without interfaces.
pub struct NoHost;

impl DaemonHost for NoHost {
    fn mtu(&self, _: &str) -> Result<u32, Refusal> {
        Err(Errno::Enodev.into())
    }

    fn start(&self, _: DaemonParts) -> Result<Box<dyn Running>, Refusal> {
        Err(Errno::Enodev.into())
    }
}

/// One that is wanted.
struct Daemon {
    /// As it was asked for.
    options: DaemonOptions,
    state: State,
}

enum State {
    Runs {
        config: DaemonConfig,
        running: Box<dyn Running>,
    },
    /// It could not be started, because of this; it is tried again.
    Waits(Refusal),
}

impl Daemon {
    fn config(&self) -> Option<&DaemonConfig> {
        match &self.state {
            State::Runs { config, .. } => Some(config),
            State::Waits(_) => None,
        }
    }
}

/// A daemon that is wanted and does not run yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingDaemon {
    /// What it would do.
    pub role: Role,
    /// As it was asked for.
    pub options: DaemonOptions,
    /// Why it does not run.
    pub why: Refusal,
}

/// Master and backup, each running or not.
pub(crate) struct Daemons {
    host: Arc<dyn DaemonHost>,
    settings: LiveSettings,
    counters: Arc<SyncCounters>,
    master: Option<Daemon>,
    backup: Option<Daemon>,
}

impl Daemons {
    pub(crate) fn new(host: Arc<dyn DaemonHost>) -> Daemons {
        Daemons {
            host,
            settings: LiveSettings::default(),
            counters: Arc::default(),
            master: None,
            backup: None,
        }
    }

    pub(crate) fn set_host(&mut self, host: Arc<dyn DaemonHost>) {
        self.host = host;
    }

    pub(crate) fn settings(&self) -> SyncSettings {
        self.settings.get()
    }

    /// Replaces the settings, those that say which daemons run left out.
    pub(crate) fn set_settings(&mut self, mut settings: SyncSettings) {
        let runs = |daemon: &Option<Daemon>| daemon.as_ref().is_some_and(|daemon| daemon.config().is_some());
        settings.rules.master = runs(&self.master);
        settings.rules.backup = runs(&self.backup);
        self.settings.set(settings);
    }

    pub(crate) fn counters(&self) -> &Arc<SyncCounters> {
        &self.counters
    }

    pub(crate) fn start(
        &mut self,
        role: Role,
        options: &DaemonOptions,
        dataplane: Arc<dyn Dataplane>,
    ) -> Result<(), Refusal> {
        if options.group.is_some_and(|group| !group.is_multicast()) {
            return Err(Errno::Einval.into());
        }
        let options = options.with_interface();
        let mtu = self.host.mtu(&options.interface)?;
        if self.list().iter().any(|running| running.role == role) {
            return Err(Errno::Eexist.into());
        }
        let settings = self.settings.get();
        // The first daemon decides on the number of sockets for both.
        let running = self.list().first().map(|running| running.sockets);
        let config = DaemonConfig {
            sockets: running.unwrap_or(settings.ports.clamp(1, SOCKETS_MAX) as u16),
            sock_size: settings.sock_size,
            ..DaemonConfig::new(role, &options, mtu)
        };
        let parts = DaemonParts {
            config: config.clone(),
            dataplane,
            settings: self.settings.clone(),
            counters: self.counters.clone(),
        };
        let running = self.host.start(parts)?;
        let state = State::Runs { config, running };
        *self.place(role) = Some(Daemon { options, state });
        self.set_settings(settings);
        Ok(())
    }

    /// One that cannot be started, because of `why`, shall be as soon as it can, unless there is one already.
    pub(crate) fn wait(&mut self, role: Role, options: &DaemonOptions, why: Refusal) {
        if self.list().iter().any(|running| running.role == role) {
            return;
        }
        *self.place(role) = Some(Daemon { options: options.with_interface(), state: State::Waits(why) });
    }

    /// Stops those that are cut off, to be started again as soon as they can. Returns which.
    pub(crate) fn let_wait_those_cut_off(&mut self) -> Vec<(Role, String)> {
        let mut stopped = Vec::new();
        for role in [Role::Master, Role::Backup] {
            let Some(daemon) = self.place(role) else { continue };
            if matches!(&daemon.state, State::Runs { running, .. } if running.is_cut_off()) {
                stopped.push((role, daemon.options.interface.clone()));
                daemon.state = State::Waits(Errno::Enodev.into());
            }
        }
        if !stopped.is_empty() {
            self.set_settings(self.settings.get());
        }
        stopped
    }

    pub(crate) fn stop(&mut self, role: Role) -> Result<(), Refusal> {
        let stopped = self.place(role).take();
        self.set_settings(self.settings.get());
        stopped.map(drop).ok_or(Errno::Esrch.into())
    }

    fn place(&mut self, role: Role) -> &mut Option<Daemon> {
        match role {
            Role::Master => &mut self.master,
            Role::Backup => &mut self.backup,
        }
    }

    fn wanted(&self) -> impl Iterator<Item = (Role, &Daemon)> {
        let with = |role| move |daemon| (role, daemon);
        let master = self.master.as_ref().map(with(Role::Master));
        master.into_iter().chain(self.backup.as_ref().map(with(Role::Backup)))
    }

    /// Those that run, the master first.
    pub(crate) fn list(&self) -> Vec<DaemonConfig> {
        self.wanted().filter_map(|(_, daemon)| daemon.config().cloned()).collect()
    }

    /// Those that wait.
    pub(crate) fn waiting(&self) -> Vec<WaitingDaemon> {
        let waiting = |(role, daemon): (Role, &Daemon)| match &daemon.state {
            State::Runs { .. } => None,
            State::Waits(why) => {
                Some(WaitingDaemon { role, options: daemon.options.clone(), why: why.clone() })
            }
        };
        self.wanted().filter_map(waiting).collect()
    }

    /// Those that run or wait, as they were asked for.
    pub(crate) fn options(&self) -> Vec<(Role, DaemonOptions)> {
        self.wanted().map(|(role, daemon)| (role, daemon.options.clone())).collect()
    }

    pub(crate) fn any(&self) -> bool {
        !self.list().is_empty()
    }
}
