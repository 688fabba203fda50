//! Connection synchronisation with other directors, Linux IPVS among them (spec `sync.md`).
//!
//! ```text
//! workers ── announcements (a ring each) ──> master.rs ──> batches.rs ──> message.rs, v1.rs, v0.rs ──> multicast
//! workers <── Dataplane::install (mailboxes) ── backup.rs <── message.rs, v1.rs, v0.rs <── multicast
//! ```
//!
//! A [`Master`] and a [`Backup`] read no clock and own no socket: `host.rs` runs them on threads over the kernel's
//! sockets, tests and the replay of recordings run them by hand. The director keeps which daemons run (`daemon.rs`).

mod backup;
mod batches;
mod counters;
mod cursor;
mod daemon;
mod host;
mod master;
mod message;
mod record;
mod settings;
mod sockets;
mod v0;
mod v1;

pub use backup::Backup;
pub use batches::{Batches, Flushed, Sending};
pub use counters::SyncCounters;
pub(crate) use daemon::Daemons;
pub use daemon::{
    DaemonConfig, DaemonHost, DaemonOptions, DaemonParts, LiveSettings, NoHost, Role, Running, WaitingDaemon,
};
pub use host::KernelHost;
pub use master::Master;
pub use message::{Draft, Received, Refused, Version, decode};
pub(crate) use record::is_state;
pub use settings::{SyncSettings, Unacceptable};
