//! Lines from a peer that may be slow, silent, or mad.

use crate::protocol::{LINE_LEN_MAX, unstuff};
use std::io::{self, BufRead, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a line to its last.
    pub line: Duration,
    /// Between two lines.
    pub idle: Duration,
    /// Until the peer takes more of its answer.
    pub write: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            line: Duration::from_secs(10),
            // People type, and scripts that feed `-R` compute.
            idle: Duration::from_secs(300),
            // A pager reads on when its reader does. Meanwhile this costs a thread and a place, and holds nothing up.
            write: Duration::from_secs(3600),
        }
    }
}

/// There is no next line.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLine {
    #[error("the line is longer than {LINE_LEN_MAX} bytes")]
    TooLong,
    #[error("the rest of the line did not come in time")]
    Stalled,
    /// Nothing to tell the peer, unless a command was reading.
    #[error("standard input ended without the dot that ends it")]
    Closed,
    /// The same.
    #[error("nothing came for too long")]
    Silent,
}

/// Reads lines; holds at most [`LINE_LEN_MAX`] bytes.
pub(super) struct Lines<'a> {
    stream: &'a UnixStream,
    patience: Patience,
    /// Bytes received but not consumed: `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
    /// The latest line was ended by the end of input.
    cut: bool,
    /// A line was too long or too late: where the next one begins is not known.
    lost: bool,
}

impl<'a> Lines<'a> {
    pub fn new(stream: &'a UnixStream, patience: Patience) -> Lines<'a> {
        Lines { stream, patience, buffer: Vec::new(), start: 0, ended: false, cut: false, lost: false }
    }

    /// Is no further line to be had, although the peer may send more?
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// The next line without its newline. What stands before the end of input counts as a line.
    pub fn next(&mut self) -> Result<Vec<u8>, NoLine> {
        let line = self.find();
        self.lost |= matches!(line, Err(NoLine::TooLong | NoLine::Stalled));
        line
    }

    fn find(&mut self) -> Result<Vec<u8>, NoLine> {
        let mut begun: Option<Instant> = None;
        let mut searched = 0;
        loop {
            let held = &self.buffer[self.start..];
            if let Some(len) = held[searched..].iter().position(|byte| *byte == b'\n') {
                let line = held[..searched + len].to_vec();
                self.start += line.len() + 1;
                return Ok(line);
            }
            searched = held.len();
            if searched >= LINE_LEN_MAX {
                return Err(NoLine::TooLong);
            }
            if self.ended {
                let rest = held.to_vec();
                self.start = self.buffer.len();
                self.cut = true;
                return if rest.is_empty() { Err(NoLine::Closed) } else { Ok(rest) };
            }
            if searched > 0 {
                begun.get_or_insert_with(Instant::now);
            }
            self.receive(begun)?;
        }
    }

    /// Waits for more bytes; for `begun`, within what is left of the line's time.
    fn receive(&mut self, begun: Option<Instant>) -> Result<(), NoLine> {
        const CHUNK: usize = 32 * 1024;
        let (wait, late) = match begun {
            Some(begun) => (self.patience.line.saturating_sub(begun.elapsed()), NoLine::Stalled),
            None => (self.patience.idle, NoLine::Silent),
        };
        // A timeout of 0 would mean "for ever".
        if wait.is_zero() {
            return Err(late);
        }
        if self.stream.set_read_timeout(Some(wait)).is_err() {
            return Err(NoLine::Closed);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let mut chunk = [0; CHUNK];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(len) => self.buffer.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(late);
            }
            Err(_) => return Err(NoLine::Closed),
        }
        Ok(())
    }
}

/// Standard input of a command: the following lines, up to a dot. Whoever is killed while it sends them says no dot, and
/// what it sent must not be taken for all that it had to say.
pub(super) struct Input<'a, 'b, F: FnMut()> {
    lines: &'a mut Lines<'b>,
    /// Called before the first line is read.
    wanted: Option<F>,
    line: Vec<u8>,
    start: usize,
    ended: bool,
}

impl<'a, 'b, F: FnMut()> Input<'a, 'b, F> {
    pub fn new(lines: &'a mut Lines<'b>, wanted: F) -> Input<'a, 'b, F> {
        Input { lines, wanted: Some(wanted), line: Vec::new(), start: 0, ended: false }
    }

    /// What the command left unread, if it began to read.
    pub fn rest(self) -> Option<Rest> {
        (self.wanted.is_none() && !self.ended).then_some(Rest)
    }

    fn advance(&mut self) -> Result<(), NoLine> {
        match self.lines.next() {
            Ok(line) => match unstuff(&line) {
                Some(_) if self.lines.cut => {
                    self.ended = true;
                    return Err(NoLine::Closed);
                }
                Some(text) => {
                    self.line = text.to_vec();
                    self.line.push(b'\n');
                    self.start = 0;
                }
                None => self.ended = true,
            },
            Err(error) => {
                self.ended = true;
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Lines of standard input that no command will read.
pub(super) struct Rest;

impl Rest {
    /// Skips them, so that they are not taken for requests.
    pub fn skip(self, lines: &mut Lines<'_>) -> Result<(), NoLine> {
        loop {
            match lines.next() {
                Ok(line) if unstuff(&line).is_none() => return Ok(()),
                Ok(_) => {}
                Err(NoLine::Closed | NoLine::Silent) => return Ok(()),
                Err(trouble) => return Err(trouble),
            }
        }
    }
}

impl<F: FnMut()> Read for Input<'_, '_, F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(into)?;
        self.consume(len);
        Ok(len)
    }
}

impl<F: FnMut()> BufRead for Input<'_, '_, F> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.line.len() && !self.ended {
            if let Some(mut wanted) = self.wanted.take() {
                wanted();
            }
            self.advance().map_err(io::Error::other)?;
        }
        Ok(if self.ended { &[] } else { &self.line[self.start..] })
    }

    fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.line.len());
    }
}
