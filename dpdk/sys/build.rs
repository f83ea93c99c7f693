//! Finds libdpdk by pkg-config, compiles the shim and generates the bindings.

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What Rust calls straight in libdpdk; everything inline or thread-local is in the shim.
const FUNCTIONS: &[&str] = &[
    "rte_version",
    "rte_eal_(init|cleanup|hotplug_add|hotplug_remove|remote_launch|wait_lcore|get_runtime_dir)",
    "rte_eth_dev_(configure|start|stop|close|set_mtu|default_mac_addr_set|get_port_by_name)",
    "rte_eth_dev_(info_get|adjust_nb_rx_tx_desc|rss_reta_update)",
    "rte_eth_(macaddr_get|promiscuous_enable|promiscuous_disable|stats_get|link_get_nowait)",
    "rte_eth_allmulticast_enable",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_mempool_(free|avail_count)",
    "rte_pktmbuf_(pool_create_by_ops|free_bulk)",
    "rte_(strerror|version|get_tsc_hz)",
    "sekisho_.*",
];
const TYPES: &[&str] = &["rte_mbuf", "rte_eth_conf", "rte_eth_stats", "rte_eth_link"];
const CONSTANTS: &[&str] = &[
    "SEKISHO_.*",
    "RTE_PKTMBUF_HEADROOM",
    "RTE_ETHER_(HDR|CRC)_LEN",
];
const LIBRARIES: &[&str] = &[
    "rte_eal",
    "rte_ethdev",
    "rte_mbuf",
    "rte_mempool",
    "rte_ring",
];

/// DPDK's own forwarding table, to compare with.
const COMPARATOR_FUNCTIONS: &str = "rte_fib_(create|add|delete|free|lookup_bulk)";
const COMPARATOR_LIBRARY: &str = "rte_fib";

fn with_comparator() -> bool {
    env::var_os("CARGO_FEATURE_FIB_COMPARATOR").is_some()
}

/// What the feature `static-dpdk` links in whole, because it registers itself when the program is
/// loaded: the libraries, and the drivers of the ports there can be.
const STATIC: &[&str] = &[
    "rte_eal",
    "rte_kvargs",
    "rte_telemetry",
    "rte_ring",
    "rte_rcu",
    "rte_mempool",
    "rte_mbuf",
    "rte_net",
    "rte_meter",
    "rte_ethdev",
    "rte_hash",
    "rte_gso",
    "rte_pci",
    "rte_cryptodev",
    "rte_security",
    "rte_bus_auxiliary",
    "rte_bus_pci",
    "rte_bus_vdev",
    "rte_common_iavf",
    "rte_common_mlx5",
    "rte_mempool_ring",
    "rte_net_af_packet",
    "rte_net_af_xdp",
    "rte_net_i40e",
    "rte_net_iavf",
    "rte_net_ice",
    "rte_net_ixgbe",
    "rte_net_memif",
    "rte_net_mlx5",
    "rte_net_null",
    "rte_net_ring",
    "rte_net_tap",
    "rte_net_virtio",
    "rte_net_vmxnet3",
];
/// What those need, linked dynamically.
const STATIC_NEEDS: &[&str] = &["numa", "bsd", "bpf", "xdp", "mlx5", "ibverbs"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-changed=build.rs");
    let dpdk = pkg_config::Config::new()
        .atleast_version("22.11")
        .cargo_metadata(false)
        .probe("libdpdk")
        .map_err(|_| {
            "libdpdk 22.11 or newer was not found by pkg-config; install it with \
             `apt-get install libdpdk-dev`"
                .to_owned()
        })?;
    for path in &dpdk.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    let flags = compiler_flags()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    compile_shim(&flags)?;
    bind(&flags)?
        .write_to_file(out.join("bindings.rs"))
        .map_err(|e| format!("cannot write the bindings into {}: {e}", out.display()))?;
    // After the shim, whose symbols they resolve.
    if env::var_os("CARGO_FEATURE_STATIC_DPDK").is_some() {
        for library in STATIC {
            println!("cargo::rustc-link-lib=static:+whole-archive,-bundle={library}");
        }
        for library in STATIC_NEEDS {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
        return Ok(());
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    if with_comparator() {
        println!("cargo::rustc-link-lib=dylib={COMPARATOR_LIBRARY}");
    }
    Ok(())
}

/// The C flags libdpdk was built with; inline functions and layouts depend on them (`-march`,
/// `-include rte_config.h`), and the pkg-config crate passes on only some.
fn compiler_flags() -> Result<Vec<String>, String> {
    let pkg_config = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = Command::new(pkg_config)
        .args(["--cflags", "libdpdk"])
        .output()
        .map_err(|e| format!("cannot run pkg-config ({e}); `apt-get install pkg-config`"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn compile_shim(flags: &[String]) -> Result<(), String> {
    let mut build = cc::Build::new();
    build
        .file("shim/shim.c")
        .include("shim")
        .opt_level(3)
        .warnings(true)
        .extra_warnings(false);
    for flag in flags {
        build.flag(flag);
    }
    build
        .try_compile("sekisho_shim")
        .map_err(|e| format!("the C shim over libdpdk does not compile: {e}"))
}

fn bind(flags: &[String]) -> Result<bindgen::Bindings, String> {
    let mut builder = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(flags)
        // A newer clang binary on the machine would mix its headers with libclang's.
        .detect_include_paths(false)
        .prepend_enum_name(false)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .derive_default(false)
        .generate_comments(false)
        .merge_extern_blocks(true)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .formatter(bindgen::Formatter::None);
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    if with_comparator() {
        builder = builder
            .header_contents("comparator.h", "#include <rte_fib.h>")
            .allowlist_function(COMPARATOR_FUNCTIONS);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for constant in CONSTANTS {
        builder = builder.allowlist_var(constant);
    }
    // A pool is only ever handled by its address.
    builder = builder.opaque_type("rte_mempool");
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(AssertUnwindSafe(move || builder.generate()));
    let _ = panic::take_hook();
    match outcome {
        Ok(Ok(bindings)) => Ok(bindings),
        Ok(Err(e)) => Err(format!("bindgen cannot read the headers of libdpdk: {e}")),
        Err(_) => Err(
            "libclang was not found; install it with `apt-get install libclang-dev` \
                       (or name its folder in LIBCLANG_PATH)"
                .to_owned(),
        ),
    }
}
