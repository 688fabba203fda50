//! Raw bindings to the installed libdpdk, and a shim for its static inlines.
//!
//! Nobody but the fence (`dataplane/dpdk`) calls this crate. It touches as little of DPDK as the fence needs, and builds
//! against the long-term releases 22.11, 23.11 and 24.11: what differs between them hides in `shim.c`.
#![allow(missing_docs, non_camel_case_types, non_snake_case, non_upper_case_globals)]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks)]
#![allow(unsafe_op_in_unsafe_fn, unnecessary_transmutes)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_that_runs_is_at_least_22_11() {
        // SAFETY: rte_version returns a pointer to a static string.
        let version = unsafe { core::ffi::CStr::from_ptr(rte_version()) }.to_str().unwrap();
        let digits = version.strip_prefix("DPDK ").unwrap().split(['.', '-']).take(2);
        let release: Vec<u32> = digits.map(|part| part.parse().unwrap()).collect();
        assert!(release >= vec![22, 11], "{version}");
    }

    #[test]
    fn macros_came_over_as_values() {
        assert_eq!(SHIM_RSS_L3_SRC_ONLY, 1 << 63);
        assert_eq!(SHIM_RSS_L4_DST_ONLY, 1 << 60);
        assert_eq!(SHIM_RETA_GROUP_SIZE, 64);
        assert_eq!(core::mem::size_of::<rte_ether_addr>(), 6);
    }
}
