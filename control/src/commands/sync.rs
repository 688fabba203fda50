//! `sync`: the synchronisation daemons that run, and what they have done.

use super::{DirectorCommands, usage};
use crate::server::Request;
use crate::sync::Role;
use serde_json::{Map, Value, json};
use std::io;

pub(super) fn show(
    commands: &DirectorCommands,
    arguments: &[String],
    request: &mut Request<'_>,
) -> io::Result<u8> {
    let (daemons, counters) = {
        let director = commands.director();
        (director.daemons(), director.sync_counters())
    };
    match arguments {
        [] => {
            for daemon in daemons {
                let role = if daemon.role == Role::Master { "master" } else { "backup" };
                let (group, first, ttl) = (daemon.group, daemon.l4_port, daemon.ttl);
                writeln!(
                    request.stdout,
                    "{role}: interface {}, syncid {}, group {group}, {} port(s) from {first}, maxlen {}, ttl {ttl}",
                    daemon.interface, daemon.syncid, daemon.sockets, daemon.maxlen
                )?;
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
            let counters: Map<String, Value> =
                counters.list().into_iter().map(|(name, value, _)| (name.to_owned(), value.into())).collect();
            writeln!(request.stdout, "{}", json!({ "daemons": running, "counters": counters }))?;
        }
        _ => return usage(request, "sync"),
    }
    Ok(0)
}
