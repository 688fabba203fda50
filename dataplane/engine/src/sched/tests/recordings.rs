//! Picks of Linux 6.1.192, replayed: `testdata/sched/*.txt`.
//!
//! Each file is a session with one service. A line is a command or a fact:
//!
//!     net v4|v6 tcp|udp               what follows is about
//!     service NAME [FLAG…]            a service without servers
//!     scheduler NAME [FLAG…]          the service was edited
//!     add|edit N wW [uU lL]           server 10.0.2.N or fd00:2::N, port 8080; weight, thresholds
//!     delete N                        its connections stay
//!     pick CLIENT:PORT V N|none…      new flows to 10.0.1.V or fd00:1::V, from successive ports: who took them
//!     reset K                         the connection of the K-th pick (from 0) became inactive
//!     expire K…                       connections ended
//!     expiration S                    lblc_expiration and lblcr_expiration, in seconds
//!     wait S                          time passed; between other lines it hardly did
//!     clear                           everything was deleted
//!
//! `random/` holds sessions of random commands.

use super::director::{Director, service};
use crate::tables::{Family, SchedulerKind, ServiceFlags, Settings};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

fn kind(name: &str) -> SchedulerKind {
    use SchedulerKind::*;
    let names = [
        ("rr", Rr),
        ("wrr", Wrr),
        ("lc", Lc),
        ("wlc", Wlc),
        ("lblc", Lblc),
        ("lblcr", Lblcr),
        ("dh", Dh),
        ("sh", Sh),
        ("sed", Sed),
        ("nq", Nq),
        ("fo", Fo),
        ("ovf", Ovf),
        ("mh", Mh),
    ];
    names.into_iter().find(|&(known, _)| known == name).unwrap_or_else(|| panic!("no scheduler {name}")).1
}

fn flags(words: &[&str]) -> ServiceFlags {
    let mut flags = ServiceFlags::default();
    for word in words {
        match *word {
            "sh-fallback" | "mh-fallback" => flags.flag1 = true,
            "sh-port" | "mh-port" => flags.flag2 = true,
            _ => panic!("no flag {word}"),
        }
    }
    flags
}

/// Replays a session; returns how many picks it compared.
fn replay(session: &str) -> Result<usize, String> {
    let mut director = Director::new(Family::V4, SchedulerKind::Rr);
    let (mut family, mut protocol, mut picks) = (Family::V4, 6, 0);
    let mut settings = Settings::default();
    for (at, line) in session.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.trim_start_matches(['w', 'u', 'l']).parse::<u32>().unwrap();
        let thresholds =
            || if let [.., upper, lower] = words[3..] { (number(upper), number(lower)) } else { (0, 0) };
        match words[0] {
            "net" => {
                family = if words[1] == "v6" { Family::V6 } else { Family::V4 };
                protocol = if words[2] == "udp" { 17 } else { 6 };
            }
            "expiration" => {
                (settings.lblc_expiration, settings.lblcr_expiration) = (number(words[1]), number(words[1]));
            }
            "wait" => director.pass(number(words[1]).into(), &settings),
            "clear" => director = Director::new(family, SchedulerKind::Rr),
            "service" => {
                director = Director::new(family, SchedulerKind::Rr);
                director.protocol = protocol;
                director.service = service(family, kind(words[1]), flags(&words[2..]));
            }
            "scheduler" => {
                director.reschedule(kind(words[1]), flags(&words[2..])).map_err(|e| e.to_string())?
            }
            "add" | "edit" => {
                let (upper, lower) = thresholds();
                let change = if words[0] == "add" { Director::add } else { Director::edit };
                change(&mut director, number(words[1]), number(words[2]) as i32, upper, lower);
            }
            "delete" => director.delete(number(words[1])),
            "reset" => director.reset(words[1].parse().unwrap()),
            "expire" => words[1..].iter().for_each(|conn| director.expire(conn.parse().unwrap())),
            "pick" => {
                let client: SocketAddr = words[1].parse().unwrap();
                let vaddr: IpAddr = match family {
                    Family::V4 => format!("10.0.1.{}", words[2]).parse().unwrap(),
                    Family::V6 => format!("fd00:1::{}", words[2]).parse().unwrap(),
                };
                for (nth, kernel) in words[3..].iter().enumerate() {
                    let ours = director.pick(client.ip(), client.port() + nth as u16, vaddr);
                    if ours != kernel.parse().ok() {
                        return Err(format!("line {}: {line}: pick {nth} was {ours:?}", at + 1));
                    }
                    picks += 1;
                }
            }
            other => panic!("line {}: {other}?", at + 1),
        }
    }
    Ok(picks)
}

fn replay_all(folder: &Path) -> (usize, usize) {
    let (mut sessions, mut picks) = (0, 0);
    let mut differing = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        sessions += 1;
        match replay(&std::fs::read_to_string(&path).unwrap()) {
            Ok(count) => picks += count,
            Err(difference) => differing.push(format!("{}: {difference}", path.display())),
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {sessions} sessions differ:\n{}",
        differing.len(),
        differing.join("\n")
    );
    (sessions, picks)
}

#[test]
fn the_kernels_sessions_give_the_kernels_picks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sched");
    let (sessions, picks) = replay_all(&folder);
    assert!(sessions >= 16 && picks > 3000, "only {sessions} sessions with {picks} picks");
}

#[test]
fn random_sessions_give_the_kernels_picks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sched/random");
    let (sessions, picks) = replay_all(&folder);
    assert!(sessions >= 20 && picks > 6000, "only {sessions} sessions with {picks} picks");
}

/// For new recordings: `SHUNT_SCHED_SESSIONS=FOLDER cargo test -p shunt-engine -- --ignored sessions_of_a_folder`.
#[test]
#[ignore = "needs a folder of recordings"]
fn sessions_of_a_folder() {
    let folder = std::env::var("SHUNT_SCHED_SESSIONS").expect("SHUNT_SCHED_SESSIONS names a folder");
    let (sessions, picks) = replay_all(Path::new(&folder));
    println!("{sessions} sessions, {picks} picks");
}
