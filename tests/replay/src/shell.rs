//! The command lines of a recording: those that have a counterpart are carried out, the others are named.

use crate::iptables::{self, Change};
use crate::machine::Machine;
use crate::proc_files;
use shunt_control::director::SettingError;
use shunt_control::ipvsadm::{self, Access, Names, Services};
use shunt_engine::tables::Family;
use shunt_wire::MacAddr;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::PoisonError;

/// What a command line answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Parts that have no counterpart, each with the reason; then the answer is not to be compared.
    pub not_applicable: Vec<String>,
    /// It changed the surroundings (`ip`, `iptables`, `modprobe`): how that went is not shunt's answer.
    pub of_others: bool,
}

impl Answer {
    fn text(stdout: String) -> Answer {
        Answer { stdout, ..Answer::default() }
    }

    fn failure(status: i32, stderr: String) -> Answer {
        Answer { status, stderr, ..Answer::default() }
    }

    fn not_applicable(what: &str, why: &str) -> Answer {
        Answer { not_applicable: vec![format!("`{what}': {why}")], ..Answer::default() }
    }

    fn of_others() -> Answer {
        Answer::default().by_others()
    }

    fn by_others(self) -> Answer {
        Answer { of_others: true, ..self }
    }

    fn done(done: bool, what: &str) -> Answer {
        if done { Answer::default() } else { Answer::not_applicable(what, "nothing here is called so") }
    }
}

/// The guest of the recordings: Debian's services, no DNS.
struct GuestNames(Services);

impl GuestNames {
    fn new() -> GuestNames {
        GuestNames(Services::parse(
            "ftp-data 20/tcp\nftp 21/tcp\nssh 22/tcp\nsmtp 25/tcp\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp www\n\
             https 443/tcp\nhttps 443/udp\nsip 5060/tcp\nsip 5060/udp\nsip-tls 5061/tcp\nhttp-alt 8080/tcp webcache\n",
        ))
    }
}

impl Names for GuestNames {
    fn host_address(&self, name: &str) -> Option<Ipv4Addr> {
        (name == "localhost").then_some(Ipv4Addr::LOCALHOST)
    }
    fn host_name(&self, _: IpAddr) -> Option<String> {
        None
    }
    fn service_port(&self, name: &str, protocol: u8) -> Option<u16> {
        self.0.port(name, protocol)
    }
    fn service_name(&self, l4_port: u16, protocol: u8) -> Option<&str> {
        self.0.name(l4_port, protocol)
    }
}

/// Carries out a command line: commands after one another.
pub fn run(machine: &mut Machine, line: &str, stdin: &str) -> Answer {
    if let Some(listener) = listener(line) {
        machine.kernel_mut().listen(listener);
        return Answer::default();
    }
    let mut all = Answer::default();
    for (when, command) in commands(line) {
        let skipped = match when {
            When::Always => false,
            When::Succeeded => all.status != 0,
            When::Failed => all.status == 0,
        };
        if skipped || command.is_empty() {
            continue;
        }
        let one = run_one(machine, command, stdin);
        all.status = one.status;
        all.stdout.push_str(&one.stdout);
        all.stderr.push_str(&one.stderr);
        all.not_applicable.extend(one.not_applicable);
        all.of_others |= one.of_others;
    }
    all
}

/// When a command of a line is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Succeeded,
    Failed,
}

/// The commands of a line, outside of quotation marks.
fn commands(line: &str) -> Vec<(When, &str)> {
    let (mut found, mut when, mut start) = (Vec::new(), When::Always, 0);
    let (mut quote, mut skip) = (None, 0);
    for (at, letter) in line.char_indices() {
        if at < skip {
            continue;
        }
        let next = match (quote, letter) {
            (Some(mark), _) if mark == letter => {
                quote = None;
                continue;
            }
            (Some(_), _) => continue,
            (None, '"' | '\'') => {
                quote = Some(letter);
                continue;
            }
            (None, ';' | '\n') => (When::Always, 1),
            _ if line[at..].starts_with("&&") => (When::Succeeded, 2),
            _ if line[at..].starts_with("||") => (When::Failed, 2),
            _ => continue,
        };
        found.push((when, line[start..at].trim()));
        (when, skip) = (next.0, at + next.1);
        start = skip;
    }
    found.push((when, line[start..].trim()));
    found
}

