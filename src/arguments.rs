//! The arguments of `shuntd`. The manual page and the completions are made of them too.

use clap::Parser;
use std::path::PathBuf;

/// A layer-4 director: IPVS semantics at DPDK speed.
#[derive(Parser)]
#[command(name = "shuntd", version = env!("SHUNT_VERSION"))]
pub struct Arguments {
    /// The configuration, see shuntd.toml(5). SIGHUP reads it again.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Check the configuration and exit; touches no NIC and no hugepage.
    #[arg(long)]
    pub check: bool,
}
