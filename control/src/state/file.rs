//! The state file as a sequence of checked blocks. Integers are little-endian.
//!
//! ```text
//! "shunt-st"  u32 version  u64 time of writing, seconds since 1970
//! block:      u32 kind  u32 length of the payload  payload  u32 CRC-32C of all that
//! ```
//!
//! The last block is of kind [`Kind::End`] and counts the others: a file that was cut off does not pass for a whole one.

use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MAGIC: &[u8; 8] = b"shunt-st";
const VERSION: u32 = 1;
/// Longest payload. Guards memory against a damaged length.
pub(super) const PAYLOAD_LEN_MAX: usize = 1 << 20;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    /// Text, see [`super::commands`].
    Commands = 1,
    /// Persistence templates, see [`super::record`].
    Templates = 2,
    /// Connections.
    Connections = 3,
    /// The number of blocks before it, as a u64.
    End = 4,
}

impl Kind {
    fn of(number: u32) -> Option<Kind> {
        [Kind::Commands, Kind::Templates, Kind::Connections, Kind::End]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}

/// The state file cannot be used, or not be written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The operating system.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// Something else has the name.
    #[error("{0} exists and is no regular file: remove it, or set another state.file")]
    NotAFile(String),
    /// Not ours.
    #[error("{0} is no state file of shunt")]
    Foreign(String),
    /// Of a version that this one does not know.
    #[error("{path} is a state file of version {found}; this shuntd reads version {VERSION}")]
    Version {
        /// The file.
        path: String,
        /// What it says.
        found: u32,
    },
    /// Ours once.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// Refuses what a save would put out of the way, or a read would wait for: a directory, a device, a FIFO. A symbolic link is
/// what it leads to.
pub(crate) fn check_name(path: &Path) -> Result<(), StateError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(StateError::NotAFile(path.display().to_string())),
        _ => Ok(()),
    }
}

/// Writes a file next to the real one, which takes its place when it is whole. One that does not is removed, so that what
/// could be written of it does not keep a full disk full.
pub(super) struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
    blocks: u64,
    in_place: bool,
}

impl Writer {
    pub(super) fn create(path: &Path) -> io::Result<Writer> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let temporary = path.with_file_name(name);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        // It tells who talks to whom.
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let out = BufWriter::with_capacity(1 << 18, file);
        let mut writer = Writer { path: path.to_owned(), temporary, out, blocks: 0, in_place: false };
        writer.out.write_all(MAGIC)?;
        writer.out.write_all(&VERSION.to_le_bytes())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        writer.out.write_all(&now.as_secs().to_le_bytes())?;
        Ok(writer)
    }

    /// A block of at most [`PAYLOAD_LEN_MAX`] bytes.
    pub(super) fn block(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let (kind, len) = ((kind as u32).to_le_bytes(), (payload.len() as u32).to_le_bytes());
        let sum = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&kind), &len), payload);
        self.out.write_all(&kind)?;
        self.out.write_all(&len)?;
        self.out.write_all(payload)?;
        self.out.write_all(&sum.to_le_bytes())?;
        self.blocks += 1;
        Ok(())
    }

    /// Makes it the state file: on the disk, and under its name.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let blocks = self.blocks;
        self.block(Kind::End, &blocks.to_le_bytes())?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        std::fs::rename(&self.temporary, &self.path)?;
        self.in_place = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.in_place {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Reads a file block by block.
pub(super) struct Reader {
    path: String,
    input: BufReader<File>,
    blocks: u64,
    /// How long ago the file was written.
    pub(super) age: Duration,
}

impl Reader {
    /// Opens a file and reads its head. `None` if there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Reader>, StateError> {
        let name = path.display().to_string();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateError::Io { path: name, error }),
        };
        let mut reader = Reader {
            path: name,
            input: BufReader::with_capacity(1 << 18, file),
            blocks: 0,
            age: Duration::ZERO,
        };
        let foreign = |reader: &Reader| StateError::Foreign(reader.path.clone());
        match reader.array() {
            Ok(magic) if magic == *MAGIC => {}
            Ok(_) | Err(StateError::Damaged { .. }) => return Err(foreign(&reader)),
            Err(error) => return Err(error),
        }
        let found = u32::from_le_bytes(reader.array()?);
        if found != VERSION {
            return Err(StateError::Version { path: reader.path, found });
        }
        let written = UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_le_bytes(reader.array()?)));
        // A clock that was set back makes it fresh.
        let age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
        reader.age = age.unwrap_or_default();
        Ok(Some(reader))
    }

    /// The next block into `payload`; `None` after the last one.
    pub(super) fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Kind>, StateError> {
        let (kind, len): ([u8; 4], [u8; 4]) = (self.array()?, self.array()?);
        let length = u32::from_le_bytes(len) as usize;
        if length > PAYLOAD_LEN_MAX {
            return Err(self.damaged("a block is too long"));
        }
        payload.resize(length, 0);
        self.fill(payload)?;
        let sum = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&kind), &len), payload);
        if u32::from_le_bytes(self.array()?) != sum {
            return Err(self.damaged("a checksum is wrong"));
        }
        match Kind::of(u32::from_le_bytes(kind)) {
            None => Err(self.damaged("a block is of a kind that does not exist")),
            Some(Kind::End) => {
                let rest = self.input.read(&mut [0]).map_err(|error| self.io(error))?;
                if payload[..] == self.blocks.to_le_bytes() && rest == 0 {
                    return Ok(None);
                }
                Err(self.damaged("it does not end where it says"))
            }
            Some(kind) => {
                self.blocks += 1;
                Ok(Some(kind))
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), StateError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it is cut off"),
            _ => self.io(error),
        })
    }

    fn io(&self, error: io::Error) -> StateError {
        StateError::Io { path: self.path.clone(), error }
    }

    pub(super) fn damaged(&self, what: &'static str) -> StateError {
        StateError::Damaged { path: self.path.clone(), what }
    }
}
