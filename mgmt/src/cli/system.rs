//! `show workers`, `show drops`, `show status` and `show version`.

use crate::api::v1::system_service_client::SystemServiceClient;
use crate::api::v1::{
    Drop, GetStatusRequest, GetVersionRequest, ListDropsRequest, ListWorkersRequest, Status,
    Version, Worker,
};

use super::CliError;
use super::client::Client;
use super::table::{Table, uptime};

pub(super) async fn show_workers(client: &mut Client) -> Result<String, CliError> {
    let mut system = SystemServiceClient::new(client.connect().await?);
    let reply = system.list_workers(ListWorkersRequest {}).await?;
    client.show(&reply.into_inner().workers, |list| workers(list))
}

pub(super) async fn show_drops(all: bool, client: &mut Client) -> Result<String, CliError> {
    let mut system = SystemServiceClient::new(client.connect().await?);
    let reply = system.list_drops(ListDropsRequest {}).await?;
    let mut list = reply.into_inner().drops;
    list.retain(|drop| all || drop.total > 0);
    client.show(&list, |list| drops(list))
}

pub(super) async fn show_status(client: &mut Client) -> Result<String, CliError> {
    let mut system = SystemServiceClient::new(client.connect().await?);
    let reply = system.get_status(GetStatusRequest {}).await?;
    client.show(&reply.into_inner(), status)
}

pub(super) async fn show_version(client: &mut Client) -> Result<String, CliError> {
    let mut system = SystemServiceClient::new(client.connect().await?);
    let reply = system.get_version(GetVersionRequest {}).await?;
    client.show(&reply.into_inner(), version)
}

fn workers(workers: &[Worker]) -> String {
    let mut table = Table::new(&[
        ">Worker",
        ">Lcore",
        ">CPU",
        ">RxPackets",
        ">TxPackets",
        ">HandedOut",
        ">HandedIn",
        ">Punted",
        ">Drops",
        ">Bursts",
        ">Busy",
        ">Sessions",
    ]);
    for worker in workers {
        table.row(vec![
            worker.id.to_string(),
            worker.lcore.to_string(),
            worker.cpu.map_or_else(String::new, |cpu| cpu.to_string()),
            worker.rx_packets.to_string(),
            worker.tx_packets.to_string(),
            worker.handed_out.to_string(),
            worker.handed_in.to_string(),
            worker.punted.to_string(),
            worker.drops.to_string(),
            worker.bursts.to_string(),
            format!("{:.1}%", worker.busy_ratio * 100.0),
            worker.sessions.to_string(),
        ]);
    }
    table.render()
}

fn drops(drops: &[Drop]) -> String {
    if drops.is_empty() {
        return "No packet was dropped.\n".into();
    }
    let mut table = Table::new(&["Reason", ">Packets", "PerWorker", "Meaning"]);
    for drop in drops {
        let per_worker: Vec<String> = drop.per_worker.iter().map(u64::to_string).collect();
        table.row(vec![
            drop.reason.clone(),
            drop.total.to_string(),
            per_worker.join(" "),
            drop.description.clone(),
        ]);
    }
    table.render()
}

fn status(status: &Status) -> String {
    let ready = if status.ready { "ready" } else { "starting" };
    format!(
        "{} is {ready}, up for {}\n\
         Generation {}\n\
         NAT sessions {} of {}\n",
        status.hostname,
        uptime(status.uptime_seconds),
        status.generation,
        status.sessions,
        status.max_sessions
    )
}

fn version(version: &Version) -> String {
    format!(
        "sekishod {}, DPDK {}\nsekisho {}\n",
        version.version,
        version.dpdk,
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_shown_with_their_share_of_work() {
        let worker = Worker {
            id: 1,
            lcore: 2,
            cpu: None,
            rx_packets: 100,
            tx_packets: 90,
            handed_out: 4,
            handed_in: 5,
            punted: 6,
            drops: 1,
            bursts: 50,
            busy_ratio: 0.125,
            sessions: 3,
        };
        let expected = "\
Worker  Lcore  CPU  RxPackets  TxPackets  HandedOut  HandedIn  Punted  Drops  Bursts   Busy  Sessions
     1      2    -        100         90          4         5       6      1      50  12.5%         3
";
        assert_eq!(workers(&[worker]), expected);
    }

    #[test]
    fn drops_are_shown_with_their_meaning() {
        let drop = Drop {
            reason: "no-route".into(),
            description: "no route to the destination".into(),
            total: 3,
            per_worker: vec![1, 2],
        };
        let expected = "\
Reason    Packets  PerWorker  Meaning
no-route        3  1 2        no route to the destination
";
        assert_eq!(drops(&[drop]), expected);
        assert_eq!(drops(&[]), "No packet was dropped.\n");
    }

    #[test]
    fn status_says_whether_the_gateway_is_ready() {
        let view = Status {
            hostname: "gw1".into(),
            uptime_seconds: 5,
            generation: 2,
            ready: true,
            sessions: 1,
            max_sessions: 1000,
        };
        let expected = "gw1 is ready, up for 00:00:05\nGeneration 2\nNAT sessions 1 of 1000\n";
        assert_eq!(status(&view), expected);
    }
}