/// `(nc -l -p 8080 … &)`: somebody listens on a TCP port.
fn listener(line: &str) -> Option<u16> {
    let rest = line.trim_start_matches(['(', ' ']).strip_prefix("nc -l -p ")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn run_one(machine: &mut Machine, command: &str, stdin: &str) -> Answer {
    if let Some((first, _)) = command.split_once('|') {
        // It may change something; what a filter makes of its answer is not shunt's.
        run_one(machine, first.trim(), stdin);
        return Answer::not_applicable(command, "filters are not modelled");
    }
    let (spaced, silent) = without_silence(command);
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let answer = run_words(machine, command, &words, stdin);
    Answer {
        stdout: if silent.0 { String::new() } else { answer.stdout },
        stderr: if silent.1 { String::new() } else { answer.stderr },
        ..answer
    }
}

/// A command with spaces around its redirections, but without those to nowhere, and whether they silence stdout and
/// stderr.
fn without_silence(command: &str) -> (String, (bool, bool)) {
    let mut text = command.replace("2>&1", " 2>&1 ").replace("> /dev/null", ">/dev/null");
    let both =
        text.contains(">/dev/null  2>&1") || text.contains(">/dev/null 2>&1") || text.contains("&>/dev/null");
    for nowhere in ["2>&1", "&>/dev/null"] {
        text = text.replace(nowhere, " ");
    }
    let errors = text.contains("2>/dev/null");
    text = text.replace("2>/dev/null", " ");
    let output = text.contains(">/dev/null");
    text = text.replace(">/dev/null", " ");
    (text.replace('>', " > ").replace(" >  > ", " >> "), (output || both, errors || both))
}

fn run_words(machine: &mut Machine, command: &str, words: &[&str], stdin: &str) -> Answer {
    let is_redirected = |words: &[&str]| words.iter().any(|word| [">", ">>", "<", "<<<"].contains(word));
    match words {
        ["ipvsadm", ..] if is_redirected(words) => Answer::not_applicable(command, "files are not modelled"),
        ["ipvsadm", ..] => run_ipvsadm(machine, words, stdin),
        ["ipvsadm-save", rest @ ..] => run_ipvsadm(machine, &[&["ipvsadm", "-S"], rest].concat(), ""),
        ["ipvsadm-restore", ..] => {
            run_ipvsadm(machine, &["ipvsadm", "-C"], "");
            run_ipvsadm(machine, &["ipvsadm", "-R"], stdin)
        }
        ["true"] | ["sleep", _] => Answer::default(),
        ["false"] => Answer::failure(1, String::new()),
        // Modules are built in here.
        ["modprobe", ..] => Answer::of_others(),
        ["echo", value @ .., ">", file] => match file.strip_prefix("/proc/sys/net/ipv4/vs/") {
            Some(name) => set(machine, command, name, &value.join(" ")),
            None => Answer::not_applicable(command, "no setting of IPVS"),
        },
        ["sysctl", "-w", setting] => {
            match setting.strip_prefix("net.ipv4.vs.").and_then(|rest| rest.split_once('=')) {
                Some((name, value)) => {
                    let answer = set(machine, command, name, value);
                    let done = answer.status == 0 && answer.not_applicable.is_empty();
                    let stdout = if done { format!("net.ipv4.vs.{name} = {value}\n") } else { String::new() };
                    Answer { stdout, ..answer }
                }
                None => Answer::not_applicable(command, "no setting of IPVS"),
            }
        }
        ["sysctl", "-n", name] => read_setting(machine, command, name, ""),
        ["sysctl", name] => read_setting(machine, command, name, &format!("{name} = ")),
        ["cat", file] => cat(machine, command, file),
        ["iptables-legacy" | "iptables", rest @ ..] => mark(machine, command, Family::V4, rest).by_others(),
        ["ip6tables-legacy" | "ip6tables", rest @ ..] => mark(machine, command, Family::V6, rest).by_others(),
        ["ip", "-6" | "-4", rest @ ..] | ["ip", rest @ ..] => ip(machine, command, rest).by_others(),
        _ => Answer::not_applicable(command, "no such command here"),
    }
}

fn run_ipvsadm(machine: &mut Machine, words: &[&str], stdin: &str) -> Answer {
    let argv: Vec<String> =
        words.iter().map(|word| word.replace("''", "").replace(['"', '\''], "")).collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let status = ipvsadm::run(
        &argv,
        &mut stdin.as_bytes(),
        &mut stdout,
        &mut stderr,
        machine.director(),
        &GuestNames::new(),
        Access::ReadWrite,
    );
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: status.into(), stdout: text(stdout), stderr: text(stderr), ..Answer::default() }
}

