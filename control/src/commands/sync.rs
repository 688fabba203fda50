//! `sync`: the synchronisation daemons that run, and what they have done.

use super::{DirectorCommands, usage};
use crate::server::Request;
use crate::sync::WaitingDaemon;
use serde_json::{Map, Value, json};
use std::io;

pub(super) fn show(
    commands: &DirectorCommands,
    arguments: &[String],
    request: &mut Request<'_>,
) -> io::Result<u8> {
    let (daemons, waiting, counters) = {
        let director = commands.director();
        (director.daemons(), director.waiting_daemons(), director.sync_counters())
    };
    match arguments {
        [] => {
            for daemon in daemons {
                let role = daemon.role.name();
                let (group, first, ttl) = (daemon.group, daemon.l4_port, daemon.ttl);
                writeln!(
                    request.stdout,
                    "{role}: interface {}, syncid {}, group {group}, {} port(s) from {first}, maxlen {}, ttl {ttl}",
                    daemon.interface, daemon.syncid, daemon.sockets, daemon.maxlen
                )?;
            }
            for WaitingDaemon { role, options, why } in waiting {
                let (role, interface) = (role.name(), options.interface);
                writeln!(request.stdout, "{role}: waiting for {interface}: {}", why.explained())?;
            }
            for (name, value, help) in counters.list() {
                writeln!(request.stdout, "{name:<24}{value:>16}  {help}")?;
            }
        }
        [option] if option == "--json" => {
            let running: Vec<Value> = daemons
                .iter()
                .map(|daemon| {
                    json!({
                        "role": daemon.role,
                        "interface": daemon.interface,
                        "syncid": daemon.syncid,
                        "group": daemon.group,
                        "l4_port": daemon.l4_port,
                        "sockets": daemon.sockets,
                        "maxlen": daemon.maxlen,
                        "ttl": daemon.ttl,
                    })
                })
                .collect();
            let waiting: Vec<Value> = waiting
                .iter()
                .map(|WaitingDaemon { role, options, why }| {
                    json!({ "role": role, "interface": options.interface, "why": why.explained() })
                })
                .collect();
            let counters: Map<String, Value> =
                counters.list().into_iter().map(|(name, value, _)| (name.to_owned(), value.into())).collect();
            writeln!(
                request.stdout,
                "{}",
                json!({ "daemons": running, "waiting": waiting, "counters": counters })
            )?;
        }
        _ => return usage(request, "sync"),
    }
    Ok(0)
}
