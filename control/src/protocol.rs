//! What passes over the control socket: text, simple enough for `socat`.
//!
//! A request is one line, split into words as a shell would, and holds the arguments that one would give to ipvsadm:
//!
//! ```text
//! -A -t 192.0.2.1:80 -s wlc
//! as /sbin/ipvsadm -L -n        the same with another argv[0], which messages quote
//! ```
//!
//! The answer is the version line, frames of output in the order in which they arose, and the exit status:
//!
//! ```text
//! shunt/1
//! out 42                        42 bytes of standard output follow, then the next frame
//! err 17                        17 bytes of standard error follow
//! in                            the command reads its standard input (`-R` does)
//! end 0                         exit status; the next request may follow
//! ```
//!
//! Standard input is the following lines, up to a line with a single dot; without one it is not complete, which is an
//! error of the command that reads it. A line that begins with a dot gets another one in front (as in SMTP, RFC 5321
//! §4.5.2). A client may send it without waiting for `in`.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

/// First line of every answer.
pub const VERSION_LINE: &str = "shunt/1";
/// The word before another argv\[0\].
pub const AS: &str = "as";
/// argv\[0\] of a request that names none.
pub const DEFAULT_PROGRAM: &str = "shuntadm";
/// A request, and a line of standard input, must be shorter. Bytes.
pub const LINE_LEN_MAX: usize = 64 * 1024;
/// Bytes of output that are gathered into one frame.
pub const FRAME_LEN: usize = 32 * 1024;
/// Exit status if there is no daemon to ask, or the protocol was broken.
pub const STATUS_TROUBLE: u8 = 2;
/// Ends standard input.
pub const END_OF_INPUT: &[u8] = b".";

/// A request line that has no words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A quote is not closed.
    #[error("a {0} is not closed")]
    Quote(char),
    /// A backslash ends the line.
    #[error("nothing follows the backslash at the end of the line")]
    Backslash,
    /// `as` names no program.
    #[error("a program name must follow `as'")]
    NoProgram,
}

/// Splits a line into words as a shell does: blanks separate, `'…'` is literal, a backslash takes the next character's
/// meaning away. Within `"…"` a backslash works before `"` and `\` only; beyond what shells do, `\n` there is a newline.
///
/// # Errors
/// [`SplitError`] if a quote is open or a backslash is last.
pub fn split(line: &str) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or(SplitError::Quote('\''))? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => double_quoted(&mut characters, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(characters.next().ok_or(SplitError::Backslash)?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn double_quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), SplitError> {
    const OPEN: SplitError = SplitError::Quote('"');
    loop {
        match characters.next().ok_or(OPEN)? {
            '"' => return Ok(()),
            '\\' => match characters.next().ok_or(OPEN)? {
                'n' => word.push('\n'),
                quoted @ ('"' | '\\') => word.push(quoted),
                other => word.extend(['\\', other]),
            },
            other => word.push(other),
        }
    }
}

/// Writes a word so that [`split`] yields it again.
#[must_use]
pub fn quote(word: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/,=[]@%+".contains(&byte) || byte >= 0x80;
    if !word.is_empty() && word.bytes().all(plain) {
        return Cow::Borrowed(word);
    }
    let mut quoted = String::from('"');
    for character in word.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted.into()
}

/// The request line for these arguments, newline included.
#[must_use]
pub fn request(argv: &[String]) -> String {
    let words: Vec<_> = argv.iter().map(|word| quote(word)).collect();
    format!("{AS} {}\n", words.join(" "))
}

/// The arguments of a request line, argv\[0\] included.
///
/// # Errors
/// [`SplitError`].
pub fn argv(line: &str) -> Result<Vec<String>, SplitError> {
    let mut words = split(line)?;
    if words.first().is_some_and(|first| first == AS) {
        words.remove(0);
        return if words.is_empty() { Err(SplitError::NoProgram) } else { Ok(words) };
    }
    words.insert(0, DEFAULT_PROGRAM.to_owned());
    Ok(words)
}

/// One frame of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Standard output.
    Out(Vec<u8>),
    /// Standard error.
    Err(Vec<u8>),
    /// Standard input is wanted.
    In,
    /// The exit status; the answer ends.
    End(u8),
}

