//! `show nat statistics`.

use crate::api::v1::nat_service_client::NatServiceClient;
use crate::api::v1::{GetNatStatisticsRequest, NatCounts, NatStatistics};

use super::super::CliError;
use super::super::client::Client;
use super::super::table::Table;
use super::super::words::Words;

pub(super) async fn show(words: &[String], client: &mut Client) -> Result<String, CliError> {
    let words = Words::parse(words, &["tenant"], 0, "[tenant NAME]")?;
    let request = GetNatStatisticsRequest {
        tenant: words.text("tenant"),
    };
    let mut service = NatServiceClient::new(client.connect().await?);
    let reply = service.get_nat_statistics(request).await?.into_inner();
    client.show(&reply, statistics)
}

/// One column for the gateway and each tenant, one line for each number.
fn statistics(statistics: &NatStatistics) -> String {
    let mut columns: Vec<(&str, &NatCounts)> = Vec::new();
    columns.extend(statistics.gateway.iter().map(|counts| ("gateway", counts)));
    columns.extend(statistics.tenants.iter().filter_map(|tenant| {
        let counts = tenant.counts.as_ref()?;
        Some((tenant.name.as_str(), counts))
    }));
    let mut table = Table::new(&[
        "Of",
        ">TCP established",
        ">TCP transitory",
        ">UDP",
        ">ICMP",
        ">Mappings",
        ">Hosts",
        ">Created",
        ">Removed",
    ]);
    for (name, counts) in &columns {
        let numbers = [
            counts.tcp_established,
            counts.tcp_transitory,
            counts.udp,
            counts.icmp,
            counts.mappings,
            counts.hosts,
            counts.created,
            counts.removed,
        ];
        let numbers = numbers.iter().map(ToString::to_string);
        table.row(std::iter::once((*name).to_owned()).chain(numbers).collect());
    }
    let mut text = table.render();
    let mut refused = Table::new(&["Of", "Refused because", ">Packets"]);
    let mut any = false;
    for (name, counts) in &columns {
        for refusal in counts.refusals.iter().filter(|refusal| refusal.total > 0) {
            any = true;
            refused.row(vec![
                (*name).to_owned(),
                refusal.reason.clone(),
                refusal.total.to_string(),
            ]);
        }
    }
    if any {
        text.push('\n');
        text.push_str(&refused.render());
    }
    if statistics.gateway.is_some() {
        let ignored = statistics.tcp_ignored;
        text.push_str(&format!("\nTCP segments that did not fit: {ignored}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::api::v1::{NatRefusal, NatTenantStatistics};

    use super::*;

    #[test]
    fn c10_sessions_and_refusals_are_shown_for_the_gateway_and_each_tenant() {
        let refusal = |reason: &str, total| NatRefusal {
            reason: reason.into(),
            total,
        };
        let counts = NatCounts {
            tcp_established: 4,
            tcp_transitory: 1,
            udp: 22,
            icmp: 3,
            mappings: 27,
            hosts: 2,
            created: 1030,
            removed: 1000,
            refusals: vec![refusal("nat-not-syn", 0), refusal("nat-tenant-limit", 8)],
        };
        let blue = NatTenantStatistics {
            name: "blue".into(),
            counts: Some(counts.clone()),
        };
        let mut shown = NatStatistics {
            gateway: Some(counts),
            tcp_ignored: 5,
            tenants: vec![blue],
        };
        let expected = "\
Of       TCP established  TCP transitory  UDP  ICMP  Mappings  Hosts  Created  Removed
gateway                4               1   22     3        27      2     1030     1000
blue                   4               1   22     3        27      2     1030     1000

Of       Refused because   Packets
gateway  nat-tenant-limit        8
blue     nat-tenant-limit        8

TCP segments that did not fit: 5
";
        assert_eq!(statistics(&shown), expected);
        shown.gateway = None;
        assert!(!statistics(&shown).contains("gateway"));
        assert!(!statistics(&shown).contains("did not fit"));
    }
}
