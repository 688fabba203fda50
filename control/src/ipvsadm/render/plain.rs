//! `-L`: scheduler, method, weight, connections.

use super::service::{method_name, server_name, write_service};
use super::{ListFormat, Page};
use shunt_engine::tables::{Server, Service};
use std::io::{self, Write};

pub(super) struct Plain;

impl ListFormat for Plain {
    fn title(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Prot LocalAddress:Port Scheduler Flags")?;
        writeln!(out, "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn")
    }

    fn service(&self, page: &Page, service: &Service, out: &mut dyn Write) -> io::Result<()> {
        write_service(page, service, out)
    }

    fn server(&self, page: &Page, service: &Service, server: &Server, out: &mut dyn Write) -> io::Result<()> {
        let counts = page.snapshot.connections(server.id);
        writeln!(
            out,
            "  -> {:<28} {:<7} {:<6} {:<10} {:<10}",
            server_name(page, service, server),
            method_name(server.method),
            server.weight,
            counts.active,
            counts.inactive
        )
    }
}
