//! `show interfaces`.

use std::fmt::Write as _;

use crate::api::v1::interface_service_client::InterfaceServiceClient;
use crate::api::v1::{Interface, ListInterfacesRequest};

use super::CliError;
use super::client::Client;

pub(super) async fn show(client: &mut Client) -> Result<String, CliError> {
    let mut interfaces = InterfaceServiceClient::new(client.connect().await?);
    let reply = interfaces.list_interfaces(ListInterfacesRequest {}).await?;
    client.show(&reply.into_inner().interfaces, |interfaces| {
        interfaces.iter().map(render).collect()
    })
}

fn render(interface: &Interface) -> String {
    let state = |up| if up { "up" } else { "down" };
    let mut text = format!(
        "Interface {} is {}, link is {}\n  \
         port {}, driver {}, MAC {}, MTU {}\n",
        interface.name,
        state(interface.admin_up),
        state(interface.oper_up),
        interface.port,
        interface.driver,
        interface.mac,
        interface.mtu
    );
    for address in &interface.addresses {
        // Writing to a String cannot fail.
        let family = if address.contains(':') {
            "inet6"
        } else {
            "inet"
        };
        let _ = writeln!(text, "  {family} {address}");
    }
    let _ = write!(
        text,
        "  input  {} packets, {} bytes, {} errors, {} missed, {} without buffer\n  \
         output {} packets, {} bytes, {} errors\n",
        interface.rx_packets,
        interface.rx_bytes,
        interface.rx_errors,
        interface.rx_missed,
        interface.rx_no_buffers,
        interface.tx_packets,
        interface.tx_bytes,
        interface.tx_errors
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_shown_with_its_port_and_counters() {
        let interface = Interface {
            name: "isp-a".into(),
            port: "p1".into(),
            driver: "net_tap".into(),
            mac: "02:00:00:00:00:01".into(),
            mtu: 1500,
            admin_up: true,
            oper_up: false,
            addresses: vec!["198.51.100.1/31".into()],
            rx_packets: 5,
            rx_bytes: 500,
            rx_missed: 1,
            tx_packets: 6,
            tx_bytes: 600,
            ..Interface::default()
        };
        let expected = "\
Interface isp-a is up, link is down
  port p1, driver net_tap, MAC 02:00:00:00:00:01, MTU 1500
  inet 198.51.100.1/31
  input  5 packets, 500 bytes, 0 errors, 1 missed, 0 without buffer
  output 6 packets, 600 bytes, 0 errors
";
        assert_eq!(render(&interface), expected);
    }
}
