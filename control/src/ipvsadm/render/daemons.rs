//! `-L --daemon` (spec `cli.md` §14).

use crate::sync::DaemonConfig;
use std::io::{self, Write};

/// A line for each daemon that runs.
pub fn write_daemons(daemons: &[DaemonConfig], out: &mut dyn Write) -> io::Result<()> {
    for daemon in daemons {
        let role = daemon.role.name();
        let DaemonConfig { interface, syncid, maxlen, group, l4_port, ttl, .. } = daemon;
        writeln!(
            out,
            "{role} sync daemon (mcast={interface}, syncid={syncid}, maxlen={maxlen}, group={group}, port={l4_port}, \
             ttl={ttl})"
        )?;
    }
    Ok(())
}
