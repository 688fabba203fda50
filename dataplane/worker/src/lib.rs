//! The poll loop that binds DPDK ports, the engine and publication.
