//! The connection to the daemon, and how its answers are shown.

use std::io;
use std::path::PathBuf;

use serde::Serialize;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::CliError;

/// A daemon that is connected to when something is asked of it.
pub(super) struct Client {
    socket: PathBuf,
    json: bool,
}

impl Client {
    pub(super) fn new(socket: PathBuf, json: bool) -> Self {
        Self { socket, json }
    }

    /// A connection.
    pub(super) async fn connect(&self) -> Result<Channel, CliError> {
        let path = || self.socket.clone();
        // Tried by itself first, for the transport hides why it cannot connect.
        UnixStream::connect(&self.socket)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    CliError::NotRunning { path: path() }
                }
                io::ErrorKind::PermissionDenied => CliError::NotPermitted { path: path() },
                _ => CliError::Connect {
                    path: path(),
                    reason: error.to_string(),
                },
            })?;
        let fail = |error: tonic::transport::Error| CliError::Connect {
            path: path(),
            reason: error.to_string(),
        };
        Endpoint::from_shared(format!("unix:{}", self.socket.display()))
            .map_err(fail)?
            .connect()
            .await
            .map_err(fail)
    }

    /// Whether the answer is for a program.
    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    /// The answer as JSON, or as the text that `render` makes of it.
    pub(super) fn show<T: Serialize>(
        &self,
        view: &T,
        render: impl FnOnce(&T) -> String,
    ) -> Result<String, CliError> {
        if self.json {
            Ok(serde_json::to_string_pretty(view)? + "\n")
        } else {
            Ok(render(view))
        }
    }
}

/// Every row of a stream.
pub(super) async fn collect<T>(mut stream: tonic::Streaming<T>) -> Result<Vec<T>, CliError> {
    let mut rows = Vec::new();
    while let Some(row) = stream.message().await? {
        rows.push(row);
    }
    Ok(rows)
}
