//! The state file is written: on a period, and at the end.

use super::file::{Kind, PAYLOAD_LEN_MAX, StateError, Writer};
use super::{Configured, commands, record};
use crate::director::Director;
use shunt_engine::ConnectionInfo;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes that are gathered before they become a block. The last record may go beyond.
const BLOCK_LEN: usize = PAYLOAD_LEN_MAX / 2;

/// Saving takes at most this part of the time, however many connections there are.
const DUTY: u32 = 4;

/// The thread that saves. [`Saver::finish`] ends it with a last save.
pub(crate) struct Saver {
    configured: Arc<Mutex<Configured>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<(), StateError>>>,
}

impl Saver {
    /// Saves every `period`; 0 = only at the end.
    pub(crate) fn start(
        path: PathBuf,
        period: Duration,
        director: Arc<Mutex<Director>>,
        configured: Configured,
    ) -> io::Result<Saver> {
        let configured = Arc::new(Mutex::new(configured));
        let shared = configured.clone();
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            let mut wait = period;
            loop {
                let ended = match period.is_zero() {
                    true => stopped.recv().is_err(),
                    false => stopped.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected),
                };
                let begun = Instant::now();
                let configured = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let saved = save(&path, &director, &configured);
                if ended {
                    let count = saved?;
                    tracing::info!("saved {count} connections and templates in {:?}", begun.elapsed());
                    return Ok(());
                }
                if let Err(error) = saved {
                    tracing::error!("state not saved: {error}");
                }
                wait = period.max(begun.elapsed() * DUTY);
            }
        };
        let thread = Builder::new().name("state".to_owned()).spawn(run)?;
        Ok(Saver { configured, stop: Some(stop), thread: Some(thread) })
    }

    /// Tells what a re-read configuration says.
    pub(crate) fn configure(&self, configured: Configured) {
        *self.configured.lock().unwrap_or_else(PoisonError::into_inner) = configured;
    }

    /// Saves for the last time.
    ///
    /// # Errors
    /// What the next start finds is older, or nothing.
    pub(crate) fn finish(mut self) -> Result<(), StateError> {
        self.last_save()
    }

    fn last_save(&mut self) -> Result<(), StateError> {
        self.stop = None;
        // A thread that panicked would have ended the process.
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or(Ok(()))
    }
}

impl Drop for Saver {
    /// For a start that fails: nobody is there to take the error.
    fn drop(&mut self) {
        if let Err(error) = self.last_save() {
            tracing::error!("state not saved: {error}");
        }
    }
}

/// Writes the file. Returns the number of connections and templates.
pub(super) fn save(
    path: &Path,
    director: &Mutex<Director>,
    configured: &Configured,
) -> Result<u64, StateError> {
    let io_error = |error| StateError::Io { path: path.display().to_string(), error };
    let mut writer = Writer::create(path).map_err(io_error)?;
    // Whole lines may be cut: the blocks are put together again.
    for block in commands::text(director, configured).chunks(BLOCK_LEN) {
        writer.block(Kind::Commands, block).map_err(io_error)?;
    }
    let count = save_connections(&mut writer, director).map_err(io_error)?;
    writer.finish().map_err(io_error)?;
    Ok(count)
}

fn save_connections(writer: &mut Writer, director: &Mutex<Director>) -> io::Result<u64> {
    let (dataplane, snapshot) = {
        let mut director = director.lock().unwrap_or_else(PoisonError::into_inner);
        (director.dataplane().clone(), director.snapshot())
    };
    let (mut templates, mut connections, mut count) = (Vec::new(), Vec::new(), 0);
    let mut result = Ok(());
    dataplane.connections(&mut |info: &ConnectionInfo| {
        // Packets to a deleted server are dropped; without the server's record they would find their way again.
        if snapshot.is_deleted(info.server) {
            return ControlFlow::Continue(());
        }
        let (kind, gathered) = match info.is_template() {
            true => (Kind::Templates, &mut templates),
            false => (Kind::Connections, &mut connections),
        };
        record::write(info, gathered);
        count += 1;
        if gathered.len() >= BLOCK_LEN {
            result = writer.block(kind, gathered);
            gathered.clear();
        }
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result?;
    for (kind, gathered) in [(Kind::Templates, templates), (Kind::Connections, connections)] {
        if !gathered.is_empty() {
            writer.block(kind, &gathered)?;
        }
    }
    Ok(count)
}
