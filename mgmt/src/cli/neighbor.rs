//! `show ip neighbors` and `show ipv6 neighbors`.

use crate::api::v1::interface_service_client::InterfaceServiceClient;
use crate::api::v1::{ListNeighborsRequest, Neighbor};

use super::client::{Client, collect};
use super::table::{Table, uptime};
use super::words::Words;
use super::{CliError, Family};

pub(super) async fn show(
    family: Family,
    words: &[String],
    client: &mut Client,
) -> Result<String, CliError> {
    let usage = format!("show {} neighbors [vrf NAME]", family.word());
    let words = Words::parse(words, &["vrf"], 0, &usage)?;
    let mut service = InterfaceServiceClient::new(client.connect().await?);
    let request = ListNeighborsRequest {
        vrf: words.text("vrf"),
        family: family.name().to_owned(),
    };
    let rows = collect(service.list_neighbors(request).await?.into_inner()).await?;
    client.show(&rows, |list| neighbors(list))
}

fn neighbors(neighbors: &[Neighbor]) -> String {
    let mut table = Table::new(&["Address", "Interface", "MAC", "VTEP", "State", "Age"]);
    for neighbor in neighbors {
        let age = match neighbor.state.as_str() {
            "static" => String::new(),
            _ => uptime(neighbor.age_seconds),
        };
        table.row(vec![
            neighbor.address.clone(),
            neighbor.interface.clone(),
            neighbor.mac.clone(),
            neighbor.vtep.clone(),
            neighbor.state.clone(),
            age,
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbors_are_shown_one_a_line() {
        let neighbor = |address: &str, mac: &str, state: &str| Neighbor {
            interface: "isp-a".into(),
            address: address.into(),
            mac: mac.into(),
            vtep: String::new(),
            state: state.into(),
            age_seconds: 7,
        };
        let expected = "\
Address        Interface  MAC                VTEP  State       Age
2001:db8:a::2  isp-a      02:00:00:00:00:02  -     reachable   00:00:07
fe80::2        isp-a      -                  -     incomplete  00:00:07
";
        let all = [
            neighbor("2001:db8:a::2", "02:00:00:00:00:02", "reachable"),
            neighbor("fe80::2", "", "incomplete"),
        ];
        assert_eq!(neighbors(&all), expected);
    }
}
