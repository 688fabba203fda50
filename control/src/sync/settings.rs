//! The sysctls `sync_*` by name (spec `connections.md` §14).

use shunt_engine::tables::SyncRules;
use std::fmt::Write;

/// All that concerns synchronisation: what workers obey, and what only the daemons do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncSettings {
    /// What workers obey.
    pub rules: SyncRules,
    /// Sockets of each daemon, as set; in force when the first daemon starts.
    pub ports: u32,
    /// Datagrams that wait for a socket, at most.
    pub qlen_max: u32,
    /// Bytes of a socket's buffer; 0 = as the system wants it.
    pub sock_size: u32,
}

impl Default for SyncSettings {
    fn default() -> Self {
        // The kernel takes 1/32 of the free pages: 64 MiB of messages on a host with 2 GiB.
        const QLEN_MAX: u32 = 16_384;
        SyncSettings { rules: SyncRules::default(), ports: 1, qlen_max: QLEN_MAX, sock_size: 0 }
    }
}

/// The kernel's `int`.
const INT_MAX: u32 = i32::MAX as u32;

/// One setting that is a number.
struct Number {
    name: &'static str,
    range: (u32, u32),
    get: fn(&SyncSettings) -> u32,
    set: fn(&mut SyncSettings, u32),
}

const NUMBERS: &[Number] = &[
    Number {
        name: "sync_persist_mode",
        range: (0, INT_MAX),
        get: |sync| u32::from(sync.rules.persist_mode),
        set: |sync, value| sync.rules.persist_mode = value != 0,
    },
    Number {
        name: "sync_ports",
        range: (1, INT_MAX),
        get: |sync| sync.ports,
        set: |sync, value| sync.ports = value,
    },
    Number {
        name: "sync_qlen_max",
        range: (0, INT_MAX),
        get: |sync| sync.qlen_max,
        set: |sync, value| sync.qlen_max = value,
    },
    Number {
        name: "sync_refresh_period",
        range: (0, INT_MAX),
        get: |sync| sync.rules.refresh_period_s,
        set: |sync, value| sync.rules.refresh_period_s = value,
    },
    Number {
        name: "sync_retries",
        range: (0, 3),
        get: |sync| u32::from(sync.rules.retries),
        set: |sync, value| sync.rules.retries = value as u8,
    },
    Number {
        name: "sync_sock_size",
        range: (0, INT_MAX),
        get: |sync| sync.sock_size,
        set: |sync, value| sync.sock_size = value,
    },
    Number {
        name: "sync_version",
        range: (0, 1),
        get: |sync| u32::from(sync.rules.version),
        set: |sync, value| sync.rules.version = value as u8,
    },
];

/// Two numbers: which packet, of how many.
const THRESHOLD: &str = "sync_threshold";

/// A value that cannot be: what would be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unacceptable {
    /// The setting's name.
    pub name: &'static str,
    /// What is wanted.
    pub wanted: String,
}

impl SyncSettings {
    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> Vec<(&'static str, String)> {
        let mut all: Vec<_> =
            NUMBERS.iter().map(|number| (number.name, (number.get)(self).to_string())).collect();
        all.push((THRESHOLD, format!("{} {}", self.rules.threshold, self.rules.period)));
        all
    }

    /// Changes one. `None` if there is none of this name.
    ///
    /// # Errors
    /// [`Unacceptable`]; nothing was changed.
    pub fn set(&mut self, name: &str, value: &str) -> Option<Result<(), Unacceptable>> {
        if name == THRESHOLD {
            return Some(self.set_threshold(value));
        }
        let number = NUMBERS.iter().find(|number| number.name == name)?;
        let (min, max) = number.range;
        let parsed = value.trim().parse().ok().filter(|value| (min..=max).contains(value));
        // Threads are dealt by a mask.
        let parsed = parsed.filter(|value: &u32| number.name != "sync_ports" || value.is_power_of_two());
        Some(match parsed {
            Some(value) => {
                (number.set)(self, value);
                Ok(())
            }
            None => {
                let mut wanted = format!("a whole number from {min} to {max} is wanted");
                if number.name == "sync_ports" {
                    let _ = write!(wanted, ", a power of two");
                }
                Err(Unacceptable { name: number.name, wanted })
            }
        })
    }

    fn set_threshold(&mut self, value: &str) -> Result<(), Unacceptable> {
        let numbers: Vec<Option<u32>> = value
            .split_ascii_whitespace()
            .map(|word| word.parse().ok().filter(|number| *number <= INT_MAX))
            .collect();
        // As the kernel does it, one number changes the first of the two.
        let both = match numbers[..] {
            [Some(threshold)] => Some((threshold, self.rules.period)),
            [Some(threshold), Some(period)] => Some((threshold, period)),
            _ => None,
        };
        match both.filter(|(threshold, period)| *period == 0 || threshold < period) {
            Some((threshold, period)) => {
                (self.rules.threshold, self.rules.period) = (threshold, period);
                Ok(())
            }
            None => Err(Unacceptable {
                name: THRESHOLD,
                wanted: "two whole numbers are wanted, the first smaller than the second unless that is 0"
                    .to_owned(),
            }),
        }
    }
}
