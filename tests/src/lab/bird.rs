//! BIRD, in a router's namespace.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Host, Output, Process, wait_until};

const START: Duration = Duration::from_secs(10);

/// A running BIRD.
#[derive(Debug)]
pub struct Bird {
    host: Host,
    socket: PathBuf,
    process: Process,
}

impl Bird {
    /// Starts BIRD on `host` with this configuration.
    ///
    /// # Errors
    /// When it does not come up, with what it wrote.
    pub fn start(host: &Host, config: &str) -> Result<Self> {
        let dir = host.lab().make_dir(&format!("{}-bird", host.name()))?;
        let file = dir.join("bird.conf");
        fs::write(&file, config)?;
        let socket = dir.join("bird.ctl");
        let process = host.spawn(
            "bird",
            &format!("bird -f -c {} -s {}", file.display(), socket.display()),
        )?;
        let bird = Self {
            host: host.clone(),
            socket,
            process,
        };
        wait_until(START, "BIRD answers", || {
            bird.birdc("show status").context(bird.log())
        })?;
        Ok(bird)
    }

    /// The router's namespace.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What a command of BIRD's shell prints.
    ///
    /// # Errors
    /// When birdc fails.
    pub fn birdc(&self, command: &str) -> Result<String> {
        let output = Command::new("birdc")
            .arg("-s")
            .arg(&self.socket)
            .args(command.split_whitespace())
            .output()
            .context("cannot run `birdc`; install bird2")?;
        Output::from(output).success(command)
    }

    /// Waits until protocol `name` is established.
    ///
    /// # Errors
    /// When `timeout` passes first, with what BIRD says of it.
    pub fn wait_established(&self, name: &str, timeout: Duration) -> Result<()> {
        wait_until(timeout, &format!("BIRD's {name} is established"), || {
            let text = self.birdc(&format!("show protocols all {name}"))?;
            ensure!(text.contains("Established"), "{text}");
            Ok(())
        })
    }

    /// What it has written.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}
