//! Lists, as ipvsadm prints them (spec `cli.md` §11-14). One format per file; all write straight to their output.

mod connections;
mod daemons;
mod endpoint;
pub(super) mod json;
mod number;
mod order;
mod persistent;
mod plain;
mod rate;
mod save;
mod service;
mod stats;
mod thresholds;
mod tunnel;

pub(super) use connections::write_connections;
pub(super) use daemons::write_daemons;
pub(super) use save::{write_rules, write_state};

use super::Names;
use super::command::{Columns, Format};
use crate::director::Snapshot;
use order::{sort_servers, sort_services};
use shunt_engine::tables::{Server, Service, ServiceKey};
use std::io::{self, Write};

/// Version of IPVS that lists show.
pub(super) const VERSION_LINE: &str = "IP Virtual Server version 1.2.1 (size=4096)";

/// What every list needs.
pub(super) struct Page<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) names: &'a dyn Names,
    pub(super) numeric: bool,
    /// Numbers in full.
    pub(super) exact: bool,
}

/// One list format.
trait ListFormat {
    /// The two title lines.
    fn title(&self, out: &mut dyn Write) -> io::Result<()>;
    /// The line of a service.
    fn service(&self, page: &Page, service: &Service, out: &mut dyn Write) -> io::Result<()>;
    /// The line of one of its servers.
    fn server(&self, page: &Page, service: &Service, server: &Server, out: &mut dyn Write) -> io::Result<()>;
}

fn list_format(format: Format) -> &'static dyn ListFormat {
    match format {
        Format::Plain => &plain::Plain,
        Format::Stats => &stats::Stats,
        Format::Rate => &rate::Rate,
        Format::Thresholds => &thresholds::Thresholds,
        Format::Persistent => &persistent::Persistent,
        Format::Tunnel => &tunnel::Tunnel,
    }
}

impl Page<'_> {
    /// Writes one service, or all. A service that is not there is the caller's business.
    pub(super) fn write_services(
        &self,
        one: Option<&ServiceKey>,
        columns: Columns,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let format = list_format(columns.format);
        let mut services = match one {
            Some(key) => self.snapshot.service(key).into_iter().collect(),
            None => {
                writeln!(out, "{VERSION_LINE}")?;
                self.snapshot.services()
            }
        };
        if columns.sorted {
            sort_services(&mut services);
        }
        format.title(out)?;
        for service in services {
            format.service(self, service, out)?;
            let mut servers: Vec<&Server> = self.snapshot.servers(service).collect();
            if columns.sorted {
                sort_servers(&mut servers);
            }
            for server in servers {
                format.server(self, service, server, out)?;
            }
        }
        Ok(())
    }
}
