//! A [`Command`] is carried out on the director.
//!
//! The director is locked for each change and each snapshot, never while a name is looked up, a line is read or a list
//! is written.

use super::command::{Command, List};
use super::failure::{Failure, Operation};
use super::render::{Page, json, write_connections, write_daemons, write_rules};
use super::{Access, Names, atomic, is_ipvsadm, restore};
use crate::director::{Director, Errno, Refusal};
use std::io::{self, BufRead, BufWriter, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The first line of the help, and all of `-v`.
const VERSION_LINE: &str = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)";

/// The rest of the help.
const HELP: &str = include_str!("help.txt");

/// What `-h` says of what ipvsadm does not have.
const MORE_HELP: &str = "
Beyond ipvsadm:
  -R --atomic                         all lines of stdin or none, in one publication
  --json -L ...                       any list as JSON
  help                                the commands that ipvsadm does not have
";

/// One peer's command lines, and where their answers go.
pub(super) struct Session<'a> {
    pub(super) program: &'a str,
    pub(super) stdin: &'a mut dyn BufRead,
    pub(super) stdout: BufWriter<&'a mut dyn Write>,
    pub(super) stderr: &'a mut dyn Write,
    pub(super) director: &'a Mutex<Director>,
    pub(super) names: &'a dyn Names,
    pub(super) access: Access,
    /// Lists are written as JSON.
    pub(super) json: bool,
    /// A change was asked for: the session ends with a publication.
    pub(super) changed: bool,
}

/// How a command line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A restore goes on with its next line.
    Line(u8),
    /// The whole program ends.
    Program(u8),
}

impl End {
    pub(super) fn status(self) -> u8 {
        match self {
            End::Line(status) | End::Program(status) => status,
        }
    }
}

