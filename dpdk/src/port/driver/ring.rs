//! `net_ring`: a loop within the process.

use super::{Device, MacBy, MtuBy, Plan, TX_DESCRIPTORS};

pub(super) fn plan() -> Plan<'static> {
    Plan {
        device: Device::Virtual {
            driver: "net_ring",
            arguments: String::new(),
        },
        interface: None,
        socket: None,
        rx_descriptors: 0,
        tx_descriptors: TX_DESCRIPTORS,
        buffers: 0,
        queues_most: 16,
        mtu_most: 9600,
        mtu: MtuBy::Configuration,
        mac: MacBy::Nobody,
        leaves_packets: true,
    }
}
