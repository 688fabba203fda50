//! `ipvsadm-save` and `ipvsadm-restore`, which the kernel's package has as shell scripts (spec `cli.md` §15).

use std::io::{self, BufRead, Read};
use std::path::Path;

/// What to ask of the daemon.
pub struct Requests {
    /// The command lines, argv\[0\] included, in order.
    pub lines: Vec<Vec<String>>,
    /// Lines of standard input that begin with `#` are kept back.
    pub without_comments: bool,
}

/// The requests of a call of the tool, by the name that it was started under. Usage, if the words make no sense.
pub fn requests(argv: Vec<String>) -> Result<Requests, String> {
    let program = argv.first().map_or("", String::as_str);
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or("");
    let ipvsadm = |words: &[&str]| {
        std::iter::once("ipvsadm").chain(words.iter().copied()).map(str::to_owned).collect::<Vec<_>>()
    };
    match name {
        "ipvsadm-save" => {
            let mut numeric = false;
            for option in argv[1..].iter().filter(|word| word.starts_with('-')) {
                if option != "-n" {
                    return Err(format!("usage: {name} [-n]\n  -n  addresses and ports as numbers\n"));
                }
                numeric = true;
            }
            let words: &[&str] = if numeric { &["-S", "-n"] } else { &["-S"] };
            Ok(Requests { lines: vec![ipvsadm(words)], without_comments: false })
        }
        "ipvsadm-restore" => {
            Ok(Requests { lines: vec![ipvsadm(&["-C"]), ipvsadm(&["-R"])], without_comments: true })
        }
        _ => Ok(Requests { lines: vec![argv], without_comments: false }),
    }
}

/// The input without lines that begin with `#`.
pub fn without_comments(input: impl BufRead) -> impl Read {
    Uncommented { input, line: Vec::new(), start: 0 }
}

struct Uncommented<R> {
    input: R,
    line: Vec<u8>,
    start: usize,
}

impl<R: BufRead> Read for Uncommented<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.start == self.line.len() {
            self.line.clear();
            self.start = 0;
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(0);
            }
            if self.line.first() == Some(&b'#') {
                self.line.clear();
            }
        }
        let len = (&self.line[self.start..]).read(into)?;
        self.start += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(words: &str) -> Result<Vec<String>, String> {
        let argv = words.split(' ').map(str::to_owned).collect();
        requests(argv).map(|requests| requests.lines.iter().map(|argv| argv.join(" ")).collect())
    }

    #[test]
    fn by_the_name() {
        assert_eq!(lines("/sbin/ipvsadm -L").unwrap(), ["/sbin/ipvsadm -L"]);
        assert_eq!(lines("/sbin/ipvsadm-save").unwrap(), ["ipvsadm -S"]);
        assert_eq!(lines("ipvsadm-save word -n").unwrap(), ["ipvsadm -S -n"]);
        assert_eq!(lines("ipvsadm-restore").unwrap(), ["ipvsadm -C", "ipvsadm -R"]);
        assert_eq!(lines("ipvsadm-save -x").unwrap_err().lines().count(), 2);
    }

    #[test]
    fn comments_are_kept_back() {
        let mut text = String::new();
        without_comments(&b"# a\n-A x\n #b\n#\n-C # d"[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "-A x\n #b\n-C # d");
    }
}
