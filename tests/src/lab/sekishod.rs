//! The daemon under test, and the CLI that talks to it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Host, Output, Process, wait_until};

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);

/// The folder with the programs this test or workflow was built with.
///
/// # Errors
/// When this program's own path is unknown.
pub fn bin_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("cannot tell where this program is")?;
    let mut dir = exe.parent().context("this program is in no folder")?;
    if dir.ends_with("deps") {
        dir = dir.parent().unwrap_or(dir);
    }
    Ok(dir.to_owned())
}

/// The sum of all numbers in a JSON document whose key holds `needle`.
#[must_use]
pub fn sum_of_keys(value: &Value, needle: &str) -> u64 {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match value {
                Value::Number(number) if key.contains(needle) => number.as_u64().unwrap_or(0),
                other => sum_of_keys(other, needle),
            })
            .sum(),
        Value::Array(values) => values.iter().map(|value| sum_of_keys(value, needle)).sum(),
        _ => 0,
    }
}

/// A daemon in the gateway's namespace. Its files are in a folder of the laboratory.
#[derive(Debug)]
pub struct Sekishod {
    host: Host,
    dir: PathBuf,
    daemon: PathBuf,
    cli: PathBuf,
    process: Option<Process>,
}

impl Sekishod {
    /// A daemon that is configured but not started. `config` is its whole configuration, with
    /// `{socket}` where the path of the API socket belongs.
    ///
    /// # Errors
    /// When the programs are not built or the file system refuses.
    pub fn prepare(host: &Host, config: &str) -> Result<Self> {
        let bin = bin_dir()?;
        let dir = host.lab().make_dir(&format!("{}-sekishod", host.name()))?;
        let sekishod = Self {
            host: host.clone(),
            dir,
            daemon: bin.join("sekishod"),
            cli: bin.join("sekisho"),
            process: None,
        };
        for program in [&sekishod.daemon, &sekishod.cli] {
            ensure!(
                program.exists(),
                "{} is missing; build it with `cargo build --workspace --bins`",
                program.display()
            );
        }
        sekishod.write_config(config)?;
        Ok(sekishod)
    }

    /// Starts a daemon and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time, with its log.
    pub fn start(host: &Host, config: &str) -> Result<Self> {
        let mut sekishod = Self::prepare(host, config)?;
        sekishod.run()?;
        Ok(sekishod)
    }

    /// Starts the prepared or stopped daemon and waits until it tells its supervisor that it is
    /// ready.
    ///
    /// # Errors
    /// When it is not ready in time, with its log.
    pub fn run(&mut self) -> Result<()> {
        let notify = self.dir.join("notify.sock");
        if notify.exists() {
            fs::remove_file(&notify)?;
        }
        let supervisor = UnixDatagram::bind(&notify)?;
        supervisor.set_nonblocking(true)?;
        let command = self.command_line(&notify);
        let log = self.log_path();
        let mut process = self.host.spawn_logging("sekishod", &command, log)?;
        let ready = wait_until(START, "sekishod is ready", || {
            if let Some(status) = process.exited()? {
                return Ok(Err(status));
            }
            let mut message = [0; 512];
            let length = supervisor
                .recv(&mut message)
                .context("it told its supervisor nothing")?;
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            ensure!(message.lines().any(|line| line == "READY=1"), "{message}");
            Ok(Ok(()))
        });
        match ready {
            Ok(Ok(())) => {
                self.process = Some(process);
                Ok(())
            }
            Ok(Err(status)) => bail!("sekishod ended with {status}:\n{}", process.log()),
            Err(error) => Err(error.context(format!("its log:\n{}", process.log()))),
        }
    }

    /// Starts the daemon and waits until it ends by itself: its exit status and its log.
    ///
    /// # Errors
    /// When it does not end.
    pub fn run_to_end(&self) -> Result<(ExitStatus, String)> {
        let mut process = self.host.spawn(
            "sekishod-to-end",
            &self.command_line(Path::new("/dev/null")),
        )?;
        let status = process.wait(START)?;
        Ok((status, process.log()))
    }

    fn command_line(&self, notify: &Path) -> String {
        format!(
            "env NOTIFY_SOCKET={} RUST_BACKTRACE=1 {} --config {}",
            notify.display(),
            self.daemon.display(),
            self.config_path().display()
        )
    }

