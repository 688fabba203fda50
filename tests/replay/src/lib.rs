//! Replays recorded packet cases of a Linux kernel's IPVS against the real engine, driven by the real command language.
//!
//! A case tells commands, frames in and frames out, second by second ([`case`]). The commands go to the language and
//! the director of `shunt-control`, the frames through [`shunt_engine::Engine`] with one worker and a virtual clock
//! ([`machine`]). What shunt punts goes to a small model of the kernel's stack ([`kernel`]). What may differ, and why,
//! stands in one place ([`rules`]).
#![forbid(unsafe_code)]

pub mod case;
pub mod chance;
pub mod describe;
pub mod ip;
pub mod iptables;
pub mod kernel;
pub mod late;
pub mod machine;
pub mod proc_files;
pub mod reassembly;
pub mod replay;
pub mod rules;
pub mod shell;
mod sync;
pub mod topology;
pub mod unlisted;

pub use case::Case;
pub use replay::{Difference, Player, Report, replay};
