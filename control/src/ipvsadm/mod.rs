//! The command language of ipvsadm 1.31, to the byte (spec `cli.md`).
//!
//! Words become options (`popt`, `options`), options become a request (`parse`), a request whose parts go together
//! becomes a command (`check`), and a command is carried out on a [`Director`] (`execute`, `restore`, `render`).
//! Nothing here is slow while the director is locked: names are looked up and lists are written outside the lock.

mod atomic;
mod check;
mod command;
mod execute;
mod failure;
pub(crate) mod manual;
mod names;
mod options;
mod parse;
mod popt;
mod render;
mod restore;
mod values;

pub use names::{Names, NoNames, Services, SystemNames};

use crate::director::{Director, Snapshot};
use execute::Session;
use std::io::{BufRead, BufWriter, Write};
use std::sync::Mutex;

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// List and save; changes are refused as the kernel refuses them to other users than root.
    ReadOnly,
}

/// Was the tool started under ipvsadm's own name? Then nothing is known that ipvsadm does not know.
#[must_use]
pub fn is_ipvsadm(program: &str) -> bool {
    std::path::Path::new(program).file_name().is_some_and(|name| name == "ipvsadm")
}

/// Writes all services and servers as command lines that make them again just so: `-S -n` keeps neither thresholds nor
/// the order of addition.
///
/// # Errors
/// If `out` does not take it.
pub fn write_state(snapshot: &Snapshot, out: &mut dyn Write) -> std::io::Result<()> {
    render::write_state(snapshot, out)
}

/// Bytes of a list that are gathered before they are written.
const OUTPUT_LEN: usize = 64 * 1024;

/// Runs one command line and returns its exit status: 0, 1, 2 or 255 (spec `cli.md` §1).
///
/// `argv` includes the program's name, which messages quote. `stdin` is read by `-R` only. What the command changed is
/// in force on every worker when this returns; if a worker lags behind, stderr says so and the status is 1. If the first
/// argument is `--json`, lists are written as JSON.
pub fn run(
    argv: &[String],
    stdin: &mut dyn BufRead,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
    director: &Mutex<Director>,
    names: &dyn Names,
    access: Access,
) -> u8 {
    let mut words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let json = words.get(1) == Some(&"--json");
    if json {
        words.remove(1);
    }
    let mut session = Session {
        program: words.first().copied().unwrap_or("ipvsadm"),
        stdin,
        stdout: BufWriter::with_capacity(OUTPUT_LEN, stdout),
        stderr,
        director,
        names,
        access,
        json,
        changed: false,
    };
    let end = session.run(&words, false);
    session.finish(end)
}
