//! An answer under way: output is gathered into frames and sent as it comes.

use crate::protocol::{FRAME_LEN, Frame, VERSION_LINE, write_frame};
use std::cell::RefCell;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// Which stream of the command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// One answer. Standard output and standard error share it, so that their order is kept.
pub(super) struct Answer<'a> {
    state: RefCell<State<'a>>,
}

struct State<'a> {
    to: &'a UnixStream,
    gathered: Vec<u8>,
    stream: Stream,
    /// The peer stopped reading: nothing is sent any more.
    broken: bool,
}

impl<'a> Answer<'a> {
    pub fn new(to: &'a UnixStream) -> Answer<'a> {
        let gathered = format!("{VERSION_LINE}\n").into_bytes();
        let mut state = State { to, gathered: Vec::new(), stream: Stream::Out, broken: false };
        state.send(&gathered);
        Answer { state: RefCell::new(state) }
    }

    /// A writer to one of the streams.
    pub fn writer(&self, stream: Stream) -> Writer<'_, 'a> {
        Writer { answer: self, stream }
    }

    /// Tells the client that the command reads its standard input.
    pub fn want_input(&self) {
        let mut state = self.state.borrow_mut();
        state.flush();
        state.send_frame(&Frame::In);
    }

    /// Sends what is left and the exit status. False if the peer did not take the answer.
    pub fn end(self, status: u8) -> bool {
        let mut state = self.state.into_inner();
        state.flush();
        state.send_frame(&Frame::End(status));
        !state.broken
    }
}

impl State<'_> {
    fn send(&mut self, bytes: &[u8]) {
        // A stream's write timeout counts from each call, so a peer that takes a byte now and then would hold the
        // thread for long; it holds nothing else.
        self.broken = self.broken || (&mut &*self.to).write_all(bytes).is_err();
    }

    fn send_frame(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        self.broken = self.broken || write_frame(&mut bytes, frame).is_err();
        self.send(&bytes);
    }

    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.gathered);
        let frame = if self.stream == Stream::Out { Frame::Out(bytes) } else { Frame::Err(bytes) };
        self.send_frame(&frame);
    }
}

/// Standard output or standard error of a command.
pub(super) struct Writer<'a, 'b> {
    answer: &'a Answer<'b>,
    stream: Stream,
}

impl Write for Writer<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.answer.state.borrow_mut();
        if state.stream != self.stream || state.gathered.len() >= FRAME_LEN {
            state.flush();
            state.stream = self.stream;
        }
        state.gathered.extend_from_slice(bytes);
        if state.broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
    }

    /// Does nothing: frames are sent when they are full, when the other stream has its turn, and at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
