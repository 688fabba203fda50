//! `get` and `set`: the settings that the kernel keeps as sysctls `net.ipv4.vs.*`.

use super::{DirectorCommands, STATUS_FAILED, program, refuse_change, usage};
use crate::director::without_effect;
use crate::server::Request;
use std::io;

pub(super) fn get(
    commands: &DirectorCommands,
    arguments: &[String],
    request: &mut Request<'_>,
) -> io::Result<u8> {
    let settings = commands.director().sysctls();
    match arguments {
        [] => {
            for (name, value) in settings {
                writeln!(request.stdout, "{name} {value}")?;
            }
            Ok(0)
        }
        [wanted] => match settings.iter().find(|(name, _)| *name == bare(wanted)) {
            Some((_, value)) => {
                writeln!(request.stdout, "{value}")?;
                Ok(0)
            }
            None => {
                writeln!(request.stderr, "{}: there is no setting `{wanted}'", program(request.argv))?;
                Ok(STATUS_FAILED)
            }
        },
        _ => usage(request, "get"),
    }
}

pub(super) fn set(
    commands: &DirectorCommands,
    arguments: &[String],
    request: &mut Request<'_>,
) -> io::Result<u8> {
    let words = arguments.join(" ");
    let Some((name, value)) = assignment(&words) else { return usage(request, "set") };
    if let Some(status) = refuse_change(request)? {
        return Ok(status);
    }
    let mut director = commands.director();
    let changed = director.set_sysctl(name, value).map_err(|error| error.to_string());
    let changed = changed.and_then(|()| director.publish().map_err(|lagging| lagging.to_string()));
    drop(director);
    if let Err(why) = changed {
        writeln!(request.stderr, "{}: {why}", program(request.argv))?;
        return Ok(STATUS_FAILED);
    }
    if let Some(why) = without_effect(name) {
        writeln!(request.stderr, "{}: `{name}' has no effect: {why}", program(request.argv))?;
    }
    Ok(0)
}

/// The name and value of `NAME VALUE…`, `NAME=VALUE…` or `NAME = VALUE…`, as sysctl(8) and its files have them.
fn assignment(words: &str) -> Option<(&str, &str)> {
    let (name, value) = words.trim().split_once([' ', '='])?;
    let value = value.trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    (!name.is_empty() && !value.is_empty()).then_some((bare(name), value))
}

/// `net.ipv4.vs.drop_entry` is the name under which sysctl(8) knows it.
fn bare(name: &str) -> &str {
    name.strip_prefix("net.ipv4.vs.").unwrap_or(name)
}
