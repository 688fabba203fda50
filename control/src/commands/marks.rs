//! `mark`: the rules by which packets get firewall marks, while packets flow.

use super::{DirectorCommands, STATUS_FAILED, program, refuse_change, usage};
use crate::director::{MARK_KEYS_MAX, Mark, MarkError};
use crate::server::Request;
use std::io::{self, BufRead};

pub(super) fn run(
    commands: &DirectorCommands,
    arguments: &[String],
    request: &mut Request<'_>,
) -> io::Result<u8> {
    match arguments {
        [verb] if verb == "list" => list(commands, request),
        [verb, words @ ..] if verb == "add" && !words.is_empty() => change(commands, request, |marks| {
            let (words, place) = match words {
                [words @ .., before, number] if before == "before" => (words, place(number, marks)?),
                _ => (words, marks.len()),
            };
            marks.insert(place, Mark::parse(words).map_err(|error| error.to_string())?);
            Ok(())
        }),
        [verb, number] if verb == "del" => change(commands, request, |marks| {
            marks.remove(place(number, marks)?);
            Ok(())
        }),
        [verb] if verb == "load" => load(commands, request),
        _ => usage(request, "mark"),
    }
}

/// The place of a rule in the list, from its number as `mark list` shows it.
fn place(number: &str, marks: &[Mark]) -> Result<usize, String> {
    let found = number.parse().ok().filter(|number| (1..=marks.len()).contains(number));
    found.map(|number: usize| number - 1).ok_or_else(|| format!("there is no rule `{number}'"))
}

/// Replaces all rules by those of standard input, in one publication or not at all.
fn load(commands: &DirectorCommands, request: &mut Request<'_>) -> io::Result<u8> {
    if let Some(status) = refuse_change(request)? {
        return Ok(status);
    }
    match read(request.stdin) {
        Ok(marks) => change(commands, request, |all| {
            *all = marks;
            Ok(())
        }),
        Err(why) => {
            writeln!(request.stderr, "{}: {why}; nothing was changed", program(request.argv))?;
            Ok(STATUS_FAILED)
        }
    }
}

/// One rule a line, as `mark list` shows it or `mark add` takes it; empty lines and those that begin with `#` do not count.
fn read(stdin: &mut dyn BufRead) -> Result<Vec<Mark>, String> {
    let mut marks = Vec::new();
    for (number, line) in (1..).zip(stdin.lines()) {
        let at_line = |why: String| format!("line {number}: {why}");
        let line = line.map_err(|error| at_line(error.to_string()))?;
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if words.first().is_some_and(|first| first.ends_with(':')) {
            words.remove(0);
        }
        if words.first().is_none_or(|first| first.starts_with('#')) {
            continue;
        }
        if marks.len() == MARK_KEYS_MAX {
            return Err(at_line(MarkError::TooMany.to_string()));
        }
        marks.push(Mark::parse(&words).map_err(|error| at_line(error.to_string()))?);
    }
    Ok(marks)
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
        .and_then(|()| director.set_marks(marks).map_err(|(at, error)| format!("rule {}: {error}", at + 1)))
        .and_then(|()| director.publish().map_err(|lagging| lagging.to_string()));
    drop(director);
    if let Err(why) = done {
        writeln!(request.stderr, "{}: {why}", program(request.argv))?;
        return Ok(STATUS_FAILED);
    }
    Ok(0)
}
