//! Sessions and flows: limits and clearing.

use super::*;

#[tokio::test]
async fn a_limit_ends_a_stream_without_end() {
    let daemon = Daemon::start(Fake::new()).await;
    for (command, end) in [
        ("show nat sessions --limit 7", "\n7 sessions\n"),
        ("show dataplane flows --limit 7", "\n7 flows\n"),
    ] {
        let text = daemon.sekisho(command).await.unwrap();
        assert!(text.ends_with(end), "{text}");
    }
}

#[tokio::test]
async fn sessions_are_cleared_by_filter() {
    let daemon = Daemon::start(Fake::new()).await;
    for (filter, end) in [("tenant blue", "1 session"), ("--all", "5 sessions")] {
        let text = daemon
            .sekisho(&format!("clear nat sessions {filter}"))
            .await;
        assert_eq!(text.unwrap(), format!("{end} cleared\n"));
    }
}

#[tokio::test]
async fn without_a_filter_sessions_are_cleared_only_if_that_is_meant() {
    let daemon = Daemon::start(Fake::new()).await;
    let error = daemon.sekisho("clear nat sessions").await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.text().contains("--all"), "{}", error.text());
    let mut nat = NatServiceClient::new(daemon.channel().await);
    let status = nat.clear_sessions(v1::ClearSessionsRequest::default());
    assert_eq!(status.await.unwrap_err().code(), Code::InvalidArgument);
}
