//! What the control socket answers: ipvsadm's language, and the few commands that shunt has beside it.
//!
//! ipvsadm's first word always begins with `-`, so a first word that does not cannot collide with it. Under the name
//! `ipvsadm` there are no others, so that the tool answers to the byte.

mod marks;
mod settings;
mod stats;
mod sync;
mod workers;

use crate::director::Director;
use crate::ipvsadm::{self, Access, Names};
use crate::server::{Commands, Request};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Exit status of a command that was given wrong arguments.
const STATUS_USAGE: u8 = 2;
/// Exit status of a command that failed.
const STATUS_FAILED: u8 = 1;

/// Commands on a director.
pub struct DirectorCommands {
    director: Arc<Mutex<Director>>,
    names: Box<dyn Names + Send + Sync>,
    version: String,
}

/// A command beside ipvsadm's.
struct SubCommand {
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&DirectorCommands, &[String], &mut Request<'_>) -> io::Result<u8>,
}

const SUB_COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "get",
        arguments: "[NAME]",
        help: "show a setting (a sysctl net.ipv4.vs.NAME), or all of them",
        run: settings::get,
    },
    SubCommand {
        name: "help",
        arguments: "",
        help: "this text; `-h' is ipvsadm's",
        run: DirectorCommands::help,
    },
    SubCommand {
        name: "mark",
        arguments: "add MARK [KEY VALUE]... [before N] | del N | list | load",
        help: "rules of firewall marks; keys: family source destination protocol sports dports nic_port; \
               load replaces all by those of standard input",
        run: marks::run,
    },
    SubCommand {
        name: "ports",
        arguments: "",
        help: "what is in force on each NIC port, and what it has counted",
        run: DirectorCommands::ports,
    },
    SubCommand {
        name: "set",
        arguments: "NAME VALUE... | NAME=VALUE",
        help: "change a setting",
        run: settings::set,
    },
    SubCommand {
        name: "stats",
        arguments: "[--json]",
        help: "connections, packets and bytes of all services together, and their rates",
        run: stats::show,
    },
    SubCommand {
        name: "sync",
        arguments: "[--json]",
        help: "the synchronisation daemons, and what they have done",
        run: sync::show,
    },
    SubCommand {
        name: "version",
        arguments: "",
        help: "the version of the daemon",
        run: DirectorCommands::version,
    },
    SubCommand {
        name: "workers",
        arguments: "[--json]",
        help: "packets of each worker: received, sent, dropped and why",
        run: workers::show,
    },
];

/// Name, arguments and help of each command that ipvsadm does not have.
pub(crate) fn texts() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    SUB_COMMANDS.iter().map(|command| (command.name, command.arguments, command.help))
}

impl DirectorCommands {
    /// Commands on this director. `version` is what `version` answers.
    #[must_use]
    pub fn new(
        director: Arc<Mutex<Director>>,
        names: Box<dyn Names + Send + Sync>,
        version: String,
    ) -> DirectorCommands {
        DirectorCommands { director, names, version }
    }

    fn director(&self) -> MutexGuard<'_, Director> {
        self.director.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn help(&self, _: &[String], request: &mut Request<'_>) -> io::Result<u8> {
        let out = &mut request.stdout;
        writeln!(out, "Beside the arguments of ipvsadm (see -h), shuntadm takes:")?;
        for SubCommand { name, arguments, help, .. } in SUB_COMMANDS {
            let words = format!("{name} {arguments}");
            // What does not fit its column has the help in a line of its own.
            let gap = if words.len() < 24 { 24 - words.len() } else { 0 };
            match gap {
                0 => writeln!(out, "  {words}\n{:26}{help}", "")?,
                _ => writeln!(out, "  {words}{:gap$}{help}", "")?,
            }
        }
        writeln!(
            out,
            "Before all others: --socket PATH (default: $SHUNT_SOCKET, then /run/shunt/control.sock)"
        )?;
        Ok(0)
    }

    fn ports(&self, _: &[String], request: &mut Request<'_>) -> io::Result<u8> {
        let dataplane = self.director().dataplane().clone();
        write!(request.stdout, "{}", dataplane.nic_ports())?;
        Ok(0)
    }

    fn version(&self, _: &[String], request: &mut Request<'_>) -> io::Result<u8> {
        writeln!(request.stdout, "shuntd {}", self.version)?;
        Ok(0)
    }
}

fn usage(request: &mut Request<'_>, name: &str) -> io::Result<u8> {
    let arguments =
        SUB_COMMANDS.iter().find(|command| command.name == name).map_or("", |command| command.arguments);
    writeln!(request.stderr, "usage: {} {name} {arguments}", program(request.argv))?;
    Ok(STATUS_USAGE)
}

fn program(argv: &[String]) -> &str {
    argv.first().map_or("shuntadm", String::as_str)
}

impl Commands for DirectorCommands {
    fn run(&self, mut request: Request<'_>) -> u8 {
        let first = request.argv.get(1).filter(|first| !first.starts_with('-'));
        let Some(first) = first.filter(|_| !ipvsadm::is_ipvsadm(program(request.argv))) else {
            return ipvsadm::run(
                request.argv,
                request.stdin,
                request.stdout,
                request.stderr,
                &self.director,
                &*self.names,
                request.access,
            );
        };
        let done = match SUB_COMMANDS.iter().find(|command| command.name == first) {
            Some(command) => (command.run)(self, &request.argv[2..], &mut request),
            None => unknown(&mut request, first),
        };
        // The only error is that the client is gone: nobody is left to see the status.
        done.unwrap_or(STATUS_FAILED)
    }
}

fn unknown(request: &mut Request<'_>, word: &str) -> io::Result<u8> {
    let program = program(request.argv);
    writeln!(
        request.stderr,
        "{program}: there is no command `{word}': see `{program} help' and `{program} -h'"
    )?;
    Ok(STATUS_USAGE)
}

/// Refuses a change by a peer that may only list.
fn refuse_change(request: &mut Request<'_>) -> io::Result<Option<u8>> {
    if request.access == Access::ReadWrite {
        return Ok(None);
    }
    writeln!(
        request.stderr,
        "{}: only root and members of control.group may change things",
        program(request.argv)
    )?;
    Ok(Some(STATUS_FAILED))
}

#[cfg(test)]
mod tests;
