//! `mark`: the rules by which packets get firewall marks, while packets flow.

use super::{DirectorCommands, STATUS_FAILED, program, refuse_change, usage};
use crate::director::Mark;
use crate::server::Request;
use std::io;

pub(super) fn run(
    commands: &DirectorCommands,
    arguments: &[String],
    request: &mut Request<'_>,
) -> io::Result<u8> {
    match arguments {
        [verb] if verb == "list" => list(commands, request),
        [verb, words @ ..] if verb == "add" && !words.is_empty() => change(commands, request, |marks| {
            marks.push(Mark::parse(words).map_err(|error| error.to_string())?);
            Ok(())
        }),
        [verb, number] if verb == "del" => change(commands, request, |marks| {
            let index = number.parse().ok().filter(|number| (1..=marks.len()).contains(number));
            marks.remove(index.ok_or_else(|| format!("there is no rule `{number}'"))? - 1);
            Ok(())
        }),
        _ => usage(request, "mark"),
    }
}

/// One rule a line, with its number, as `mark add` takes it.
fn list(commands: &DirectorCommands, request: &mut Request<'_>) -> io::Result<u8> {
    let marks = commands.director().marks().to_vec();
    for (index, mark) in marks.iter().enumerate() {
        writeln!(request.stdout, "{}: {mark}", index + 1)?;
    }
    Ok(0)
}

/// Changes the list and puts it in force on every worker.
fn change(
    commands: &DirectorCommands,
    request: &mut Request<'_>,
    edit: impl FnOnce(&mut Vec<Mark>) -> Result<(), String>,
) -> io::Result<u8> {
    if let Some(status) = refuse_change(request)? {
        return Ok(status);
    }
    let mut director = commands.director();
    let mut marks = director.marks().to_vec();
    let done = edit(&mut marks)
        .and_then(|()| director.set_marks(marks).map_err(|(_, error)| error.to_string()))
        .and_then(|()| director.publish().map_err(|lagging| lagging.to_string()));
    drop(director);
    if let Err(why) = done {
        writeln!(request.stderr, "{}: {why}", program(request.argv))?;
        return Ok(STATUS_FAILED);
    }
    Ok(0)
}
