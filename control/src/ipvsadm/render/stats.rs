//! `-L --stats`: counters.

use super::number::write_number;
use super::service::{server_name, service_name};
use super::{ListFormat, Page};
use crate::director::Counters;
use shunt_engine::tables::{Server, Service};
use std::io::{self, Write};

pub(super) struct Stats;

fn write_counters(counters: Counters, exact: bool, out: &mut dyn Write) -> io::Result<()> {
    for value in counters.0 {
        write_number(value, exact, out)?;
    }
    writeln!(out)
}

impl ListFormat for Stats {
    fn title(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<33} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "Prot LocalAddress:Port", "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"
        )?;
        writeln!(out, "  -> RemoteAddress:Port")
    }

    fn service(&self, page: &Page, service: &Service, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{:<33}", service_name(page, service))?;
        write_counters(page.snapshot.service_statistics(service.id).counters(), page.exact, out)
    }

    fn server(&self, page: &Page, service: &Service, server: &Server, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "  -> {:<28}", server_name(page, service, server))?;
        write_counters(page.snapshot.server_statistics(server.id).counters(), page.exact, out)
    }
}
