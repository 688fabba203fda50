//! `-R --atomic`: all lines or none, in one publication. What ipvsadm cannot do.

use super::command::Command;
use super::execute::{Session, apply, lock};
use super::failure::Failure;
use super::restore::{read_line, words};

/// Reads all lines, then carries all of them out while nobody else can look. The first line that fails ends it, with
/// its number; nothing is changed then. Lines that begin with `#` are comments.
pub(super) fn run(session: &mut Session) -> Result<(), Failure> {
    let changes = read(session)?;
    let adds = changes.iter().filter(|(_, change)| matches!(change, Command::AddServer(..))).count();
    lock(session.director).attempt(adds, |director| {
        changes.into_iter().try_for_each(|(number, change)| {
            let (operation, done) = apply(director, change);
            done.map_err(|refusal| at_line(number, Failure::refused(operation, &refusal)))
        })
    })?;
    session.changed = true;
    Ok(())
}

/// The changes, with the numbers of their lines, from 1.
fn read(session: &mut Session) -> Result<Vec<(usize, Command)>, Failure> {
    let mut changes = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        match read_line(session.stdin, &mut line) {
            Ok(Some(())) => {}
            Ok(None) => break,
            Err(error) => {
                return Err(at_line(number, Failure::words(format!("cannot read the commands: {error}"))));
            }
        }
        let text = String::from_utf8_lossy(&line);
        let mut argv = vec![session.program];
        argv.extend(words(&text));
        if argv.len() == 1 || argv[1].starts_with('#') {
            continue;
        }
        let command = session.read(&argv, true).map_err(|failure| at_line(number, failure))?;
        if !command.can_be_undone() {
            let why = "only changes of services, servers and timeouts can be restored atomically";
            return Err(at_line(number, Failure::words(why)));
        }
        changes.push((number, command));
    }
    Ok(changes)
}

fn at_line(number: usize, failure: Failure) -> Failure {
    Failure { text: format!("line {number}: {}; nothing was changed", failure.text.trim_end()), ..failure }
}
