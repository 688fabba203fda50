//! `sh`: by client address (spec `scheduling.md` §10).

use super::NewFlow;
use super::hash::{fold, hash_32};
use super::load::is_open;
use crate::board::Boards;
use crate::tables::{Candidate, ServerId, Service};
use std::sync::Arc;

const BUCKET_BITS: u32 = 8;
const BUCKETS: u32 = 1 << BUCKET_BITS;

/// The servers over all buckets, in turn, each as often in a row as its weight says. A quiesced one keeps one bucket.
pub fn table(servers: &[Candidate]) -> Arc<[ServerId]> {
    servers
        .iter()
        .cycle()
        .flat_map(|server| std::iter::repeat_n(server.id, server.weight.max(1) as usize))
        .take(BUCKETS as usize)
        .collect()
}

/// The bucket's server. With `sh-fallback` the search goes on from bucket to bucket if that one is not open.
pub fn pick<'a>(service: &'a Service, boards: &Boards, flow: &NewFlow) -> Option<&'a Candidate> {
    let source = fold(service.family(), flow.caddr);
    let cport = u32::from(flow.hashed_cport(service.flags.flag2));
    let home = hash_32(source.wrapping_add(cport), BUCKET_BITS);
    let open_at = |bucket: u32| {
        let id = service.plan.cells().get(bucket as usize)?;
        service.plan.find(&service.servers, *id).filter(|server| is_open(boards, server))
    };
    if !service.flags.flag1 {
        return open_at(home);
    }
    // The kernel adds the home bucket twice: its search begins at 2·home, not beside home.
    open_at(home).or_else(|| (0..BUCKETS).find_map(|off| open_at((off + home + home) % BUCKETS)))
}
