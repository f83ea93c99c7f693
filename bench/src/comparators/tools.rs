//! Programs of others: installed, or unpacked from their Debian packages into `target/`.
//!
//! Nothing is installed on the machine: `apt-get download` fetches a package and what it needs
//! beyond what is there, and `dpkg -x` unpacks them beside our own programs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sekisho_tests::lab::{Output, bin_dir};

/// Where programs may be in an unpacked package.
const FOLDERS: [&str; 4] = [
    "usr/bin",
    "usr/sbin",
    "usr/lib/openvswitch-switch-dpdk",
    "usr/share/openvswitch",
];

/// The path of a program (or another file) of a Debian package.
///
/// # Errors
/// When the machine does not have it and cannot fetch it; the error names the package.
pub(crate) fn find(name: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = there(name)? {
        return Ok(path);
    }
    fetch(package).with_context(|| {
        format!("{name} is missing; it is in the Debian package {package}, which cannot be fetched")
    })?;
    there(name)?.with_context(|| format!("{name} is not in the Debian package {package}"))
}

fn there(name: &str) -> Result<Option<PathBuf>> {
    let cache = cache()?;
    let folders = FOLDERS.iter().map(|folder| cache.join(folder));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).chain(folders);
    Ok(places
        .find(|place| place.join(name).is_file())
        .map(|place| place.join(name)))
}

/// The folder that packages are unpacked into.
fn cache() -> Result<PathBuf> {
    let bin = bin_dir()?;
    Ok(bin.parent().unwrap_or(&bin).join("bench-tools"))
}

fn fetch(package: &str) -> Result<()> {
    let cache = cache()?;
    let archives = cache.join("archives");
    fs::create_dir_all(&archives)
        .with_context(|| format!("cannot create {}", archives.display()))?;
    println!(
        "  fetching the Debian package {package} into {}",
        cache.display()
    );
    let wanted = run(
        &archives,
        &[
            "apt-get",
            "install",
            "--simulate",
            "-qq",
            "--no-install-recommends",
            package,
        ],
    )?;
    let packages: Vec<&str> = wanted
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
        .collect();
    // Installed, but without the file: nothing that could be fetched would help.
    ensure!(!packages.is_empty(), "it is installed already");
    let mut download = vec!["apt-get", "download", "-qq"];
    download.extend(packages);
    run(&archives, &download)?;
    let files = fs::read_dir(&archives).context("cannot list the packages")?;
    for file in files.flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|extension| extension == "deb") {
            let [file, cache] = [&file, &cache].map(|path| path.display().to_string());
            run(&archives, &["dpkg", "-x", &file, &cache])?;
        }
    }
    Ok(())
}

/// Runs a command in a folder, for two minutes at most.
fn run(folder: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new("timeout")
        .arg("120")
        .args(words)
        .current_dir(folder)
        .output();
    match output {
        Ok(output) => Output::from(output).success(&words.join(" ")),
        Err(error) => bail!("cannot run {}: {error}", words.join(" ")),
    }
}
