//! FTP through NAT: vsftpd on every real server, curl as the client, in each of the ways in which a data connection
//! comes to be. Only control connections are scheduled; data connections find the server that announced them.

use crate::{assert_books_balance, full, ready_lab};
use shunt_rig::body;
use shunt_rig::lab::{Director, Family, Lab, SERVERS, Server, eventually, real_server, vip, words};
use shunt_rig::ledger::Ledger;
use std::fs::{self, File, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

/// How the data connection is announced.
#[derive(Clone, Copy, Debug)]
struct Way {
    family: Family,
    /// curl's options that leave it no other way.
    options: &'static str,
    /// What the client must have sent, and the number of the answer.
    said: (&'static str, &'static str),
}

const PASV: Way = Way {
    family: Family::V4,
    // Without the second option curl would not look at the address in the answer, but older clients do.
    options: "--disable-epsv --no-ftp-skip-pasv-ip",
    said: ("> PASV", "< 227 "),
};
const EPSV: Way = Way { family: Family::V4, options: "", said: ("> EPSV", "< 229 ") };
const PORT: Way =
    Way { family: Family::V4, options: "--ftp-port - --disable-eprt", said: ("> PORT 10,0,1,2,", "< 200 ") };
const EPRT: Way =
    Way { family: Family::V4, options: "--ftp-port -", said: ("> EPRT |1|10.0.1.2|", "< 200 ") };
const EPSV6: Way = Way { family: Family::V6, options: "", said: ("> EPSV", "< 229 ") };
const EPRT6: Way =
    Way { family: Family::V6, options: "--ftp-port -", said: ("> EPRT |2|fd00:1::2|", "< 200 ") };
const WAYS: [Way; 6] = [PASV, EPSV, PORT, EPRT, EPSV6, EPRT6];

/// The folder of what a server offers and takes.
fn public(lab: &Lab, server: &str) -> PathBuf {
    lab.dir().join(server).join("ftp/pub")
}

/// vsftpd for anonymous visitors, who may leave files.
fn vsftpd(lab: &Lab, server: &str) -> Server {
    let root = lab.dir().join(server);
    fs::create_dir_all(public(lab, server)).expect("a folder to share");
    fs::create_dir_all(root.join("empty")).expect("a folder to be locked up in");
    fs::set_permissions(public(lab, server), Permissions::from_mode(0o777)).expect("anyone may leave files");
    let config = root.join("vsftpd.conf");
    // Active data connections come from port 20, as most operators have it; processes stay in the lab's namespace.
    let text = format!(
        "listen=NO\nlisten_ipv6=YES\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\nwrite_enable=YES\n\
         anon_upload_enable=YES\nno_anon_password=YES\nanon_root={root}/ftp\nsecure_chroot_dir={root}/empty\n\
         connect_from_port_20=YES\nseccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\n",
        root = root.display()
    );
    fs::write(&config, text).expect("its configuration");
    let running = lab.serve(server, &format!("vsftpd-{server}"), "vsftpd", &[config.to_str().expect("text")]);
    eventually("vsftpd listens", 5, || {
        lab.on(server, || TcpStream::connect(real_server(server, Family::V4, 21)).is_ok())
    });
    running
}

/// A file of the client, and its SHA-256.
fn make_file(path: PathBuf, len: u64, seed: u64) -> (PathBuf, String) {
    let mut file = File::create(&path).expect("the lab's folder");
    let digest = body::write_body(&mut file, len, seed).expect("room for the file");
    (path, digest)
}

fn digest(lab: &Lab, path: &Path) -> String {
    let output = words(&lab.run("client", 20, &format!("sha256sum {}", path.display())));
    output.lines().nth(1).and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned()
}

fn curl(lab: &Lab, way: Way, arguments: &str) -> Output {
    lab.run("client", 30, &format!("curl -v -s -S --max-time 25 {} {arguments}", way.options))
}

#[track_caller]
fn assert_said(way: Way, times: usize, output: &Output) {
    let text = words(output);
    assert!(output.status.success(), "{way:?}: {text}");
    let (said, answered) = way.said;
    let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(count(said), times, "{way:?}: {text}");
    assert!(count(answered) >= times, "{way:?}: {text}");
}

/// One file to a server and two from it, each in a session of its own; all arrive as they were sent.
fn transfers(lab: &Lab, way: Way, nth: usize, len: u64) {
    let url = format!("ftp://{}/pub", vip(way.family, 21));
    let (upload, sent) = make_file(lab.dir().join("upload"), len, 100 + nth as u64);
    let name = format!("upload-{nth}");
    let output = curl(lab, way, &format!("-T {} {url}/{name}", upload.display()));
    assert_said(way, 1, &output);
    let stored: Vec<PathBuf> =
        SERVERS.iter().map(|server| public(lab, server).join(&name)).filter(|path| path.exists()).collect();
    assert_eq!(stored.len(), 1, "one server has it: {stored:?}");
    assert_eq!(digest(lab, &stored[0]), sent, "{way:?}: uploaded");
    // The second command goes over a control stream whose sequence numbers the first answer has shifted.
    let got = [lab.dir().join("got-0"), lab.dir().join("got-1")];
    let outputs = format!("{url}/offered -o {} {url}/offered -o {}", got[0].display(), got[1].display());
    assert_said(way, 2, &curl(lab, way, &outputs));
    let offered = digest(lab, &public(lab, SERVERS[0]).join("offered"));
    for path in &got {
        assert_eq!(digest(lab, path), offered, "{way:?}: downloaded");
        fs::remove_file(path).expect("it is there");
    }
}

/// All ways, `rounds` times, in a lab of three FTP servers.
fn serves_ftp(director: Director, rounds: usize, len: u64) {
    let lab = ready_lab(director);
    let _servers = SERVERS.map(|server| vsftpd(&lab, server));
    for server in SERVERS {
        make_file(public(&lab, server).join("offered"), len, 7);
    }
    for family in [Family::V4, Family::V6] {
        lab.adm_ok(&format!("-A -t {} -s rr", vip(family, 21)));
        for server in SERVERS {
            lab.adm_ok(&format!("-a -t {} -r {} -m", vip(family, 21), real_server(server, family, 21)));
        }
    }
    let before = Ledger::settled(&lab);
    let mut slowest = Duration::ZERO;
    for nth in 0..rounds * WAYS.len() {
        let begun = Instant::now();
        transfers(&lab, WAYS[nth % WAYS.len()], nth, len);
        slowest = slowest.max(begun.elapsed());
    }
    assert_books_balance(&lab, &before);
    // Two control connections and three data connections each time, and no more: nothing else was scheduled.
    let listed = lab.adm_ok("-L -n -c");
    let entries = listed.lines().filter(|line| line.starts_with("TCP")).count();
    assert!(entries <= 5 * rounds * WAYS.len(), "{entries} entries:\n{listed}");
    let transfers = 3 * rounds * WAYS.len();
    println!("{director}: {transfers} transfers of {len} bytes; the slowest three: {slowest:?}");
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn active_and_passive_sessions_through_nat_move_files_whole() {
    serves_ftp(Director::default(), 1, if full() { 256 << 20 } else { 4 << 20 });
}

/// A data connection may belong to another worker than the control connection that announced it.
#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn two_workers_know_of_each_other_s_data_connections() {
    serves_ftp(Director { workers: 2, ..Director::default() }, if full() { 20 } else { 2 }, 200_000);
}
