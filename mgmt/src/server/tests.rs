//! The server and the command line over a real socket, with a daemon that is only a record of what
//! it was asked.

mod nat;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint as Target};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use super::*;
use crate::api::v1;
use crate::api::v1::config_service_client::ConfigServiceClient;
use crate::api::v1::nat_service_client::NatServiceClient;
use crate::cli::{Cli, CliError};
use crate::config::{Document, Loaded, parse};

const GOOD: &str = include_str!("../config/testdata/good.toml");

fn documents(text: &str) -> Vec<Document> {
    vec![Document {
        name: "sekisho.toml".into(),
        text: text.into(),
    }]
}

/// Runs the good configuration, and whatever is committed after it.
struct Fake {
    running: Mutex<Running>,
    refuse: bool,
}

impl Fake {
    fn new() -> Self {
        let loaded = parse(documents(GOOD)).unwrap();
        Self {
            running: Mutex::new(Running {
                generation: 1,
                config: loaded.config,
                documents: loaded.documents,
            }),
            refuse: false,
        }
    }

    fn generation(&self) -> u64 {
        self.running.lock().unwrap().generation
    }
}

impl Backend for Fake {
    async fn running(&self) -> Running {
        self.running.lock().unwrap().clone()
    }

    async fn commit(&self, candidate: Loaded, _: String) -> Result<u64, BackendError> {
        if self.refuse {
            return Err(BackendError::Refused("the FIB is full".into()));
        }
        let mut running = self.running.lock().unwrap();
        running.generation += 1;
        running.config = candidate.config;
        running.documents = candidate.documents;
        Ok(running.generation)
    }

    async fn routes(&self, query: v1::ListRoutesRequest) -> Result<Rows<v1::Route>, BackendError> {
        if query.vrf == "red" {
            let message = "there is no VRF red; there is blue, green";
            return Err(BackendError::NotFound(message.into()));
        }
        let route = |n: u32| v1::Route {
            vrf: query.vrf.clone(),
            prefix: format!("10.{}.{}.0/24", n / 256, n % 256),
            protocol: "static".into(),
            distance: 1,
            selected: true,
            installed: true,
            next_hops: vec![v1::NextHop {
                kind: "discard".into(),
                active: true,
                weight: 1,
                ..v1::NextHop::default()
            }],
            ..v1::Route::default()
        };
        Ok(rows((0..3000).map(route).collect()))
    }

    async fn bgp_summary(&self) -> v1::BgpSummary {
        let neighbor = |address: &str| v1::BgpNeighbor {
            address: address.into(),
            ..v1::BgpNeighbor::default()
        };
        v1::BgpSummary {
            configured: true,
            neighbors: vec![neighbor("198.51.100.0"), neighbor("198.51.100.2")],
            ..v1::BgpSummary::default()
        }
    }

    async fn bgp_routes(
        &self,
        _: v1::ListBgpRoutesRequest,
    ) -> Result<Rows<v1::BgpRoute>, BackendError> {
        Ok(rows(Vec::new()))
    }

    async fn interfaces(&self) -> Vec<v1::Interface> {
        Vec::new()
    }

    async fn tunnels(&self) -> Vec<v1::Tunnel> {
        Vec::new()
    }

    async fn neighbors(
        &self,
        _: v1::ListNeighborsRequest,
    ) -> Result<Rows<v1::Neighbor>, BackendError> {
        Ok(rows(Vec::new()))
    }

    async fn endpoints(
        &self,
        _: v1::ListEndpointsRequest,
    ) -> Result<Rows<v1::Endpoint>, BackendError> {
        Ok(rows(Vec::new()))
    }

    async fn sessions(
        &self,
        _: v1::ListSessionsRequest,
    ) -> Result<Rows<v1::NatSession>, BackendError> {
        // More than anybody could hold: only a limit ends it.
        let session = v1::NatSession::default();
        Ok(Box::pin(tokio_stream::iter(std::iter::repeat(session))))
    }

    async fn clear_sessions(&self, filter: v1::SessionFilter) -> Result<u64, BackendError> {
        Ok(if filter.tenant == "blue" { 1 } else { 5 })
    }

    async fn flows(&self, _: v1::ListFlowsRequest) -> Result<Rows<v1::Flow>, BackendError> {
        let flows = std::iter::repeat(v1::Flow::default());
        Ok(Box::pin(tokio_stream::iter(flows)))
    }

