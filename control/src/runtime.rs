//! Control as a whole: director, mirror, statistics, socket. `src/main.rs` starts it over a data plane and stops it.

use crate::commands::DirectorCommands;
use crate::config::{Config, Ipvs, SyncDaemon};
use crate::dataplane::Dataplane;
use crate::director::{Director, Limits, MarkError, SettingError, StaticResolver, without_effect};
use crate::ipvsadm::SystemNames;
use crate::log::Log;
use crate::mirror::{Mirror, MirrorPort, NeighbourRequests, StaticWays};
use crate::server::{Patience, Server, SocketError, SocketLock, check_group};
pub use crate::state::StateError;
use crate::state::{self, Configured, Saver};
use crate::sync::KernelHost;
use shunt_engine::Tick;
use shunt_engine::tables::NicPortInfo;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How often rates are reckoned (spec `stats.md`).
const TICK: Duration = Duration::from_secs(2);

/// Control cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting of `[ipvs]`.
    #[error("[ipvs]: {0}")]
    Setting(#[from] SettingError),
    /// A rule of `[[mark]]`.
    #[error("[[mark]]: {0}")]
    Mark(#[from] MarkError),
    /// The kernel does not tell its routes.
    #[error("cannot mirror the kernel's routes and neighbours: {0}; it needs CAP_NET_ADMIN")]
    Mirror(io::Error),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// What `main.rs` brings.
pub struct Parts {
    /// The right to serve the control socket.
    pub lock: SocketLock,
    /// The workers.
    pub dataplane: Arc<dyn Dataplane>,
    /// The NIC ports as they are, in the order of the configuration.
    pub nic_ports: Vec<MirrorPort>,
    /// Where the data plane reports missing neighbours.
    pub requests: Arc<NeighbourRequests>,
    /// What `shuntadm version` answers.
    pub version: String,
    /// The log, whose level a reload may change.
    pub log: Log,
}

/// Checks what the configuration names on this machine and a start would refuse, before anything is started.
///
/// # Errors
/// [`StartError`]
pub fn check(config: &Config) -> Result<(), StartError> {
    config.state.file.as_deref().map_or(Ok(()), state::check_name)?;
    config.control.group.as_deref().map_or(Ok(()), check_group)?;
    Ok(())
}

/// Running control. Dropping it stops everything in order: no more commands, the state is saved, no more mirroring, no
/// more statistics.
pub struct Runtime {
    // The order of the fields is the order of the stop.
    server: Option<Server>,
    saver: Option<Saver>,
    mirror: Mirror,
    _ticker: Ticker,
    director: Arc<Mutex<Director>>,
    config: Config,
    log: Log,
}

fn lock(director: &Mutex<Director>) -> MutexGuard<'_, Director> {
    director.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtime {
    /// Puts the configuration and the kernel's view in force, then opens the socket.
    ///
    /// # Errors
    /// [`StartError`]; what was started is stopped again.
    pub fn start(config: &Config, parts: Parts) -> Result<Runtime, StartError> {
        let Parts { lock: socket, dataplane, nic_ports, requests, version, log } = parts;
        let limits = Limits { services: config.limits.services, servers: config.limits.servers };
        let nothing = Arc::new(StaticResolver::default());
        let info = |port: &MirrorPort| NicPortInfo {
            mac: port.mac,
            other_macs: Vec::new(),
            mtu: port.mtu,
            address_v4: None,
            address_v6: None,
        };
        let infos = nic_ports.iter().map(info).collect();
        let director = Arc::new(Mutex::new(Director::new(dataplane, nothing, infos, limits)));
        apply_ipvs(&mut lock(&director), &config.ipvs, &Ipvs::default())?;
        let names = config.nic_port.iter().map(|nic_port| nic_port.name.clone()).collect();
        lock(&director).set_nic_port_names(names);
        lock(&director).set_marks(config.mark.clone()).map_err(|(_, error)| error)?;
        let dataplane = lock(&director).dataplane().clone();
        let daemons = match &config.state.file {
            Some(file) => state::restore(file, &director, &*dataplane)?,
            None => None,
        };
        let daemons = daemons.unwrap_or_else(|| config.sync_daemon.clone());
        // The mirror publishes ways to everyone; only then may packets come.
        let mirror = Mirror::start(nic_ports, StaticWays::of(config), director.clone(), requests);
        let mirror = mirror.map_err(StartError::Mirror)?;
        start_daemons(&mut lock(&director), &daemons);
        dataplane.open();
        let saver = start_saver(config, &director).map_err(StartError::Thread)?;
        let ticker = Ticker::start(director.clone()).map_err(StartError::Thread)?;
        let commands = DirectorCommands::new(director.clone(), Box::new(SystemNames::new()), version);
        let (group, mode) = (config.control.group.as_deref(), config.control.mode);
        let server = Server::start(socket, group, mode, Patience::default(), Arc::new(commands))?;
        Ok(Runtime {
            server: Some(server),
            saver,
            mirror,
            _ticker: ticker,
            director,
            config: config.clone(),
            log,
        })
    }

    /// Takes over a re-read configuration: what a running daemon can change, and only where the files differ, so that
    /// what operators set meanwhile stays. The rest waits for a restart, which the log says.
    pub fn reload(&mut self, new: Config) {
        let diff = new.reload_diff(&self.config);
        for key in &diff.needs_restart {
            tracing::warn!("{key} has changed: restart shuntd to put it in force");
        }
        let mut director = lock(&self.director);
        // What was read was checked by the tables that these ask, so neither refuses. If one did, its section would be
        // tried again by the next reload.
        match apply_ipvs(&mut director, &new.ipvs, &self.config.ipvs) {
            Ok(()) => self.config.ipvs = new.ipvs.clone(),
            Err(error) => tracing::error!("[ipvs] is not in force as a whole: {error}"),
        }
        // Rules that operators added stay, unless the file's changed.
        if new.mark != self.config.mark {
            match director.set_marks(new.mark.clone()) {
                Ok(()) => self.config.mark = new.mark.clone(),
                Err((_, error)) => tracing::error!("[[mark]] is not in force: {error}"),
            }
        }
        if let Err(lagging) = director.publish() {
            tracing::warn!(%lagging, "a re-read configuration is in force late");
        }
        drop(director);
        self.mirror.reload(StaticWays::of(&new));
        self.log.set_level(new.log.level);
        tracing::info!("configuration read again; changed and in force: {}", listed(&diff.live));
        // Keys that wait stay as they are in force, so that the next reload names them again.
        self.config.next_hop = new.next_hop;
        self.config.local_address = new.local_address;
        self.config.log = new.log;
        if let Some(saver) = &self.saver {
            saver.configure(configured(&self.config));
        }
    }

    /// Stops answering commands and saves the state, before anything else stops.
    ///
    /// # Errors
    /// The state is not saved.
    pub fn close(&mut self) -> Result<(), StateError> {
        self.server = None;
        self.saver.take().map_or(Ok(()), Saver::finish)
    }
}

fn configured(config: &Config) -> Configured {
    Configured { ipvs: config.ipvs.clone(), marks: config.mark.clone(), daemons: config.sync_daemon.clone() }
}

fn start_saver(config: &Config, director: &Arc<Mutex<Director>>) -> io::Result<Option<Saver>> {
    let Some(file) = &config.state.file else { return Ok(None) };
    let period = Duration::from_secs(config.state.period.into());
    Saver::start(file.clone(), period, director.clone(), configured(config)).map(Some)
}

fn listed(keys: &[String]) -> String {
    if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
}

/// Sets what differs from `old`. Needs a [`Director::publish`].
fn apply_ipvs(director: &mut Director, new: &Ipvs, old: &Ipvs) -> Result<(), SettingError> {
    // 0 keeps a timeout as it is; the configuration's ranges leave nothing to be refused.
    let changed = |new: u32, old: u32| if new == old { 0 } else { new };
    let _ = director.set_timeouts(
        changed(new.timeout_tcp, old.timeout_tcp),
        changed(new.timeout_tcp_fin, old.timeout_tcp_fin),
        changed(new.timeout_udp, old.timeout_udp),
    );
    for ((name, value), (_, old)) in new.sysctls().into_iter().zip(old.sysctls()) {
        if value != old {
            director.set_sysctl(name, &value)?;
            if let Some(why) = without_effect(name) {
                tracing::warn!("ipvs.{name} has no effect: {why}");
            }
        }
    }
    Ok(())
}

/// Starts the daemons. The twins are there by now; other interfaces may come later, and service does not wait for them.
fn start_daemons(director: &mut Director, daemons: &[SyncDaemon]) {
    director.set_daemon_host(Arc::new(KernelHost));
    for daemon in daemons {
        if let Err(refusal) = director.want_daemon(daemon.role, &daemon.options()) {
            let (role, interface, why) = (daemon.role.name(), &daemon.interface, refusal.explained());
            tracing::error!(
                "the synchronisation daemon {role} on {interface} waits: {why}; it is tried again every 2 s"
            );
        }
    }
    if let Err(lagging) = director.publish() {
        tracing::warn!(%lagging, "synchronisation begins late");
    }
}

/// The thread that moves statistics and frees deleted servers. Ends when it is dropped.
struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(director: Arc<Mutex<Director>>) -> io::Result<Ticker> {
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            let epoch = Instant::now();
            let mut next = epoch + TICK;
            loop {
                let wait = next.saturating_duration_since(Instant::now());
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                // On time again even if one tick was late; never two at once.
                next = (next + TICK).max(Instant::now());
                let now = Tick(epoch.elapsed().as_millis() as u64);
                if let Err(lagging) = lock(&director).tick(now) {
                    tracing::warn!(%lagging, "a deleted server is forgotten");
                }
            }
        };
        let thread = Builder::new().name("statistics".to_owned()).spawn(run)?;
        Ok(Ticker { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
