//! `-L --persistent-conn`: persistence templates.

use super::service::{server_name, write_service};
use super::{ListFormat, Page};
use shunt_engine::tables::{Server, Service};
use std::io::{self, Write};

pub(super) struct Persistent;

impl ListFormat for Persistent {
    fn title(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<33} {:<9} {:<11} {:<10} {:<10}",
            "Prot LocalAddress:Port", "Weight", "PersistConn", "ActiveConn", "InActConn"
        )?;
        writeln!(out, "  -> RemoteAddress:Port")
    }

    fn service(&self, page: &Page, service: &Service, out: &mut dyn Write) -> io::Result<()> {
        write_service(page, service, out)
    }

    fn server(&self, page: &Page, service: &Service, server: &Server, out: &mut dyn Write) -> io::Result<()> {
        let counts = page.snapshot.connections(server.id);
        writeln!(
            out,
            "  -> {:<28} {:<9} {:<11} {:<10} {:<10}",
            server_name(page, service, server),
            server.weight,
            counts.persistent,
            counts.active,
            counts.inactive
        )
    }
}
