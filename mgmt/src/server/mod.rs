//! The gRPC server, over whatever implements [`Backend`].

mod apply;
mod backend;
mod listener;
mod services;
mod status;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::api::FILE_DESCRIPTOR_SET;
use crate::api::v1::config_service_server::ConfigServiceServer;
use crate::api::v1::interface_service_server::InterfaceServiceServer;
use crate::api::v1::nat_service_server::NatServiceServer;
use crate::api::v1::routing_service_server::RoutingServiceServer;
use crate::api::v1::system_service_server::SystemServiceServer;
use crate::api::v1::tunnel_service_server::TunnelServiceServer;

pub use backend::{Backend, BackendError, Rows, Running, rows};
pub use listener::{ListenError, Listener};

use apply::ConfigApi;
use services::ReadApi;

/// How long requests may still run once the server is asked to stop.
const GRACE: Duration = Duration::from_secs(1);

/// The largest request: a configuration of 10,000 tenants takes about 10 MiB.
const MAX_REQUEST: usize = 64 << 20;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The description of the API is not one.
    #[error("the API's description cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves the API, gRPC health (v1) and reflection (v1 and v1alpha) until `shutdown` completes;
/// then answers what has been asked, for at most a second, and removes the socket.
///
/// # Errors
///
/// If the transport fails.
pub async fn serve<B: Backend>(
    listener: Listener,
    backend: Arc<B>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_serving::<ConfigServiceServer<ConfigApi<B>>>()
        .await;
    health
        .set_serving::<RoutingServiceServer<ReadApi<B>>>()
        .await;
    health
        .set_serving::<InterfaceServiceServer<ReadApi<B>>>()
        .await;
    health
        .set_serving::<TunnelServiceServer<ReadApi<B>>>()
        .await;
    health.set_serving::<NatServiceServer<ReadApi<B>>>().await;
    health
        .set_serving::<SystemServiceServer<ReadApi<B>>>()
        .await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let read = ReadApi::new(Arc::clone(&backend));
    let config = ConfigServiceServer::new(ConfigApi::new(backend));
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let server = tonic::transport::Server::builder()
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(config.max_decoding_message_size(MAX_REQUEST))
        .add_service(RoutingServiceServer::new(read.clone()))
        .add_service(InterfaceServiceServer::new(read.clone()))
        .add_service(TunnelServiceServer::new(read.clone()))
        .add_service(NatServiceServer::new(read.clone()))
        .add_service(SystemServiceServer::new(read))
        .serve_with_incoming_shutdown(listener.incoming(), async move {
            shutdown.await;
            // Nobody listens if the server has failed already.
            let _ = stopping.send(());
        });
    // A client may hold a stream open for ever.
    let patience = async {
        if stopped.await.is_ok() {
            tokio::time::sleep(GRACE).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = server => result?,
        () = patience => {}
    }
    Ok(())
}
