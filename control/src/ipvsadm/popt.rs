//! How the option library popt 1.19 cuts a command line into options (spec `cli.md` §1).
//!
//! It is stranger than a getopt: options and plain words mix, `-p=5` is `-p 5` (but `-n=5` is refused), and an option with
//! an optional argument takes the next word unless that begins with a dash.

/// Does an option take an argument?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// No.
    Nothing,
    /// The next word, whatever it looks like.
    Argument,
    /// The next word unless it begins with a dash.
    Perhaps,
}

/// One line of the table of options. `T` is what it means.
#[derive(Debug)]
pub(super) struct Spelling<T> {
    /// Without the dashes.
    pub(super) long: &'static str,
    /// The letter, if it has one.
    pub(super) short: Option<u8>,
    pub(super) takes: Takes,
    pub(super) means: T,
}

/// An error of the option library. [`Words::current`] is the word that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misuse {
    UnknownOption,
    MissingArgument,
    UnwantedArgument,
}

impl Misuse {
    /// The library's text.
    pub(super) fn text(self) -> &'static str {
        match self {
            Misuse::UnknownOption => "unknown option",
            Misuse::MissingArgument => "missing argument",
            Misuse::UnwantedArgument => "option does not take an argument",
        }
    }
}

/// An option and its argument.
type Found<'a, T> = (T, Option<&'a str>);

/// A command line, being cut.
pub(super) struct Words<'a, T: 'static> {
    table: &'static [Spelling<T>],
    words: &'a [&'a str],
    /// Index of the next word.
    next: usize,
    /// The letters that are left of a group such as `-Lnc`.
    group: Option<&'a str>,
    /// `--` was seen.
    only_plain: bool,
    plain: Vec<&'a str>,
}

impl<'a, T: Copy> Words<'a, T> {
    /// `words[0]` is the program's name.
    pub(super) fn new(table: &'static [Spelling<T>], words: &'a [&'a str]) -> Self {
        Words { table, words, next: 1, group: None, only_plain: false, plain: Vec::new() }
    }

    /// The word consumed last.
    pub(super) fn current(&self) -> &'a str {
        self.words.get(self.next.wrapping_sub(1)).copied().unwrap_or("")
    }

    /// The plain words met so far.
    pub(super) fn plain(&self) -> &[&'a str] {
        &self.plain
    }

