//! What a run was measured on and how: without it no figure means anything.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use sekisho_dpdk::{rdtsc, version};

use crate::hugepages::HugePages;
use crate::options::Options;

/// The conditions of a run, as pairs of a name and what it was.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// Looks at the machine, before anything is measured.
    pub(crate) fn look(options: &Options, huge_pages: &HugePages) -> Self {
        let facts = vec![
            ("CPU", cpu_model()),
            ("TSC", format!("{:.2} GHz", tsc_hz() / 1e9)),
            ("governor", governor(options.cpu)),
            ("kernel", read("/proc/sys/kernel/osrelease")),
            ("DPDK", version()),
            ("hugepages", huge_pages.to_string()),
            ("measured on", format!("CPU {}", options.cpu)),
            ("burst", format!("{} packets", options.burst)),
            ("flow order", options.flow_order().to_owned()),
            ("repetitions", repetitions(options)),
            ("other load", load()),
        ];
        Self { facts }
    }

    /// The conditions as lines of a Markdown list.
    pub(crate) fn markdown(&self) -> String {
        let line = |(name, value): &(&str, String)| format!("- {name}: {value}\n");
        self.facts.iter().map(line).collect()
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.facts {
            writeln!(f, "{:<13}{value}", format!("{name}:"))?;
        }
        Ok(())
    }
}

fn repetitions(options: &Options) -> String {
    let quick = if options.quick {
        " (quick: not to quote)"
    } else {
        ""
    };
    format!("{}{quick}", options.repetitions())
}

fn cpu_model() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim()))
        .unwrap_or("unknown")
        .to_owned()
}

/// Ticks of the time-stamp counter in a second, against the kernel's clock.
pub(crate) fn tsc_hz() -> f64 {
    let (start, ticks) = (Instant::now(), rdtsc());
    std::thread::sleep(Duration::from_millis(50));
    let (elapsed, ticks) = (start.elapsed(), rdtsc() - ticks);
    ticks as f64 / elapsed.as_secs_f64()
}

/// The frequency governor. A guest is not told what its host does.
fn governor(cpu: u16) -> String {
    let file = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    read(&file)
}

/// How many processes wanted a CPU in the last minute, before this run began.
fn load() -> String {
    let text = read("/proc/loadavg");
    let minute = text.split_whitespace().next().unwrap_or("unknown");
    format!("{minute} (load average of the minute before)")
}

fn read(file: &str) -> String {
    fs::read_to_string(file).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
