//! `-L -c`: connection entries (spec `cli.md` §13), written while they are read.

use super::Names;
use super::endpoint::endpoint;
use crate::dataplane::Dataplane;
use shunt_engine::ConnectionInfo;
use std::io::{self, Write};
use std::net::IpAddr;
use std::ops::ControlFlow;

/// Writes all entries of all workers. With `engines`, those of persistence engines show their data.
pub(in super::super) fn write_connections(
    dataplane: &dyn Dataplane,
    numeric: bool,
    engines: bool,
    names: &dyn Names,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "IPVS connection entries")?;
    write!(out, "pro expire {:<11} {:<18} {:<18} ", "state", "source", "virtual")?;
    if engines {
        writeln!(out, "{:<18} {:<16} pe_data", "destination", "pe name")?;
    } else {
        writeln!(out, "destination")?;
    }
    let mut result = Ok(());
    dataplane.connections(&mut |entry| {
        result = write_entry(entry, numeric, engines, names, out);
        go_on(&result)
    });
    result
}

/// Who cannot be written to any more wants to hear no more.
pub(super) fn go_on(written: &io::Result<()>) -> ControlFlow<()> {
    if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

pub(super) fn protocol_name(protocol: u8) -> String {
    match protocol {
        0 => "IP".to_owned(),
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("IP_{other}"),
    }
}

fn write_entry(
    entry: &ConnectionInfo,
    numeric: bool,
    engines: bool,
    names: &dyn Names,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = |address: IpAddr, l4_port| endpoint(address, l4_port, entry.protocol, numeric, names);
    let seconds = entry.expires_ms / 1000;
    write!(
        out,
        "{:<3} {:<6} {:<11} {:<18} {:<18} ",
        protocol_name(entry.protocol),
        format!("{:02}:{:02}", seconds / 60, seconds % 60),
        entry.state_name(),
        text(entry.caddr, entry.cport),
        text(entry.vaddr, entry.vport),
    )?;
    let destination = text(entry.daddr, entry.dport);
    match &entry.pe_data {
        // The widths are swapped against the title.
        Some(data) if engines => writeln!(out, "{destination:<16} {:<18} {data}", "sip"),
        _ => writeln!(out, "{destination}"),
    }
}
