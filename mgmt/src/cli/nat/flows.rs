//! `show dataplane flows`: which packets are meant, then what becomes of them.

use clap::Subcommand;

use crate::api::v1::nat_service_client::NatServiceClient;
use crate::api::v1::{Flow, FlowActions, FlowMatch, ListFlowsRequest};

use super::super::CliError;
use super::super::client::{Client, collect};
use super::super::table::{count, uptime};
use super::{Selection, filter};

/// What the workers do.
#[derive(Debug, Subcommand)]
pub(in super::super) enum Dataplane {
    /// Sessions that match, one entry for each direction, and floating IPs.
    Flows(Selection),
}

pub(in super::super) async fn show(
    command: &Dataplane,
    client: &mut Client,
) -> Result<String, CliError> {
    let Dataplane::Flows(selection) = command;
    let request = ListFlowsRequest {
        filter: Some(filter(&selection.words)?),
        limit: selection.limit.unwrap_or_default(),
    };
    let mut service = NatServiceClient::new(client.connect().await?);
    let rows = collect(service.list_flows(request).await?.into_inner()).await?;
    client.show(&rows, |list| flows(list))
}

fn flows(flows: &[Flow]) -> String {
    let mut text: String = flows.iter().map(flow).collect();
    if !flows.is_empty() {
        text.push('\n');
    }
    text + &count(flows.len(), "flow") + "\n"
}

fn flow(flow: &Flow) -> String {
    let mut keys = vec![format!("{}({})", flow.direction, flow.tenant)];
    keys.extend(flow.r#match.iter().flat_map(match_keys));
    let actions = flow.actions.as_ref().map_or_else(Vec::new, actions);
    let mut notes = Vec::new();
    if let Some(packets) = flow.packets {
        notes.push(format!("packets:{packets}"));
    }
    if let Some(octets) = flow.octets {
        notes.push(format!("octets:{octets}"));
    }
    if let Some(seconds) = flow.last_used_seconds {
        notes.push(format!("used:{}", uptime(seconds)));
    }
    notes.push(format!("state:{}", flow.state));
    format!(
        "{}, {}, actions:{}\n",
        keys.join(","),
        notes.join(", "),
        actions.join(",")
    )
}

fn match_keys(keys: &FlowMatch) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(vni) = keys.vni {
        words.push(format!("tunnel(vni={vni},vtep={})", keys.vtep));
    }
    let mut ip = Vec::new();
    for (key, value) in [
        ("src", &keys.source_address),
        ("dst", &keys.destination_address),
        ("proto", &keys.protocol),
    ] {
        if !value.is_empty() {
            ip.push(format!("{key}={value}"));
        }
    }
    words.push(format!("ipv4({})", ip.join(",")));
    let ports = [("src", keys.source_port), ("dst", keys.destination_port)];
    let ports: Vec<String> = ports
        .iter()
        .filter_map(|(key, port)| port.map(|port| format!("{key}={port}")))
        .collect();
    if !ports.is_empty() {
        words.push(format!("{}({})", keys.protocol, ports.join(",")));
    }
    words
}

fn actions(actions: &FlowActions) -> Vec<String> {
    let mut words = Vec::new();
    for (key, address, port) in [
        ("src", &actions.set_source_address, actions.set_source_port),
        (
            "dst",
            &actions.set_destination_address,
            actions.set_destination_port,
        ),
    ] {
        match port {
            _ if address.is_empty() => {}
            Some(port) => words.push(format!("set({key}={address}:{port})")),
            None => words.push(format!("set({key}={address})")),
        }
    }
    if !actions.set_mac.is_empty() {
        words.push(format!("set(mac={})", actions.set_mac));
    }
    if let Some(tunnel) = &actions.tunnel {
        words.push(format!(
            "tunnel(vni={},src={},dst={})",
            tunnel.vni, tunnel.source, tunnel.destination
        ));
    }
    let (output, next_hop) = (&actions.output, &actions.next_hop);
    words.push(match (output.as_str(), next_hop.as_str()) {
        ("", _) => "unresolved".to_owned(),
        (_, "") => format!("output({output})"),
        _ => format!("output({output},via={next_hop})"),
    });
    words
}

#[cfg(test)]
mod tests {
    use crate::api::v1::FlowTunnel;

    use super::*;

    fn outbound() -> Flow {
        Flow {
            tenant: "blue".into(),
            direction: "out".into(),
            r#match: Some(FlowMatch {
                vni: Some(5001),
                vtep: "10.1.0.11".into(),
                protocol: "tcp".into(),
                source_address: "172.16.10.11".into(),
                source_port: Some(40000),
                destination_address: "192.0.2.80".into(),
                destination_port: Some(80),
            }),
            actions: Some(FlowActions {
                set_source_address: "203.0.113.64".into(),
                set_source_port: Some(1088),
                output: "isp-a".into(),
                next_hop: "198.51.100.0".into(),
                ..FlowActions::default()
            }),
            state: "established".into(),
            packets: Some(7),
            octets: Some(420),
            last_used_seconds: Some(3),
        }
    }

    #[test]
    fn a_flow_is_its_keys_then_its_actions() {
        let expected = "\
out(blue),tunnel(vni=5001,vtep=10.1.0.11),ipv4(src=172.16.10.11,dst=192.0.2.80,proto=tcp),\
tcp(src=40000,dst=80), packets:7, octets:420, used:00:00:03, state:established, \
actions:set(src=203.0.113.64:1088),output(isp-a,via=198.51.100.0)

1 flow
";
        assert_eq!(flows(&[outbound()]), expected);
        assert_eq!(flows(&[]), "0 flows\n");
    }

    #[test]
    fn what_goes_into_a_tunnel_says_where_that_leads() {
        let inbound = Flow {
            tenant: "blue".into(),
            direction: "in".into(),
            r#match: Some(FlowMatch {
                destination_address: "203.0.113.10".into(),
                ..FlowMatch::default()
            }),
            actions: Some(FlowActions {
                set_destination_address: "172.16.20.11".into(),
                set_mac: "02:00:00:01:20:11".into(),
                tunnel: Some(FlowTunnel {
                    vni: 5002,
                    source: "10.1.0.1".into(),
                    destination: "10.1.0.12".into(),
                }),
                ..FlowActions::default()
            }),
            state: "stateless".into(),
            ..Flow::default()
        };
        let expected = "\
in(blue),ipv4(dst=203.0.113.10), state:stateless, actions:set(dst=172.16.20.11),\
set(mac=02:00:00:01:20:11),tunnel(vni=5002,src=10.1.0.1,dst=10.1.0.12),unresolved

1 flow
";
        assert_eq!(flows(&[inbound]), expected);
    }
}
