//! Settings that change while packets flow: `ipvsadm --set`, and the kernel's sysctls by name (spec `connections.md`
//! §14).

use super::{Director, Errno, Refusal};
use crate::sync::{SyncSettings, Unacceptable};
use shunt_engine::tables::Settings;

/// A setting could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Nothing has this name.
    #[error("there is no setting `{0}'")]
    Unknown(String),
    /// Not a number, or out of range.
    #[error("`{value}' is no value for `{name}': a whole number from {min} to {max} is wanted")]
    Value {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: String,
        /// The smallest value.
        min: u32,
        /// The largest value.
        max: u32,
    },
    /// A value that synchronisation cannot have.
    #[error("`{value}' is no value for `{name}': {wanted}")]
    Sync {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would be a value.
        wanted: String,
    },
}

/// One setting that the engine obeys.
struct Entry {
    name: &'static str,
    max: u32,
    get: fn(&Settings) -> u32,
    set: fn(&mut Settings, u32),
}

/// Largest value of the kernel's `int` settings.
const INT_MAX: u32 = i32::MAX as u32;

macro_rules! entries {
    ($($name:ident: $kind:ident,)*) => {
        &[$(entries!(@ $name $kind),)*]
    };
    (@ $name:ident switch) => {
        Entry {
            name: stringify!($name),
            max: INT_MAX,
            get: |settings| u32::from(settings.$name),
            set: |settings, value| settings.$name = value != 0,
        }
    };
    (@ $name:ident defence) => {
        Entry {
            name: stringify!($name),
            max: 3,
            get: |settings| u32::from(settings.$name),
            set: |settings, value| settings.$name = value as u8,
        }
    };
    (@ $name:ident l4_port) => {
        Entry {
            name: stringify!($name),
            max: u16::MAX as u32,
            get: |settings| settings.$name,
            set: |settings, value| settings.$name = value,
        }
    };
    (@ $name:ident number) => {
        Entry {
            name: stringify!($name),
            max: INT_MAX,
            get: |settings| settings.$name,
            set: |settings, value| settings.$name = value,
        }
    };
}

const ENTRIES: &[Entry] = entries! {
    am_droprate: number,
    amemthresh: number,
    backup_only: switch,
    cache_bypass: switch,
    conn_reuse_mode: number,
    drop_entry: defence,
    drop_packet: defence,
    expire_nodest_conn: switch,
    expire_quiescent_template: switch,
    ftp_port: l4_port,
    lblc_expiration: number,
    lblcr_expiration: number,
    nat_icmp_send: switch,
    pmtu_disc: switch,
    schedule_icmp: switch,
    secure_tcp: defence,
    sloppy_sctp: switch,
    sloppy_tcp: switch,
};

/// Estimation is control's own business.
const RUN_ESTIMATION: &str = "run_estimation";

/// What IPVS has beside these, its default, and why it changes nothing here. Scripts that set it go on working, and read
/// what they wrote.
const WITHOUT_EFFECT: [(&str, u32, &str); 4] = [
    ("conntrack", 0, "packets do not pass the kernel's connection tracking"),
    ("debug_level", 0, "the level of the log stands in the configuration file"),
    ("ignore_tunneled", 0, "what the kernel takes out of a tunnel never comes back to be balanced"),
    ("snat_reroute", 1, "replies always follow the routes"),
];

/// Values of [`WITHOUT_EFFECT`].
#[derive(Clone, Copy)]
pub(super) struct Unheeded([u32; WITHOUT_EFFECT.len()]);

impl Default for Unheeded {
    fn default() -> Self {
        Unheeded(WITHOUT_EFFECT.map(|(_, value, _)| value))
    }
}

/// Why a setting of IPVS has no effect here. `None`: it has one, or there is no such setting.
#[must_use]
pub fn without_effect(name: &str) -> Option<&'static str> {
    WITHOUT_EFFECT.iter().find(|(have, ..)| *have == name).map(|(.., why)| *why)
}

