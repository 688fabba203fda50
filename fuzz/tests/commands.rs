//! Lines of the ipvsadm language: every one is answered, and what is saved is restored to the same.

use bolero::TypeGenerator;
use shunt_engine::board::Boards;
use shunt_fuzz::records::{Records, SERVERS_MAX};
use std::fmt::Write;

/// Words that mean something.
const WORDS: &[&str] = &[
    "-A",
    "-E",
    "-D",
    "-C",
    "-R",
    "-S",
    "-a",
    "-e",
    "-d",
    "-L",
    "-Z",
    "--set",
    "-t",
    "-u",
    "--sctp-service",
    "-f",
    "-6",
    "-s",
    "-p",
    "-M",
    "--pe",
    "-b",
    "-o",
    "-r",
    "-g",
    "-i",
    "-m",
    "-w",
    "-x",
    "-y",
    "--tun-type",
    "--tun-port",
    "--tun-nocsum",
    "--tun-csum",
    "-n",
    "-c",
    "--timeout",
    "--daemon",
    "--stats",
    "--rate",
    "--thresholds",
    "--persistent-conn",
    "--tun-info",
    "--nosort",
    "--exact",
    "10.0.0.1:80",
    "10.0.0.2:0",
    "[2001:db8::1]:80",
    "fd00::1",
    "rr",
    "wrr",
    "sh",
    "mh",
    "lblcr",
    "7",
    "0",
    "65536",
    "255.255.0.0",
    "64",
    "gue",
    "gre",
    "ipip",
    "flag-1,sh-port",
    "sip",
    "--start-daemon",
    "--stop-daemon",
    "master",
    "backup",
    "--syncid",
    "--mcast-interface",
    "eth0",
];

#[derive(Clone, Debug, TypeGenerator)]
enum Word {
    Known(u8),
    Text(String),
    Number(u32),
}

impl Word {
    fn text(&self) -> String {
        match self {
            Word::Known(number) => WORDS[usize::from(*number) % WORDS.len()].to_owned(),
            Word::Text(text) => text.replace(char::is_whitespace, ""),
            Word::Number(number) => number.to_string(),
        }
    }
}

/// What `ipvsadm -S` writes and `ipvsadm -R` refuses (spec `cli.md` §5): marks from 2^31 on, which it prints as negative
/// numbers.
fn cannot_be_restored(line: &str) -> bool {
    line.contains(" -f -")
}

#[test]
fn commands() {
    bolero::check!().with_type::<(Vec<Vec<Word>>, bool)>().for_each(|(lines, as_restore)| {
        let records = Records::new(Boards::new(1, SERVERS_MAX));
        let run = |arguments: &[&str], stdin: &str| {
            let (status, out) = records.ipvsadm(arguments, stdin);
            assert!([0, 1, 2, 255].contains(&status), "{arguments:?}: {status}");
            out
        };
        let mut text = String::new();
        for line in lines {
            let words: Vec<String> = line.iter().map(Word::text).collect();
            if *as_restore {
                let _ = writeln!(text, "{}", words.join(" "));
            } else {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                run(&words, "");
            }
        }
        run(&["-R"], &text);
        for list in [&["-Ln"][..], &["-L", "--stats"], &["-L", "--rate"], &["-L", "--thresholds"], &["-Lnc"]]
        {
            run(list, "");
        }
        let saved = run(&["-S", "-n"], "");
        run(&["-C"], "");
        run(&["-R"], &saved);
        if !saved.lines().any(cannot_be_restored) {
            assert_eq!(run(&["-S", "-n"], ""), saved);
        }
    });
}
