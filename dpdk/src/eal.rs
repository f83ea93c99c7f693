//! The environment DPDK runs in: memory, lcores, logging. Once per process.

use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use sekisho_dpdk_sys as sys;
use sekisho_types::PciAddress;

use crate::lcore::{Lcore, lcore_id};
use crate::pci::{self, PciError};
use crate::{error_text, last_error};

/// How EAL gets its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// Huge pages when enough are free, otherwise ordinary ones.
    #[default]
    Auto,
    /// Ordinary pages: slower, and for kernel-backed ports only.
    Never,
    /// Huge pages, or an error.
    Require,
}

/// From which severity on DPDK writes to the standard error output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What makes it unusable.
    Critical = 3,
    /// What failed.
    Error = 4,
    /// What is doubtful.
    #[default]
    Warning = 5,
    /// What is worth knowing.
    Notice = 6,
    /// What it does.
    Info = 7,
    /// How it does it.
    Debug = 8,
}

/// How to start EAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalOptions {
    /// Tells processes apart in DPDK's own names; letters, digits, `-` and `_`.
    pub file_prefix: String,
    /// Memory for pools and tables, in MiB.
    pub memory_mib: u32,
    /// Which kind of memory.
    pub huge_pages: HugePages,
    /// The CPU each worker is pinned to; several may share one.
    pub workers: Vec<u16>,
    /// The PCI devices that may become ports. No other is looked at.
    pub pci: Vec<PciAddress>,
    /// What DPDK tells on the standard error output.
    pub log_level: LogLevel,
}

impl EalOptions {
    /// 256 MiB, no workers, no PCI devices, warnings logged.
    pub fn new(file_prefix: &str) -> Self {
        Self {
            file_prefix: file_prefix.to_owned(),
            memory_mib: 256,
            huge_pages: HugePages::Auto,
            workers: Vec::new(),
            pci: Vec::new(),
            log_level: LogLevel::Warning,
        }
    }
}

/// Why EAL did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EalError {
    /// It started before.
    #[error("EAL was started before in this process; it can be started only once")]
    StartedBefore,
    /// The file prefix cannot be used.
    #[error("{0:?} cannot be EAL's file prefix; use letters, digits, - and _")]
    FilePrefix(String),
    /// No memory was asked for.
    #[error("EAL needs memory; set gateway.memory-mib to 64 or more")]
    NoMemory,
    /// Too many workers.
    #[error("{asked} workers were asked for; DPDK as installed runs at most {most}")]
    TooManyWorkers {
        /// Workers asked for.
        asked: usize,
        /// Workers possible.
        most: usize,
    },
    /// The process may not run there.
    #[error("CPU {cpu} is not there or not allowed to this process; choose from {allowed}")]
    Cpu {
        /// The CPU asked for.
        cpu: u16,
        /// The CPUs the process may use.
        allowed: String,
    },
    /// The allowed CPUs cannot be told.
    #[error("cannot tell which CPUs this process may use: {0}")]
    Affinity(nix::Error),
    /// Not enough huge pages.
    #[error(
        "{free_mib} MiB of free huge pages, but {asked_mib} MiB are wanted; \
         write {pages} to /proc/sys/vm/nr_hugepages, or set gateway.hugepages = \"never\""
    )]
    HugePages {
        /// Free, in MiB.
        free_mib: u64,
        /// Asked for, in MiB.
        asked_mib: u32,
        /// Pages of 2 MiB that hold what is asked for.
        pages: u32,
    },
    /// A PCI device cannot be used.
    #[error(transparent)]
    Pci(#[from] PciError),
    /// DPDK refused.
    #[error("DPDK's EAL does not start: {0}; its reason is on the standard error output")]
    Refused(String),
    /// No thread could be made for it.
    #[error("cannot start EAL's thread: {0}")]
    Thread(String),
}

/// EAL, running. Clones are the same; it is cleaned up when the last one is gone, among them those
/// that ports, pools and running lcores hold.
#[derive(Clone, Debug)]
pub struct Eal(Arc<Running>);

