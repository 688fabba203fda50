//! `mh`: Maglev hashing by client address (spec `scheduling.md` §11). When a server comes or goes, few clients move.

use super::NewFlow;
use super::hash::fold;
use super::load::is_open;
use super::plan::TooManyServers;
use super::siphash::siphash13;
use super::wrr::gcd;
use crate::board::Boards;
use crate::tables::{Candidate, Family, ServerId, Service};
use std::sync::Arc;

/// Cells of the table: the prime that Linux is built with by default.
pub const CELLS: usize = 4093;
/// The largest weight is scaled down to this many bits, lest one server's turn fills the table (Linux, for 4093 cells).
const TURN_BITS: u32 = 6;
/// The kernel's fixed keys: directors agree without being configured.
const KEY_1: u64 = 2_654_435_761;
const KEY_2: u64 = 2_654_446_892;

/// A server that claims cells.
struct Claimant {
    id: ServerId,
    /// The cell it claimed last, or would like to have first.
    cell: usize,
    skip: usize,
    /// Cells that it may claim before the next server does.
    turns: u32,
}

/// Lets the servers claim cells in turn, each along its own permutation of the table. Empty if nobody has a weight.
///
/// # Errors
/// [`TooManyServers`] if there are more servers than cells.
pub fn table(family: Family, servers: &[Candidate]) -> Result<Arc<[ServerId]>, TooManyServers> {
    if servers.len() > CELLS {
        return Err(TooManyServers);
    }
    let mut claimants = claimants(family, servers);
    if claimants.is_empty() {
        return Ok(Arc::default());
    }
    let mut cells = vec![ServerId::NONE; CELLS];
    let mut free = CELLS;
    while free > 0 {
        for claimant in &mut claimants {
            for _ in 0..claimant.turns.min(free as u32) {
                while cells[claimant.cell] != ServerId::NONE {
                    claimant.cell = (claimant.cell + claimant.skip) % CELLS;
                }
                cells[claimant.cell] = claimant.id;
                free -= 1;
            }
        }
    }
    Ok(cells.into())
}

/// The servers with a weight, in list order. The latest weight above 0 counts, so quiescing a server moves nobody.
fn claimants(family: Family, servers: &[Candidate]) -> Vec<Claimant> {
    let weights = || servers.iter().map(|server| server.last_weight).filter(|&weight| weight > 0);
    let divisor = weights().fold(0, gcd).max(1);
    let largest = weights().max().unwrap_or(0) / divisor;
    let shift = (i32::BITS - largest.leading_zeros()).saturating_sub(TURN_BITS);
    servers
        .iter()
        .filter(|server| server.last_weight > 0)
        .map(|server| {
            let word = fold(family, server.daddr).wrapping_add(u32::from(server.dport));
            Claimant {
                id: server.id,
                cell: siphash13(word, KEY_1) as usize % CELLS,
                skip: siphash13(word, KEY_2) as usize % (CELLS - 1) + 1,
                turns: ((server.last_weight / divisor) >> shift).max(1) as u32,
            }
        })
        .collect()
}

/// The cell's server. With `mh-fallback` the search goes on from hash to hash if that one is not open.
pub fn pick<'a>(service: &'a Service, boards: &Boards, flow: &NewFlow) -> Option<&'a Candidate> {
    let source = fold(service.family(), flow.caddr);
    let cport = u32::from(flow.hashed_cport(service.flags.flag2));
    let hash =
        |off: usize| siphash13((off as u32).wrapping_add(cport).wrapping_add(source), KEY_1) as usize % CELLS;
    let open_at = |cell: usize| {
        let id = service.plan.cells().get(cell)?;
        service.plan.find(&service.servers, *id).filter(|server| is_open(boards, server))
    };
    let home = hash(0);
    let chosen = open_at(home);
    if chosen.is_some() || !service.flags.flag1 {
        return chosen;
    }
    // 4093 hashes in vain would be dear, and every new flow would pay them while all servers are down.
    if !service.servers.iter().any(|server| is_open(boards, server)) {
        return None;
    }
    (0..CELLS).find_map(|off| open_at(hash((off + home) % CELLS)))
}
