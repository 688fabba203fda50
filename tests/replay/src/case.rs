//! A recorded case: commands, frames in, frames out, second by second. `README.md` beside this crate describes the
//! format.

use crate::unlisted;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::{Path, PathBuf};

/// Name of the file that holds a case.
const FILE: &str = "case.json";

/// One case.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What it shows, in a line.
    #[serde(default)]
    pub title: String,
    /// And at length.
    #[serde(default)]
    pub explain: String,
    /// What happened, in order.
    pub steps: Vec<Step>,
}

/// One step. Times are seconds since the start of the case, in virtual time.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Step {
    /// A command line and its answer.
    Cmd(Command),
    /// A frame arrives.
    Rx {
        /// When.
        t: f64,
        /// Where.
        #[serde(rename = "if")]
        nic_port: String,
        /// The frame, padded to 60 bytes.
        frame: Bytes,
        /// What it shows.
        #[serde(default)]
        note: String,
        /// What came out.
        #[serde(default)]
        out: Vec<Sent>,
    },
    /// Several frames arrive back to back.
    Rxn {
        /// When.
        t: f64,
        /// Where.
        #[serde(rename = "if")]
        nic_port: String,
        /// The frames.
        frames: Vec<Bytes>,
        /// What they show.
        #[serde(default)]
        note: String,
        /// What came out.
        #[serde(default)]
        out: Vec<Sent>,
    },
    /// Time passes.
    Advance {
        /// From when.
        t: f64,
        /// For how long, seconds.
        s: f64,
        /// What came out meanwhile.
        #[serde(default)]
        out: Vec<Sent>,
    },
    /// A remark.
    Note {},
    /// Frames that no step of the file mentions: see [`crate::unlisted`].
    #[serde(skip)]
    Unlisted {
        /// When they arrived.
        t: f64,
        /// Where, and what.
        arrivals: Vec<(String, Bytes)>,
        /// What came out.
        out: Vec<Sent>,
    },
}

/// A command line and its answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Command {
    /// When it had ended.
    pub t: f64,
    /// A line for the shell.
    pub cmd: String,
    /// What it read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdin: String,
    /// Exit status.
    pub rc: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
    /// Frames that came out before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out: Vec<Sent>,
}

/// A frame that came out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Sent {
    /// When.
    #[serde(default)]
    pub t: f64,
    /// Of which NIC port.
    #[serde(rename = "if")]
    pub nic_port: String,
    /// The frame, not padded.
    pub frame: Bytes,
    /// Offsets of bytes that differed between two recordings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volatile: Vec<usize>,
    /// The frame in words, for readers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub desc: String,
}

/// Bytes, written in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text)
            .map(Bytes)
            .ok_or_else(|| serde::de::Error::custom("bytes are no pairs of hexadecimal digits"))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }
}

/// Reads pairs of hexadecimal digits.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let pairs = digits?;
    pairs.len().is_multiple_of(2).then(|| pairs.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

impl Case {
    /// Reads a case from its file, and from the captures beside it what that does not mention.
    ///
    /// # Errors
    /// If a file cannot be read or is no case.
    pub fn read(path: &Path) -> Result<Case> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut case: Case =
            serde_json::from_str(&text).with_context(|| format!("{} is no recorded case", path.display()))?;
        unlisted::add_steps(path.parent().unwrap_or(Path::new("")), &mut case.steps)?;
        Ok(case)
    }
}

/// The files of all cases at or below a path, in the order of their names.
///
/// # Errors
/// If a folder cannot be read, or there is no case at all.
pub fn find(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if path.is_file() {
        found.push(path.to_owned());
    } else {
        collect(path, &mut found)?;
    }
    if found.is_empty() {
        bail!("there is no {FILE} at or below {}", path.display());
    }
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.file_name().is_some_and(|name| name == FILE) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal() {
        assert_eq!(from_hex("00ffA5"), Some(vec![0, 0xff, 0xa5]));
        assert_eq!((from_hex("0"), from_hex("0g"), from_hex("é1")), (None, None, None));
    }
}