#[derive(Debug)]
struct Running {
    workers: Vec<Lcore>,
    huge_pages: bool,
    pci: Vec<PciAddress>,
    /// Held while devices come and go and while a worker is launched.
    control: Mutex<()>,
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts EAL. No PCI device is probed but those of [`EalOptions::pci`], which must be bound to
    /// a driver that leaves them to DPDK; and nothing is left in the file system.
    ///
    /// EAL pins the thread that starts it, so that is one of its own: the caller's affinity, and
    /// that of the threads it makes later, stays as it was.
    pub fn init(options: &EalOptions) -> Result<Self, EalError> {
        let allowed = allowed_cpus()?;
        options.check(&allowed)?;
        let huge_pages = options.choose_pages()?;
        for &address in &options.pci {
            pci::check(address, huge_pages)?;
        }
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(EalError::StartedBefore);
        }
        let arguments = options.arguments(huge_pages, &allowed);
        thread::Builder::new()
            .name("eal-main".into())
            .spawn(move || start(arguments))
            .map_err(|e| EalError::Thread(e.to_string()))?
            .join()
            .map_err(|_| EalError::Thread("it panicked".into()))??;
        let lcore = |(index, &cpu): (usize, &u16)| Lcore::new(index as u16 + 1, cpu);
        Ok(Self(Arc::new(Running {
            workers: options.workers.iter().enumerate().map(lcore).collect(),
            huge_pages,
            pci: options.pci.clone(),
            control: Mutex::new(()),
        })))
    }

    /// The lcores of the workers, in the order of [`EalOptions::workers`].
    pub fn workers(&self) -> &[Lcore] {
        &self.0.workers
    }

    /// Whether its memory is huge pages.
    pub fn has_huge_pages(&self) -> bool {
        self.0.huge_pages
    }

    /// Whether it was told of a PCI device.
    pub(crate) fn allows(&self, address: PciAddress) -> bool {
        self.0.pci.contains(&address)
    }

    /// Ticks per second of [`rdtsc`](crate::rdtsc).
    pub fn tsc_hz(&self) -> u64 {
        // SAFETY: EAL is up; returns a number.
        unsafe { sys::rte_get_tsc_hz() }
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, ()> {
        self.0
            .control
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let clean_up = || {
            // SAFETY: EAL is up, and no port or pool of it is in use: each holds an `Eal`.
            unsafe { sys::rte_eal_cleanup() };
        };
        if lcore_id().is_some() {
            // It waits for the lcores, so it must not run on one. Without a thread EAL stays until
            // the process ends.
            let _ = thread::Builder::new()
                .name("eal-cleanup".into())
                .spawn(clean_up);
        } else {
            clean_up();
        }
    }
}

impl EalOptions {
    fn check(&self, allowed: &[u16]) -> Result<(), EalError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.file_prefix.is_empty() || !self.file_prefix.chars().all(plain) {
            return Err(EalError::FilePrefix(self.file_prefix.clone()));
        }
        if self.memory_mib == 0 {
            return Err(EalError::NoMemory);
        }
        let most = sys::SEKISHO_LCORES_MAX as usize - 1;
        if self.workers.len() > most {
            return Err(EalError::TooManyWorkers {
                asked: self.workers.len(),
                most,
            });
        }
        // EAL would abort the process.
        match self.workers.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(&cpu) => Err(EalError::Cpu {
                cpu,
                allowed: list(allowed),
            }),
            None => Ok(()),
        }
    }

    /// Whether to take huge pages. A failed start cannot be tried again, hence the look beforehand.
    fn choose_pages(&self) -> Result<bool, EalError> {
        if self.huge_pages == HugePages::Never {
            return Ok(false);
        }
        let free_mib = free_huge_pages_mib();
        if free_mib >= u64::from(self.memory_mib) {
            return Ok(true);
        }
        match self.huge_pages {
            HugePages::Require => Err(EalError::HugePages {
                free_mib,
                asked_mib: self.memory_mib,
                pages: self.memory_mib.div_ceil(2),
            }),
            HugePages::Auto | HugePages::Never => Ok(false),
        }
    }

    fn arguments(&self, huge_pages: bool, allowed: &[u16]) -> Vec<String> {
        let mut lcores = format!("0@({})", list(allowed));
        for (index, cpu) in self.workers.iter().enumerate() {
            lcores.push_str(&format!(",{}@{cpu}", index + 1));
        }
        let level = self.log_level as u32;
        let mut arguments: Vec<String> = [
            "sekisho",
            "--no-telemetry",
            "--main-lcore=0",
            &format!("--lcores={lcores}"),
            &format!("--file-prefix={}", self.file_prefix),
            &format!("--log-level={level}"),
        ]
        .map(str::to_owned)
        .into();
        if self.pci.is_empty() {
            arguments.extend(["--no-pci", "--iova-mode=va"].map(str::to_owned));
        } else {
            // An allow-list: all others are left alone. Devices without an IOMMU need physical
            // addresses, which EAL sees for itself.
            let allow = |address: &PciAddress| format!("--allow={address}");
            arguments.extend(self.pci.iter().map(allow));
        }
        // By its own measure a TAP fails without secondary processes and traffic classes, which it
        // has no use for here, and a memif warns; what matters is told by their answers.
        if self.log_level > LogLevel::Notice {
            arguments.push(format!("--log-level=*:{level}"));
        } else {
            let quiet = [("tap", LogLevel::Critical), ("memif", LogLevel::Error)];
            let quiet = quiet
                .map(|(driver, level)| format!("--log-level=pmd.net.{driver}:{}", level as u32));
            arguments.extend(quiet);
        }
        arguments.extend(["-m".to_owned(), self.memory_mib.to_string()]);
        // Both leave no runtime files behind; in 22.11 they exclude each other.
        let pages: &[&str] = if huge_pages {
            &["--in-memory"]
        } else {
            &["--no-huge", "--no-shconf"]
        };
        arguments.extend(pages.iter().map(|&text| text.to_owned()));
        arguments
    }
}

