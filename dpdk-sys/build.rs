//! Finds libdpdk by pkg-config, compiles the shim and generates the bindings.

use std::env;
use std::panic::{catch_unwind, set_hook};
use std::path::PathBuf;
use std::process::{Command, exit};

/// The oldest release whose API the shim and the fence are written for (Debian 12's).
const DPDK_MIN: &str = "22.11";

/// Libraries whose symbols we call. Drivers are plugins, which the EAL loads from its own directory. `rte_log` is a
/// library of its own since 23.11.
const LIBRARIES: [&str; 5] = ["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_eal", "rte_log"];

const FUNCTIONS: &[&str] = &[
    "shim_.*",
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_eal_cleanup",
    "rte_eal_init",
    "rte_eth_allmulticast_enable",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_default_mac_addr_set",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_rss_hash_conf_get",
    "rte_eth_dev_rss_reta_update",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_enable",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_queue_setup",
    "rte_log_set_global_level",
    "rte_mempool_avail_count",
    "rte_mempool_free",
    "rte_pktmbuf_pool_create",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_version",
];

const TYPES: &[&str] = &["shim_mbuf", "rte_eth_conf", "rte_eth_dev_info", "rte_eth_stats", "rte_ether_addr"];

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1);
}

/// Runs pkg-config; the crate of that name hides `-include` and `-march`, without which the headers do not compile.
fn pkg_config(arguments: &[&str]) -> Result<Vec<String>, String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(&program)
        .args(arguments)
        .arg("libdpdk")
        .output()
        .map_err(|error| format!("cannot run {program} ({error}): install the Debian package pkgconf"))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
        return Err(format!(
            "libdpdk >= {DPDK_MIN} is not installed: install the Debian package libdpdk-dev, or set PKG_CONFIG_PATH \
             to the directory of your libdpdk.pc ({program} says: {told})"
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect())
}

fn bind(cflags: &[String], target: &std::path::Path) -> Result<(), String> {
    let mut builder = bindgen::builder()
        .header("shim.h")
        .clang_args(cflags)
        .use_core()
        .layout_tests(true)
        .generate_comments(false)
        .prepend_enum_name(false)
        .opaque_type("rte_mbuf|rte_mempool|rte_device|rte_eth_rxseg_capa|rte_eth_switch_info");
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    let bindings = builder.allowlist_var("SHIM_.*").generate().map_err(|error| error.to_string())?;
    bindings.write_to_file(target).map_err(|error| format!("cannot write the bindings: {error}"))
}

fn main() {
    for input in ["build.rs", "shim.c", "shim.h"] {
        println!("cargo::rerun-if-changed={input}");
    }
    for variable in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_SYSROOT_DIR", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }

    let at_least = format!("--atleast-version={DPDK_MIN}");
    if let Err(message) = pkg_config(&["--print-errors", &at_least]) {
        fail(&message);
    }
    let found = pkg_config(&["--cflags"]).and_then(|cflags| Ok((cflags, pkg_config(&["--libs"])?)));
    let (cflags, libs) = found.unwrap_or_else(|message| fail(&message));

    let bindings = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    set_hook(Box::new(|info| eprintln!("{info}")));
    match catch_unwind(|| bind(&cflags, &bindings)) {
        Ok(Ok(())) => {}
        Ok(Err(message)) => fail(&format!("bindgen cannot read DPDK's headers: {message}")),
        // bindgen panics, and has told why, if it finds no libclang.
        Err(_) => {
            fail("bindgen needs libclang: install the Debian package libclang-dev, or set LIBCLANG_PATH")
        }
    }

    let mut shim = cc::Build::new();
    shim.file("shim.c").opt_level(3).flag("-Wno-deprecated-declarations");
    for flag in &cflags {
        shim.flag(flag);
    }
    if let Err(error) = shim.try_compile("shunt_shim") {
        fail(&format!("cannot compile shim.c against DPDK's headers: {error}"));
    }

    for argument in &libs {
        if let Some(directory) = argument.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={directory}");
        } else if let Some(library) = argument.strip_prefix("-l").filter(|name| LIBRARIES.contains(name)) {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }
}
