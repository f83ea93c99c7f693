//! `show bgp ...`, as FRR prints it.

mod neighbor;
mod paths;
mod summary;

use clap::Subcommand;
use sekisho_types::Prefix;

use crate::api::v1::routing_service_client::RoutingServiceClient;
use crate::api::v1::{
    BgpSummary, GetBgpSummaryRequest, ListBgpNeighborsRequest, ListBgpRoutesRequest,
};

use super::CliError;
use super::client::{Client, collect};

#[derive(Debug, Subcommand)]
pub(super) enum Bgp {
    /// One line for each neighbour.
    Summary,
    /// All that is known of the neighbours, or of one.
    Neighbors {
        /// The neighbour's address.
        address: Option<String>,
    },
    /// IPv4 paths.
    #[command(subcommand)]
    Ipv4(Ipv4),
}

#[derive(Debug, Subcommand)]
pub(super) enum Ipv4 {
    /// Unicast paths, or those to one prefix.
    Unicast {
        /// The prefix.
        prefix: Option<String>,
    },
}

pub(super) async fn show(command: Bgp, client: &mut Client) -> Result<String, CliError> {
    match command {
        Bgp::Summary => {
            let view = summary_view(client).await?;
            client.show(&view, summary::render)
        }
        Bgp::Neighbors { address } => {
            let mut routing = RoutingServiceClient::new(client.connect().await?);
            let address = address.unwrap_or_default();
            let request = ListBgpNeighborsRequest { address };
            let reply = routing.list_bgp_neighbors(request).await?.into_inner();
            client.show(&reply.neighbors, |neighbors| {
                neighbors.iter().map(neighbor::render).collect()
            })
        }
        Bgp::Ipv4(Ipv4::Unicast { prefix }) => unicast(prefix, client).await,
    }
}

async fn summary_view(client: &Client) -> Result<BgpSummary, CliError> {
    let mut routing = RoutingServiceClient::new(client.connect().await?);
    let reply = routing.get_bgp_summary(GetBgpSummaryRequest {}).await?;
    Ok(reply.into_inner())
}

async fn unicast(prefix: Option<String>, client: &mut Client) -> Result<String, CliError> {
    let prefix = match prefix {
        Some(text) => {
            let prefix: Prefix = text
                .parse()
                .map_err(|error| CliError::Usage(format!("{error}")))?;
            Some(prefix.to_string())
        }
        None => None,
    };
    let summary = summary_view(client).await?;
    let mut routing = RoutingServiceClient::new(client.connect().await?);
    let request = ListBgpRoutesRequest {
        prefix: prefix.clone().unwrap_or_default(),
    };
    let routes = collect(routing.list_bgp_routes(request).await?.into_inner()).await?;
    client.show(&routes, |routes| match &prefix {
        Some(prefix) => paths::entry(prefix, routes),
        None => paths::table(&summary, routes),
    })
}

/// Neighbours for the tests of this folder.
#[cfg(test)]
mod examples {
    use crate::api::v1::BgpNeighbor;

    pub(super) fn peer(address: &str, remote_as: u32, state: &str) -> BgpNeighbor {
        BgpNeighbor {
            address: address.into(),
            remote_as,
            local_as: 65010,
            state: state.into(),
            uptime_seconds: 31,
            messages_received: 10,
            messages_sent: 12,
            prefixes_received: 4,
            prefixes_accepted: 3,
            prefixes_sent: 2,
            import: "from-isp".into(),
            export: "to-isp".into(),
            hold_time_seconds: 9,
            keepalive_seconds: 3,
            connect_retry_seconds: 1,
            ..BgpNeighbor::default()
        }
    }
}
