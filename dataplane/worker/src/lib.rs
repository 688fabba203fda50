//! The poll loop that binds DPDK ports, the engine and publication.
//!
//! [`Workers::start`] opens the NIC ports and starts the threads: N workers, each pinned to a core with a connection table
//! of its own, and one slow path, which owns the kernel twins. What comes in is balanced: every frame that a worker
//! counts as a source it also counts as a sink, within the same round of its loop.
//!
//! Threads talk through rings with one producer and one consumer each, so nobody on the packet path writes what
//! another thread writes. It knows nothing of control: `src/main.rs` binds the two.
#![forbid(unsafe_code)]

mod config;
mod idle;
mod install;
mod mailbox;
mod mesh;
mod phase;
mod profile;
mod report;
mod setup;
mod slow_path;
mod stall;
mod twin;
mod waiting;
mod worker;
mod workers;

pub use config::{Idle, NicPortSpec, WorkersConfig};
pub use report::NicPortReport;
pub use shunt_publish::Lagging;
pub use workers::{StartError, Workers};
