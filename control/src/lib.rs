//! Control: the ipvsadm language, desired state, snapshots, kernel mirror, socket. Never sees DPDK.
#![forbid(unsafe_code)]

pub mod commands;
pub mod config;
pub mod dataplane;
pub mod director;
pub mod ipvsadm;
pub mod log;
pub mod manual;
pub mod mirror;
pub mod notify;
pub mod protocol;
pub mod runtime;
pub mod server;
mod state;
pub mod sync;
