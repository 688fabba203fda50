//! `-R`: command lines from stdin (spec `cli.md` §10).

use super::execute::{End, Session};
use super::failure::Failure;
use std::io::{self, BufRead, Read};

/// Longest line, in bytes. Guards memory against input without newlines.
const LINE_LEN_MAX: u64 = 65_536;

/// Reads one line with its newline. `None` at the end of the input.
pub(super) fn read_line(stdin: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Option<()>> {
    line.clear();
    let len = stdin.take(LINE_LEN_MAX).read_until(b'\n', line)?;
    if len as u64 == LINE_LEN_MAX && line.last() != Some(&b'\n') {
        return Err(io::Error::other(format!("a line is longer than {LINE_LEN_MAX} bytes")));
    }
    Ok((len > 0).then_some(()))
}

/// The words of a line. There is no quoting; the word `ipvsadm` is dropped wherever it stands.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty() && *word != "ipvsadm")
}

/// Runs all lines. The status is that of the last line that was executed.
pub(super) fn run(session: &mut Session) -> End {
    let mut line = Vec::new();
    let mut end = End::Line(0);
    loop {
        match read_line(session.stdin, &mut line) {
            Ok(Some(())) => {}
            Ok(None) => return end,
            Err(error) => return unreadable(session, &error),
        }
        let text = String::from_utf8_lossy(&line);
        let mut argv = vec![session.program];
        argv.extend(words(&text));
        if argv.len() > 1 {
            end = session.run(&argv, true);
            if let End::Program(_) = end {
                return end;
            }
        }
    }
}

fn unreadable(session: &mut Session, error: &io::Error) -> End {
    let failure = Failure::words(format!("cannot read the commands to restore: {error}"));
    session.complain(failure.text);
    End::Program(failure.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_words() {
        let cut = |line| words(line).collect::<Vec<_>>();
        assert_eq!(cut("ipvsadm -A  -t\t1:80\r\n"), ["-A", "-t", "1:80"]);
        assert_eq!(cut("-A ipvsadm -C\n"), ["-A", "-C"]);
        assert_eq!(cut("\"ipvsadm\" #\n"), ["\"ipvsadm\"", "#"]);
        assert!(cut(" \t\r\n").is_empty());
    }

    #[test]
    fn a_line_has_a_bound() {
        let mut line = Vec::new();
        let long = vec![b'x'; LINE_LEN_MAX as usize + 1];
        assert!(read_line(&mut &long[..], &mut line).is_err());
        assert!(read_line(&mut &b"x\n"[..], &mut line).unwrap().is_some());
        assert!(read_line(&mut &b""[..], &mut line).unwrap().is_none());
    }
}
