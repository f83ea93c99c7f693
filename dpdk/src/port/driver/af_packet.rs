//! `net_af_packet`: packet sockets with memory-mapped rings on an existing kernel interface.

use super::{Device, Interface, MacBy, MtuBy, Plan, TX_DESCRIPTORS, longest_frame};
use crate::port::PortOptions;

/// What the kernel puts before a received frame in its slot of the ring (`TPACKET_V2`): header,
/// address, and padding that aligns the network header.
const BEFORE_RECEIVED: u32 = 66;
/// What the driver takes off the slot when it compares it with a buffer.
const BEFORE_SENT: u32 = 32;
/// Slots are multiples of it. With 64 of them in a block, blocks are whole pages and slots follow
/// each other without a gap, which the driver counts on.
const SLOT_ALIGNMENT: u32 = 64;
const SLOTS_PER_BLOCK: u32 = 64;
/// Slots per queue and direction: 1 ms at 1 Mpps.
const SLOTS: u32 = 1024;

pub(super) fn plan<'a>(
    interface: &'a str,
    namespace: Option<&'a str>,
    options: &PortOptions,
) -> Plan<'a> {
    let slot = slot(options.mtu);
    Plan {
        device: Device::Virtual {
            driver: "net_af_packet",
            arguments: format!(
                "iface={interface},qpairs={},framesz={slot},blocksz={},framecnt={SLOTS}",
                options.queues,
                slot * SLOTS_PER_BLOCK,
            ),
        },
        interface: Some(Interface {
            name: interface,
            namespace,
            made: false,
            xdp: false,
        }),
        socket: None,
        rx_descriptors: 0,
        tx_descriptors: TX_DESCRIPTORS,
        buffers: 0,
        queues_most: 64,
        mtu_most: 9600,
        mtu: MtuBy::Kernel,
        mac: MacBy::Driver,
        leaves_packets: false,
    }
}

/// Octets of a slot that holds every frame of this MTU.
fn slot(mtu: u16) -> u32 {
    (BEFORE_RECEIVED + longest_frame(mtu)).next_multiple_of(SLOT_ALIGNMENT)
}

/// Octets a buffer must have behind its headroom for the driver to accept it.
pub(super) fn buffer(mtu: u16) -> u32 {
    slot(mtu) - BEFORE_SENT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_hold_the_longest_frame_and_fill_whole_pages(mtu in 68u16..=9600) {
            let slot = slot(mtu);
            prop_assert!(slot - BEFORE_RECEIVED >= longest_frame(mtu));
            prop_assert_eq!(slot * SLOTS_PER_BLOCK % 4096, 0);
            prop_assert_eq!(SLOTS % SLOTS_PER_BLOCK, 0);
        }
    }
}
