//! What is wrong with a configuration file, in one line.

use std::fmt::Display;
use toml::de::{DeTable, DeValue};

/// A configuration that cannot be used. Its text is one line: file, line, what is wrong, what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {what}", line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ConfigError {
    /// The file as it was named.
    pub file: String,
    /// The line, from 1; `None` if the file could not be read.
    pub line: Option<usize>,
    /// What is wrong, and the fix.
    pub what: String,
}

/// A value that parses but makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Keys and indices from the root, joined by dots: `nic_port.1.mtu`.
    pub path: String,
    /// What is wrong, and the fix.
    pub what: String,
}

impl Problem {
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Problem {
        Problem { path: path.into(), what: what.into() }
    }
}

impl ConfigError {
    pub(super) fn unreadable(file: &str, error: &impl Display) -> ConfigError {
        ConfigError { file: file.to_owned(), line: None, what: format!("cannot be read: {error}") }
    }

    pub(super) fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
        let line = error.span().map(|span| line_at(text, span.start));
        // Some messages of the parser have several lines.
        let what = error.message().split('\n').map(str::trim).collect::<Vec<_>>().join(", ");
        ConfigError { file: file.to_owned(), line: line.or(Some(1)), what }
    }

    pub(super) fn from_problem(file: &str, text: &str, problem: &Problem) -> ConfigError {
        let line = line_at(text, place_of(text, &problem.path));
        ConfigError {
            file: file.to_owned(),
            line: Some(line),
            what: format!("{}: {}", shown(&problem.path), problem.what),
        }
    }
}

fn line_at(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}

/// `nic_port.1.mtu` as people count: `nic_port[2].mtu`.
fn shown(path: &str) -> String {
    path.split('.').fold(String::new(), |mut all, step| {
        match step.parse::<usize>() {
            Ok(index) => all.push_str(&format!("[{}]", index + 1)),
            Err(_) if all.is_empty() => all.push_str(step),
            Err(_) => all.push_str(&format!(".{step}")),
        }
        all
    })
}

/// The first byte of the value at `path`, or of the deepest part of the path that the text holds.
fn place_of(text: &str, path: &str) -> usize {
    let Ok(root) = DeTable::parse(text) else { return 0 };
    let mut place = 0;
    let mut value = DeValue::Table(root.into_inner());
    for step in path.split('.') {
        let next = match &value {
            DeValue::Table(table) => table.get(step),
            DeValue::Array(array) => step.parse::<usize>().ok().and_then(|index| array.get(index)),
            _ => None,
        };
        let Some(next) = next else { break };
        place = next.span().start;
        value = next.get_ref().clone();
    }
    place
}
