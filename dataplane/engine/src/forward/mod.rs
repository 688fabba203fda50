//! Forwarding: what happens to the bytes of a packet whose server is known (spec `forwarding.md`).

pub mod link;
pub mod nat;
pub mod tunnel;
