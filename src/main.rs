//! `shuntd`: the one place that knows control, worker and dpdk.
#![forbid(unsafe_code)]

fn main() {}
