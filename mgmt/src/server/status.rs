//! Errors as `google.rpc` statuses with details.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

use crate::config::{Change, ConfigErrors};

use super::BackendError;

/// Details travel in HTTP/2 trailers, of which clients accept 8 KiB or more in all.
const MAX_DETAILS: usize = 4096;

/// A wrong document: one violation for each problem, as many as fit.
pub(super) fn invalid_config(errors: &ConfigErrors) -> Status {
    let mut violations = Vec::new();
    let mut size = 0;
    for problem in errors.errors() {
        let (field, description) = (problem.location(), problem.to_string());
        size += field.len() + description.len();
        if size > MAX_DETAILS && !violations.is_empty() {
            break;
        }
        violations.push(FieldViolation::new(field, truncated(&description)));
    }
    let count = errors.errors().count();
    let first = violations
        .first()
        .map_or_else(String::new, |violation| violation.field.clone());
    let message = match count {
        1 => format!("the configuration has an error, at {first}"),
        _ => format!("the configuration has {count} errors, the first at {first}"),
    };
    let mut details = ErrorDetails::with_bad_request(violations);
    details.set_error_info("CONFIG_INVALID", DOMAIN, HashMap::new());
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// A change that a running daemon cannot make.
pub(super) fn needs_restart(changes: &[&Change]) -> Status {
    let violations: Vec<PreconditionViolation> = changes
        .iter()
        .take(16)
        .map(|change| {
            let subject = format!("{} {}", change.what, change.name);
            PreconditionViolation::new("RESTART", subject.trim_end(), change.to_string())
        })
        .collect();
    let list: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let message = format!(
        "{}: this takes effect only at the start; write the file and restart sekishod",
        truncated(&list.join(", "))
    );
    let mut details = ErrorDetails::with_precondition_failure(violations);
    details.set_error_info("NEEDS_RESTART", DOMAIN, HashMap::new());
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

const DOMAIN: &str = "sekisho";

impl From<BackendError> for Status {
    fn from(error: BackendError) -> Self {
        let (code, reason) = match error {
            BackendError::NotFound(_) => (Code::NotFound, "NOT_FOUND"),
            BackendError::Invalid(_) => (Code::InvalidArgument, "INVALID"),
            BackendError::Unavailable(_) => (Code::Unavailable, "UNAVAILABLE"),
            BackendError::Refused(_) => (Code::Aborted, "COMMIT_REFUSED"),
        };
        let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
        Self::with_error_details(code, truncated(&error.to_string()), details)
    }
}

/// At most half of what fits the trailers.
fn truncated(text: &str) -> String {
    let limit = MAX_DETAILS / 2;
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} ...", &text[..end]),
    }
}
