//! The virtual machine's first and only file system: a shell, the gateway, and the libraries and
//! drivers it needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sekisho_tests::lab::bin_dir;

use super::cpio::Archive;
use super::packages::{Packages, run};

const INIT: &str = include_str!("guest.sh");
const CONFIG: &str = include_str!("guest.toml");

/// Modules of the kernel, with their folder.
const MODULES: [(&str, &str); 3] = [
    ("drivers/uio", "uio"),
    ("drivers/uio", "uio_pci_generic"),
    ("drivers/net", "tun"),
];
/// Drivers of DPDK.
const DRIVERS: [&str; 4] = ["bus_pci", "bus_vdev", "mempool_ring", "net_virtio"];

/// Writes the file system to `file`; `nics` are the PCI addresses of the guest's NICs.
///
/// # Errors
/// When something that belongs into it is missing.
pub(super) fn write(packages: &Packages, nics: &[&str], file: &Path) -> Result<()> {
    let mut archive = Archive::default();
    archive.file("/init", INIT.as_bytes());
    archive.file("/bin/busybox", &read(&packages.shell)?);
    archive.file("/etc/sekisho/sekisho.toml", CONFIG.as_bytes());
    archive.file("/etc/sekisho/nics", nics.join("\n").as_bytes());
    for (folder, name) in MODULES {
        let module = packages.module(folder, name)?;
        archive.file(&format!("/modules/{name}.ko"), &read(&module)?);
    }
    let mut programs = Vec::new();
    for name in ["sekishod", "sekisho"] {
        let program = bin_dir()?.join(name);
        let small = file.with_file_name(name);
        // Symbols would fill the guest's memory.
        run(Command::new("strip").arg("-o").arg(&small).arg(&program))?;
        archive.file(&format!("/bin/{name}"), &read(&small)?);
        programs.push(program);
    }
    programs.extend(drivers()?);
    for driver in &programs[2..] {
        add(&mut archive, driver)?;
    }
    for library in libraries(&programs)? {
        add(&mut archive, &library)?;
    }
    fs::write(file, archive.finish()).with_context(|| format!("cannot write {}", file.display()))
}

/// Adds a file of this machine where it is here, and, if it is a link, what it leads to.
fn add(archive: &mut Archive, path: &Path) -> Result<()> {
    let text = path.to_str().context("a path is no text")?;
    let real = path
        .canonicalize()
        .with_context(|| format!("{text} is missing"))?;
    let real_text = real.to_str().context("a path is no text")?;
    archive.file(real_text, &read(&real)?);
    if real_text != text {
        archive.link(text, real_text);
    }
    Ok(())
}

/// The plug-ins of DPDK, in its own folder.
fn drivers() -> Result<Vec<PathBuf>> {
    let output = run(Command::new("pkg-config").args(["--variable=libdir", "libdpdk"]))?;
    let folder = Path::new(output.trim()).join("dpdk");
    let plug_ins = fs::read_dir(&folder)
        .with_context(|| format!("DPDK has no folder {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
        .with_context(|| format!("DPDK has no drivers in {}", folder.display()))?;
    let wanted = |name: &str| {
        let mut parts = name.trim_start_matches("librte_").split(".so.");
        let driver = parts.next().unwrap_or_default();
        // One file each: `librte_net_virtio.so.23`.
        let version = parts.next().unwrap_or(".");
        DRIVERS.contains(&driver) && !version.contains('.')
    };
    let found: Vec<PathBuf> = fs::read_dir(&plug_ins)?
        .flatten()
        .filter(|entry| wanted(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    ensure!(
        found.len() == DRIVERS.len(),
        "{} does not hold all of {DRIVERS:?}: {found:?}",
        plug_ins.display()
    );
    Ok(found)
}

/// The shared libraries these programs and libraries load, directly or not.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let output = run(Command::new("ldd").args(programs))?;
    let path = |line: &str| {
        let path = line.split("=>").last()?.trim().split(" (").next()?;
        (path.starts_with('/') && !path.ends_with(':')).then(|| PathBuf::from(path))
    };
    Ok(output.lines().filter_map(path).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
