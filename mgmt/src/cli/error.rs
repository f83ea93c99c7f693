//! What goes wrong on the command line, for people and for programs.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::config::{LoadError, render};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nobody answers.
    #[error(
        "sekishod is not running: nothing answers on {}; start it, or name its socket with --socket",
        path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket exists, but not for us.
    #[error(
        "you may not use {}; run this as root or as a member of the socket's group",
        path.display()
    )]
    NotPermitted {
        /// The socket.
        path: PathBuf,
    },
    /// The connection failed otherwise.
    #[error("cannot talk to sekishod on {}: {reason}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The daemon answered with an error.
    #[error("{}", .0.message())]
    Status(#[from] Status),
    /// A configuration could not be read, or is wrong.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The words were not understood.
    #[error("{0}")]
    Usage(String),
    /// The answer could not be shown.
    #[error("cannot show the answer: {0}")]
    Output(#[from] io::Error),
    /// The answer could not be made JSON.
    #[error("cannot show the answer as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    /// 2 for wrong usage, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }

    /// For people; ends with a newline.
    pub fn text(&self) -> String {
        match self {
            Self::Load(LoadError::Config(errors)) => render(&errors.problems),
            Self::Status(status) => {
                let details = status.get_error_details();
                let violations = details.bad_request().map(|bad| &bad.field_violations);
                let shown: Vec<&str> = violations
                    .into_iter()
                    .flatten()
                    .map(|violation| violation.description.as_str())
                    .collect();
                format!("{}error: {self}\n", shown.join("\n"))
            }
            _ => format!("error: {self}\n"),
        }
    }

    /// For programs: `{"error": {"code", "message", "problems": [{"location", "message"}]}}`.
    pub fn json(&self) -> Value {
        let problems: Vec<Value> = match self {
            Self::Load(LoadError::Config(errors)) => errors
                .errors()
                .map(|problem| json!({"location": problem.location(), "message": problem.message}))
                .collect(),
            Self::Status(status) => {
                let details = status.get_error_details();
                let violations = details.bad_request().map(|bad| &bad.field_violations);
                violations
                    .into_iter()
                    .flatten()
                    .map(|violation| {
                        json!({"location": violation.field, "message": violation.description})
                    })
                    .collect()
            }
            _ => Vec::new(),
        };
        let message = match self {
            Self::Load(LoadError::Config(errors)) => match errors.errors().count() {
                1 => "the configuration has an error".to_owned(),
                n => format!("the configuration has {n} errors"),
            },
            _ => self.to_string().trim_end().to_owned(),
        };
        json!({"error": {"code": self.code(), "message": message, "problems": problems}})
    }

    /// The gRPC code's name, also for what was found before the daemon was asked.
    fn code(&self) -> &'static str {
        let code = match self {
            Self::NotRunning { .. } | Self::Connect { .. } => Code::Unavailable,
            Self::NotPermitted { .. } => Code::PermissionDenied,
            Self::Status(status) => status.code(),
            Self::Load(LoadError::Read { .. }) => Code::NotFound,
            Self::Load(LoadError::Config(_)) | Self::Usage(_) => Code::InvalidArgument,
            Self::Output(_) | Self::Json(_) => Code::Internal,
        };
        match code {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}
