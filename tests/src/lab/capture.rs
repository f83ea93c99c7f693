//! What passes on an interface: tcpdump writes it, tshark reads it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{Host, Output, Process, wait_until};

const START: Duration = Duration::from_secs(10);

/// A capture in progress.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Captures on `interface` of `host` what `filter` (pcap-filter(7), may be empty) matches.
    ///
    /// # Errors
    /// When tcpdump does not come up.
    pub fn start(host: &Host, interface: &str, filter: &str) -> Result<Self> {
        let stem = format!("{}-{interface}", host.name());
        let file = host.lab().fresh_file(&stem, "pcap")?;
        let mut process = host.spawn(
            "tcpdump",
            &format!(
                "tcpdump -n -U -Z root --immediate-mode -i {interface} -w {} '{filter}'",
                file.display()
            ),
        )?;
        process.wait_for_log(START, "listening on")?;
        Ok(Self { process, file })
    }

    /// The values of `fields` (tshark's names, as `ip.src`) in each packet so far that
    /// `filter` (a tshark display filter, may be empty) matches. With a tunnel, a field has
    /// several values, separated by commas: the outer one first.
    ///
    /// # Errors
    /// When tshark fails.
    pub fn packets(&self, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        let mut tshark = Command::new("tshark");
        tshark.arg("-n").arg("-r").arg(&self.file);
        tshark.args(["-Y", filter, "-T", "fields"]);
        for field in fields {
            tshark.args(["-e", field]);
        }
        let output = Output::from(
            tshark
                .output()
                .context("cannot run `tshark`; install tshark")?,
        );
        // A file that is still written to may end within a packet, which tshark reports after
        // printing the whole ones.
        ensure!(
            output.code == Some(0) || output.stderr.contains("cut short"),
            "tshark: {}",
            output.stderr
        );
        Ok(output
            .stdout
            .lines()
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect())
    }

    /// How many packets so far the display filter matches.
    ///
    /// # Errors
    /// When tshark fails.
    pub fn count(&self, filter: &str) -> Result<usize> {
        Ok(self.packets(filter, &["frame.number"])?.len())
    }

    /// Waits until at least `count` packets match the display filter.
    ///
    /// # Errors
    /// When `timeout` passes first.
    pub fn wait(&self, filter: &str, count: usize, timeout: Duration) -> Result<()> {
        let what = format!("{count} packets match {filter:?}");
        wait_until(timeout, &what, || {
            let seen = self.count(filter)?;
            ensure!(seen >= count, "{seen} do");
            Ok(())
        })
    }

    /// Ends the capture; what was seen can still be read.
    ///
    /// # Errors
    /// When tcpdump does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.process
            .stop(Signal::SIGINT, Duration::from_secs(5))
            .map(drop)
    }
}
