//! One connection: requests in, answers out, until the peer goes.

use super::answer::{Answer, Stream};
use super::lines::{Input, Lines, NoLine, Patience};
use super::{Commands, Request};
use crate::ipvsadm::Access;
use crate::protocol::{self, STATUS_TROUBLE};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Serves a connection to its end.
pub(super) fn serve(stream: &UnixStream, access: Access, commands: &dyn Commands, patience: Patience) {
    if stream.set_write_timeout(Some(patience.write)).is_err() {
        return;
    }
    let mut lines = Lines::new(stream, patience);
    loop {
        match lines.next() {
            Ok(line) => {
                if !answer(stream, &line, &mut lines, access, commands) {
                    break;
                }
            }
            Err(NoLine::Closed | NoLine::Silent) => return,
            Err(trouble) => {
                refuse(stream, &trouble.to_string());
                break;
            }
        }
    }
    linger(stream);
}

/// Runs one request. False if the connection can serve no further one.
fn answer(
    stream: &UnixStream,
    line: &[u8],
    lines: &mut Lines<'_>,
    access: Access,
    commands: &dyn Commands,
) -> bool {
    let argv = match str::from_utf8(line).map(protocol::argv) {
        Ok(Ok(argv)) => argv,
        Ok(Err(error)) => return refuse(stream, &error.to_string()),
        Err(_) => return refuse(stream, "the line is not UTF-8"),
    };
    let answer = Answer::new(stream);
    let mut input = Input::new(lines, || answer.want_input());
    let status = commands.run(Request {
        argv: &argv,
        access,
        stdin: &mut input,
        stdout: &mut answer.writer(Stream::Out),
        stderr: &mut answer.writer(Stream::Err),
    });
    // Who has the status need not wait until the rest of its input is skipped. So the closure goes first.
    let rest = input.rest();
    answer.end(status) && rest.is_none_or(|rest| rest.skip(lines).is_ok()) && !lines.is_lost()
}

/// Answers with an error of the protocol. False if the peer does not take it.
pub(super) fn refuse(stream: &UnixStream, why: &str) -> bool {
    let answer = Answer::new(stream);
    let _ = writeln!(answer.writer(Stream::Err), "shuntd: {why}");
    answer.end(STATUS_TROUBLE)
}

/// Lets a peer that is still sending read the last answer: closing with unread data would look like a failure to it.
pub(super) fn linger(mut stream: &UnixStream) {
    const LINGER: Duration = Duration::from_secs(1);
    const CHUNK: usize = 16 * 1024;
    let begun = Instant::now();
    let mut chunk = [0; CHUNK];
    let _ = stream.shutdown(Shutdown::Write);
    while let Some(left) = LINGER.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        if stream.set_read_timeout(Some(left)).is_err() || !matches!(stream.read(&mut chunk), Ok(1..)) {
            return;
        }
    }
}
