//! `net_ring`: a loop within the process.

use super::{MacBy, MtuBy, Plan};

pub(super) fn plan() -> Plan<'static> {
    Plan {
        driver: "net_ring",
        arguments: String::new(),
        interface: None,
        rx_descriptors: 0,
        queues_most: 16,
        mtu_most: 9600,
        mtu: MtuBy::Configuration,
        mac: MacBy::Nobody,
        leaves_packets: true,
    }
}
