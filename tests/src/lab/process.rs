//! A process that runs beside the test, with its output in a file.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait_until;

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own (a terminal's Ctrl-C is not for it), with
    /// standard output and error appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be run.
    pub(super) fn start(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The file its output goes to.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Waits until its output holds `needle`.
    ///
    /// # Errors
    /// When it ends or `timeout` passes first; the error holds the output.
    pub fn wait_for_log(&mut self, timeout: Duration, needle: &str) -> Result<()> {
        let what = format!("{} writes {needle:?}", self.name);
        let found = wait_until(timeout, &what, || {
            // Asked first: what a process wrote before it ended is in the log read after.
            let ended = self.child.try_wait()?;
            let log = self.log();
            if log.contains(needle) || ended.is_some() {
                return Ok(log.contains(needle));
            }
            bail!("{log}");
        })?;
        ensure!(found, "{} ended and wrote:\n{}", self.name, self.log());
        Ok(())
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// When the kernel does not know it.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When `timeout` passes first; the error holds the output.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        wait_until(timeout, &what, || match self.child.try_wait()? {
            Some(status) => Ok(status),
            None => bail!("it still runs; it wrote:\n{}", self.log()),
        })
    }

    /// Sends it a signal and waits until it ends.
    ///
    /// # Errors
    /// When it does not end within `timeout`.
    pub fn stop(&mut self, signal: Signal, timeout: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        self.signal(signal)?;
        self.wait(timeout)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