fn set(machine: &mut Machine, command: &str, name: &str, value: &str) -> Answer {
    let mut director = machine.director().lock().unwrap_or_else(PoisonError::into_inner);
    match director.set_sysctl(name, value) {
        // The worker never lags.
        Ok(()) => Answer::done(director.publish().is_ok(), command),
        Err(SettingError::Value { .. } | SettingError::Sync { .. }) => {
            Answer::failure(1, "sh: 1: echo: echo: I/O error\n".to_owned())
        }
        Err(error) => Answer::not_applicable(command, &error.to_string()),
    }
}

fn read_setting(machine: &Machine, command: &str, name: &str, before: &str) -> Answer {
    match name.strip_prefix("net.ipv4.vs.") {
        Some(name) => {
            let answer = cat(machine, command, &format!("/proc/sys/net/ipv4/vs/{name}"));
            let stdout =
                if answer.stdout.is_empty() { String::new() } else { format!("{before}{}", answer.stdout) };
            Answer { stdout, ..answer }
        }
        None => Answer::not_applicable(command, "no setting of IPVS"),
    }
}

fn cat(machine: &Machine, command: &str, file: &str) -> Answer {
    if let Some(name) = file.strip_prefix("/proc/sys/net/ipv4/vs/") {
        let director = machine.director().lock().unwrap_or_else(PoisonError::into_inner);
        let value = director.sysctls().into_iter().find(|(have, _)| *have == name);
        return match value {
            // The kernel separates numbers by tabs.
            Some((_, value)) => Answer::text(format!("{}\n", value.replace(' ', "\t"))),
            None => Answer::not_applicable(command, "no such setting here"),
        };
    }
    match file.strip_prefix("/proc/net/").and_then(|name| proc_files::render(machine, name)) {
        Some(text) => Answer::text(text),
        None => Answer::not_applicable(command, "no such file here"),
    }
}

fn mark(machine: &mut Machine, command: &str, family: Family, words: &[&str]) -> Answer {
    let topology = machine.topology().clone();
    match iptables::parse(family, words, |name| topology.nic_port(name)) {
        Ok(Change::Append(mut rules)) => {
            // In netfilter the last rule that matches decides, here the first.
            rules.extend(machine.marks());
            machine.set_marks(rules);
            Answer::default()
        }
        Ok(Change::Insert(rules)) => {
            machine.set_marks([machine.marks(), rules].concat());
            Answer::default()
        }
        Ok(Change::Delete(rules)) => {
            let mut left = machine.marks();
            for rule in rules {
                if let Some(at) = left.iter().position(|have| *have == rule) {
                    left.remove(at);
                }
            }
            machine.set_marks(left);
            Answer::default()
        }
        Ok(Change::Flush) => {
            let others = machine.marks().into_iter().filter(|rule| rule.family != family).collect();
            machine.set_marks(others);
            Answer::default()
        }
        Err(why) => Answer::not_applicable(command, &why),
    }
}

