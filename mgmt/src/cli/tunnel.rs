//! `show tunnels` and `show endpoints`.

use crate::api::v1::tunnel_service_client::TunnelServiceClient;
use crate::api::v1::{Endpoint, ListEndpointsRequest, ListTunnelsRequest, Tunnel};

use super::CliError;
use super::client::{Client, collect};
use super::table::{Table, uptime};
use super::words::Words;

pub(super) async fn show_tunnels(client: &mut Client) -> Result<String, CliError> {
    let mut service = TunnelServiceClient::new(client.connect().await?);
    let reply = service.list_tunnels(ListTunnelsRequest {}).await?;
    client.show(&reply.into_inner().tunnels, |list| tunnels(list))
}

pub(super) async fn show_endpoints(
    words: &[String],
    client: &mut Client,
) -> Result<String, CliError> {
    let words = Words::parse(words, &["vrf"], 0, "show endpoints [vrf NAME]")?;
    let mut service = TunnelServiceClient::new(client.connect().await?);
    let request = ListEndpointsRequest {
        vrf: words.text("vrf"),
    };
    let rows = collect(service.list_endpoints(request).await?.into_inner()).await?;
    client.show(&rows, |list| endpoints(list))
}

fn tunnels(tunnels: &[Tunnel]) -> String {
    let mut table = Table::new(&[
        "Tenant",
        "Segment",
        "Type",
        ">VNI",
        "Gateway",
        "Local",
        ">Port",
        ">MTU",
        "Remotes",
        ">Endpoints",
        ">RxPackets",
        ">RxBytes",
        ">TxPackets",
        ">TxBytes",
    ]);
    for tunnel in tunnels {
        table.row(vec![
            tunnel.tenant.clone(),
            tunnel.segment.clone(),
            tunnel.kind.clone(),
            tunnel.vni.to_string(),
            tunnel.gateway.clone(),
            tunnel.local.clone(),
            tunnel.port.to_string(),
            tunnel.mtu.to_string(),
            tunnel.remotes.join(","),
            tunnel.endpoints.to_string(),
            tunnel.rx_packets.to_string(),
            tunnel.rx_bytes.to_string(),
            tunnel.tx_packets.to_string(),
            tunnel.tx_bytes.to_string(),
        ]);
    }
    table.render()
}

fn endpoints(endpoints: &[Endpoint]) -> String {
    let mut table = Table::new(&[
        "Tenant", "Segment", "Address", "MAC", "VTEP", "State", "Age",
    ]);
    for endpoint in endpoints {
        let age = match endpoint.state.as_str() {
            "static" => String::new(),
            _ => uptime(endpoint.age_seconds),
        };
        table.row(vec![
            endpoint.tenant.clone(),
            endpoint.segment.clone(),
            endpoint.address.clone(),
            endpoint.mac.clone(),
            endpoint.vtep.clone(),
            endpoint.state.clone(),
            age,
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_shown_one_a_line() {
        let tunnel = Tunnel {
            kind: "vxlan".into(),
            vni: 5001,
            tenant: "blue".into(),
            segment: "web".into(),
            local: "10.1.0.1".into(),
            remotes: vec!["10.1.0.11".into(), "10.1.0.12".into()],
            port: 4789,
            mtu: 1550,
            gateway: "172.16.10.1/24".into(),
            gateway6: "2001:db8:10::1/64".into(),
            mac: "02:53:4b:00:13:89".into(),
            rx_packets: 10,
            rx_bytes: 840,
            tx_packets: 9,
            tx_bytes: 756,
            endpoints: 2,
        };
        let expected = "\
Tenant  Segment  Type    VNI  Gateway         Local     Port   MTU  Remotes              Endpoints  RxPackets  RxBytes  TxPackets  TxBytes
blue    web      vxlan  5001  172.16.10.1/24  10.1.0.1  4789  1550  10.1.0.11,10.1.0.12          2         10      840          9      756
";
        assert_eq!(tunnels(&[tunnel]), expected);
    }

    #[test]
    fn endpoints_are_shown_with_their_age_unless_static() {
        let known = Endpoint {
            tenant: "blue".into(),
            segment: "web".into(),
            address: "172.16.10.11".into(),
            mac: "02:00:00:00:10:11".into(),
            vtep: "10.1.0.11".into(),
            state: "static".into(),
            age_seconds: 0,
        };
        let asked = Endpoint {
            address: "172.16.10.99".into(),
            mac: String::new(),
            vtep: String::new(),
            state: "incomplete".into(),
            age_seconds: 2,
            ..known.clone()
        };
        let expected = "\
Tenant  Segment  Address       MAC                VTEP       State       Age
blue    web      172.16.10.11  02:00:00:00:10:11  10.1.0.11  static      -
blue    web      172.16.10.99  -                  -          incomplete  00:00:02
";
        assert_eq!(endpoints(&[known, asked]), expected);
    }
}
