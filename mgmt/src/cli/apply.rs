//! `apply` and `show config`.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::api::v1::config_service_client::ConfigServiceClient;
use crate::api::v1::{ApplyRequest, ApplyResponse, Change, GetRunningRequest, RunningConfig};
use crate::config::{Problem, flatten, load, render};

use super::CliError;
use super::client::Client;

/// A running configuration may be long.
const MAX_REPLY: usize = 256 << 20;

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The root document; what it includes is read too.
    file: PathBuf,
    /// Only say what would happen. Without a daemon, only check the file.
    #[arg(long)]
    check: bool,
    /// Why, for the log.
    #[arg(long, default_value = "", value_name = "TEXT")]
    comment: String,
}

pub(super) async fn run(
    apply: &Apply,
    client: &mut Client,
    err: &mut (dyn Write + Send),
) -> Result<String, CliError> {
    // Checked here first: all errors can be shown, and without a daemon.
    let loaded = load(&apply.file)?;
    let channel = match client.connect().await {
        Err(CliError::NotRunning { .. }) if apply.check => {
            warn(&loaded.warnings, client, err)?;
            return client.show(&ApplyResponse::default(), |_| {
                format!(
                    "{} is right; without a daemon there is nothing to compare it with\n",
                    apply.file.display()
                )
            });
        }
        other => other?,
    };
    let request = ApplyRequest {
        documents: loaded.documents.into_iter().map(Into::into).collect(),
        validate_only: apply.check,
        comment: apply.comment.clone(),
    };
    let mut service = ConfigServiceClient::new(channel).max_decoding_message_size(MAX_REPLY);
    let reply = service.apply(request).await?.into_inner();
    warn(&loaded.warnings, client, err)?;
    client.show(&reply, |reply| outcome(reply, apply.check))
}

/// Warnings go beside the answer; JSON holds them itself.
fn warn(
    warnings: &[Problem],
    client: &Client,
    err: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    if !client.wants_json() {
        err.write_all(render(warnings).as_bytes())?;
    }
    Ok(())
}

fn outcome(reply: &ApplyResponse, check: bool) -> String {
    let changes: Vec<String> = reply.changes.iter().map(shown).collect();
    let changes = match (changes.as_slice(), reply.diff.as_str()) {
        ([], "") => "nothing changed".to_owned(),
        ([], _) => "only the text changed".to_owned(),
        _ => changes.join("; "),
    };
    let mut text = if check {
        format!("check against generation {}: {changes}\n", reply.generation)
    } else {
        format!("generation {}: {changes}\n", reply.generation)
    };
    if check && !reply.diff.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}", reply.diff);
    }
    text
}

fn shown(change: &Change) -> String {
    match change.name.as_str() {
        "" => format!("{} {}", change.what, change.kind),
        name => format!("{} {name} {}", change.what, change.kind),
    }
}

pub(super) async fn show_running(client: &mut Client) -> Result<String, CliError> {
    let channel = client.connect().await?;
    let mut service = ConfigServiceClient::new(channel).max_decoding_message_size(MAX_REPLY);
    let reply = service.get_running(GetRunningRequest {}).await?;
    client.show(&reply.into_inner(), running)
}

fn running(running: &RunningConfig) -> String {
    let documents: Vec<_> = running.documents.iter().cloned().map(Into::into).collect();
    format!(
        "# generation {}\n{}",
        running.generation,
        flatten(&documents)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> ApplyResponse {
        let change = |kind: &str, what: &str, name: &str| Change {
            kind: kind.into(),
            what: what.into(),
            name: name.into(),
            needs_restart: false,
        };
        ApplyResponse {
            generation: 3,
            changes: vec![
                change("added", "tenant", "green"),
                change("changed", "nat", ""),
            ],
            diff: "--- running\n+++ candidate\n".into(),
            ..ApplyResponse::default()
        }
    }

    #[test]
    fn what_changed_is_one_line() {
        let text = outcome(&reply(), false);
        assert_eq!(text, "generation 3: tenant green added; nat changed\n");
        let nothing = ApplyResponse::default();
        assert_eq!(outcome(&nothing, false), "generation 0: nothing changed\n");
    }

    #[test]
    fn a_check_also_shows_the_lines() {
        let expected = "\
check against generation 3: tenant green added; nat changed

--- running
+++ candidate
";
        assert_eq!(outcome(&reply(), true), expected);
    }
}
