//! The shell at the end of the demo, with the laboratory up.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use sekisho_tests::lab::bin_dir;

use crate::demo::Stage;

/// Opens the user's shell with `sekisho` and a few helpers in its PATH, and waits for its end.
///
/// # Errors
/// When the helpers cannot be written or the shell cannot be run.
pub(crate) fn open(stage: &Stage) -> Result<()> {
    let lab = &stage.topology.lab;
    let helpers = lab.make_dir("bin")?;
    write_helpers(stage, &helpers)?;
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = vec![helpers, bin_dir()?];
    places.extend(env::split_paths(&path));
    let hosts: Vec<&str> = stage
        .topology
        .hosts()
        .iter()
        .map(|host| host.name())
        .collect();
    println!(
        "
A shell with the laboratory up; everything is removed when you leave it. Try:
  sekisho show ip route            sekisho show bgp summary      sekisho show nat sessions
  on blue-web1 ping 192.0.2.80     a command on a host; without a command, a shell there
  router isp-a                     FRR's shell; also: router isp-b, router server
  gateway restart                  also: stop, start, kill, log, config
Hosts: {}
The configuration: {} (sekisho apply FILE)
",
        hosts.join(" "),
        stage.sekishod.config_path().display()
    );
    let shell = env::var_os("SHELL").unwrap_or_else(|| "bash".into());
    Command::new(&shell)
        .env("PATH", env::join_paths(places)?)
        .env("SEKISHO_SOCKET", stage.sekishod.socket())
        .status()
        .with_context(|| format!("cannot run {}", shell.display()))?;
    Ok(())
}

fn write_helpers(stage: &Stage, dir: &Path) -> Result<()> {
    let lab = &stage.topology.lab;
    let prefix = lab.netns_prefix();
    let on = format!(
        "#!/bin/sh\n\
         [ $# -gt 0 ] || {{ echo 'usage: on HOST [COMMAND...]' >&2; exit 2; }}\n\
         host={prefix}$1; shift\n\
         [ $# -gt 0 ] || set -- \"${{SHELL:-bash}}\"\n\
         exec ip netns exec \"$host\" \"$@\"\n"
    );
    let router = format!(
        "#!/bin/sh\n\
         [ $# -gt 0 ] || {{ echo 'usage: router isp-a|isp-b|server' >&2; exit 2; }}\n\
         name=$1; shift\n\
         exec vtysh --vty_socket {}/\"$name\"-frr \"$@\"\n",
        lab.dir().display()
    );
    let gateway = format!(
        "#!/bin/sh\n\
         netns={}\nconfig={}\nlog={}\ndaemon={}\n{}",
        stage.topology.gateway.netns(),
        stage.sekishod.config_path().display(),
        stage.sekishod.log_path().display(),
        bin_dir()?.join("sekishod").display(),
        include_str!("gateway.sh")
    );
    for (name, text) in [("on", on), ("router", router), ("gateway", gateway)] {
        let file = dir.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