/// `ip link set … mtu`, `ip route add|del`, `ip neigh add`, `ip addr add|del`.
fn ip(machine: &mut Machine, command: &str, words: &[&str]) -> Answer {
    let after =
        |word: &str| words.iter().position(|have| *have == word).and_then(|at| words.get(at + 1)).copied();
    let unclear = || Answer::not_applicable(command, "not understood");
    match words {
        ["link" | "l", "set", ..] => {
            let name = after("dev").or_else(|| words.get(2).copied()).unwrap_or_default();
            let Some(mtu) = after("mtu").and_then(|mtu| mtu.parse().ok()) else { return unclear() };
            Answer::done(machine.change_topology(|topology| topology.set_mtu(name, mtu)), command)
        }
        ["route" | "r", verb, prefix, ..] => {
            let Some((address, len)) = prefix_of(prefix) else { return unclear() };
            let adds = ["add", "replace", "change", "append"].contains(verb);
            let mtu = after("mtu").and_then(|mtu| mtu.parse().ok());
            let done = machine.change_topology(|topology| {
                let done = match (adds, after("via").and_then(|via| via.parse().ok()), after("dev")) {
                    (true, Some(via), _) => topology.add_route_via(address, len, via),
                    (true, None, Some(name)) => topology.add_route_on_link(address, len, name),
                    _ => *verb == "del" && topology.delete_route(address, len),
                };
                done && mtu.is_none_or(|mtu| topology.set_route_mtu(address, len, mtu))
            });
            Answer::done(done, command)
        }
        ["neigh" | "n", "add" | "replace", address, ..] => {
            let mac: Option<MacAddr> = after("lladdr").and_then(|mac| mac.parse().ok());
            let (Ok(address), Some(mac)) = (address.parse(), mac) else { return unclear() };
            machine.change_topology(|topology| {
                topology.add_neighbour(address, mac);
                true
            });
            Answer::default()
        }
        ["addr" | "address" | "a", verb, prefix, ..] => {
            let Some((address, _)) = prefix_of(prefix) else { return unclear() };
            let done = machine.change_topology(|topology| match *verb {
                "add" => {
                    topology.add_address(address);
                    true
                }
                "del" => topology.delete_address(address),
                _ => false,
            });
            Answer::done(done, command)
        }
        _ => unclear(),
    }
}

fn prefix_of(text: &str) -> Option<(IpAddr, u8)> {
    let text = if text == "default" { "0.0.0.0/0" } else { text };
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    Some((address, len.unwrap_or(if address.is_ipv4() { 32 } else { 128 })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_commands() {
        let mut machine = Machine::new();
        let answer = run(
            &mut machine,
            "modprobe x 2>/dev/null; echo 1 >/proc/sys/net/ipv4/vs/sloppy_tcp; cat /proc/sys/net/ipv4/vs/sloppy_tcp",
            "",
        );
        assert_eq!(answer, Answer::text("1\n".to_owned()).by_others());
        let answer = run(
            &mut machine,
            "sysctl net.ipv4.vs.sloppy_tcp && false || sysctl -n net.ipv4.vs.sloppy_tcp",
            "",
        );
        assert_eq!(answer, Answer::text("net.ipv4.vs.sloppy_tcp = 1\n1\n".to_owned()));
        for line in ["ipvsadm -Ln | grep -c rr", "ipvsadm -S > /tmp/save", "ip rule add fwmark 7 lookup 100"]
        {
            assert_eq!(run(&mut machine, line, "").not_applicable.len(), 1, "{line}");
        }
        let answer = run(&mut machine, "true && reboot", "");
        assert_eq!(answer.not_applicable, ["`reboot': no such command here"]);
    }

    #[test]
    fn services_and_lists() {
        let mut machine = Machine::new();
        assert_eq!(run(&mut machine, "ipvsadm -A -t 10.0.1.100:http -s rr ", ""), Answer::default());
        let twice = run(&mut machine, "ipvsadm -A -t 10.0.1.100:80", "");
        assert_eq!((twice.status, twice.stderr.as_str()), (255, "Service already exists\n"));
        assert!(run(&mut machine, "ipvsadm -L", "").stdout.contains("TCP  10.0.1.100:http rr"));
        assert!(run(&mut machine, "cat /proc/net/ip_vs", "").stdout.ends_with("TCP  0A000164:0050 rr  \n"));
    }

    #[test]
    fn network() {
        let mut machine = Machine::new();
        for line in [
            "ip link set eth1 mtu 1400",
            "ip route add 10.9.0.0/16 via 10.0.2.11",
            "ip addr add 10.0.1.9/32 dev lo",
        ] {
            assert_eq!(run(&mut machine, line, ""), Answer::of_others(), "{line}");
        }
        assert_eq!(machine.topology().nic_port_infos()[1].mtu, 1400);
        assert_eq!(run(&mut machine, "ip link set eth7 mtu 1400", "").not_applicable.len(), 1);
    }
}
