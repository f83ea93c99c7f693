//! A gateway in memory: the real worker, real tables and policy, ports that are rings.

#[cfg(test)]
mod crews;
mod drive;
mod fib;
mod flows;
#[cfg(test)]
mod fragments;
mod frames;
mod frames6;
mod gaps;
mod pair;
mod source;
mod station;
#[cfg(test)]
mod twins;
mod world;

pub(crate) use drive::Clocks;
pub(crate) use fib::{applied, routes};
pub(crate) use flows::{Flows, Mix};
pub(crate) use frames::{Direction, FrameWriter, Segment};
pub(crate) use gaps::Gaps;
pub(crate) use pair::{Alternated, Load, alternate, beside};
pub(crate) use source::Source;
pub(crate) use world::{Control, Service, Shape, World, floating};

use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow};
use sekisho_dpdk::{Eal, EalOptions, Lcore, allowed_cpus};

/// Octets of DPDK's memory, in MiB: packets only, tables have their own.
const MEMORY_MIB: u32 = 256;

/// EAL, started once for the process, with a worker on the CPU to measure on and, if there is
/// another, one there.
pub(crate) fn eal(cpu: u16) -> Result<&'static Eal> {
    static EAL: OnceLock<std::result::Result<Eal, String>> = OnceLock::new();
    EAL.get_or_init(|| {
        let prefix = format!("sekisho-bench-{}", std::process::id());
        let options = EalOptions {
            memory_mib: MEMORY_MIB,
            workers: std::iter::once(cpu).chain(other_cpu(cpu)).collect(),
            ..EalOptions::new(&prefix)
        };
        Eal::init(&options).map_err(|error| error.to_string())
    })
    .as_ref()
    .map_err(|error| anyhow!("{error}"))
}

/// A CPU to run beside the one to measure on.
fn other_cpu(cpu: u16) -> Option<u16> {
    let allowed = allowed_cpus().unwrap_or_default();
    allowed.into_iter().find(|&other| other != cpu)
}

/// Runs `work` on the CPU to measure on and hands out its result.
pub(crate) fn on_worker<T: Send + 'static>(
    cpu: u16,
    work: impl FnOnce(&Eal) -> Result<T> + Send + 'static,
) -> Result<T> {
    // An lcore runs one thing at a time.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let eal = eal(cpu)?;
    let lcore = *eal.workers().first().context("EAL has no worker")?;
    eal.launch(lcore, move || work(eal))?
        .join()
        .map_err(|_| anyhow!("the measuring thread panicked"))?
}

/// The lcore beside the one that measures, if the machine has another CPU.
pub(crate) fn second(eal: &Eal) -> Option<Lcore> {
    eal.workers().get(1).copied()
}