/// Reads the first line of an answer.
///
/// # Errors
/// If the peer speaks another language, or is gone.
pub fn read_version(from: &mut impl BufRead) -> io::Result<()> {
    let line = header(from)?;
    if line == VERSION_LINE {
        return Ok(());
    }
    let what = format!("the daemon speaks `{}', this tool speaks `{VERSION_LINE}'", line.escape_debug());
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// Reads a frame.
///
/// # Errors
/// If the peer is gone, or what it sent is no frame.
pub fn read_frame(from: &mut impl BufRead) -> io::Result<Frame> {
    let line = header(from)?;
    let error =
        || io::Error::new(io::ErrorKind::InvalidData, format!("`{}' is no frame", line.escape_debug()));
    let (kind, number) = line.split_once(' ').unwrap_or((line.as_str(), ""));
    let mut bytes = || {
        let len: usize = number.parse().map_err(|_| error())?;
        let mut bytes = Vec::new();
        // Grows as data comes: a wrong length takes no memory.
        if from.take(len as u64).read_to_end(&mut bytes)? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    };
    match kind {
        "out" => bytes().map(Frame::Out),
        "err" => bytes().map(Frame::Err),
        "in" if number.is_empty() => Ok(Frame::In),
        "end" => number.parse().map(Frame::End).map_err(|_| error()),
        _ => Err(error()),
    }
}

fn header(from: &mut impl BufRead) -> io::Result<String> {
    const HEADER_LEN_MAX: u64 = 64;
    let mut line = Vec::new();
    from.take(HEADER_LEN_MAX).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    String::from_utf8(line).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Writes a frame.
///
/// # Errors
/// If the peer does not take it.
pub fn write_frame(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    match frame {
        Frame::Out(bytes) => write_bytes(to, "out", bytes),
        Frame::Err(bytes) => write_bytes(to, "err", bytes),
        Frame::In => to.write_all(b"in\n"),
        Frame::End(status) => writeln!(to, "end {status}"),
    }
}

fn write_bytes(to: &mut impl Write, kind: &str, bytes: &[u8]) -> io::Result<()> {
    writeln!(to, "{kind} {}", bytes.len())?;
    to.write_all(bytes)
}

/// Sends standard input: every line of `from`, then the dot. What is there is sent before more is waited for.
///
/// # Errors
/// If reading or writing fails.
pub fn send_input(from: impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut from = BufReader::with_capacity(FRAME_LEN, from);
    let mut to = BufWriter::with_capacity(FRAME_LEN, to);
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.buffer().is_empty() {
            to.flush()?;
        }
        if from.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.first() == Some(&b'.') {
            to.write_all(b".")?;
        }
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        to.write_all(&line)?;
    }
    to.write_all(END_OF_INPUT)?;
    to.write_all(b"\n")?;
    to.flush()
}

/// A line of standard input without its dot stuffing; `None` if it ends the input. `line` has no newline.
#[must_use]
pub fn unstuff(line: &[u8]) -> Option<&[u8]> {
    if line == END_OF_INPUT {
        return None;
    }
    Some(line.strip_prefix(b".").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).unwrap()
    }

    #[test]
    fn lines_split_as_in_a_shell() {
        assert_eq!(words("-A -t 192.0.2.1:80 -s wlc"), ["-A", "-t", "192.0.2.1:80", "-s", "wlc"]);
        assert_eq!(words("  -L\t-n \r"), ["-L", "-n"]);
        assert_eq!(words(r#"a'b c'd "" '' "x\"y\\z\w""#), ["ab cd", "", "", r#"x"y\z\w"#]);
        assert_eq!(words(r"a\ b \'"), ["a b", "'"]);
        assert_eq!(words(""), Vec::<String>::new());
        assert_eq!(split("'a"), Err(SplitError::Quote('\'')));
        assert_eq!(split("\"a"), Err(SplitError::Quote('"')));
        assert_eq!(split("\"a\\"), Err(SplitError::Quote('"')));
        assert_eq!(split("a\\"), Err(SplitError::Backslash));
    }

    #[test]
    fn quoting_survives_splitting() {
        for word in [
            "",
            "a",
            "a b",
            "'",
            "\"",
            "\\",
            "a\\nb",
            "a\nb",
            "\t",
            "é",
            "$x `y` *",
            "as",
            "[2001:db8::1]:80",
        ] {
            assert_eq!(words(&quote(word)), [word], "{}", quote(word));
        }
        assert!(!quote("a\nb").contains('\n'));
    }

    #[test]
    fn a_request_yields_its_arguments() {
        let arguments = ["/sbin/ipvsadm", "-L", "", "a b"].map(str::to_owned);
        assert_eq!(argv(request(&arguments).trim_end()).unwrap(), arguments);
        assert_eq!(argv("-L -n").unwrap(), ["shuntadm", "-L", "-n"]);
        assert_eq!(argv("").unwrap(), ["shuntadm"]);
        assert_eq!(argv("as"), Err(SplitError::NoProgram));
    }

    #[test]
    fn frames_survive_the_way() {
        let frames = [Frame::Out(b"end 7\nx".to_vec()), Frame::Err(Vec::new()), Frame::In, Frame::End(255)];
        let mut bytes = Vec::new();
        for frame in &frames {
            write_frame(&mut bytes, frame).unwrap();
        }
        assert!(bytes.starts_with(b"out 7\nend 7\nxerr 0\nin\nend 255\n"));
        let mut from = &bytes[..];
        for frame in frames {
            assert_eq!(read_frame(&mut from).unwrap(), frame);
        }
        assert!(read_frame(&mut from).is_err());
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for bad in ["out x\n", "end 256\n", "out 5\nabc", "hello\n", "in 1\n", "end 1", "\u{ff}\n"] {
            assert!(read_frame(&mut bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read_version(&mut &b"shunt/1\n"[..]).is_ok());
        assert!(read_version(&mut &b"shunt/2\n"[..]).unwrap_err().to_string().contains("shunt/2"));
    }

    #[test]
    fn input_survives_dots() {
        let mut sent = Vec::new();
        send_input(&mut &b"-A -t 1\n.\n..x\nlast"[..], &mut sent).unwrap();
        assert_eq!(sent, b"-A -t 1\n..\n...x\nlast\n.\n");
        let lines: Vec<_> = sent.split(|byte| *byte == b'\n').map_while(unstuff).collect();
        assert_eq!(lines, [&b"-A -t 1"[..], b".", b"..x", b"last"]);
    }
}
