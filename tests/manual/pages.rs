//! shuntd(8) and shuntadm(8).

use crate::arguments::Arguments;
use crate::configuration::quoted;
use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_mangen::Man;
use shunt_control::manual::{commands, options, usage};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The daemon, without the commit in its version.
pub fn shuntd() -> Command {
    Arguments::command().version(VERSION)
}

/// The tool, as clap would have it.
pub fn shuntadm() -> Command {
    let mut command = Command::new("shuntadm")
        .version(VERSION)
        .about("Control a running shuntd, in the language of ipvsadm")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .arg(Arg::new("socket").long("socket").value_name("PATH").help(
            "the control socket; only before all other words (default: $SHUNT_SOCKET, then /run/shunt/control.sock)",
        ))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("before -L: any list as JSON"));
    for option in options() {
        let mut arg = Arg::new(option.long).long(option.long).help(option.help);
        let mut letters = option.letters.into_iter();
        if let Some(letter) = letters.next() {
            arg = arg.short(letter).visible_short_aliases(letters.collect::<Vec<_>>());
        }
        command = command.arg(match option.argument {
            Some(name) => {
                let count = if option.argument_is_optional { 0..=1 } else { 1..=1 };
                arg.value_name(name).num_args(count)
            }
            None => arg.action(ArgAction::SetTrue),
        });
    }
    for sub_command in commands() {
        let usage = format!("{} {}", sub_command.name, sub_command.arguments);
        command = command.subcommand(
            Command::new(sub_command.name)
                .about(sub_command.help)
                .override_usage(usage)
                .disable_help_flag(true),
        );
    }
    command
}

const ADM_MORE: &str = r#".SH EXIT STATUS
0: success. 1: a list failed, or a worker did not observe the change within a second. 2: wrong arguments, or shuntd is
not running. 255: wrong options, or the change was refused.
.SH JSON
\fBshuntadm \-\-json \-L\fR ... gives each list as one JSON object: \fIservices\fR, \fIconnections\fR (\fB\-c\fR),
\fItimeouts\fR (\fB\-\-timeout\fR) or \fIdaemons\fR (\fB\-\-daemon\fR). Names are never changed; new ones may be added.
.SH NAMES
Started under the name \fBipvsadm\fR the tool knows only what ipvsadm knows, and answers as it does, to the byte; as
\fBipvsadm\-save\fR and \fBipvsadm\-restore\fR it is what those scripts are.
.SH FILES
.TP
/run/shunt/control.sock
the control socket; $SHUNT_SOCKET names another one
.SH EXAMPLES
.nf
shuntadm \-A \-t 192.0.2.1:80 \-s wlc
shuntadm \-a \-t 192.0.2.1:80 \-r 10.0.0.1:8080 \-m
shuntadm \-L \-n \-\-stats
shuntadm \-S \-n > table
(echo \-C; cat table) | shuntadm \-R \-\-atomic
.fi
.SH SEE ALSO
.BR shuntd (8),
.BR shuntd.toml (5)
"#;

const D_MORE: &str = r#".SH SIGNALS
.TP
SIGHUP
reads the configuration again; the log says what waits for a restart
.TP
SIGTERM, SIGINT
saves the state, if [state] names a file, and ends; the exit status is 1 if it could not be saved
.TP
SIGUSR1, SIGUSR2
are ignored
.SH FILES
.TP
/etc/shunt/shunt.toml
the configuration, by custom
.TP
/run/shunt/control.sock
the control socket
.TP
/var/lib/shunt/state
services and connections, for the next start
.SH SEE ALSO
.BR shuntadm (8),
.BR shuntd.toml (5)
"#;

/// With the usage lines of the language, which say more than a list of all options.
pub fn shuntadm_page() -> Vec<u8> {
    let mut synopsis = "[--socket PATH] [--json] COMMAND...\n".to_owned();
    for line in usage() {
        synopsis += &format!("{line}\n");
    }
    let mut text = String::new();
    for line in synopsis.lines() {
        text += &format!("\\fBshuntadm\\fR {}\n.br\n", quoted(line));
    }
    let page = String::from_utf8(page(shuntadm(), ADM_MORE)).expect("pages are text");
    let (before, rest) = page.split_once(".SH SYNOPSIS\n").expect("a synopsis");
    let (_, after) = rest.split_once(".SH DESCRIPTION\n").expect("a description");
    format!("{before}.SH SYNOPSIS\n{text}.SH DESCRIPTION\n{after}").into_bytes()
}

pub fn shuntd_page() -> Vec<u8> {
    page(shuntd(), D_MORE)
}

fn page(command: Command, more: &str) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let source = format!("shunt {VERSION}");
    let man = Man::new(command).title(name).section("8").date("").source(source).manual("shunt");
    let mut text = Vec::new();
    // Writing into memory does not fail.
    let _ = man.render(&mut text);
    text.extend(more.as_bytes());
    text
}
