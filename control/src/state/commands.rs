//! What operators decided, as lines of text:
//!
//! ```text
//! setting drop_entry 1          a setting that is not as configured
//! marks                         the rules of marks are not as configured; those that follow replace them
//! mark 5 destination …          one of them, as `mark add` takes it
//! daemons                       the same for synchronisation daemons
//! daemon {"role": …}            one of them, as the configuration has it
//! --set 900 120 300             anything else is a line of the command language
//! ```

use super::Configured;
use crate::config::SyncDaemon;
use crate::director::{Director, Mark};
use crate::ipvsadm::{self, Access, NoNames};
use serde_json::json;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

const SETTING: &str = "setting ";
const MARKS: &str = "marks";
const MARK: &str = "mark ";
const DAEMONS: &str = "daemons";
const DAEMON: &str = "daemon ";

/// The present state. The lock is held for a moment only.
pub(super) fn text(director: &Mutex<Director>, configured: &Configured) -> Vec<u8> {
    let (snapshot, sysctls, marks, daemons) = {
        let mut director = director.lock().unwrap_or_else(PoisonError::into_inner);
        (director.snapshot(), director.sysctls(), director.marks().to_vec(), director.wanted_daemons())
    };
    let mut text = String::new();
    let sysctls_configured = configured.ipvs.sysctls();
    for (name, value) in sysctls {
        let configured = sysctls_configured.iter().find(|(have, _)| *have == name);
        if configured.is_some_and(|(_, configured)| value != *configured) {
            text += &format!("{SETTING}{name} {value}\n");
        }
    }
    if marks != configured.marks {
        text += &format!("{MARKS}\n");
        marks.iter().for_each(|mark| text += &format!("{MARK}{mark}\n"));
    }
    let daemons: Vec<_> = daemons.into_iter().map(|(role, options)| SyncDaemon::of(role, options)).collect();
    // There are two of them at most.
    if daemons.len() != configured.daemons.len()
        || daemons.iter().any(|have| !configured.daemons.contains(have))
    {
        text += &format!("{DAEMONS}\n");
        daemons.iter().for_each(|daemon| text += &format!("{DAEMON}{}\n", json!(daemon)));
    }
    let settings = snapshot.settings();
    let kept = |value: u32, configured: u32| if value == configured { 0 } else { value };
    let timeouts = [
        kept(settings.timeout_tcp_s, configured.ipvs.timeout_tcp),
        kept(settings.timeout_tcp_fin_s, configured.ipvs.timeout_tcp_fin),
        kept(settings.timeout_udp_s, configured.ipvs.timeout_udp),
    ];
    if timeouts != [0; 3] {
        let [tcp, fin, udp] = timeouts;
        text += &format!("--set {tcp} {fin} {udp}\n");
    }
    let mut text = text.into_bytes();
    // Writing into memory does not fail.
    let _ = ipvsadm::write_state(&snapshot, &mut text);
    text
}

/// What [`carry_out`] leaves to others.
pub(super) struct CarriedOut {
    /// The daemons to be started, if they are not those of the configuration.
    pub(super) daemons: Option<Vec<SyncDaemon>>,
    /// What was refused, for the log.
    pub(super) complaints: Vec<String>,
}

/// Carries out what [`text`] wrote, and puts it in force; but daemons start later.
pub(super) fn carry_out(text: &str, director: &Mutex<Director>) -> CarriedOut {
    let (mut lines, mut marks, mut daemons, mut complaints) = (Vec::new(), None, None, Vec::new());
    {
        let mut director = director.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines() {
            if let Some((name, value)) =
                line.strip_prefix(SETTING).and_then(|setting| setting.split_once(' '))
            {
                complaints.extend(director.set_sysctl(name, value).err().map(|error| error.to_string()));
            } else if line == MARKS {
                marks = Some(Vec::new());
            } else if let Some(rule) = line.strip_prefix(MARK) {
                let words: Vec<String> = rule.split_whitespace().map(str::to_owned).collect();
                match Mark::parse(&words) {
                    Ok(mark) => marks.get_or_insert_default().push(mark),
                    Err(error) => complaints.push(format!("{line}: {error}")),
                }
            } else if line == DAEMONS {
                daemons = Some(Vec::new());
            } else if let Some(daemon) = line.strip_prefix(DAEMON) {
                match serde_json::from_str(daemon) {
                    Ok(daemon) => daemons.get_or_insert_default().push(daemon),
                    Err(error) => complaints.push(format!("{line}: {error}")),
                }
            } else {
                let _ = writeln!(lines, "{line}");
            }
        }
        if let Some(Err((_, error))) = marks.map(|marks| director.set_marks(marks)) {
            complaints.push(format!("rules of marks: {error}"));
        }
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let argv = ["shuntd".to_owned(), "-R".to_owned()];
    ipvsadm::run(&argv, &mut &lines[..], &mut stdout, &mut stderr, director, &NoNames, Access::ReadWrite);
    complaints.extend(String::from_utf8_lossy(&stderr).lines().map(str::to_owned));
    CarriedOut { daemons, complaints }
}