    /// Kills it at once, as a crash would.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(Signal::SIGKILL, STOP)?;
        }
        Ok(())
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// When it does not end, or not with success.
    pub fn terminate(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            let status = process.stop(Signal::SIGTERM, STOP)?;
            ensure!(
                status.success(),
                "it ended with {status}:\n{}",
                process.log()
            );
        }
        Ok(())
    }

    /// The process, while it runs.
    ///
    /// # Errors
    /// When it was stopped or has ended by itself.
    pub fn process(&mut self) -> Result<&mut Process> {
        let process = self.process.as_mut().context("sekishod is not running")?;
        if let Some(status) = process.exited()? {
            bail!("sekishod ended with {status}:\n{}", process.log());
        }
        Ok(process)
    }

    /// The gateway's namespace.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The startup configuration's path.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("sekisho.toml")
    }

    /// The API socket's path.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("sekisho.sock")
    }

    /// What it has written, in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The file its output goes to.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.host
            .lab()
            .dir()
            .join(format!("{}-sekishod.log", self.host.name()))
    }

    fn write_config(&self, config: &str) -> Result<()> {
        fs::write(self.config_path(), self.place_socket(config))?;
        Ok(())
    }

    fn place_socket(&self, config: &str) -> String {
        config.replace("{socket}", &self.socket().display().to_string())
    }

    /// Runs the CLI, whatever its end; `args` are separated by spaces.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn cli_output(&self, args: &str) -> Result<Output> {
        let args: Vec<OsString> = args.split_whitespace().map(OsString::from).collect();
        let output = Command::new(&self.cli)
            .env("SEKISHO_SOCKET", self.socket())
            .args(args)
            .output()
            .context("cannot run `sekisho`")?;
        Ok(output.into())
    }

    /// What a command of the CLI prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn cli(&self, args: &str) -> Result<String> {
        self.cli_output(args)?.success(&format!("sekisho {args}"))
    }

    /// What a command of the CLI prints as JSON.
    ///
    /// # Errors
    /// When it fails or prints something else.
    pub fn cli_json(&self, args: &str) -> Result<Value> {
        let text = self.cli(&format!("--json {args}"))?;
        serde_json::from_str(&text).with_context(|| format!("`sekisho --json {args}`: {text}"))
    }

    /// Waits until what a command of the CLI prints holds `needle`.
    ///
    /// # Errors
    /// When `timeout` passes first.
    pub fn wait_cli(&self, args: &str, needle: &str, timeout: Duration) -> Result<String> {
        let what = format!("`sekisho {args}` has {needle:?}");
        wait_until(timeout, &what, || {
            let text = self.cli(args)?;
            ensure!(text.contains(needle), "{text}");
            Ok(text)
        })
    }

    /// Applies a configuration (with `{socket}`, as in [`Sekishod::prepare`]) with the CLI,
    /// whatever its end.
    ///
    /// # Errors
    /// When the CLI cannot be started.
    pub fn apply_output(&self, config: &str) -> Result<Output> {
        let candidate = self.dir.join("candidate.toml");
        fs::write(&candidate, self.place_socket(config))?;
        self.cli_output(&format!("apply {}", candidate.display()))
    }

    /// Applies a configuration and returns what the CLI says has changed.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply(&self, config: &str) -> Result<String> {
        self.apply_output(config)?.success("sekisho apply")
    }

    /// Runs `sekishod --check` on a configuration, whatever its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn check(&self, config: &str) -> Result<Output> {
        let candidate = self.dir.join("check.toml");
        fs::write(&candidate, self.place_socket(config))?;
        let output = Command::new(&self.daemon)
            .arg("--check")
            .arg(&candidate)
            .output()?;
        Ok(output.into())
    }

    /// How many packets each worker dropped for `reason`, summed, as `show drops` has it.
    ///
    /// # Errors
    /// When the CLI fails or knows no such reason.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        let text = self.cli("show drops --all")?;
        let line = text
            .lines()
            .find(|line| line.split_whitespace().next() == Some(reason))
            .with_context(|| format!("no drop reason {reason:?} in:\n{text}"))?;
        line.split_whitespace()
            .skip(1)
            .find_map(|word| word.parse().ok())
            .with_context(|| format!("no count in {line:?}"))
    }
}
