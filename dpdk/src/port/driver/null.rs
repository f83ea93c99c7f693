//! `net_null`: a source and sink within the process.

use sekisho_dpdk_sys as sys;

use super::{Device, MacBy, MtuBy, Plan, TX_DESCRIPTORS};

pub(super) fn plan(frame_size: u16) -> Plan<'static> {
    let arguments = if frame_size == 0 {
        "no-rx=1".to_owned()
    } else {
        format!("size={frame_size}")
    };
    Plan {
        device: Device::Virtual {
            driver: "net_null",
            arguments,
        },
        interface: None,
        socket: None,
        rx_descriptors: 0,
        tx_descriptors: TX_DESCRIPTORS,
        buffers: 0,
        queues_most: sys::SEKISHO_QUEUES_MAX as u16,
        mtu_most: 9600,
        mtu: MtuBy::Configuration,
        mac: MacBy::Driver,
        leaves_packets: false,
    }
}
