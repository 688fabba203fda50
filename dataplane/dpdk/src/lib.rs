//! The fence: a safe interface to DPDK.