impl Session<'_> {
    /// Runs one command line. `words[0]` is the program's name.
    pub(super) fn run(&mut self, words: &[&str], in_restore: bool) -> End {
        match self.try_run(words, in_restore) {
            Ok(end) => end,
            Err(failure) => {
                self.complain(failure.text);
                if failure.ends_restore { End::Program(failure.status) } else { End::Line(failure.status) }
            }
        }
    }

    /// Writes one message, after what was listed so far. Who closed an output does not want the message either.
    pub(super) fn complain(&mut self, mut text: String) {
        let _ = self.stdout.flush();
        text.push('\n');
        // In one piece: it may become one frame of the protocol.
        let _ = self.stderr.write_all(text.as_bytes());
    }

    fn try_run(&mut self, words: &[&str], in_restore: bool) -> Result<End, Failure> {
        let command = self.read(words, in_restore)?;
        if self.json && !matches!(command, Command::List(_)) {
            return Err(Failure::words("--json goes with -L only"));
        }
        match command {
            Command::Restore { atomic: false } => Ok(restore::run(self)),
            Command::Restore { atomic: true } => atomic::run(self).map(|()| End::Line(0)),
            Command::Help => {
                let more = if is_ipvsadm(self.program) { "" } else { MORE_HELP };
                self.listed(|out| write!(out, "{VERSION_LINE}\n{HELP}{more}")).map(|()| End::Program(0))
            }
            Command::Version => self.listed(|out| writeln!(out, "{VERSION_LINE}")).map(|()| End::Program(0)),
            Command::List(list) => self.list(list).map(|()| End::Line(0)),
            Command::Save { numeric } => self.save(numeric).map(|()| End::Line(0)),
            change => {
                self.changed = true;
                let (operation, done) = apply(&mut lock(self.director), change);
                done.map(|()| End::Line(0)).map_err(|refusal| Failure::refused(operation, &refusal))
            }
        }
    }

    /// Words become a command that the peer may give.
    pub(super) fn read(&self, words: &[&str], in_restore: bool) -> Result<Command, Failure> {
        let command = super::parse::Request::parse(words, self.names)?.check()?;
        if in_restore && matches!(command, Command::Restore { .. }) {
            return Err(Failure::try_help(self.program));
        }
        if command.changes() && self.access == Access::ReadOnly {
            return Err(Failure::refused(Operation::Other, &Errno::Eperm.into()));
        }
        Ok(command)
    }

    fn listed(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        write(&mut self.stdout).map_err(|error| Failure {
            status: 1,
            text: format!("cannot write the list: {error}"),
            ends_restore: true,
        })
    }

    fn list(&mut self, list: List) -> Result<(), Failure> {
        match list {
            List::Connections { numeric, engines } => {
                let dataplane = lock(self.director).dataplane().clone();
                if self.json {
                    return self.listed(|out| json::write_connections(&*dataplane, out));
                }
                let names = self.names;
                self.listed(|out| write_connections(&*dataplane, numeric, engines, names, out))
            }
            List::Timeouts => {
                let snapshot = lock(self.director).snapshot();
                let settings = snapshot.settings();
                let (tcp, fin, udp) =
                    (settings.timeout_tcp_s, settings.timeout_tcp_fin_s, settings.timeout_udp_s);
                if self.json {
                    return self.listed(|out| json::write_timeouts(settings, out));
                }
                self.listed(|out| writeln!(out, "Timeout (tcp tcpfin udp): {tcp} {fin} {udp}"))
            }
            List::Daemons => {
                let daemons = lock(self.director).daemons();
                if self.json {
                    return self.listed(|out| json::write_daemons(&daemons, out));
                }
                self.listed(|out| write_daemons(&daemons, out))
            }
            List::Services(one, columns) => {
                let snapshot = lock(self.director).snapshot();
                if one.is_some_and(|key| snapshot.service(&key).is_none()) {
                    return Err(Failure::not_listed(&Errno::Esrch.into()));
                }
                let page = Page {
                    snapshot: &snapshot,
                    names: self.names,
                    numeric: columns.numeric,
                    exact: columns.exact,
                };
                if self.json {
                    return self.listed(|out| json::write_services(&page, one.as_ref(), columns.sorted, out));
                }
                self.listed(|out| page.write_services(one.as_ref(), columns, out))
            }
        }
    }

    fn save(&mut self, numeric: bool) -> Result<(), Failure> {
        let snapshot = lock(self.director).snapshot();
        let page = Page { snapshot: &snapshot, names: self.names, numeric, exact: false };
        self.listed(|out| write_rules(&page, out))
    }

    /// Ends the session: what it changed is in force when this returns.
    pub(super) fn finish(mut self, end: End) -> u8 {
        let mut status = end.status();
        let published = if self.changed { lock(self.director).publish() } else { Ok(()) };
        if let Err(lagging) = published {
            // The change was made, so this is none of the kernel's refusals.
            self.complain(lagging.to_string());
            status = 1;
        }
        if self.stdout.flush().is_err() && status == 0 {
            status = 1;
        }
        status
    }
}

/// A panic elsewhere does not make the records worse than they are.
pub(super) fn lock(director: &Mutex<Director>) -> MutexGuard<'_, Director> {
    director.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn apply(director: &mut Director, change: Command) -> (Operation, Result<(), Refusal>) {
    match change {
        Command::AddService(key, options) => (Operation::AddService, director.add_service(key, &options)),
        Command::EditService(key, options) => (Operation::EditService, director.edit_service(&key, &options)),
        Command::DeleteService(key) => (Operation::Service, director.delete_service(&key)),
        Command::AddServer(key, server) => (Operation::AddServer, director.add_server(&key, &server)),
        Command::EditServer(key, server) => (Operation::Server, director.edit_server(&key, &server)),
        Command::DeleteServer(key, daddr, dport) => {
            (Operation::Server, director.delete_server(&key, daddr, dport))
        }
        Command::Zero(key) => (Operation::Service, director.zero(key.as_ref())),
        Command::SetTimeouts([tcp_s, tcp_fin_s, udp_s]) => {
            (Operation::Other, director.set_timeouts(tcp_s, tcp_fin_s, udp_s))
        }
        Command::StartDaemon(role, options) => {
            (Operation::StartDaemon, director.start_daemon(role, &options))
        }
        Command::StopDaemon(role) => (Operation::StopDaemon, director.stop_daemon(role)),
        Command::Flush => {
            director.flush();
            (Operation::Other, Ok(()))
        }
        // Handled before.
        Command::Restore { .. }
        | Command::Save { .. }
        | Command::List(_)
        | Command::Help
        | Command::Version => (Operation::Other, Ok(())),
    }
}
