//! The options of the language with their descriptions: spellings from the table, words from the help text.

use super::options::TABLE;
use super::popt::Takes;

/// An option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionText {
    /// Without the dashes.
    pub long: &'static str,
    /// Its letters; `-L` and `-l` are one option.
    pub letters: Vec<char>,
    /// What its argument is called, if it has one.
    pub argument: Option<&'static str>,
    /// May the argument be left out?
    pub argument_is_optional: bool,
    /// What it does.
    pub help: String,
}

/// What the help text does not say, or says wrong.
const OWN_WORDS: &[(&str, &str)] = &[
    (
        "atomic",
        "with --restore: all lines or none, in one publication; the first error is told with its line number",
    ),
    ("persistent", "persistent service, for so many seconds (default 360)"),
    ("start-daemon", "start connection sync daemon: master or backup"),
    ("stop-daemon", "stop connection sync daemon: master or backup"),
    ("syncid", "syncid for connection sync (default 0)"),
    ("version", "display the version"),
];

/// All options, in the order of the table.
#[must_use]
pub fn options() -> Vec<OptionText> {
    let mut options: Vec<OptionText> = Vec::new();
    for spelling in TABLE {
        let letter = spelling.short.map(char::from);
        if let Some(known) = options.iter_mut().find(|option| option.long == spelling.long) {
            known.letters.extend(letter);
            continue;
        }
        let (argument, help) = described(spelling.long);
        let own = OWN_WORDS.iter().find(|(long, _)| *long == spelling.long);
        options.push(OptionText {
            long: spelling.long,
            letters: letter.into_iter().collect(),
            argument: (spelling.takes != Takes::Nothing).then_some(argument.unwrap_or("role")),
            argument_is_optional: spelling.takes == Takes::Perhaps,
            help: own.map_or(help, |(_, own)| (*own).to_owned()),
        });
    }
    options
}

/// The usage lines of the help text, without the program's name.
pub fn usage() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("help.txt").lines().skip_while(|line| *line != "Usage:").skip(1);
    lines.map_while(|line| line.trim_start().strip_prefix("ipvsadm "))
}

/// The argument and the description of an option in the help text.
fn described(long: &str) -> (Option<&'static str>, String) {
    let mut lines = include_str!("help.txt").lines();
    let is_it = |line: &&str| {
        let name = line.trim_start().strip_prefix("--");
        name.and_then(|name| name.strip_prefix(long))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '|']))
    };
    let Some(line) = lines.find(is_it) else { return (None, String::new()) };
    let columns: Vec<&str> =
        line.trim_start().split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
    let (help, before) = columns.split_last().unwrap_or((&"", &[]));
    let argument = before.last().and_then(|column| column.split([' ', '|']).next_back());
    let mut help = (*help).to_owned();
    // What does not fit goes on, far to the right.
    for more in lines.take_while(|line| line.starts_with("                              ")) {
        help = format!("{help} {}", more.trim());
    }
    (argument.map(|name| name.trim_matches(['[', ']'])).filter(|name| !name.starts_with('-')), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_described() {
        let options = options();
        for option in &options {
            assert!(!option.help.is_empty(), "{option:?}");
        }
        let of = |long| options.iter().find(|option| option.long == long).unwrap().clone();
        let scheduler = of("scheduler");
        assert_eq!((scheduler.letters, scheduler.argument), (vec!['s'], Some("scheduler")));
        assert!(scheduler.help.starts_with("one of rr|") && scheduler.help.ends_with("scheduler is wlc."));
        assert_eq!(of("list").letters, ['L', 'l']);
        assert_eq!(of("fwmark-service").argument, Some("fwmark"));
        assert_eq!(of("syncid").argument, Some("sid"));
        assert_eq!((of("persistent").argument, of("stats").argument), (Some("timeout"), None));
    }
}