    async fn nat_statistics(
        &self,
        _: v1::GetNatStatisticsRequest,
    ) -> Result<v1::NatStatistics, BackendError> {
        Ok(v1::NatStatistics::default())
    }

    async fn pools(&self, _: v1::ListPoolsRequest) -> Result<Vec<v1::NatPool>, BackendError> {
        Ok(Vec::new())
    }

    async fn nat_tenants(&self) -> Vec<v1::NatTenant> {
        Vec::new()
    }

    async fn nat_log(&self) -> v1::NatLog {
        v1::NatLog::default()
    }

    async fn rules(&self) -> Vec<v1::NatRule> {
        Vec::new()
    }

    async fn version(&self) -> v1::Version {
        v1::Version {
            version: "0.1.0".into(),
            dpdk: "22.11.1".into(),
        }
    }

    async fn status(&self) -> v1::Status {
        v1::Status::default()
    }

    async fn workers(&self) -> Vec<v1::Worker> {
        Vec::new()
    }

    async fn drops(&self) -> Vec<v1::Drop> {
        let drop = |reason: &str, total| v1::Drop {
            reason: reason.into(),
            total,
            ..v1::Drop::default()
        };
        vec![drop("no-route", 1), drop("ttl", 0)]
    }
}

/// A server in this process.
struct Daemon {
    folder: tempfile::TempDir,
    backend: Arc<Fake>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Daemon {
    async fn start(backend: Fake) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&folder.path().join("s")).await.unwrap();
        let backend = Arc::new(backend);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, Arc::clone(&backend), async {
            let _ = stopped.await;
        }));
        Self {
            folder,
            backend,
            stop,
            task,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    async fn channel(&self) -> Channel {
        let uri = format!("unix:{}", self.socket().display());
        Target::from_shared(uri).unwrap().connect().await.unwrap()
    }

    /// Runs `sekisho` with `line` as its arguments; its output.
    async fn sekisho(&self, line: &str) -> Result<String, CliError> {
        sekisho(&self.socket(), line).await
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    async fn stop(self) -> tempfile::TempDir {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        self.folder
    }
}

async fn sekisho(socket: &Path, line: &str) -> Result<String, CliError> {
    let socket = socket.display().to_string();
    let words = ["sekisho", "--socket", &socket];
    let words = words.into_iter().chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    crate::cli::run(cli, &mut out, &mut err).await?;
    err.extend(out);
    Ok(String::from_utf8(err).unwrap())
}

#[tokio::test]
async fn a_file_is_applied_and_shown() {
    let daemon = Daemon::start(Fake::new()).await;
    let text = format!("{GOOD}\n[[tenant]]\nname = \"red\"\n");
    let file = daemon.file("new.toml", &text);
    let checked = daemon
        .sekisho(&format!("apply {file} --check"))
        .await
        .unwrap();
    assert!(
        checked.starts_with("check against generation 1: tenant red added\n"),
        "{checked}"
    );
    assert!(checked.contains("+name = \"red\""), "{checked}");
    assert_eq!(daemon.backend.generation(), 1, "a check commits nothing");
    let applied = daemon.sekisho(&format!("apply {file}")).await.unwrap();
    assert_eq!(applied, "generation 2: tenant red added\n");
    let again = daemon.sekisho(&format!("apply {file}")).await.unwrap();
    assert_eq!(again, "generation 2: nothing changed\n");
    let shown = daemon.sekisho("show config").await.unwrap();
    assert_eq!(shown, format!("# generation 2\n{text}"));
    let json = daemon.sekisho("--json show config").await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["documents"][0]["name"], "new.toml");
}

#[tokio::test]
async fn warnings_are_shown_and_do_not_hinder() {
    let daemon = Daemon::start(Fake::new()).await;
    let file = daemon.file("new.toml", &GOOD.replacen("\"5m\"", "\"30s\"", 1));
    let text = daemon.sekisho(&format!("apply {file}")).await.unwrap();
    assert!(text.starts_with("warning: less than 120s"), "{text}");
    assert!(text.ends_with("generation 2: nat changed\n"), "{text}");
}

