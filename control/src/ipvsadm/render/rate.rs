//! `-L --rate`: events and bytes per second.

use super::number::write_number;
use super::service::{server_name, service_name};
use super::{ListFormat, Page};
use shunt_engine::tables::{Server, Service};
use std::io::{self, Write};

pub(super) struct Rate;

impl ListFormat for Rate {
    fn title(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<33} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "Prot LocalAddress:Port", "CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"
        )?;
        writeln!(out, "  -> RemoteAddress:Port")
    }

    fn service(&self, page: &Page, service: &Service, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{:<33}", service_name(page, service))?;
        for value in page.snapshot.service_statistics(service.id).rates().0 {
            write_number(value, page.exact, out)?;
        }
        writeln!(out)
    }

    /// The first three columns of servers are never scaled.
    fn server(&self, page: &Page, service: &Service, server: &Server, out: &mut dyn Write) -> io::Result<()> {
        let rates = page.snapshot.server_statistics(server.id).rates();
        let [conns, in_packets, out_packets, in_bytes, out_bytes] = rates.0;
        let name = server_name(page, service, server);
        write!(out, "  -> {name:<28} {conns:>8} {in_packets:>8} {out_packets:>8}")?;
        write_number(in_bytes, page.exact, out)?;
        write_number(out_bytes, page.exact, out)?;
        writeln!(out)
    }
}
