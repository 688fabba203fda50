//! The command language of ipvsadm 1.31, to the byte (spec `cli.md`).
//!
//! Words become options ([`popt`] rules), options become a typed command, the command is checked and then carried out
//! on a [`Director`]. Nothing here is slow while the director is locked: names are looked up and lists are written
//! outside the lock.

mod names;

pub use names::{Names, Services, SystemNames};

use crate::director::Director;
use std::io::{BufRead, Write};
use std::sync::Mutex;

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// List and save; changes are refused as the kernel refuses them to other users than root.
    ReadOnly,
}

/// Runs one command line and returns its exit status (spec `cli.md` §1).
///
/// `argv` includes the program's name, which messages quote. `stdin` is read by `-R` only. What the command changed is
/// in force on every worker when this returns.
pub fn run(
    argv: &[String],
    stdin: &mut dyn BufRead,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
    director: &Mutex<Director>,
    names: &dyn Names,
    access: Access,
) -> u8 {
    let _ = (argv, stdin, stdout, director, names, access);
    let _ = writeln!(stderr, "not built yet");
    255
}
