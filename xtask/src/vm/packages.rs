//! QEMU, a kernel and a shell for the virtual machine: Debian packages, unpacked into a folder of
//! their own. Nothing is installed on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Depends on Debian's newest kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";
const SHELL: &str = "busybox-static";
const QEMU: &str = "qemu-system-x86";
const QEMU_PROGRAM: &str = "qemu-system-x86_64";

/// Where everything is.
#[derive(Debug)]
pub(super) struct Packages {
    /// The folder that packages are unpacked into.
    root: PathBuf,
    /// The kernel.
    pub(super) kernel: PathBuf,
    /// Its modules.
    modules: PathBuf,
    /// The shell.
    pub(super) shell: PathBuf,
}

impl Packages {
    /// Fetches and unpacks what `cache` does not have.
    ///
    /// # Errors
    /// When the packages cannot be had.
    pub(super) fn fetch(cache: &Path) -> Result<Self> {
        ensure!(
            cfg!(target_arch = "x86_64"),
            "the virtual machine is an x86-64 one, and so must this machine be"
        );
        let root = cache.join("root");
        let done = cache.join("unpacked");
        if !done.exists() {
            for folder in [&root, &cache.join("archives/partial")] {
                fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
            }
            download(&cache.join("archives")).with_context(|| {
                format!(
                    "cannot fetch {KERNEL}, {SHELL} and {QEMU} by apt-get; is this Debian 12, with \
                     a mirror in reach (`apt-get update`)?"
                )
            })?;
            unpack(&cache.join("archives"), &root)?;
            fs::write(&done, "")?;
        }
        let kernel = newest(&root.join("boot"), "vmlinuz-")?;
        let version = kernel
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("vmlinuz-"))
            .context("the kernel's file has no version")?;
        Ok(Self {
            modules: root.join("lib/modules").join(version).join("kernel"),
            shell: root.join("bin/busybox"),
            kernel,
            root,
        })
    }

    /// A module of the kernel.
    ///
    /// # Errors
    /// When the kernel has none of that name.
    pub(super) fn module(&self, folder: &str, name: &str) -> Result<PathBuf> {
        let file = self.modules.join(folder).join(format!("{name}.ko"));
        ensure!(file.exists(), "{} is not in {KERNEL}", file.display());
        Ok(file)
    }

    /// What to put before QEMU's arguments: the machine's own QEMU, or the unpacked one.
    pub(super) fn qemu(&self) -> String {
        if installed() {
            return QEMU_PROGRAM.to_owned();
        }
        let root = self.root.display();
        let libraries = "usr/lib/x86_64-linux-gnu";
        format!(
            "env LD_LIBRARY_PATH={root}/{libraries}:{root}/lib/x86_64-linux-gnu \
             QEMU_MODULE_DIR={root}/{libraries}/qemu \
             {root}/usr/bin/{QEMU_PROGRAM} -L {root}/usr/share/qemu -L {root}/usr/share/seabios"
        )
    }
}

fn installed() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(QEMU_PROGRAM).exists())
}

fn download(archives: &Path) -> Result<()> {
    let depends = run(Command::new("apt-cache").args(["depends", KERNEL]))?;
    let kernel = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        .map(|version| format!("linux-image-{version}"))
        .with_context(|| format!("{KERNEL} depends on no kernel:\n{depends}"))?;
    let mut get = Command::new("apt-get");
    get.current_dir(archives).args(["download", &kernel, SHELL]);
    run(&mut get)?;
    if installed() {
        return Ok(());
    }
    // With what it needs and this machine has not.
    let folder = format!("Dir::Cache::archives={}", archives.display());
    let mut get = Command::new("apt-get");
    get.args([
        "install",
        "--yes",
        "--download-only",
        "--no-install-recommends",
    ]);
    get.args(["-o", &folder, "-o", "Debug::NoLocking=true", QEMU]);
    run(&mut get).map(drop)
}

fn unpack(archives: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(archives)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&file).arg(root))?;
        }
    }
    Ok(())
}

fn newest(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
        .pop()
        .with_context(|| format!("there is no {prefix}* in {}", folder.display()))
}

/// Runs a program to its end; what it wrote to standard output.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
