//! FRR's bgpd, without zebra.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::run;

/// A running bgpd; killed when dropped.
pub(crate) struct Frr {
    child: Child,
    directory: TempDir,
    address: &'static str,
}

impl Frr {
    /// Starts bgpd on `address` with our usual gateway 198.51.100.10 as its neighbour; `lines` are
    /// put under `router bgp`.
    pub(crate) fn start(address: &'static str, asn: u32, lines: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "log stdout\n\
             log timestamp precision 6\n\
             debug bgp updates in\n\
             router bgp {asn}\n\
             bgp router-id {address}\n\
             no bgp ebgp-requires-policy\n\
             no bgp network import-check\n\
             neighbor 198.51.100.10 remote-as 65010\n\
             neighbor 198.51.100.10 disable-connected-check\n\
             neighbor 198.51.100.10 update-source {address}\n\
             neighbor 198.51.100.10 timers 3 9\n\
             neighbor 198.51.100.10 timers connect 1\n\
             {lines}\n"
        );
        std::fs::write(directory.path().join("bgpd.conf"), config).unwrap();
        let child = spawn(directory.path(), address);
        Self {
            child,
            directory,
            address,
        }
    }

    /// What a vtysh command prints; empty while bgpd is not ready.
    pub(crate) fn vtysh(&self, command: &str) -> String {
        let socket = self.directory.path().to_str().unwrap();
        let output = Command::new("vtysh")
            .args(["--vty_socket", socket, "-d", "bgpd", "-c", command])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs lines of configuration.
    pub(crate) fn configure(&self, lines: &[&str]) {
        let mut arguments = vec!["--vty_socket", self.directory.path().to_str().unwrap()];
        arguments.extend(["-d", "bgpd", "-c", "configure terminal"]);
        for line in lines {
            arguments.extend(["-c", line]);
        }
        run("vtysh", &arguments);
    }

    /// What it knows of a prefix.
    pub(crate) fn route(&self, prefix: &str) -> serde_json::Value {
        let text = self.vtysh(&format!("show bgp ipv4 unicast {prefix} json"));
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub(crate) fn has(&self, prefix: &str) -> bool {
        self.route(prefix).get("paths").is_some()
    }

    /// What it says of its neighbour, us.
    pub(crate) fn neighbor(&self) -> serde_json::Value {
        let text = self.vtysh("show bgp neighbors 198.51.100.10 json");
        let all: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        all["198.51.100.10"].clone()
    }

    /// When, since midnight, it last heard of a prefix: that it is reachable, or no longer is.
    pub(crate) fn heard(&self, prefix: &str, reachable: bool) -> Option<Duration> {
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap();
        let about = |line: &&str| {
            line.contains("rcvd")
                && line.contains(&format!("{prefix} "))
                && line.contains("withdrawn") != reachable
        };
        let line = log.lines().rev().find(about)?;
        let mut clock = line.split(' ').nth(1)?.split([':', '.']);
        let mut next = || clock.next()?.parse::<u64>().ok();
        let seconds = next()? * 3600 + next()? * 60 + next()?;
        Some(Duration::from_secs(seconds) + Duration::from_micros(next()?))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after [`Frr::kill`].
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.directory.path(), self.address);
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(directory: &Path, address: &str) -> Child {
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    Command::new("/usr/lib/frr/bgpd")
        .args([
            "-f",
            &file("bgpd.conf"),
            "-n",
            "-Z",
            "-S",
            "-i",
            &file("bgpd.pid"),
        ])
        .args(["--vty_socket", directory.to_str().unwrap()])
        .args(["-l", address, "-p", "179", "-P", "0"])
        .env("TZ", "UTC")
        .stdout(std::fs::File::create(file("log")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .expect("FRR is not installed")
}
