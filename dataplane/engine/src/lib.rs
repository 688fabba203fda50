//! The load balancer, as a function of packets, tables and time.
//!
//! Promises: no clock, no file, no thread, no log, no allocation after construction, no unsafe code. The walls test of
//! the workspace checks them.
#![forbid(unsafe_code)]

mod admit;
mod announce;
mod binding;
pub mod board;
mod burst;
mod bypass;
mod conn;
mod connection_info;
pub mod counters;
mod defence;
mod dump;
mod engine;
mod fast;
mod flow;
mod forward;
mod fragments;
mod ftp;
mod icmp;
mod install;
mod orphans;
pub mod owner;
mod packet;
mod path_mtu;
pub mod persist;
pub mod sched;
mod sip;
mod size;
mod state;
mod stray;
pub mod tables;
mod template_round;
mod tick;
mod unbound;
mod verdict;

pub use announce::{Inbox, Outbox, announcements};
pub use conn::flag;
pub use connection_info::{ConnectionInfo, ControlKey, SequenceShift};
pub use dump::DumpCursor;
pub use engine::{BURST, Engine, EngineConfig, Origin};
pub use ftp::{EXPECTED_MAX, Expectations};
pub use install::{InstallFrom, Tally};
pub use tick::Tick;
pub use verdict::{NeighbourOf, Verdict};
