//! `dh`: by destination address (spec `scheduling.md` §9). For services of a firewall mark, say in front of web caches.

use super::NewFlow;
use super::hash::{fold, hash_32};
use super::load::is_open;
use crate::board::Boards;
use crate::tables::{Candidate, ServerId, Service};
use std::sync::Arc;

const BUCKET_BITS: u32 = 8;

/// The servers over all buckets, in turn, whatever their weights. Not made anew when a server is edited.
pub fn table(servers: &[Candidate]) -> Arc<[ServerId]> {
    servers.iter().cycle().take(1 << BUCKET_BITS).map(|server| server.id).collect()
}

/// The bucket's server, or nobody.
pub fn pick<'a>(service: &'a Service, boards: &Boards, flow: &NewFlow) -> Option<&'a Candidate> {
    let bucket = hash_32(fold(service.family(), flow.daddr), BUCKET_BITS);
    let id = service.plan.cells().get(bucket as usize)?;
    service.plan.find(&service.servers, *id).filter(|server| is_open(boards, server))
}
