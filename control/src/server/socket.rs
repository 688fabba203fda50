//! The control socket's file: one daemon at a time, and nobody sees it before its owner and mode are right.

use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The lock file holds the process id for people to read.
const LOCK_MODE: u32 = 0o644;
/// Of a parent directory that is missing.
const DIRECTORY_MODE: u32 = 0o755;

/// The control socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A second instance.
    #[error("another shuntd{} serves {path}: stop it, or set another control.socket", holder(*pid))]
    Taken {
        /// The socket.
        path: String,
        /// Process id of the other one, if it is known.
        pid: Option<u32>,
    },
    /// Something else has the name.
    #[error("{0} exists and is no socket: remove it, or set another control.socket")]
    NotASocket(String),
    /// The group of the configuration.
    #[error("there is no group `{0}': create it, or change control.group")]
    NoGroup(String),
    /// The system refused.
    #[error("{what} {path}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: String,
        /// Why it failed.
        error: std::io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

fn system<E: Into<std::io::Error>>(what: &'static str, path: &Path) -> impl Fn(E) -> SocketError {
    let path = path.display().to_string();
    move |error| SocketError::System { what, path: path.clone(), error: error.into() }
}

/// The right to serve a socket, held by a lock on the file `SOCKET.lock`. The lock goes with the process, however it
/// ends; the file stays, because removing it would race with the next daemon.
#[derive(Debug)]
pub struct SocketLock {
    path: PathBuf,
    _file: File,
}

impl SocketLock {
    /// Takes the lock, before anything else of a daemon starts. Creates the directory if it is missing.
    ///
    /// # Errors
    /// [`SocketError::Taken`] if another daemon lives: at once if it answers, after ten seconds if it only holds the lock.
    pub fn acquire(path: &Path) -> Result<SocketLock, SocketError> {
        if let Some(directory) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)
                .map_err(system("cannot create the directory", directory))?;
        }
        let lock = beside(path, ".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(LOCK_MODE)
            .open(&lock)
            .map_err(system("cannot open", &lock))?;
        if !lock_unless_alive(&file, path) {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(SocketError::Taken { path: path.display().to_string(), pid });
        }
        let note = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note(&mut file).map_err(system("cannot write", &lock))?;
        Ok(SocketLock { path: path.to_owned(), _file: file })
    }

    /// Opens the socket; a stale one of a dead daemon is replaced.
    pub(super) fn listen(&self, gid: Option<u32>, mode: u32) -> Result<UnixListener, SocketError> {
        self.make_way()?;
        // Made under another name and then renamed: under its own it has the right owner and mode from the first moment.
        let draft = beside(&self.path, "~");
        let _ = std::fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft).map_err(system("cannot create the socket", &draft))?;
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&draft, mode).map_err(system("cannot set the mode of", &draft))?;
        std::os::unix::fs::chown(&draft, None, gid).map_err(system("cannot set the group of", &draft))?;
        std::fs::rename(&draft, &self.path).map_err(system("cannot name the socket", &self.path))?;
        Ok(listener)
    }

    fn make_way(&self) -> Result<(), SocketError> {
        let path = &self.path;
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(system("cannot look at", path)(error)),
            Ok(found) if !found.file_type().is_socket() => {
                Err(SocketError::NotASocket(path.display().to_string()))
            }
            // Whoever listens there does not know of our lock.
            Ok(_) if keeps_listening(path) => {
                Err(SocketError::Taken { path: path.display().to_string(), pid: None })
            }
            Ok(_) => std::fs::remove_file(path).map_err(system("cannot remove the stale socket", path)),
        }
    }

    pub(super) fn trouble(&self, error: std::io::Error) -> SocketError {
        system("cannot serve", &self.path)(error)
    }

    /// Removes the socket.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes the lock. One that is held by a daemon which answers is refused at once; one that was killed holds its lock until
/// the kernel has taken down its memory and its NIC ports, so it is waited for.
fn lock_unless_alive(file: &File, path: &Path) -> bool {
    const DYING: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + DYING;
    while flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if answers(path) || Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

/// Does a daemon answer there? To be connected to is not enough: the kernel does that for a dying process as well.
fn answers(path: &Path) -> bool {
    const PATIENCE: Duration = Duration::from_millis(500);
    let ask = || {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"version\n")?;
        stream.read(&mut [0])
    };
    ask().is_ok_and(|len| len > 0)
}

/// A killed daemon's socket closes a moment after its lock is free.
fn keeps_listening(path: &Path) -> bool {
    const DYING: Duration = Duration::from_secs(1);
    const PAUSE: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + DYING;
    while UnixStream::connect(path).is_ok() {
        if Instant::now() > deadline {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Refuses a group that does not exist.
pub(crate) fn check_group(group: &str) -> Result<(), SocketError> {
    gid_of(group).map(drop)
}

/// The id of a group, by name or number.
pub(super) fn gid_of(group: &str) -> Result<u32, SocketError> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    match nix::unistd::Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        _ => Err(SocketError::NoGroup(group.to_owned())),
    }
}
