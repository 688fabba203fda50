//! End to end: a real shuntd between a real client and real nginx servers, in network namespaces (see
//! `scripts/lib/lab.sh` for the picture). Needs root, and the binaries next to each other: `scripts/test` sees to both.
//! Each test has a lab of its own. They measure losses and times, so they run one at a time.

mod changes;
mod failover;
mod fragmented;
mod ftp;
mod lasting;
mod life;
mod local;
mod neighbours;
mod path_mtu;
mod persistent;
mod refused;
mod restart;
mod scale;
mod sharing;
mod sync;
mod traffic;

use shunt_rig::lab::{Director, Family, Lab, Method, SERVERS, eventually, vip};
use shunt_rig::ledger::Ledger;
use shunt_rig::udp;
use std::path::Path;
use std::time::Duration;

/// How long a test waits for an answer that may not come.
const PATIENCE: Duration = Duration::from_millis(500);

/// The folder of the binaries under test: where Cargo put shuntd, unless `SHUNT_BIN_DIR` says otherwise.
fn bin() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_shuntd")).parent().expect("a file has a folder")
}

/// A lab with a running shuntd.
fn lab(director: Director) -> Lab {
    Lab::with(bin(), director)
}

/// A lab whose director reaches its servers and its client. It hears of the addresses that it is given, and of its
/// neighbours, a moment after they are there; what comes earlier has no way to go.
fn ready_lab(director: Director) -> Lab {
    let lab = lab(director);
    for family in [Family::V4, Family::V6] {
        lab.add_services(family, Method::Nat);
        for server in SERVERS {
            eventually(&format!("{server} is reached"), 10, || {
                let report = lab.on("client", || udp::run_sizes(vip(family, 7), 1..=1, PATIENCE));
                report.is_ok_and(|report| report.answers.of(server) == 1)
            });
        }
    }
    lab.adm_ok("-C");
    lab
}

/// Whether `scripts/test --full` asked for the long version.
fn full() -> bool {
    std::env::var_os("SHUNT_TEST_FULL").is_some()
}

/// Between `before` and now, no packet vanished and none was dropped.
#[track_caller]
fn assert_books_balance(lab: &Lab, before: &Ledger) {
    let after = Ledger::settled(lab);
    let complaints = after.complaints_since(before);
    assert!(complaints.is_empty(), "{complaints:#?}\nbefore: {before}\nafter: {after}");
}
