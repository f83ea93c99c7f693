//! A laboratory: hosts that are network namespaces, joined by virtual cables.
//!
//! Every name carries the owner's process id and a counter, so that laboratories run side by
//! side; dropping the last handle of one, also by a panic, stops its processes and removes its
//! namespaces. What a killed owner left behind is removed when the next laboratory is made.

mod bird;
mod capture;
mod frr;
mod host;
mod hypervisor;
mod process;
mod sekishod;
mod server;
mod wait;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use bird::Bird;
pub use capture::Capture;
pub use frr::Frr;
pub use host::{Host, Output};
pub use hypervisor::{Hypervisor, Segment};
pub use process::Process;
pub use sekishod::{Sekishod, bin_dir, sum_of_keys};
pub use server::Server;
pub use wait::{wait_gone, wait_until};

/// Where the namespaces are bound, by iproute2's convention.
const NETNS_DIR: &str = "/run/netns";
/// Where each laboratory keeps its files.
const FILES_DIR: &str = "/run/sekisho-lab";
/// What the name of each of our namespaces begins with.
const NETNS_PREFIX: &str = "sekisho-lab-";

/// A file of this name in a laboratory's folder spares it from being swept.
const KEEP: &str = "keep";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// One laboratory. Clones are handles on the same one; the last one dropped removes it.
#[derive(Clone, Debug)]
pub struct Lab(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    dir: PathBuf,
}

impl Lab {
    /// Makes an empty laboratory, after removing those whose owner is dead.
    ///
    /// # Errors
    /// When not root, or when the file system refuses.
    pub fn new() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces need root; run this as root"
        );
        sweep()?;
        let owner = std::process::id();
        let id = format!("{owner}-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new(FILES_DIR).join(&id);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self(Arc::new(Inner { id, dir })))
    }

    /// A new host called `name`, with only a loopback interface, up.
    ///
    /// # Errors
    /// When the name is taken or iproute2 fails.
    pub fn host(&self, name: &str) -> Result<Host> {
        let netns = format!("{NETNS_PREFIX}{}-{name}", self.0.id);
        ip(&["netns", "add", &netns])?;
        let host = Host::new(self.clone(), name, netns);
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// The laboratory's own folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Creates `name` in the laboratory's folder and returns its path.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn make_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.0.dir.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// Creates a file in the laboratory's folder whose name begins with `stem` and is not taken.
    fn fresh_file(&self, stem: &str, extension: &str) -> Result<PathBuf> {
        for number in 0_u32.. {
            let path = self.0.dir.join(format!("{stem}-{number}.{extension}"));
            match File::create_new(&path) {
                Ok(_) => return Ok(path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot create {}", path.display()));
                }
            }
        }
        bail!("no name is left for {stem}")
    }

    /// Marks the laboratory to be left standing when its owner ends; the owner has to forget its
    /// handles and processes instead of dropping them.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn keep(&self) -> Result<()> {
        fs::write(self.0.dir.join(KEEP), "").context("cannot mark the laboratory")
    }

    /// What the names of this laboratory's namespaces begin with.
    #[must_use]
    pub fn netns_prefix(&self) -> String {
        format!("{NETNS_PREFIX}{}-", self.0.id)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        remove(&self.id);
    }
}

/// Removes the laboratories left standing by [`Lab::keep`].
pub fn remove_kept() {
    for id in ids() {
        if is_kept(&id) {
            remove(&id);
        }
    }
}

/// Removes every laboratory of this process, for an end that runs no destructors.
pub fn remove_own() {
    let owner = std::process::id();
    for id in ids() {
        if owner_of(&id) == Some(owner) {
            remove(&id);
        }
    }
}

/// Removes the laboratories whose owner is dead.
///
/// # Errors
/// When the folders cannot be read.
pub fn sweep() -> Result<()> {
    for id in ids() {
        let alive = owner_of(&id).is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
        if !alive && !is_kept(&id) {
            remove(&id);
        }
    }
    Ok(())
}

/// The ids (`pid-counter`) of all laboratories on this machine.
fn ids() -> Vec<String> {
    let mut ids: Vec<String> = names_in(NETNS_DIR)
        .iter()
        .filter_map(|name| {
            let mut parts = name.strip_prefix(NETNS_PREFIX)?.splitn(3, '-');
            Some(format!("{}-{}", parts.next()?, parts.next()?))
        })
        .chain(names_in(FILES_DIR))
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

fn is_kept(id: &str) -> bool {
    Path::new(FILES_DIR).join(id).join(KEEP).exists()
}

fn owner_of(id: &str) -> Option<u32> {
    id.split('-').next()?.parse().ok()
}

fn names_in(dir: &str) -> Vec<String> {
    fs::read_dir(dir)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default()
}

/// Stops what runs in the laboratory and removes its namespaces and files. It goes on whatever
/// fails: there is nobody left to tell, and the next sweep tries again.
fn remove(id: &str) {
    let prefix = format!("{NETNS_PREFIX}{id}-");
    let mine = || {
        names_in(NETNS_DIR)
            .into_iter()
            .filter(|name| name.starts_with(&prefix))
    };
    let _ = wait_until(Duration::from_secs(5), "the processes ended", || {
        let pids: Vec<i32> = mine().flat_map(|netns| pids_in(&netns)).collect();
        for &pid in &pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        ensure!(pids.is_empty(), "{pids:?}");
        Ok(())
    });
    for netns in mine() {
        let _ = ip(&["netns", "del", &netns]);
    }
    let _ = fs::remove_dir_all(Path::new(FILES_DIR).join(id));
}

/// The processes that live in a namespace.
fn pids_in(netns: &str) -> Vec<i32> {
    ip(&["netns", "pids", netns])
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

/// Runs iproute2 in the caller's namespace.
fn ip(args: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .context("cannot run `ip`; install iproute2")?;
    Output::from(output).success(&format!("ip {}", args.join(" ")))
}
