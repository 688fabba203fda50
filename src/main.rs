//! `shuntd`: the one place that knows control, worker and dpdk.
fn main() {}
