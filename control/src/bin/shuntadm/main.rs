//! The control tool: hands its arguments to `shuntd` and prints the answer. All that is known of commands is there.
//! Started as `ipvsadm-save` or `ipvsadm-restore` it is what those scripts are.
#![forbid(unsafe_code)]

mod wrapper;

use shunt_control::protocol::{self, Frame, STATUS_TROUBLE};
use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use wrapper::{Requests, requests};

const DEFAULT_SOCKET: &str = "/run/shunt/control.sock";
const SOCKET_VARIABLE: &str = "SHUNT_SOCKET";

/// The socket and argv for the daemon.
fn arguments() -> Result<(PathBuf, Vec<String>), String> {
    let mut argv = Vec::new();
    for word in std::env::args_os() {
        let word = word.into_string().map_err(|word| format!("{} is not UTF-8", word.display()))?;
        argv.push(word);
    }
    if let Some(path) = argv.get(1).and_then(|first| first.strip_prefix("--socket=")) {
        let path = path.into();
        argv.remove(1);
        return Ok((path, argv));
    }
    if argv.get(1).is_some_and(|first| first == "--socket") {
        let path = argv.get(2).ok_or("--socket needs a path")?.into();
        argv.drain(1..3);
        return Ok((path, argv));
    }
    let from_environment = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
    Ok((from_environment.map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from), argv))
}

fn connect(path: &PathBuf) -> Result<UnixStream, String> {
    UnixStream::connect(path).map_err(|error| {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                format!("shuntd is not running: nobody answers at {path} ({error})")
            }
            io::ErrorKind::PermissionDenied => {
                format!(
                    "only root and members of control.group may use {path}, unless control.mode says more"
                )
            }
            _ => format!("cannot connect to {path}: {error}"),
        }
    })
}

/// Standard input goes on a thread of its own, because the daemon may answer while it is still being sent.
fn send_input(mut to: UnixStream, without_comments: bool) {
    std::thread::spawn(move || {
        let stdin = io::stdin().lock();
        let sent = match without_comments {
            true => protocol::send_input(wrapper::without_comments(stdin), &mut to),
            false => protocol::send_input(stdin, &mut to),
        };
        // The daemon has gone or ended the command, or the input cannot be read. Either way the answer tells, if the
        // daemon does not wait for more.
        if sent.is_err() {
            let _ = to.shutdown(Shutdown::Write);
        }
    });
}

/// One request after the other, on one connection. The status is the last one's.
fn converse(stream: &UnixStream, requests: &Requests) -> io::Result<u8> {
    let mut from = BufReader::new(stream.try_clone()?);
    let mut status = 0;
    for argv in &requests.lines {
        status = ask(stream, &mut from, argv, requests.without_comments)?;
    }
    Ok(status)
}

fn ask(
    mut stream: &UnixStream,
    mut from: &mut BufReader<UnixStream>,
    argv: &[String],
    without_comments: bool,
) -> io::Result<u8> {
    // A daemon that refuses the connection may have closed it already: its answer is there to be read all the same.
    let _ = stream.write_all(protocol::request(argv).as_bytes());
    protocol::read_version(&mut from)?;
    loop {
        match protocol::read_frame(&mut from)? {
            Frame::Out(bytes) => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&bytes)?;
                stdout.flush()?;
            }
            Frame::Err(bytes) => io::stderr().write_all(&bytes)?,
            Frame::In => send_input(stream.try_clone()?, without_comments),
            Frame::End(status) => return Ok(status),
        }
    }
}

fn main() -> ExitCode {
    let program = std::env::args().next().unwrap_or_else(|| "shuntadm".to_owned());
    let result = arguments().and_then(|(path, argv)| {
        let requests = match requests(argv) {
            Ok(requests) => requests,
            Err(usage) => {
                let _ = io::stderr().write_all(usage.as_bytes());
                return Ok(1);
            }
        };
        let stream = connect(&path)?;
        converse(&stream, &requests).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => "shuntd closed the connection before it had answered".to_owned(),
            // Whoever read our output has seen enough.
            io::ErrorKind::BrokenPipe => String::new(),
            _ => error.to_string(),
        })
    });
    match result {
        Ok(status) => ExitCode::from(status),
        Err(why) => {
            if !why.is_empty() {
                let _ = writeln!(io::stderr(), "{program}: {why}");
            }
            ExitCode::from(STATUS_TROUBLE)
        }
    }
}
