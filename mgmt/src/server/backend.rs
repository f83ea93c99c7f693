//! What the server asks of the daemon.

use std::future::Future;
use std::pin::Pin;

use tokio_stream::Stream;

use crate::api::v1;
use crate::config::{Config, Document, Loaded};

/// Rows that are sent as they come: a routing table does not fit one message.
pub type Rows<T> = Pin<Box<dyn Stream<Item = T> + Send + 'static>>;

/// Rows that are there already.
pub fn rows<T: Send + 'static>(rows: Vec<T>) -> Rows<T> {
    Box::pin(tokio_stream::iter(rows))
}

/// The configuration that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its number; grows with each commit.
    pub generation: u64,
    /// Its values.
    pub config: Config,
    /// Its texts, the root first.
    pub documents: Vec<Document>,
}

/// Why the daemon did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// What was asked for does not exist; says what does.
    #[error("{0}")]
    NotFound(String),
    /// The request means nothing; says what would.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be done now.
    #[error("{0}")]
    Unavailable(String),
    /// The data plane refused a configuration; the old one still runs.
    #[error("{0}")]
    Refused(String),
}

/// The daemon, as the server sees it. Views are the messages of the API.
pub trait Backend: Send + Sync + 'static {
    /// The configuration that runs.
    fn running(&self) -> impl Future<Output = Running> + Send;

    /// Makes `candidate`, which has been checked and differs only in what needs no restart, the
    /// running configuration, and the startup configuration after it; returns its generation. Only
    /// one commit is asked for at a time.
    ///
    /// # Errors
    ///
    /// If the data plane refuses it; the old one then still runs.
    fn commit(
        &self,
        candidate: Loaded,
        comment: String,
    ) -> impl Future<Output = Result<u64, BackendError>> + Send;

    /// Routes of one VRF in the order of their prefixes.
    ///
    /// # Errors
    ///
    /// If there is no such VRF, or prefix or address are none.
    fn routes(
        &self,
        query: v1::ListRoutesRequest,
    ) -> impl Future<Output = Result<Rows<v1::Route>, BackendError>> + Send;

    /// The BGP speaker with all its neighbours in the order of their addresses.
    fn bgp_summary(&self) -> impl Future<Output = v1::BgpSummary> + Send;

    /// Paths of the BGP table in the order of their prefixes.
    ///
    /// # Errors
    ///
    /// If the prefix is none.
    fn bgp_routes(
        &self,
        query: v1::ListBgpRoutesRequest,
    ) -> impl Future<Output = Result<Rows<v1::BgpRoute>, BackendError>> + Send;

    /// Uplinks with their ports.
    fn interfaces(&self) -> impl Future<Output = Vec<v1::Interface>> + Send;

    /// Neighbours of one VRF in the order of interfaces and addresses.
    ///
    /// # Errors
    ///
    /// If there is no such VRF or family.
    fn neighbors(
        &self,
        query: v1::ListNeighborsRequest,
    ) -> impl Future<Output = Result<Rows<v1::Neighbor>, BackendError>> + Send;

    /// One tunnel for each segment.
    fn tunnels(&self) -> impl Future<Output = Vec<v1::Tunnel>> + Send;

    /// Endpoints in the order of tenants, segments and addresses.
    ///
    /// # Errors
    ///
    /// If there is no such tenant.
    fn endpoints(
        &self,
        query: v1::ListEndpointsRequest,
    ) -> impl Future<Output = Result<Rows<v1::Endpoint>, BackendError>> + Send;

    /// NAT sessions that match.
    ///
    /// # Errors
    ///
    /// If the filter names what does not exist.
    fn sessions(
        &self,
        query: v1::ListSessionsRequest,
    ) -> impl Future<Output = Result<Rows<v1::NatSession>, BackendError>> + Send;

    /// Removes NAT sessions that match; returns how many, when every worker has.
    ///
    /// # Errors
    ///
    /// If the filter names what does not exist.
    fn clear_sessions(
        &self,
        filter: v1::SessionFilter,
    ) -> impl Future<Output = Result<u64, BackendError>> + Send;

    /// What the sessions that match do in the data plane, and floating IPs.
    ///
    /// # Errors
    ///
    /// If the filter names what does not exist.
    fn flows(
        &self,
        query: v1::ListFlowsRequest,
    ) -> impl Future<Output = Result<Rows<v1::Flow>, BackendError>> + Send;

    /// What was counted, of all or of one tenant.
    ///
    /// # Errors
    ///
    /// If there is no such tenant.
    fn nat_statistics(
        &self,
        query: v1::GetNatStatisticsRequest,
    ) -> impl Future<Output = Result<v1::NatStatistics, BackendError>> + Send;

    /// Tenants, their sessions and limits, in the order of the configuration.
    fn nat_tenants(&self) -> impl Future<Output = Vec<v1::NatTenant>> + Send;

    /// The translation log.
    fn nat_log(&self) -> impl Future<Output = v1::NatLog> + Send;

    /// NAT pools in the order of the configuration, then uplinks; or one, with its addresses.
    ///
    /// # Errors
    ///
    /// If there is no such pool.
    fn pools(
        &self,
        query: v1::ListPoolsRequest,
    ) -> impl Future<Output = Result<Vec<v1::NatPool>, BackendError>> + Send;

    /// NAT rules in the order they are tried, tenant by tenant.
    fn rules(&self) -> impl Future<Output = Vec<v1::NatRule>> + Send;

    /// What runs.
    fn version(&self) -> impl Future<Output = v1::Version> + Send;

    /// How it is.
    fn status(&self) -> impl Future<Output = v1::Status> + Send;

    /// Workers in the order of their numbers.
    fn workers(&self) -> impl Future<Output = Vec<v1::Worker>> + Send;

    /// Every reason packets are dropped for, in a fixed order.
    fn drops(&self) -> impl Future<Output = Vec<v1::Drop>> + Send;
}
