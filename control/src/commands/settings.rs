//! `get` and `set`: the settings that the kernel keeps as sysctls `net.ipv4.vs.*`.

use super::{DirectorCommands, STATUS_FAILED, program, refuse_change, usage};
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
        [wanted] => match settings.iter().find(|(name, _)| name == wanted) {
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
    let [name, value] = arguments else { return usage(request, "set") };
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
    Ok(0)
}
