//! The virtual machine: QEMU in a namespace, and its serial line.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sekisho_tests::lab::{Host, Process, wait_until};

use super::packages::Packages;

/// What its first process says, and begins its own lines with.
const READY: &str = "guest: ready";
const ANSWERED: &str = "guest: answered";
const FAILED: &str = "guest: failed";

/// It ends by itself, whatever happens to us.
const LIFE: &str = "150";

/// A NIC: a TAP of the host's namespace, and where it is in the guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nic {
    pub(super) tap: &'static str,
    pub(super) slot: u8,
    pub(super) queues: u8,
}

/// A virtual machine that runs.
#[derive(Debug)]
pub(super) struct Machine {
    process: Process,
    line: UnixStream,
    /// What came over the line and was not taken yet.
    heard: String,
}

impl Machine {
    /// Starts it in `host`'s namespace.
    ///
    /// # Errors
    /// When QEMU does not run.
    pub(super) fn start(
        host: &Host,
        packages: &Packages,
        image: &Path,
        nics: &[Nic],
    ) -> Result<Self> {
        let socket = host.lab().dir().join("serial.sock");
        let devices: String = nics.iter().map(Nic::arguments).collect();
        let command = format!(
            "timeout --kill-after=1 {LIFE} {} -machine pc,accel=tcg -cpu max -smp 2 -m 1024 \
             -nodefaults -no-reboot -display none \
             -serial unix:{},server=on,wait=off \
             -kernel {} -initrd {} -append 'console=ttyS0 loglevel=3 panic=-1'{devices}",
            packages.qemu(),
            socket.display(),
            packages.kernel.display(),
            image.display(),
        );
        let mut process = host.spawn("qemu", &command)?;
        let line = wait_until(Duration::from_secs(10), "QEMU runs", || {
            if let Some(status) = process.exited()? {
                // Not worth waiting for.
                return Ok(Err(format!("QEMU ended with {status}: {}", process.log())));
            }
            Ok(Ok(UnixStream::connect(&socket)?))
        })?;
        let line = line.map_err(anyhow::Error::msg)?;
        line.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self {
            process,
            line,
            heard: String::new(),
        })
    }

    /// Waits until the gateway in it is ready; what was said until then.
    ///
    /// # Errors
    /// When that takes too long, or fails.
    pub(super) fn wait_ready(&mut self) -> Result<String> {
        self.hear(READY, Duration::from_secs(60))
    }

    /// Runs a command of the gateway's CLI in it.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) fn cli(&mut self, command: &str) -> Result<String> {
        self.say(command)?;
        self.hear(ANSWERED, Duration::from_secs(15))
    }

    /// Ends the gateway, and with it the machine; what was said.
    ///
    /// # Errors
    /// When it does not end.
    pub(super) fn end(mut self) -> Result<String> {
        self.say("end")?;
        let text = self.hear("guest: sekishod ended with", Duration::from_secs(15))?;
        let code = self.hear("\n", Duration::from_secs(5))?;
        self.process.wait(Duration::from_secs(10))?;
        Ok(format!("{text}sekishod ended with{code}"))
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.line, "{line}").context("the serial line is closed")
    }

    /// What comes before `needle`.
    fn hear(&mut self, needle: &str, timeout: Duration) -> Result<String> {
        let what = format!("the virtual machine says {needle:?}");
        wait_until(timeout, &what, || {
            let mut octets = [0; 4096];
            if let Ok(count) = self.line.read(&mut octets) {
                let text = String::from_utf8_lossy(&octets[..count]).replace('\r', "");
                self.heard.push_str(&text);
            }
            if let Some(place) = self.heard.find(needle) {
                let before = self.heard[..place].to_owned();
                self.heard.drain(..place + needle.len());
                return Ok(Ok(before));
            }
            if self.heard.contains(FAILED) {
                return Ok(Err(std::mem::take(&mut self.heard)));
            }
            if let Some(status) = self.process.exited()? {
                let log = self.process.log();
                return Ok(Err(format!(
                    "{}\nQEMU ended with {status}: {log}",
                    self.heard
                )));
            }
            bail!("{}", self.heard)
        })?
        .map_err(|said| anyhow::anyhow!("the virtual machine failed:\n{said}"))
    }
}

impl Nic {
    fn arguments(&self) -> String {
        let Self { tap, slot, queues } = self;
        // Two interrupts for each queue pair, and two more.
        let vectors = 2 * queues + 2;
        format!(
            " -netdev tap,id={tap},ifname={tap},script=no,downscript=no,vhost=off,queues={queues} \
             -device virtio-net-pci,netdev={tap},addr={slot:#x},mac=02:00:00:00:0e:{slot:02x},\
             mq=on,rss=on,vectors={vectors},disable-legacy=on,romfile="
        )
    }

    /// Its address in the guest.
    pub(super) fn address(&self) -> String {
        format!("0000:00:{:02x}.0", self.slot)
    }
}
