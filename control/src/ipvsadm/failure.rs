//! A command line that did not succeed: its text and exit status (spec `cli.md` §1, §9).

use crate::director::{Errno, Refusal};

/// Text for stderr, exit status, and whether a restore ends with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: u8,
    /// Without the newline.
    pub(super) text: String,
    /// ipvsadm exits on the spot, so a restore reads no further line.
    pub(super) ends_restore: bool,
}

/// What a message of a refused change depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) enum Operation {
    AddService,
    EditService,
    /// Delete, zero or list one.
    Service,
    AddServer,
    /// Edit or delete.
    Server,
    StartDaemon,
    StopDaemon,
    Other,
}

impl Failure {
    /// The program itself found fault with the words.
    pub(super) fn words(text: impl Into<String>) -> Failure {
        Failure { status: 2, text: text.into(), ends_restore: true }
    }

    /// The first option is no command.
    pub(super) fn try_help(program: &str) -> Failure {
        let text = format!("Try `{program} -h' or '{program} --help' for more information.");
        Failure { status: 255, text, ends_restore: true }
    }

    /// The option library found fault with a word.
    pub(super) fn library(word: &str, text: &str) -> Failure {
        Failure { status: 255, text: format!("{word}: {text}"), ends_restore: false }
    }

    /// The director refused.
    pub(super) fn refused(operation: Operation, refusal: &Refusal) -> Failure {
        let text = match refusal {
            Refusal::Errno(errno) => text_of(operation, *errno).to_owned(),
            other => other.to_string(),
        };
        Failure { status: 255, text, ends_restore: false }
    }

    /// The same, for a list: ipvsadm ends there, in a restore too.
    pub(super) fn not_listed(refusal: &Refusal) -> Failure {
        Failure { status: 1, ends_restore: true, ..Failure::refused(Operation::Service, refusal) }
    }
}

/// The first match of spec `cli.md` §9.3.
fn text_of(operation: Operation, errno: Errno) -> &'static str {
    match (operation, errno) {
        (Operation::AddService, Errno::Eexist) => "Service already exists",
        (Operation::AddService | Operation::EditService, Errno::Enoent) => {
            "Scheduler or persistence engine not found"
        }
        (Operation::EditService | Operation::Service, Errno::Esrch) => "No such service",
        (Operation::AddServer | Operation::Server, Errno::Esrch) => "Service not defined",
        (Operation::AddServer, Errno::Eexist) => "Destination already exists",
        (Operation::Server, Errno::Enoent) => "No such destination",
        (Operation::StartDaemon, Errno::Eexist) => "Daemon has already run",
        (Operation::StopDaemon, Errno::Esrch) => "No daemon is running",
        (_, Errno::Eperm) => "Permission denied (you must be root)",
        (_, Errno::Einval) => "Invalid operation.  Possibly wrong module version, address not unicast, ...",
        // The C library's texts.
        (_, Errno::Enoent) => "No such file or directory",
        (_, Errno::Esrch) => "No such process",
        (_, Errno::Eexist) => "File exists",
        (_, Errno::Enodev) => "No such device",
        (_, Errno::Erange) => "Numerical result out of range",
    }
}
