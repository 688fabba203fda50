//! Random scenarios, played on a real Linux kernel and on the engine side by side.
//!
//! A [`scenario`] tells services, clients, edits and waits; [`generate`] makes one from a seed. [`play`] carries it out:
//! each step goes to the kernel ([`oracle`]) first, becomes a step of a recorded case, and is replayed at once by
//! `shunt-replay` with its rules of comparison. [`shrink`] takes away what a difference does not need.
#![forbid(unsafe_code)]

pub mod ftp;
pub mod generate;
pub mod oracle;
pub mod packet;
pub mod passing;
pub mod play;
pub mod scenario;
pub mod shrink;
pub mod slack;
