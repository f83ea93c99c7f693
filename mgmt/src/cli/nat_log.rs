//! `show nat log` and `show nat who ...`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::api::v1::nat_service_client::NatServiceClient;
use crate::api::v1::{GetNatLogRequest, NatLog};
use crate::nat_log::{Answer, Record, Search, Time, Within};

use super::CliError;
use super::client::Client;
use super::table::{Table, count};

#[derive(Debug, Args)]
pub(super) struct Who {
    /// The outside address and port (or ICMP identifier), like 203.0.113.7:40123
    #[arg(value_name = "ADDRESS:PORT")]
    outside: SocketAddrV4,
    /// The protocol
    #[arg(value_parser = ["tcp", "udp", "icmp"])]
    protocol: String,
    /// When, in UTC, like 2026-11-25T12:05; ever, if it is not said
    #[arg(long, value_name = "TIME")]
    at: Option<Within>,
    /// Files to read, the oldest first, `-` for standard input; by default the log's file and what
    /// logrotate made of it (FILE.1, FILE.2, ..)
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) async fn show(client: &mut Client) -> Result<String, CliError> {
    client.show(&get(client).await?, log)
}

async fn get(client: &Client) -> Result<NatLog, CliError> {
    let mut service = NatServiceClient::new(client.connect().await?);
    Ok(service.get_nat_log(GetNatLogRequest {}).await?.into_inner())
}

fn log(log: &NatLog) -> String {
    let mut table = Table::new(&["Output", "Target", ">Written", ">Failed", "Last error"]);
    for output in &log.outputs {
        table.row(vec![
            output.kind.clone(),
            output.target.clone(),
            output.written.to_string(),
            output.failed.to_string(),
            output.last_error.clone(),
        ]);
    }
    let destinations = if log.destinations {
        " with destinations"
    } else {
        ""
    };
    format!(
        "Level {}{destinations}, {} events, {} lost\n\n{}",
        log.level,
        log.events,
        log.lost,
        table.render()
    )
}

pub(super) async fn who(who: &Who, client: &mut Client) -> Result<String, CliError> {
    let files = match &who.files[..] {
        [] => rotated(&own_file(client).await?),
        files => files.to_vec(),
    };
    let within = who.at.unwrap_or(Within::EVER);
    let mut search = Search::new(*who.outside.ip(), who.outside.port(), &who.protocol, within);
    for file in &files {
        let fail = |error: io::Error| {
            let message = format!("cannot read {}: {error}", file.display());
            CliError::Output(io::Error::new(error.kind(), message))
        };
        if file == Path::new("-") {
            read(io::stdin().lock(), &mut search).map_err(fail)?;
        } else {
            let opened = File::open(file).map_err(fail)?;
            read(BufReader::new(opened), &mut search).map_err(fail)?;
        }
    }
    client.show(&search.answers(), |answers| found(answers))
}

async fn own_file(client: &Client) -> Result<PathBuf, CliError> {
    let outputs = get(client).await?.outputs;
    let mut files = outputs.into_iter().filter(|output| output.kind == "file");
    files.next().map(|file| file.target.into()).ok_or_else(|| {
        let message = "the translation log has no file; name one with --file, or write file = in \
                       [nat-log]";
        CliError::Usage(message.into())
    })
}

/// The file and what was rotated away of it, the oldest first.
fn rotated(file: &Path) -> Vec<PathBuf> {
    let older = |number: u32| PathBuf::from(format!("{}.{number}", file.display()));
    let numbered = (1..).map(older).take_while(|path| path.exists());
    let mut files: Vec<PathBuf> = numbered.collect();
    files.reverse();
    files.push(file.to_owned());
    files
}

/// Reads a file; a line that is no record, such as the last of a full disk, is passed over.
fn read(lines: impl BufRead, search: &mut Search) -> io::Result<()> {
    for line in lines.split(b'\n') {
        if let Ok(record) = serde_json::from_slice::<Record>(&line?) {
            search.read(&record);
        }
    }
    Ok(())
}

fn found(answers: &[Answer]) -> String {
    let has_remotes = answers.iter().any(|answer| answer.remote_address.is_some());
    let mut columns = vec!["Since", "Until", "Tenant", "Inside", "By"];
    if has_remotes {
        columns.push("Remote");
    }
    let mut table = Table::new(&columns);
    let time = |time: Option<Time>, unknown: &str| {
        time.map_or_else(|| unknown.to_owned(), |time| time.to_string())
    };
    let port = |port: Option<u16>| port.map_or(String::new(), |port| format!(":{port}"));
    for answer in answers {
        let mut row = vec![
            time(answer.since, "before the log"),
            time(answer.until, "now"),
            answer.tenant.clone(),
            format!("{}{}", answer.inside_address, port(answer.inside_port)),
            answer.by.to_owned(),
        ];
        if has_remotes {
            let remote = answer.remote_address.map(|remote| remote.to_string());
            row.push(remote.unwrap_or_default() + &port(answer.remote_port));
        }
        table.row(row);
    }
    format!(
        "{}\n{} found\n",
        table.render(),
        count(answers.len(), "answer")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1::NatLogOutput;

    #[test]
    fn the_log_is_shown_with_its_outputs() {
        let shown = log(&NatLog {
            level: "sessions".into(),
            destinations: true,
            events: 7,
            lost: 2,
            outputs: vec![NatLogOutput {
                kind: "file".into(),
                target: "/var/log/nat.log".into(),
                written: 4,
                failed: 3,
                last_error: "No space left on device".into(),
            }],
        });
        let expected = "\
Level sessions with destinations, 7 events, 2 lost

Output  Target            Written  Failed  Last error
file    /var/log/nat.log        4       3  No space left on device
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn rotated_files_are_read_from_the_oldest_on_and_damaged_lines_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nat.log");
        let line = |time: &str, event: &str| {
            format!(
                "{{\"time\":\"2026-11-25T{time}Z\",\"event\":\"mapping-{event}\",\
                 \"tenant\":\"blue\",\"protocol\":\"udp\",\"inside_address\":\"172.16.10.11\",\
                 \"inside_port\":4000,\"outside_address\":\"203.0.113.7\",\
                 \"outside_port\":40123}}\n"
            )
        };
        let oldest = format!("{}{{\"time\":\"2026-11-", line("12:00:00", "created"));
        std::fs::write(folder.path().join("nat.log.2"), oldest).unwrap();
        std::fs::write(folder.path().join("nat.log.1"), "\n").unwrap();
        std::fs::write(&file, line("12:30:00", "deleted")).unwrap();
        let files = rotated(&file);
        assert_eq!(files.len(), 3);
        let at = "2026-11-25T12:05".parse().unwrap();
        let mut search = Search::new([203, 0, 113, 7].into(), 40123, "udp", at);
        for file in files {
            read(BufReader::new(File::open(file).unwrap()), &mut search).unwrap();
        }
        let expected = "\
Since                     Until                     Tenant  Inside             By
2026-11-25T12:00:00.000Z  2026-11-25T12:30:00.000Z  blue    172.16.10.11:4000  mapping

1 answer found
";
        assert_eq!(found(&search.answers()), expected);
    }
}