    /// The next option, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Found<'a, T>>, Misuse> {
        if let Some(group) = self.group.take() {
            return self.letter(group).map(Some);
        }
        while let Some(word) = self.words.get(self.next).copied() {
            self.next += 1;
            if self.only_plain || !word.starts_with('-') || word == "-" {
                self.plain.push(word);
            } else if word == "--" {
                self.only_plain = true;
            } else if let Some(long) = word.strip_prefix("--") {
                return self.long(long).map(Some);
            } else {
                return self.letter(&word[1..]).map(Some);
            }
        }
        Ok(None)
    }

    fn long(&mut self, text: &'a str) -> Result<Found<'a, T>, Misuse> {
        let (name, argument) = match text.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let spelling =
            self.table.iter().find(|spelling| spelling.long == name).ok_or(Misuse::UnknownOption)?;
        match (spelling.takes, argument) {
            (Takes::Nothing, Some(_)) => Err(Misuse::UnwantedArgument),
            (_, Some(argument)) => Ok((spelling.means, Some(argument))),
            (_, None) => self.with_next_word(spelling),
        }
    }

    /// Takes the first letter of a group.
    fn letter(&mut self, group: &'a str) -> Result<Found<'a, T>, Misuse> {
        let letter = group.bytes().next();
        let spelling = letter
            .and_then(|letter| self.table.iter().find(|spelling| spelling.short == Some(letter)))
            .ok_or(Misuse::UnknownOption)?;
        // The letter was found in the table, so it is one byte long.
        let rest = Some(&group[1..]).filter(|rest| !rest.is_empty());
        match (spelling.takes, rest) {
            (Takes::Nothing, Some(rest)) if rest.starts_with('=') => Err(Misuse::UnwantedArgument),
            (Takes::Nothing, rest) => {
                self.group = rest;
                Ok((spelling.means, None))
            }
            (_, Some(rest)) => Ok((spelling.means, Some(rest.strip_prefix('=').unwrap_or(rest)))),
            (_, None) => self.with_next_word(spelling),
        }
    }

    fn with_next_word(&mut self, spelling: &Spelling<T>) -> Result<Found<'a, T>, Misuse> {
        let word = self.words.get(self.next).copied();
        let argument = match (spelling.takes, word) {
            (Takes::Nothing, _) | (Takes::Perhaps, None) => None,
            (Takes::Perhaps, Some(word)) if word.starts_with('-') => None,
            (_, Some(word)) => {
                self.next += 1;
                Some(word)
            }
            (Takes::Argument, None) => return Err(Misuse::MissingArgument),
        };
        Ok((spelling.means, argument))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Spelling<char>] = &[
        Spelling { long: "list", short: Some(b'L'), takes: Takes::Nothing, means: 'L' },
        Spelling { long: "numeric", short: Some(b'n'), takes: Takes::Nothing, means: 'n' },
        Spelling { long: "service", short: Some(b't'), takes: Takes::Argument, means: 't' },
        Spelling { long: "persistent", short: Some(b'p'), takes: Takes::Perhaps, means: 'p' },
        Spelling { long: "timeout", short: None, takes: Takes::Nothing, means: 'T' },
    ];

    /// `L p=5 !unknown option` and the plain words after a colon.
    fn cut(line: &str) -> String {
        let words: Vec<&str> = std::iter::once("x").chain(line.split(' ')).collect();
        let mut cut = Words::new(TABLE, &words);
        let mut text = Vec::new();
        loop {
            match cut.next() {
                Ok(Some((means, None))) => text.push(means.to_string()),
                Ok(Some((means, Some(argument)))) => text.push(format!("{means}={argument}")),
                Ok(None) => break,
                Err(misuse) => {
                    text.push(format!("!{} {}", cut.current(), misuse.text()));
                    break;
                }
            }
        }
        if !cut.plain().is_empty() {
            text.push(format!(": {}", cut.plain().join(" ")));
        }
        text.join(" ")
    }

    #[test]
    fn cuts_as_popt_does() {
        for (line, expected) in [
            ("-Ln", "L n"),
            ("-L -n a b", "L n : a b"),
            ("a -L b", "L : a b"),
            ("-t v", "t=v"),
            ("-tv", "t=v"),
            ("-t=v", "t=v"),
            ("-Ltv", "L t=v"),
            ("-t -L", "t=-L"),
            ("-t", "!-t missing argument"),
            ("-Lt", "L !-Lt missing argument"),
            ("--service", "!--service missing argument"),
            ("--service=", "t="),
            ("--service v", "t=v"),
            ("--servic v", "!--servic unknown option"),
            ("--list=5", "!--list=5 option does not take an argument"),
            ("-p", "p"),
            ("-p 5", "p=5"),
            ("-p=5", "p=5"),
            ("-p5n", "p=5n"),
            ("-p -n", "p n"),
            ("-p -5", "p !-5 unknown option"),
            ("-L=n", "!-L=n option does not take an argument"),
            ("-L=", "!-L= option does not take an argument"),
            ("-Ln=c", "L !-Ln=c option does not take an argument"),
            ("-t=", "t="),
            ("-t==v", "t==v"),
            ("-Q", "!-Q unknown option"),
            ("-LQn", "L !-LQn unknown option"),
            ("-é", "!-é unknown option"),
            ("-Lé", "L !-Lé unknown option"),
            ("- -L", "L : -"),
            ("-L -- -n", "L : -n"),
            ("--=", "!--= unknown option"),
        ] {
            assert_eq!(cut(line), expected, "{line}");
        }
    }
}