#[tokio::test]
async fn a_wrong_document_is_refused_with_its_places() {
    let daemon = Daemon::start(Fake::new()).await;
    let mut config = ConfigServiceClient::new(daemon.channel().await);
    let request = v1::ApplyRequest {
        documents: vec![v1::Document {
            name: "x.toml".into(),
            text: "[gateway]\nworker = 2\n\n[nta]\n".into(),
        }],
        ..v1::ApplyRequest::default()
    };
    let status = config.apply(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "the configuration has 2 errors, the first at x.toml:2:1"
    );
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "x.toml:2:1");
    assert!(violations[0].description.contains("2 | worker = 2"));
    assert_eq!(violations[1].field, "x.toml:4:2");
    assert_eq!(daemon.backend.generation(), 1);
}

#[tokio::test]
async fn a_document_with_very_many_errors_is_still_answered() {
    let daemon = Daemon::start(Fake::new()).await;
    let mut config = ConfigServiceClient::new(daemon.channel().await);
    let text: String = (0..5000).map(|n| format!("[x{n}]\n")).collect();
    let request = v1::ApplyRequest {
        documents: vec![v1::Document {
            name: "x.toml".into(),
            text,
        }],
        ..v1::ApplyRequest::default()
    };
    let status = config.apply(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("5000 errors"), "{status}");
    let details = status.get_error_details();
    assert!(details.bad_request().unwrap().field_violations.len() > 5);
}

#[tokio::test]
async fn a_change_of_the_process_needs_a_restart() {
    let daemon = Daemon::start(Fake::new()).await;
    let file = daemon.file("new.toml", &GOOD.replacen("workers = 2", "workers = 3", 1));
    let error = daemon.sekisho(&format!("apply {file}")).await.unwrap_err();
    let CliError::Status(status) = &error else {
        panic!("{error}");
    };
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = status.get_error_details();
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(
        (violation.r#type.as_str(), violation.subject.as_str()),
        ("RESTART", "gateway")
    );
    assert!(
        error.text().contains("restart sekishod"),
        "{}",
        error.text()
    );
    assert_eq!(daemon.backend.generation(), 1);
}

#[tokio::test]
async fn what_the_data_plane_refuses_is_said() {
    let daemon = Daemon::start(Fake {
        refuse: true,
        ..Fake::new()
    })
    .await;
    let file = daemon.file("new.toml", &GOOD.replacen("\"5m\"", "\"6m\"", 1));
    let error = daemon.sekisho(&format!("apply {file}")).await.unwrap_err();
    assert_eq!(error.json()["error"]["code"], "ABORTED");
    assert_eq!(error.text(), "error: the FIB is full\n");
}

#[tokio::test]
async fn long_tables_are_streamed() {
    let daemon = Daemon::start(Fake::new()).await;
    let text = daemon.sekisho("sh ip ro vrf blue").await.unwrap();
    assert!(text.contains("VRF blue:\n"), "{text}");
    let last = "S>* 10.11.183.0/24 [1/0] unreachable (blackhole), weight 1, 00:00:00\n";
    assert!(text.ends_with(last));
    let json = daemon.sekisho("show ip route --json").await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 3000);
}

#[tokio::test]
async fn what_does_not_exist_is_said_with_what_does() {
    let daemon = Daemon::start(Fake::new()).await;
    let error = daemon.sekisho("show ip route vrf red").await.unwrap_err();
    let text = error.text();
    assert_eq!(text, "error: there is no VRF red; there is blue, green\n");
    assert_eq!(error.json()["error"]["code"], "NOT_FOUND");
    assert_eq!(error.exit_code(), 1);
    let error = daemon
        .sekisho("show bgp neighbors 192.0.2.1")
        .await
        .unwrap_err();
    let message = "there is no BGP neighbor 192.0.2.1; there is 198.51.100.0, 198.51.100.2";
    assert_eq!(error.to_string(), message);
}

#[tokio::test]
async fn drops_that_never_happened_are_shown_on_demand() {
    let daemon = Daemon::start(Fake::new()).await;
    let seen = daemon.sekisho("show drops").await.unwrap();
    assert!(seen.contains("no-route") && !seen.contains("ttl"), "{seen}");
    let all = daemon.sekisho("show drops --all").await.unwrap();
    assert!(all.contains("ttl"), "{all}");
}

