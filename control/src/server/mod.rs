//! The control socket's server: threads, one for each client, and a bound on their number.
//!
//! A client can do no harm to others: it has its own thread, its lines and their times are bounded, and what it makes
//! wrong is answered with an error. What commands mean is not known here; see [`Commands`].

mod answer;
mod client;
mod lines;
mod peer;
mod socket;

pub use lines::Patience;
pub(crate) use socket::check_group;
pub use socket::{SocketError, SocketLock};

use crate::ipvsadm::Access;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Connections at a time. Each takes a thread; operators and a few health checkers need far fewer.
pub const CLIENTS_MAX: usize = 64;

/// Connections at a time of peers that may only list, so that they cannot keep operators out.
pub const READERS_MAX: usize = CLIENTS_MAX / 2;

/// One command line and what belongs to it.
pub struct Request<'a> {
    /// The words; the first one is the name of the program.
    pub argv: &'a [String],
    /// What the peer may do.
    pub access: Access,
    /// Standard input.
    pub stdin: &'a mut dyn BufRead,
    /// Standard output.
    pub stdout: &'a mut dyn Write,
    /// Standard error.
    pub stderr: &'a mut dyn Write,
}

/// What answers requests. Called from many threads at once.
pub trait Commands: Send + Sync {
    /// Carries out a request and returns its exit status.
    fn run(&self, request: Request<'_>) -> u8;
}

/// A running server. Stops, and removes the socket, when it is dropped.
pub struct Server {
    lock: SocketLock,
    stop: Arc<OwnedFd>,
    clients: Arc<Clients>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens the socket and begins to answer. `group` may change things; `mode` says, as for any file, who may connect:
    /// who has the right to write.
    ///
    /// # Errors
    /// [`SocketError`] if the socket cannot be opened, or the group does not exist.
    pub fn start(
        lock: SocketLock,
        group: Option<&str>,
        mode: u32,
        patience: Patience,
        commands: Arc<dyn Commands>,
    ) -> Result<Server, SocketError> {
        let gid = group.map(socket::gid_of).transpose()?;
        let listener = lock.listen(gid, mode)?;
        let system = |error: io::Error| lock.trouble(error);
        listener.set_nonblocking(true).map_err(system)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| system(error.into()))?);
        let clients = Arc::new(Clients::default());
        let acceptor =
            Acceptor { listener, stop: stop.clone(), clients: clients.clone(), gid, patience, commands };
        let acceptor =
            Builder::new().name("socket".to_owned()).spawn(move || acceptor.run()).map_err(system)?;
        Ok(Server { lock, stop, clients, acceptor: Some(acceptor) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.lock.remove();
        self.clients.close();
    }
}

struct Acceptor {
    listener: UnixListener,
    stop: Arc<OwnedFd>,
    clients: Arc<Clients>,
    gid: Option<u32>,
    patience: Patience,
    commands: Arc<dyn Commands>,
}

impl Acceptor {
    fn run(self) {
        loop {
            let mut ready =
                [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            let waited = poll(&mut ready, None);
            if waited.is_ok() && !ready[1].revents().is_empty() {
                return;
            }
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    // No descriptors left, most likely: wait until clients go.
                    tracing::warn!(%error, "cannot accept a control connection");
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
        }
    }

    fn admit(&self, stream: UnixStream) {
        // Inherited from the listener on some systems.
        if stream.set_nonblocking(false).is_err() {
            return;
        }
        let Some(mut place) = self.clients.enter(&stream) else {
            refuse_crowd(&stream, CLIENTS_MAX);
            return;
        };
        let (gid, patience, commands) = (self.gid, self.patience, self.commands.clone());
        let serve = move || {
            // The user database may be slow: asked here, not while accepting.
            let access = peer::access(&stream, gid);
            match place.is_for(access) {
                true => client::serve(&stream, access, &*commands, patience),
                false => refuse_crowd(&stream, READERS_MAX),
            }
            let _ = stream.shutdown(Shutdown::Both);
            // Whoever waits for the place may count on the commands being let go.
            drop(commands);
            drop(place);
        };
        if let Err(error) = Builder::new().name("client".to_owned()).spawn(serve) {
            tracing::warn!(%error, "cannot start a thread for a control connection");
        }
    }
}

/// Into an empty socket buffer: does not block.
fn refuse_crowd(stream: &UnixStream, limit: usize) {
    client::refuse(stream, &format!("{limit} clients are connected, which is the limit: try again"));
}

/// Connections being served.
#[derive(Default)]
struct Clients {
    state: Mutex<Living>,
    gone: std::sync::Condvar,
}

#[derive(Default)]
struct Living {
    streams: HashMap<u64, UnixStream>,
    /// How many of them may only list.
    readers: usize,
    next: u64,
}

/// A client's place among the bounded number; free again when it is dropped.
struct Place {
    clients: Arc<Clients>,
    id: u64,
    reads_only: bool,
}

impl Place {
    /// May somebody with this right have it?
    fn is_for(&mut self, access: Access) -> bool {
        let mut living = self.clients.lock();
        if access == Access::ReadOnly && living.readers < READERS_MAX {
            living.readers += 1;
            self.reads_only = true;
        }
        access == Access::ReadWrite || self.reads_only
    }
}

impl Clients {
    fn lock(&self) -> std::sync::MutexGuard<'_, Living> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, stream: &UnixStream) -> Option<Place> {
        let stream = stream.try_clone().ok()?;
        let mut living = self.lock();
        if living.streams.len() >= CLIENTS_MAX {
            return None;
        }
        living.next += 1;
        let id = living.next;
        living.streams.insert(id, stream);
        Some(Place { clients: self.clone(), id, reads_only: false })
    }

    /// Ends all connections and waits for their threads.
    fn close(&self) {
        let mut living = self.lock();
        for stream in living.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        while !living.streams.is_empty() {
            living = self.gone.wait(living).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut living = self.clients.lock();
        living.streams.remove(&self.id);
        living.readers -= usize::from(self.reads_only);
        drop(living);
        self.clients.gone.notify_all();
    }
}

#[cfg(test)]
mod tests;
