//! The configuration service: check, compare, commit.

use std::sync::Arc;

use tokio::sync::Mutex;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::api::v1::config_service_server::ConfigService;
use crate::api::v1::{self, ApplyRequest, ApplyResponse, GetRunningRequest, RunningConfig};
use crate::config::{self, Change, ChangeKind, ConfigDiff, Document, Problem, flatten, text_diff};

use super::status::{invalid_config, needs_restart};
use super::{Backend, Running};

pub(super) struct ConfigApi<B> {
    backend: Arc<B>,
    /// One candidate at a time is compared with what runs.
    applying: Mutex<()>,
}

impl<B> ConfigApi<B> {
    pub(super) fn new(backend: Arc<B>) -> Self {
        Self {
            backend,
            applying: Mutex::new(()),
        }
    }
}

#[tonic::async_trait]
impl<B: Backend> ConfigService for ConfigApi<B> {
    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let uid = peer_uid(&request);
        let request = request.into_inner();
        let documents: Vec<Document> = request.documents.into_iter().map(Document::from).collect();
        if documents.is_empty() {
            return Err(Status::invalid_argument(
                "there is no document; send the root document first",
            ));
        }
        let candidate = config::parse(documents).map_err(|errors| invalid_config(&errors))?;
        let _turn = self.applying.lock().await;
        let running = self.backend.running().await;
        let diff = ConfigDiff::between(&running.config, &candidate.config);
        let restarts: Vec<&Change> = diff.needing_restart().collect();
        if !restarts.is_empty() {
            return Err(needs_restart(&restarts));
        }
        let mut response = describe(&running, &candidate, &diff);
        if !request.validate_only && !response.diff.is_empty() {
            let comment = request.comment;
            // A commit goes on to its end, whoever hangs up meanwhile.
            let (backend, why) = (Arc::clone(&self.backend), comment.clone());
            let commit = tokio::spawn(async move { backend.commit(candidate, why).await });
            let generation = commit
                .await
                .map_err(|error| Status::internal(format!("the commit did not end: {error}")))?;
            response.generation = generation?;
            tracing::info!(
                generation = response.generation,
                changes = diff.changes.len(),
                uid,
                comment,
                "configuration applied"
            );
        }
        Ok(Response::new(response))
    }

    async fn get_running(
        &self,
        _: Request<GetRunningRequest>,
    ) -> Result<Response<RunningConfig>, Status> {
        let running = self.backend.running().await;
        Ok(Response::new(RunningConfig {
            generation: running.generation,
            documents: running.documents.into_iter().map(Into::into).collect(),
        }))
    }
}

fn describe(running: &Running, candidate: &config::Loaded, diff: &ConfigDiff) -> ApplyResponse {
    let (old, new) = (flatten(&running.documents), flatten(&candidate.documents));
    ApplyResponse {
        generation: running.generation,
        warnings: candidate.warnings.iter().map(Into::into).collect(),
        changes: diff.changes.iter().map(Into::into).collect(),
        diff: text_diff("running", &old, "candidate", &new),
    }
}

/// Who asks, for the log.
pub(super) fn peer_uid<T>(request: &Request<T>) -> Option<u32> {
    let info = request.extensions().get::<UdsConnectInfo>()?;
    info.peer_cred.map(|peer| peer.uid())
}

impl From<v1::Document> for Document {
    fn from(document: v1::Document) -> Self {
        Self {
            name: document.name,
            text: document.text,
        }
    }
}

impl From<Document> for v1::Document {
    fn from(document: Document) -> Self {
        Self {
            name: document.name,
            text: document.text,
        }
    }
}

impl From<&Problem> for v1::Problem {
    fn from(problem: &Problem) -> Self {
        let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            message: problem.message.clone(),
            file: problem.file.clone(),
            line: number(problem.line),
            column: number(problem.column),
            rendered: problem.to_string(),
        }
    }
}

impl From<&Change> for v1::Change {
    fn from(change: &Change) -> Self {
        let kind = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
        };
        Self {
            kind: kind.into(),
            what: change.what.into(),
            name: change.name.clone(),
            needs_restart: change.needs_restart,
        }
    }
}
