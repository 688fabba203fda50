//! The state file is put in force, before there are packets.

use super::commands::{self, CarriedOut};
use super::file::{Kind, Reader, StateError, check_name};
use super::record;
use crate::config::SyncDaemon;
use crate::dataplane::Dataplane;
use crate::director::Director;
use shunt_engine::persist::CONTROLLING_MS;
use shunt_engine::{ConnectionInfo, ControlKey, InstallFrom, Tally};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Restores what the file holds, and returns the synchronisation daemons to be started, if they are others than the
/// configuration's. A file that cannot be used is set aside, and the director starts empty.
///
/// # Errors
/// What has the name is no regular file. It stays where it is: whoever made it did not make it for us.
pub(crate) fn restore(
    path: &Path,
    director: &Mutex<Director>,
    dataplane: &dyn Dataplane,
) -> Result<Option<Vec<SyncDaemon>>, StateError> {
    check_name(path)?;
    Ok(try_restore(path, director, dataplane).unwrap_or_else(|error| {
        tracing::error!("state not restored: {error}");
        set_aside(path);
        None
    }))
}

/// So that the next save does not overwrite what somebody may want to look at.
fn set_aside(path: &Path) {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".refused");
    if std::fs::rename(path, path.with_file_name(&name)).is_ok() {
        tracing::warn!("the state file was renamed to {}", name.display());
    }
}

fn try_restore(
    path: &Path,
    director: &Mutex<Director>,
    dataplane: &dyn Dataplane,
) -> Result<Option<Vec<SyncDaemon>>, StateError> {
    let begun = Instant::now();
    // All of it is checked before anything of it counts.
    let Some(mut reader) = Reader::open(path)? else {
        tracing::info!("no state file {}: starting empty", path.display());
        return Ok(None);
    };
    let (mut payload, mut controls) = (Vec::new(), Controls::default());
    while let Some(kind) = reader.next(&mut payload)? {
        let fine = match kind {
            Kind::Commands => str::from_utf8(&payload).is_ok(),
            _ => controls.learn(&payload, reader.age).is_some(),
        };
        if !fine {
            return Err(reader.damaged("a record makes no sense"));
        }
    }
    let mut lines = String::new();
    each_block(path, Kind::Commands, |payload, _| lines += &String::from_utf8_lossy(payload))?;
    let CarriedOut { daemons, complaints } = commands::carry_out(&lines, director);
    for complaint in complaints {
        tracing::warn!("from the state file: {complaint}");
    }
    // Templates first: connections name those that control them.
    let mut tally = Tally::default();
    for kind in [Kind::Templates, Kind::Connections] {
        each_block(path, kind, |payload, age| {
            tally.add(dataplane.install(&mut controls.living(payload, age), InstallFrom::StateFile));
        })?;
    }
    tracing::info!(
        "restored from {}, which is {:?} old, in {:?}: {} connections and templates; no room for {}",
        path.display(),
        reader.age,
        begun.elapsed(),
        tally.created,
        tally.no_room
    );
    Ok(daemons)
}

fn each_block(path: &Path, wanted: Kind, mut each: impl FnMut(&[u8], Duration)) -> Result<(), StateError> {
    let Some(mut reader) = Reader::open(path)? else { return Ok(()) };
    let mut payload = Vec::new();
    while let Some(kind) = reader.next(&mut payload)? {
        if kind == wanted {
            each(&payload, reader.age);
        }
    }
    Ok(())
}

/// What controls connections that live.
#[derive(Default)]
struct Controls(HashSet<ControlKey>);

impl Controls {
    /// Learns what controls the records of a block that have not expired since. `None` if a record makes no sense.
    fn learn(&mut self, mut payload: &[u8], age: Duration) -> Option<()> {
        while !payload.is_empty() {
            let info = record::read(&mut payload)?;
            if u128::from(info.expires_ms) > age.as_millis() {
                self.0.extend(info.control);
            }
        }
        Some(())
    }

    /// The records of a block that have not expired since, and those that have but control some that have not: a
    /// director that goes on would keep them, [`CONTROLLING_MS`] at a time.
    fn living(&self, mut payload: &[u8], age: Duration) -> impl Iterator<Item = ConnectionInfo> {
        let age_ms = age.as_millis() as u64;
        let next = move || if payload.is_empty() { None } else { record::read(&mut payload) };
        std::iter::from_fn(next).filter_map(move |info| {
            if info.expires_ms > age_ms {
                return Some(ConnectionInfo { expires_ms: info.expires_ms - age_ms, ..info });
            }
            let late_ms = age_ms - info.expires_ms;
            let expires_ms = u64::from(CONTROLLING_MS) - late_ms % u64::from(CONTROLLING_MS);
            self.0.contains(&key(&info)).then_some(ConnectionInfo {
                expires_ms,
                timeout_ms: CONTROLLING_MS,
                ..info
            })
        })
    }
}

/// How what it controls names it.
fn key(info: &ConnectionInfo) -> ControlKey {
    let &ConnectionInfo { protocol, caddr: client_net, cport, vaddr, vport, .. } = info;
    ControlKey { protocol, client_net, cport, vaddr, vport }
}
