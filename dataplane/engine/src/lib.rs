//! The load balancer, as a function of packets, tables and time.
//!
//! Promises: no clock, no file, no thread, no log, no allocation after construction, no unsafe code. The walls test of
//! the workspace checks them.
#![forbid(unsafe_code)]

pub mod board;
mod connection_info;
pub mod counters;
pub mod sched;
pub mod tables;
mod tick;
mod verdict;

pub use connection_info::ConnectionInfo;
pub use tick::Tick;
pub use verdict::Verdict;
