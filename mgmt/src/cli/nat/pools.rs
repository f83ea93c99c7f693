//! `show nat pools`.

use crate::api::v1::NatPool;

use super::super::table::Table;

pub(super) fn render(pools: &[NatPool]) -> String {
    let mut table = Table::new(&[
        "Pool",
        "Addresses",
        ">Count",
        "Ports",
        ">Total",
        ">Used",
        ">Free",
        ">Quarantined",
        ">Blocks",
        ">BlocksUsed",
        ">BlocksFree",
        ">BlockSize",
    ]);
    for pool in pools {
        let name = match pool.kind.as_str() {
            "uplink" => format!("uplink {}", pool.name),
            _ => pool.name.clone(),
        };
        table.row(vec![
            name,
            pool.addresses.join(","),
            pool.address_count.to_string(),
            format!("{}-{}", pool.first_port, pool.last_port),
            pool.ports_total.to_string(),
            pool.ports_used.to_string(),
            pool.ports_free.to_string(),
            pool.ports_quarantined.to_string(),
            pool.blocks_total.to_string(),
            pool.blocks_used.to_string(),
            pool.blocks_free.to_string(),
            pool.block_size.to_string(),
        ]);
    }
    let mut text = table.render();
    for pool in pools.iter().filter(|pool| !pool.details.is_empty()) {
        let mut table = Table::new(&["Address", ">Blocks", ">TCP", ">UDP", ">ICMP"]);
        for address in &pool.details {
            table.row(vec![
                address.address.clone(),
                address.blocks.to_string(),
                address.tcp.to_string(),
                address.udp.to_string(),
                address.icmp.to_string(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::api::v1::NatPoolAddress;

    use super::*;

    #[test]
    fn pools_are_shown_with_how_full_they_are() {
        let pool = NatPool {
            name: "public".into(),
            addresses: vec!["203.0.113.64/28".into()],
            first_port: 1024,
            last_port: 65535,
            ports_total: 3_096_576,
            ports_used: 3,
            blocks_total: 16128,
            blocks_used: 2,
            kind: "pool".into(),
            address_count: 16,
            ports_free: 3_096_566,
            ports_quarantined: 7,
            blocks_free: 16126,
            block_size: 64,
            details: vec![NatPoolAddress {
                address: "203.0.113.64".into(),
                blocks: 2,
                tcp: 2,
                udp: 1,
                icmp: 0,
            }],
        };
        let uplink = NatPool {
            name: "isp-a".into(),
            addresses: vec!["198.51.100.1".into()],
            kind: "uplink".into(),
            details: Vec::new(),
            ..pool.clone()
        };
        let expected = "\
Pool          Addresses        Count  Ports         Total  Used     Free  Quarantined  Blocks  BlocksUsed  BlocksFree  BlockSize
public        203.0.113.64/28     16  1024-65535  3096576     3  3096566            7   16128           2       16126         64
uplink isp-a  198.51.100.1        16  1024-65535  3096576     3  3096566            7   16128           2       16126         64

Address       Blocks  TCP  UDP  ICMP
203.0.113.64       2    2    1     0
";
        assert_eq!(render(&[pool, uplink]), expected);
    }
}
