//! A datagram: a header and records of one version (spec `sync.md` §2, §3).
//!
//! ```text
//! version 1                                        version 0
//! +--------+--------+-----------------+            +--------+--------+-----------------+
//! |   0    | syncid |  size in bytes  |            | count  | syncid |  size in bytes  |
//! +--------+--------+-----------------+            +--------+--------+-----------------+
//! | count  |   1    |        0        |
//! +--------+--------+-----------------+
//! ```

use super::record::Fault;
use super::{v0, v1};
use shunt_engine::ConnectionInfo;

/// Versions of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4 only.
    V0,
    /// What Linux speaks by default.
    V1,
}

impl Version {
    const fn header_len(self) -> usize {
        match self {
            Version::V0 => 4,
            Version::V1 => 8,
        }
    }
}

/// Records in a datagram, at most: the count is one byte.
const RECORDS_MAX: usize = 255;

/// A datagram in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    version: Version,
    bytes: Vec<u8>,
    records: usize,
    /// Bytes, at most; a single record may be longer.
    maxlen: usize,
}

impl Draft {
    /// An empty datagram of at most `maxlen` bytes, header included.
    #[must_use]
    pub fn new(version: Version, syncid: u8, maxlen: usize) -> Draft {
        let bytes = match version {
            Version::V0 => vec![0, syncid, 0, 0],
            Version::V1 => vec![0, syncid, 0, 0, 0, 1, 0, 0],
        };
        Draft { version, bytes, records: 0, maxlen }
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Appends a record. False if there is no room for it any more, or its version cannot say it: then nothing has
    /// changed. The first record always fits.
    pub fn push(&mut self, info: &ConnectionInfo) -> bool {
        let before = self.bytes.len();
        let sayable = match self.version {
            Version::V0 => v0::encode(info, &mut self.bytes),
            Version::V1 => {
                self.bytes.resize(before.next_multiple_of(4), 0);
                v1::encode(info, &mut self.bytes);
                true
            }
        };
        let fits = self.records < RECORDS_MAX && (self.records == 0 || self.bytes.len() <= self.maxlen);
        if !sayable || !fits {
            self.bytes.truncate(before);
            return false;
        }
        self.records += 1;
        true
    }

    /// Is there no record yet?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// How many there are.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// The datagram.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        // At most 65,507, as far as the command line allows.
        let size = (self.bytes.len() as u16).to_be_bytes();
        self.bytes[2..4].copy_from_slice(&size);
        // At most RECORDS_MAX.
        let count = self.records as u8;
        match self.version {
            Version::V0 => self.bytes[0] = count,
            Version::V1 => self.bytes[4] = count,
        }
        self.bytes
    }
}

/// Why nothing was taken from a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too short, or its size is not what it says.
    Malformed,
    /// Of another group of directors.
    SyncId,
}

/// What was in a datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Connections and templates. Their packet counts are for the receiver to set.
    pub connections: Vec<ConnectionInfo>,
    /// Records that make no sense here: unknown protocols and options, states out of range.
    pub unusable: u32,
    /// Was the datagram broken after these records?
    pub broken: bool,
}

/// Reads a datagram. `syncid` 0 takes those of all groups.
///
/// # Errors
/// [`Refused`] if nothing of it can be taken.
pub fn decode(datagram: &[u8], syncid: u8) -> Result<Received, Refused> {
    let &[first, theirs, size_high, size_low, ..] = datagram else { return Err(Refused::Malformed) };
    if usize::from(u16::from_be_bytes([size_high, size_low])) != datagram.len() {
        return Err(Refused::Malformed);
    }
    if syncid != 0 && syncid != theirs {
        return Err(Refused::SyncId);
    }
    // What is not version 1 is taken for version 0.
    Ok(match datagram[4..] {
        [count, 1, 0, 0, ..] if first == 0 => records(datagram, Version::V1, count),
        _ => records(datagram, Version::V0, first),
    })
}

fn records(datagram: &[u8], version: Version, count: u8) -> Received {
    let mut received = Received::default();
    let mut at = version.header_len();
    for _ in 0..count {
        let rest = datagram.get(at..).unwrap_or_default();
        let decoded = match version {
            Version::V0 => v0::decode(rest),
            Version::V1 => v1::decode(rest),
        };
        let Ok((len, record)) = decoded else {
            received.broken = true;
            break;
        };
        match record {
            Ok(info) => received.connections.push(info),
            Err(Fault::Broken | Fault::Unusable) => received.unusable += 1,
        }
        at += match version {
            Version::V0 => len,
            // Records begin at multiples of 4 from the start of the message, whose header is 8.
            Version::V1 => len.next_multiple_of(4),
        };
    }
    received
}
