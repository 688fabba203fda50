//! `-L --tun-info`: as the plain list, with encapsulation.

use super::endpoint::cut;
use super::service::{method_name, server_name, write_service};
use super::{ListFormat, Page};
use shunt_engine::tables::{ForwardingMethod, Server, Service, TunnelChecksum, TunnelKind};
use std::io::{self, Write};

pub(super) struct Tunnel;

/// Longest text of an encapsulation.
const TUNNEL_LEN: usize = 15;

/// `gue:6080:+c`
fn encapsulation(server: &Server) -> String {
    if server.method != ForwardingMethod::Tunnel {
        return "n/a".to_owned();
    }
    let checksum = match server.tunnel_checksum {
        TunnelChecksum::None => "-c",
        TunnelChecksum::Full => "+c",
        TunnelChecksum::Remote => "r+c",
    };
    let mut text = match server.tunnel {
        TunnelKind::Ipip => "ipip".to_owned(),
        TunnelKind::Gue { dport } => format!("gue:{dport}:{checksum}"),
        TunnelKind::Gre => format!("gre:{checksum}"),
    };
    cut(&mut text, TUNNEL_LEN);
    text
}

impl ListFormat for Tunnel {
    fn title(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Prot LocalAddress:Port Scheduler Flags")?;
        writeln!(out, "  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn")
    }

    fn service(&self, page: &Page, service: &Service, out: &mut dyn Write) -> io::Result<()> {
        write_service(page, service, out)
    }

    fn server(&self, page: &Page, service: &Service, server: &Server, out: &mut dyn Write) -> io::Result<()> {
        let counts = page.snapshot.connections(server.id);
        writeln!(
            out,
            "  -> {:<28} {:<7} {:<13} {:<6} {:<10} {:<10}",
            server_name(page, service, server),
            method_name(server.method),
            encapsulation(server),
            server.weight,
            counts.active,
            counts.inactive
        )
    }
}