/// Calls `rte_eal_init` in this thread, which becomes pinned.
fn start(arguments: Vec<String>) -> Result<(), EalError> {
    let texts: Vec<CString> = arguments
        .into_iter()
        .filter_map(|text| CString::new(text).ok())
        .collect();
    let mut pointers: Vec<*mut c_char> = texts.into_iter().map(CString::into_raw).collect();
    let count = pointers.len() as c_int;
    pointers.push(std::ptr::null_mut());
    // EAL keeps pointers into its arguments, and may reorder them.
    let pointers = pointers.leak();
    // SAFETY: a NULL-terminated array of NUL-terminated texts that live for ever; called once in
    // the process, which `STARTED` sees to.
    let outcome = unsafe {
        sys::sekisho_log_to_stderr();
        sys::rte_eal_init(count, pointers.as_mut_ptr())
    };
    if outcome < 0 {
        return Err(EalError::Refused(error_text(last_error())));
    }
    remove_runtime_directory();
    Ok(())
}

/// EAL makes a directory for its files even when told to make none.
fn remove_runtime_directory() {
    // SAFETY: EAL is up; a NUL-terminated text that lives for ever.
    let path = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
    // Removes it only if it is empty, as it should be.
    let _ = fs::remove_dir(OsStr::from_bytes(path.to_bytes()));
}

/// The version of the DPDK in use, like `22.11.5`.
pub fn version() -> String {
    // SAFETY: returns a constant NUL-terminated text.
    let text = unsafe { CStr::from_ptr(sys::rte_version()) }.to_string_lossy();
    text.strip_prefix("DPDK ").unwrap_or(&text).to_owned()
}

/// The CPUs of the process, not of the calling thread, which may be pinned.
pub fn allowed_cpus() -> Result<Vec<u16>, EalError> {
    let set = sched_getaffinity(Pid::this()).map_err(EalError::Affinity)?;
    let is_set = |cpu: &usize| set.is_set(*cpu).unwrap_or(false);
    Ok((0..CpuSet::count())
        .filter(is_set)
        .map(|cpu| cpu as u16)
        .collect())
}

fn list(cpus: &[u16]) -> String {
    cpus.iter()
        .map(u16::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// Free huge pages of every size, in MiB.
fn free_huge_pages_mib() -> u64 {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else {
        return 0;
    };
    let mib = |entry: fs::DirEntry| -> Option<u64> {
        let name = entry.file_name().into_string().ok()?;
        let kib: u64 = name
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse()
            .ok()?;
        let free = fs::read_to_string(entry.path().join("free_hugepages")).ok()?;
        Some(free.trim().parse::<u64>().ok()? * kib / 1024)
    };
    sizes.flatten().filter_map(mib).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(workers: &[u16]) -> EalOptions {
        EalOptions {
            workers: workers.to_vec(),
            ..EalOptions::new("unit")
        }
    }

    #[test]
    fn a_cpu_that_is_not_allowed_is_refused_before_eal_would_abort() {
        let error = options(&[0, 7]).check(&[0, 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "CPU 7 is not there or not allowed to this process; choose from 0,1"
        );
    }

    #[test]
    fn a_file_prefix_cannot_smuggle_options_in() {
        let options = EalOptions {
            file_prefix: "a --vdev=b".into(),
            ..options(&[])
        };
        assert!(matches!(options.check(&[0]), Err(EalError::FilePrefix(_))));
    }

    #[test]
    fn workers_may_share_a_cpu_and_the_main_lcore_floats() {
        let arguments = options(&[1, 1]).arguments(false, &[0, 1]);
        assert!(
            arguments.contains(&"--lcores=0@(0,1),1@1,2@1".to_owned()),
            "{arguments:?}"
        );
        assert!(arguments.contains(&"--no-pci".to_owned()));
    }

    #[test]
    fn only_the_pci_devices_that_are_named_are_looked_at() {
        let named = EalOptions {
            pci: vec!["0000:00:05.0".parse().unwrap()],
            ..options(&[])
        };
        let arguments = named.arguments(true, &[0]);
        let about_pci = |argument: &&String| argument.contains("pci") || argument.contains("allow");
        let about_pci: Vec<&String> = arguments.iter().filter(about_pci).collect();
        assert_eq!(about_pci, ["--allow=0000:00:05.0"]);
    }

    #[test]
    fn huge_and_ordinary_memory_both_leave_no_files() {
        let has = |huge, text: &str| {
            options(&[])
                .arguments(huge, &[0])
                .iter()
                .any(|argument| argument == text)
        };
        assert!(has(true, "--in-memory") && !has(true, "--no-huge"));
        assert!(has(false, "--no-shconf") && has(false, "--no-huge"));
        assert!(!has(false, "--in-memory"));
    }

    #[test]
    fn more_huge_pages_than_are_free_is_an_error_that_tells_what_to_do() {
        let options = EalOptions {
            memory_mib: u32::MAX,
            huge_pages: HugePages::Require,
            ..EalOptions::new("unit")
        };
        let error = options.choose_pages().unwrap_err();
        assert!(
            error.to_string().contains("/proc/sys/vm/nr_hugepages"),
            "{error}"
        );
    }
}
