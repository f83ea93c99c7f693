//! A NIC at a PCI address. EAL found it at its start, by its allow-list; which driver it has is told
//! by its vendor and model.

use sekisho_types::PciAddress;

use super::{Device, MacBy, MtuBy, Plan};

/// Receive and transmit descriptors of each queue, where the NIC can have so many: 1 ms at 1 Mpps.
const DESCRIPTORS: u16 = 1024;
/// What drivers keep beyond their rings: packets parsed ahead, and those sent but not yet freed.
const BESIDE: u16 = 128;

pub(super) fn plan(address: PciAddress) -> Plan<'static> {
    Plan {
        device: Device::Pci(address),
        interface: None,
        socket: None,
        rx_descriptors: DESCRIPTORS,
        tx_descriptors: DESCRIPTORS,
        buffers: 2 * DESCRIPTORS + BESIDE,
        // The NIC says how many it has.
        queues_most: u16::MAX,
        mtu_most: 9600,
        mtu: MtuBy::Configuration,
        mac: MacBy::Driver,
        leaves_packets: false,
    }
}
