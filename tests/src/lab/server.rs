//! Servers and clients that tell how they see each other: `peer.py`, run on a host.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Host, Process, wait_until};

const SCRIPT: &str = include_str!("peer.py");
const START: Duration = Duration::from_secs(10);

/// A server, or a client that goes on.
#[derive(Debug)]
pub struct Server {
    process: Process,
    what: String,
}

impl Server {
    /// An HTTP server; its log has `ADDRESS:PORT GET PATH` for each request.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn web(host: &Host, port: u16) -> Result<Self> {
        Self::start(host, &format!("web {port} {}", host.name()), "ready")
    }

    /// An HTTP server over IPv6.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn web6(host: &Host, port: u16) -> Result<Self> {
        Self::start(host, &format!("web6 {port} {}", host.name()), "ready")
    }

    /// A UDP server that answers each datagram with its source.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn echo(host: &Host, ports: &[u16]) -> Result<Self> {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        Self::start(host, &format!("echo {}", ports.join(" ")), "ready")
    }

    /// A UDP server that answers each datagram, however large, with itself; its log has
    /// `ADDRESS:PORT SIZE` for each.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn mirror(host: &Host, port: u16) -> Result<Self> {
        Self::start(host, &format!("mirror {port}"), "ready")
    }

    /// A TCP server that greets its client with the client's address and then echoes lines.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn tcp_echo(host: &Host, port: u16) -> Result<Self> {
        Self::start(host, &format!("tcp-echo {port}"), "ready")
    }

    /// A UDP socket that logs `ADDRESS:PORT TEXT` for each datagram.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn listen(host: &Host, port: u16) -> Result<Self> {
        Self::start(host, &format!("listen {port}"), "ready")
    }

    /// A UDP client that asks the echo server at `destination` once, logs `seen as
    /// ADDRESS:PORT`, and then logs `ADDRESS:PORT TEXT` for whatever else arrives.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn hold(host: &Host, source_port: u16, destination: &str) -> Result<Self> {
        Self::start(
            host,
            &format!("hold {source_port} {destination}"),
            "seen as",
        )
    }

    /// A TCP client that asks the echo server at `destination` once, logs `seen as ADDRESS:PORT`, and
    /// then is such a server itself, on the port it has asked from.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn tcp_hold(host: &Host, source_port: u16, destination: &str) -> Result<Self> {
        let role = format!("tcp-hold {source_port} {destination}");
        Self::start(host, &role, "ready")
    }

    /// A TCP client with one connection to the echo server at `destination`, on which a line
    /// goes back and forth ten times a second; it logs `beat N` for each.
    ///
    /// # Errors
    /// When the connection does not come up.
    pub fn beat(host: &Host, destination: &str) -> Result<Self> {
        Self::start(host, &format!("tcp-beat {destination} 0.1"), "beat 1")
    }

    fn start(host: &Host, role: &str, ready: &str) -> Result<Self> {
        let name = role.replace([' ', ':'], "-");
        let mut process = host.spawn(&name, &command(host, role)?)?;
        process.wait_for_log(START, ready)?;
        Ok(Self {
            process,
            what: format!("{role} on {}", host.name()),
        })
    }

    /// Everything logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// How the far end saw a [`Server::hold`] or [`Server::beat`] client: `ADDRESS:PORT`.
    ///
    /// # Errors
    /// When nothing of the kind was logged.
    pub fn seen_as(&self) -> Result<String> {
        self.log()
            .lines()
            .find_map(|line| line.strip_prefix("seen as ").map(str::to_owned))
            .with_context(|| format!("{} was not seen", self.what))
    }

    /// The number of the last `beat`.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.log()
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("beat ")?.parse().ok())
            .unwrap_or(0)
    }

    /// Waits until `count` more beats are logged.
    ///
    /// # Errors
    /// When `timeout` passes first.
    pub fn wait_beats(&self, count: u64, timeout: Duration) -> Result<()> {
        let goal = self.beats() + count;
        wait_until(timeout, &format!("{}: beat {goal}", self.what), || {
            ensure!(self.beats() >= goal, "{}", tail(&self.log()));
            Ok(())
        })
    }

    /// Waits until a line of the log holds `needle`.
    ///
    /// # Errors
    /// When `timeout` passes first.
    pub fn wait_log(&mut self, needle: &str, timeout: Duration) -> Result<()> {
        self.process.wait_for_log(timeout, needle)
    }
}

/// Runs a client of `peer.py` (`ask`, `tcp-ask`, `big` or `send` with its arguments) to its end.
///
/// # Errors
/// When it fails.
pub(super) fn client(host: &Host, role: &str) -> Result<String> {
    host.run(&command(host, role)?)
}

fn command(host: &Host, role: &str) -> Result<String> {
    let script: PathBuf = host.lab().dir().join("peer.py");
    if !script.exists() {
        fs::write(&script, SCRIPT)?;
    }
    Ok(format!("/usr/bin/python3 {} {role}", script.display()))
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

impl Host {
    /// From one UDP socket on `source_port` (0: any) asks each echo server of `destinations`
    /// (`ADDRESS:PORT`) how it sees the socket, and returns their answers; `nothing` is one
    /// that does not answer.
    ///
    /// # Errors
    /// When the client cannot run.
    pub fn ask(&self, source_port: u16, destinations: &[&str]) -> Result<Vec<String>> {
        let text = client(
            self,
            &format!("ask {source_port} {}", destinations.join(" ")),
        )?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(_, seen)| seen.to_owned())
            .collect())
    }

    /// Connects from TCP port `source_port` (0: any) to the TCP echo server at `destination`
    /// and returns how it sees the connection.
    ///
    /// # Errors
    /// When the connection does not come up.
    pub fn tcp_ask(&self, source_port: u16, destination: &str) -> Result<String> {
        Ok(
            client(self, &format!("tcp-ask {source_port} {destination}"))?
                .trim()
                .to_owned(),
        )
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// When the client cannot run.
    pub fn send_datagram(&self, source_port: u16, destination: &str, text: &str) -> Result<()> {
        client(self, &format!("send {source_port} {destination} {text}")).map(drop)
    }

    /// Sends a datagram of `size` octets to the mirror at `destination`.
    ///
    /// # Errors
    /// When it does not come back as it was sent within two seconds.
    pub fn reflect(&self, destination: &str, size: usize) -> Result<()> {
        let answer = client(self, &format!("big {destination} {size}"))?;
        ensure!(answer.trim() == "same", "{answer}");
        Ok(())
    }

    /// Fetches `http://SERVER/` with curl and returns the page.
    ///
    /// # Errors
    /// When there is none within five seconds.
    pub fn fetch(&self, server: &str) -> Result<String> {
        self.run(&format!("curl -sS --max-time 5 http://{server}/"))
    }
}