#[tokio::test]
async fn every_show_command_has_text_and_json() {
    let daemon = Daemon::start(Fake::new()).await;
    for command in [
        "bgp summary",
        "bgp neighbors",
        "bgp ipv4 unicast",
        "interfaces",
        "tunnels",
        "endpoints",
        "nat pools",
        "nat rules",
        "nat tenants",
        "workers",
        "drops",
        "status",
        "version",
    ] {
        daemon.sekisho(&format!("show {command}")).await.unwrap();
        let json = daemon.sekisho(&format!("show {command} --json")).await;
        let json: Result<serde_json::Value, _> = serde_json::from_str(&json.unwrap());
        assert!(json.is_ok(), "{command}");
    }
}

#[tokio::test]
async fn health_answers_for_the_server_and_each_service() {
    let daemon = Daemon::start(Fake::new()).await;
    let mut health = HealthClient::new(daemon.channel().await);
    for service in ["", "sekisho.v1.ConfigService", "sekisho.v1.NatService"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let reply = health.check(request).await.unwrap().into_inner();
        assert_eq!(reply.status, 1, "{service:?} is serving");
    }
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let daemon = Daemon::start(Fake::new()).await;
    macro_rules! services {
        ($version:ident) => {{
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new(daemon.channel().await);
            let stream = client
                .server_reflection_info(tokio_stream::once(request))
                .await;
            let reply = stream
                .unwrap()
                .into_inner()
                .message()
                .await
                .unwrap()
                .unwrap();
            match reply.message_response {
                Some(MessageResponse::ListServicesResponse(list)) => list
                    .service
                    .into_iter()
                    .map(|service| service.name)
                    .collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        }};
    }
    for services in [services!(v1), services!(v1alpha)] {
        for name in ["sekisho.v1.RoutingService", "grpc.health.v1.Health"] {
            assert!(
                services.iter().any(|service| service == name),
                "{services:?}"
            );
        }
    }
}

#[tokio::test]
async fn only_owner_and_group_may_use_the_socket_which_goes_with_the_server() {
    use std::os::unix::fs::PermissionsExt as _;
    let daemon = Daemon::start(Fake::new()).await;
    let socket = daemon.socket();
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let folder = daemon.stop().await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn the_server_stops_although_a_client_holds_a_stream() {
    let daemon = Daemon::start(Fake::new()).await;
    let mut nat = NatServiceClient::new(daemon.channel().await);
    let stream = nat.list_sessions(v1::ListSessionsRequest::default()).await;
    let mut stream = stream.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let stopped = tokio::time::timeout(Duration::from_secs(10), daemon.stop()).await;
    assert!(stopped.is_ok(), "it would wait for ever");
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_a_stale_socket_replaced() {
    let daemon = Daemon::start(Fake::new()).await;
    let error = Listener::bind(&daemon.socket()).await.unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    let stale = daemon.folder.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(Listener::bind(&stale).await.is_ok());
    let file = daemon.folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let error = Listener::bind(&file).await.unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn without_a_daemon_one_sentence_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let error = sekisho(&socket, "show version").await.unwrap_err();
    let expected = format!(
        "error: sekishod is not running: nothing answers on {}; start it, or name its socket with \
         --socket\n",
        socket.display()
    );
    assert_eq!(error.text(), expected);
    assert_eq!(error.json()["error"]["code"], "UNAVAILABLE");
    assert_eq!(error.exit_code(), 1);
}

#[tokio::test]
async fn a_file_is_checked_without_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let file = folder.path().join("x.toml");
    std::fs::write(&file, GOOD).unwrap();
    let line = format!("apply --check {}", file.display());
    let text = sekisho(&socket, &line).await.unwrap();
    assert!(text.contains("x.toml is right"), "{text}");
    std::fs::write(&file, "[nta]\n").unwrap();
    let error = sekisho(&socket, &line).await.unwrap_err();
    assert!(error.text().contains("--> x.toml:1:2"), "{}", error.text());
    let json = error.json();
    assert_eq!(json["error"]["problems"][0]["location"], "x.toml:1:2");
    assert_eq!(error.exit_code(), 1);
}

#[tokio::test]
async fn words_that_are_not_understood_are_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let error = sekisho(&socket, "show ip route vrf").await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let message = "vrf needs a value; write show ip route [vrf NAME] [PREFIX | ADDRESS]";
    assert_eq!(error.to_string(), message);
}
