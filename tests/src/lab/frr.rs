//! FRR: zebra and bgpd of one router, in its namespace, with files of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{Group, User};
use serde_json::Value;

use super::{Host, Output, Process, wait_until};

const DAEMONS: &str = "/usr/lib/frr";
const START: Duration = Duration::from_secs(10);

/// A running FRR.
#[derive(Debug)]
pub struct Frr {
    host: Host,
    dir: PathBuf,
    zebra: Process,
    bgpd: Option<Process>,
}

impl Frr {
    /// Starts zebra and bgpd on `host`; `bgp` is bgpd's configuration.
    ///
    /// # Errors
    /// When they do not come up, with what they wrote.
    pub fn start(host: &Host, bgp: &str) -> Result<Self> {
        let dir = host.lab().make_dir(&format!("{}-frr", host.name()))?;
        fs::write(
            dir.join("zebra.conf"),
            format!("hostname {}\n", host.name()),
        )?;
        fs::write(
            dir.join("bgpd.conf"),
            format!("hostname {}\n{bgp}", host.name()),
        )?;
        give_to_frr(&dir)?;
        let zebra = spawn(host, &dir, "zebra")?;
        wait_for_socket(&zebra, &dir.join("zserv.api"))?;
        let mut frr = Self {
            host: host.clone(),
            dir,
            zebra,
            bgpd: None,
        };
        frr.start_bgpd()?;
        Ok(frr)
    }

    /// Starts bgpd again, after [`Frr::kill_bgpd`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_bgpd(&mut self) -> Result<()> {
        // A killed predecessor leaves its socket, which would look like readiness.
        let socket = self.dir.join("bgpd.vty");
        if socket.exists() {
            fs::remove_file(&socket)?;
        }
        let bgpd = spawn(&self.host, &self.dir, "bgpd")?;
        wait_for_socket(&bgpd, &socket)?;
        self.bgpd = Some(bgpd);
        Ok(())
    }

    /// Kills bgpd at once, as a crash would.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill_bgpd(&mut self) -> Result<()> {
        if let Some(mut bgpd) = self.bgpd.take() {
            bgpd.stop(Signal::SIGKILL, START)?;
        }
        Ok(())
    }

    /// Ends bgpd in good order.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop_bgpd(&mut self) -> Result<()> {
        if let Some(mut bgpd) = self.bgpd.take() {
            bgpd.stop(Signal::SIGTERM, START)?;
        }
        Ok(())
    }

    /// The router's namespace.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What a command of FRR's shell prints.
    ///
    /// # Errors
    /// When vtysh fails.
    pub fn vtysh(&self, command: &str) -> Result<String> {
        vtysh(&self.dir, &[command]).with_context(|| format!("on {}", self.host.name()))
    }

    /// What a `show` command prints as JSON; `json` is appended to it.
    ///
    /// # Errors
    /// When vtysh fails or prints something else.
    pub fn json(&self, command: &str) -> Result<Value> {
        let text = self.vtysh(&format!("{command} json"))?;
        serde_json::from_str(&text).with_context(|| format!("{command} json printed {text:?}"))
    }

    /// Changes the configuration: the commands as typed after `configure terminal`.
    ///
    /// # Errors
    /// When one is refused.
    pub fn configure(&self, commands: &[&str]) -> Result<()> {
        let mut all = vec!["configure terminal"];
        all.extend(commands);
        let text = vtysh(&self.dir, &all)?;
        ensure!(!text.contains('%'), "FRR refused: {text}");
        Ok(())
    }

    /// What FRR knows of its BGP neighbour `address`.
    ///
    /// # Errors
    /// When it has no such neighbour.
    pub fn neighbor(&self, address: &str) -> Result<Value> {
        let mut all = self.json(&format!("show bgp neighbors {address}"))?;
        Ok(all[address].take())
    }

    /// Waits until the session with neighbour `address` is established.
    ///
    /// # Errors
    /// When `timeout` passes first, with what FRR knows of the neighbour.
    pub fn wait_established(&self, address: &str, timeout: Duration) -> Result<Value> {
        let what = format!(
            "{}'s session with {address} is established",
            self.host.name()
        );
        wait_until(timeout, &what, || {
            let neighbor = self.neighbor(address)?;
            ensure!(neighbor["bgpState"] == "Established", "{neighbor:#}");
            Ok(neighbor)
        })
    }

    /// Whether the BGP table holds exactly this prefix.
    ///
    /// # Errors
    /// When vtysh fails.
    pub fn has_prefix(&self, prefix: &str) -> Result<bool> {
        let table = self.json("show bgp ipv4 unicast")?;
        Ok(table["routes"].get(prefix).is_some())
    }

    /// Waits until the BGP table holds the prefix, or until it does not.
    ///
    /// # Errors
    /// When `timeout` passes first.
    pub fn wait_prefix(&self, prefix: &str, present: bool, timeout: Duration) -> Result<()> {
        let what = format!("{} has {prefix}: {present}", self.host.name());
        wait_until(timeout, &what, || {
            ensure!(
                self.has_prefix(prefix)? == present,
                "{}",
                self.vtysh("show bgp ipv4 unicast")?
            );
            Ok(())
        })
    }

    /// What the daemons have written.
    #[must_use]
    pub fn log(&self) -> String {
        let bgpd = self.bgpd.as_ref().map(Process::log).unwrap_or_default();
        self.zebra.log() + &bgpd
    }
}

fn vtysh(dir: &Path, commands: &[&str]) -> Result<String> {
    let mut vtysh = Command::new("vtysh");
    vtysh.arg("--vty_socket").arg(dir);
    for command in commands {
        vtysh.args(["-c", command]);
    }
    let output = Output::from(vtysh.output().context("cannot run `vtysh`; install frr")?);
    output.success(&format!("vtysh {}", commands.join("; ")))
}

fn spawn(host: &Host, dir: &Path, daemon: &str) -> Result<Process> {
    let path = dir.display();
    host.spawn(
        daemon,
        &format!(
            "{DAEMONS}/{daemon} --vty_socket {path} --vty_port 0 -z {path}/zserv.api \
             -i {path}/{daemon}.pid -f {path}/{daemon}.conf --log stdout"
        ),
    )
}

fn wait_for_socket(process: &Process, socket: &Path) -> Result<()> {
    wait_until(START, &format!("{} exists", socket.display()), || {
        ensure!(socket.exists(), "{}", process.log());
        Ok(())
    })
}

/// FRR's daemons drop root and want a folder owned by frr:frrvty.
fn give_to_frr(dir: &Path) -> Result<()> {
    let user = User::from_name("frr")?.context("no user `frr`; install frr")?;
    let group = Group::from_name("frrvty")?.context("no group `frrvty`; install frr")?;
    let (uid, gid) = (user.uid.as_raw(), group.gid.as_raw());
    std::os::unix::fs::chown(dir, Some(uid), Some(gid))?;
    for entry in fs::read_dir(dir)? {
        std::os::unix::fs::chown(entry?.path(), Some(uid), Some(gid))?;
    }
    Ok(())
}
