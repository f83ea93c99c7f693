//! A host: one network namespace.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Lab, Process, wait_until};

/// No command in a host takes longer, in seconds.
const COMMAND_TIMEOUT: &str = "60";

/// A network namespace of a laboratory. Clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct Host {
    lab: Lab,
    name: String,
    netns: String,
}

/// What a finished command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output of a command that succeeded.
    ///
    /// # Errors
    /// When it did not, with everything it wrote; `command` is how the error calls it.
    pub fn success(self, command: &str) -> Result<String> {
        ensure!(
            self.code == Some(0),
            "`{command}` ended with {:?}\n{}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self.stdout)
    }
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Host {
    pub(super) fn new(lab: Lab, name: &str, netns: String) -> Self {
        Self {
            lab,
            name: name.to_owned(),
            netns,
        }
    }

    /// Its name in the laboratory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its network namespace on this machine.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// The laboratory it belongs to.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A command that will run in the namespace.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns, program]);
        command
    }

    /// Runs a shell command and returns its standard output.
    ///
    /// # Errors
    /// When it fails or takes more than a minute, with everything it wrote.
    pub fn run(&self, shell: &str) -> Result<String> {
        self.output(shell)?
            .success(shell)
            .with_context(|| format!("on {}", self.name))
    }

    /// Runs a shell command, whatever its end.
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub fn output(&self, shell: &str) -> Result<Output> {
        let output = self
            .command("timeout")
            .args(["--kill-after=1", COMMAND_TIMEOUT, "sh", "-c", shell])
            .stdin(Stdio::null())
            .output()?;
        Ok(output.into())
    }

    /// Starts a shell command that goes on; `name` names its log, a fresh file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, name: &str, shell: &str) -> Result<Process> {
        let log = self
            .lab
            .fresh_file(&format!("{}-{name}", self.name), "log")?;
        self.spawn_logging(name, shell, log)
    }

    /// Starts a shell command that goes on, with its output appended to `log`.
    pub(super) fn spawn_logging(&self, name: &str, shell: &str, log: PathBuf) -> Result<Process> {
        let mut command = self.command("sh");
        command.args(["-c", &format!("exec {shell}")]);
        Process::start(&format!("{name} on {}", self.name), command, log)
    }

    /// Runs iproute2 commands, one a line, stopping at the first that fails.
    ///
    /// # Errors
    /// When one fails.
    pub fn ip(&self, batch: &str) -> Result<()> {
        let input: String = batch
            .lines()
            .map(|line| line.trim().to_owned() + "\n")
            .collect();
        self.feed(
            Command::new("ip").args(["-netns", &self.netns, "-batch", "-"]),
            &input,
        )
        .map(drop)
    }

    /// Runs a Python script with scapy loaded (`from scapy.all import *`).
    ///
    /// # Errors
    /// When it raises, with its traceback.
    pub fn scapy(&self, script: &str) -> Result<String> {
        let input = format!("from scapy.all import *\nconf.verb = 0\n{script}\n");
        self.feed(self.command("/usr/bin/python3").arg("-"), &input)
    }

    fn feed(&self, command: &mut Command, input: &str) -> Result<String> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        Output::from(child.wait_with_output()?)
            .success(input)
            .with_context(|| format!("on {}", self.name))
    }

    /// Lays a cable from `interface` of this host to `peer_interface` of `peer`, both up, with
    /// this MTU. Neither end leaves checksums or segmentation to the other: what a packet socket
    /// reads from a cable is complete.
    ///
    /// # Errors
    /// When iproute2 or ethtool fails.
    pub fn cable(
        &self,
        interface: &str,
        peer: &Host,
        peer_interface: &str,
        mtu: u16,
    ) -> Result<()> {
        self.ip(&format!(
            "link add {interface} mtu {mtu} type veth \
             peer name {peer_interface} mtu {mtu} netns {}",
            peer.netns
        ))?;
        for (host, interface) in [(self, interface), (peer, peer_interface)] {
            host.run(&format!("ethtool -K {interface} tx off >/dev/null"))?;
            host.ip(&format!("link set {interface} up"))?;
        }
        Ok(())
    }

    /// Sends one echo request at a time to `address` until one is answered.
    ///
    /// # Errors
    /// When none is within `timeout`.
    pub fn wait_ping(&self, address: &str, timeout: Duration) -> Result<()> {
        let what = format!("{address} answers {}'s ping", self.name);
        wait_until(timeout, &what, || self.ping(address, ""))
    }

    /// Sends one echo request to `address`, with further `options` of ping.
    ///
    /// # Errors
    /// When it is not answered within a second.
    pub fn ping(&self, address: &str, options: &str) -> Result<()> {
        self.run(&format!("ping -n -c 1 -W 1 {options} {address}"))
            .map(drop)
    }

    /// Sends an echo request to `address` and makes sure that nobody answers within a second.
    ///
    /// # Errors
    /// When somebody does.
    pub fn no_ping(&self, address: &str) -> Result<()> {
        let output = self.output(&format!("ping -n -c 1 -W 1 {address}"))?;
        if output.code == Some(0) {
            bail!("{address} answered {}: {}", self.name, output.stdout);
        }
        Ok(())
    }

    /// The Ethernet address of an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, interface: &str) -> Result<String> {
        let text = self.run(&format!("cat /sys/class/net/{interface}/address"))?;
        Ok(text.trim().to_owned())
    }
}