/// Would [`Director::set_sysctl`] take this?
///
/// # Errors
/// [`SettingError`], as it would say.
pub(crate) fn check_sysctl(name: &str, value: &str) -> Result<(), SettingError> {
    if let Some(entry) = ENTRIES.iter().find(|entry| entry.name == name) {
        return parse(entry.name, value, entry.max).map(|_| ());
    }
    let own = WITHOUT_EFFECT.iter().map(|(name, ..)| *name).chain([RUN_ESTIMATION]);
    if let Some(name) = own.into_iter().find(|have| *have == name) {
        return parse(name, value, INT_MAX).map(|_| ());
    }
    match SyncSettings::default().set(name, value) {
        Some(set) => set.map_err(|unacceptable| unacceptable.of(value)),
        None => Err(SettingError::Unknown(name.to_owned())),
    }
}

impl Unacceptable {
    fn of(self, value: &str) -> SettingError {
        SettingError::Sync { name: self.name, value: value.to_owned(), wanted: self.wanted }
    }
}

fn parse(name: &'static str, value: &str, max: u32) -> Result<u32, SettingError> {
    let error = || SettingError::Value { name, value: value.to_owned(), min: 0, max };
    value.trim().parse().ok().filter(|number| *number <= max).ok_or_else(error)
}

impl Director {
    /// `--set`: the timeouts of established TCP connections, of TCP connections in FIN_WAIT and of UDP flows, in
    /// seconds. 0 keeps a timeout.
    ///
    /// # Errors
    /// EINVAL for a value that the kernel could not hold in its clock ticks (100 per second).
    pub fn set_timeouts(&mut self, tcp_s: u32, tcp_fin_s: u32, udp_s: u32) -> Result<(), Refusal> {
        const TICKS_PER_SECOND: u32 = 100;
        if [tcp_s, tcp_fin_s, udp_s].iter().any(|timeout| *timeout > INT_MAX / TICKS_PER_SECOND) {
            return Err(Errno::Einval.into());
        }
        let settings = self.tables.settings_mut();
        let set = |place: &mut u32, timeout_s: u32| *place = if timeout_s == 0 { *place } else { timeout_s };
        set(&mut settings.timeout_tcp_s, tcp_s);
        set(&mut settings.timeout_tcp_fin_s, tcp_fin_s);
        set(&mut settings.timeout_udp_s, udp_s);
        self.unpublished = true;
        Ok(())
    }

    /// Changes a setting by the name of its sysctl. Needs a [`Director::publish`].
    ///
    /// # Errors
    /// [`SettingError`]; nothing was changed.
    pub fn set_sysctl(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        if name == RUN_ESTIMATION {
            self.run_estimation = parse(RUN_ESTIMATION, value, INT_MAX)? != 0;
            return Ok(());
        }
        if let Some(entry) = ENTRIES.iter().find(|entry| entry.name == name) {
            let value = parse(entry.name, value, entry.max)?;
            (entry.set)(self.tables.settings_mut(), value);
            self.unpublished = true;
            return Ok(());
        }
        let mut sync = self.sync_settings();
        if let Some(set) = sync.set(name, value) {
            set.map_err(|unacceptable| unacceptable.of(value))?;
            self.set_sync_settings(sync);
            return Ok(());
        }
        for ((have, ..), place) in WITHOUT_EFFECT.iter().zip(&mut self.unheeded.0) {
            if *have == name {
                *place = parse(have, value, INT_MAX)?;
                return Ok(());
            }
        }
        Err(SettingError::Unknown(name.to_owned()))
    }

    /// All settings and their values, by name.
    pub fn sysctls(&self) -> Vec<(&'static str, String)> {
        let settings = self.tables.settings();
        let mut all: Vec<_> =
            ENTRIES.iter().map(|entry| (entry.name, (entry.get)(settings).to_string())).collect();
        all.push((RUN_ESTIMATION, u32::from(self.run_estimation).to_string()));
        let unheeded = WITHOUT_EFFECT.iter().zip(&self.unheeded.0);
        all.extend(unheeded.map(|((name, ..), value)| (*name, value.to_string())));
        all.extend(self.sync_settings().list());
        all.sort_unstable();
        all
    }
}
