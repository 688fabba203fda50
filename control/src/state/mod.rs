//! The state file: what a restarted shuntd needs so that nobody notices. Services, real servers, settings and rules of
//! marks that operators changed, synchronisation daemons, connections and persistence templates.
//!
//! It is written at the stop, and on a period in case there is no orderly stop: from snapshots and bounded pieces, so no
//! worker waits for it. The file is replaced as a whole or not at all. At the start it is put in force before the first
//! packet is received. A file that is damaged, or of another version, is set aside and not used at all.

mod commands;
mod file;
mod record;
mod restore;
mod saver;

pub use file::StateError;
pub(crate) use file::check_name;
pub(crate) use restore::restore;
pub(crate) use saver::Saver;

use crate::config::{Ipvs, SyncDaemon};
use crate::director::Mark;

/// What the configuration says of things that operators may change while shuntd runs. Only what differs from it is
/// saved, so that a changed configuration counts after a restart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Configured {
    pub(crate) ipvs: Ipvs,
    pub(crate) marks: Vec<Mark>,
    pub(crate) daemons: Vec<SyncDaemon>,
}

#[cfg(test)]
mod tests;
