//! `net_tap`: a kernel interface made for the port.

use sekisho_dpdk_sys as sys;
use sekisho_types::MacAddr;

use super::{Device, Interface, MacBy, MtuBy, Plan, TX_DESCRIPTORS, mac_argument};

/// The driver declares frames of 1522 octets its longest, of which DPDK reserves 18.
const MTU_MOST: u16 = 1504;

pub(super) fn plan<'a>(
    interface: &'a str,
    namespace: Option<&'a str>,
    mac: Option<MacAddr>,
) -> Plan<'a> {
    Plan {
        device: Device::Virtual {
            driver: "net_tap",
            arguments: format!("iface={interface}{}", mac_argument(mac)),
        },
        interface: Some(Interface {
            name: interface,
            namespace,
            made: true,
            xdp: false,
        }),
        socket: None,
        // Each holds a buffer, and without scattering only the first is ever used.
        rx_descriptors: 1,
        tx_descriptors: TX_DESCRIPTORS,
        buffers: 1,
        queues_most: sys::SEKISHO_TAP_QUEUES_MAX as u16,
        mtu_most: MTU_MOST,
        mtu: MtuBy::Driver,
        mac: MacBy::Argument,
        leaves_packets: false,
    }
}
