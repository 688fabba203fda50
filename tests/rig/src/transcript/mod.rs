//! Transcripts of the command line: sessions that a real ipvsadm had with a real kernel, held against shunt.
//!
//! A transcript is a JSON object with `cases` (or the bare list of them). Each case has `cmd`, a line for the shell, and
//! perhaps `stdin`; and what came of it: `rc`, `stdout`, `stderr`. `service_order_varies` marks lists in which the
//! kernel's own hash order shows, `unordered` lists of connections: both are compared as sets. What is not known is
//! ignored. Cases of one transcript follow on each other; each transcript begins with a fresh director.

mod compare;
mod director;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};

pub use director::Director;

/// One session.
#[derive(Debug)]
pub struct Transcript {
    /// The file's name without `.json`.
    pub name: String,
    cases: Vec<Case>,
}

/// One line and its answer.
#[derive(Debug)]
struct Case {
    command: String,
    stdin: String,
    expected: Answer,
    order: Order,
}

/// What a command answered. `None`: the transcript does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: Option<i64>,
    stdout: Option<String>,
    stderr: Option<String>,
}

/// What the order of an answer's lines says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// All.
    Exact,
    /// Nothing about services: each with its servers stays in one piece.
    OfServices,
    /// Nothing.
    OfLines,
}

/// How a transcript went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Cases that answered as they should.
    pub same: usize,
    /// Cases that look at files of the kernel, which shunt has not.
    pub not_applicable: usize,
    /// What differed, for people.
    pub differences: Vec<String>,
}

/// The files to run: the given ones, and all `*.json` of given folders, by name.
///
/// # Errors
/// If a folder cannot be read.
pub fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut inside: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        inside.retain(|file| file.extension().is_some_and(|end| end == "json"));
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

impl Transcript {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or holds no cases.
    pub fn read(path: &Path) -> Result<Transcript> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let value: Value = serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let list = if value.is_array() { Some(&value) } else { value.get("cases").or(value.get("steps")) };
        let Some(list) = list.and_then(Value::as_array) else { bail!("{}: no `cases`", path.display()) };
        let cases: Vec<Case> = list.iter().filter_map(Case::of).collect();
        if cases.is_empty() {
            bail!("{}: no case has a `cmd`", path.display());
        }
        Ok(Transcript { name, cases })
    }

    /// Runs all cases on a fresh director.
    ///
    /// # Errors
    /// If a command cannot be started.
    pub fn run(&self, director: &Director) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for (index, case) in self.cases.iter().enumerate() {
            let Some(command) = applicable(&case.command) else {
                outcome.not_applicable += 1;
                continue;
            };
            let got = director.run(&command, &case.stdin)?;
            match compare::difference(case, &got) {
                None => outcome.same += 1,
                Some(difference) => {
                    outcome.differences.push(format!("case {index}: {}\n{difference}", case.command));
                }
            }
        }
        Ok(outcome)
    }
}

impl Case {
    fn of(value: &Value) -> Option<Case> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
        Some(Case {
            command: text("cmd")?,
            stdin: text("stdin").unwrap_or_default(),
            expected: Answer {
                status: value.get("rc").and_then(Value::as_i64),
                stdout: text("stdout"),
                stderr: text("stderr"),
            },
            order: match () {
                () if flag("unordered") => Order::OfLines,
                () if flag("service_order_varies") => Order::OfServices,
                () => Order::Exact,
            },
        })
    }
}

/// The line to run. Settings of the kernel have a counterpart; its files do not: `None`.
fn applicable(command: &str) -> Option<String> {
    const SETTINGS: &str = "/proc/sys/net/ipv4/vs/";
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["echo", value, ">", file] if file.starts_with(SETTINGS) => {
            Some(format!("shuntadm set {} {value}", &file[SETTINGS.len()..]))
        }
        _ if ["/proc/", "modprobe ", "lsmod", "net.ipv4.vs."].iter().any(|word| command.contains(word)) => {
            None
        }
        _ => Some(command.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_of_all_shapes() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = dir.path().join("x.json");
            std::fs::write(&path, text).unwrap();
            Transcript::read(&path)
        };
        let whole =
            read(r#"{"group":"x","cases":[{"cmd":"a","stdin":null,"rc":2,"stdout":"","stderr":"e\n"}]}"#);
        let whole = whole.unwrap();
        assert_eq!((whole.name.as_str(), whole.cases[0].expected.status), ("x", Some(2)));
        let bare =
            read(r#"[{"cmd":"a","stdin":"x","new":1,"unordered":true},{"op":"note","text":"-"}]"#).unwrap();
        assert_eq!((bare.name.as_str(), bare.cases.len()), ("x", 1));
        assert_eq!((bare.cases[0].order, bare.cases[0].expected.stdout.as_ref()), (Order::OfLines, None));
        assert!(read("{}").is_err() && read("[]").is_err() && read("nonsense").is_err());
    }

    #[test]
    fn settings_have_a_counterpart_and_files_of_the_kernel_have_none() {
        let echo = "echo 1 > /proc/sys/net/ipv4/vs/drop_entry";
        assert_eq!(applicable(echo).as_deref(), Some("shuntadm set drop_entry 1"));
        assert_eq!(applicable("cat /proc/net/ip_vs"), None);
        assert_eq!(applicable("ipvsadm -Ln").as_deref(), Some("ipvsadm -Ln"));
    }
}
