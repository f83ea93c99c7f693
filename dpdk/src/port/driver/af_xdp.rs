//! `net_af_xdp`: a program at the XDP hook of an existing kernel interface, and a socket for each
//! of its queues. The kernel writes packets straight into the pool.

use super::{Device, Interface, MacBy, MtuBy, Plan, longest_frame};
use crate::mempool::Mempool;
use crate::port::PortError;

/// Slots of each ring.
const DESCRIPTORS: u16 = 1024;
/// Buffers the driver hands the kernel for each queue, whatever its descriptors.
const FILLED: u16 = 2048;
/// What the kernel keeps free before a received frame (`XDP_PACKET_HEADROOM`).
const BEFORE_RECEIVED: u32 = 256;
/// A buffer with everything around it fits a page: header of the pool's object, mbuf, data. The
/// pool adds a cache line to an even number of them, to spread buffers over memory channels.
const PAGE: u32 = 4096 - 64;
const AROUND: u32 = 64 + 128;
/// What is left for a packet, less its headers.
const MTU_MOST: u16 =
    (PAGE - AROUND - Mempool::HEADROOM as u32 - BEFORE_RECEIVED - longest_frame(0)) as u16;

pub(super) fn plan<'a>(interface: &'a str, namespace: Option<&'a str>, queues: u16) -> Plan<'a> {
    Plan {
        device: Device::Virtual {
            driver: "net_af_xdp",
            arguments: format!("iface={interface},queue_count={queues}"),
        },
        interface: Some(Interface {
            name: interface,
            namespace,
            made: false,
            xdp: true,
        }),
        socket: None,
        rx_descriptors: DESCRIPTORS,
        tx_descriptors: DESCRIPTORS,
        buffers: FILLED + DESCRIPTORS,
        queues_most: 64,
        mtu_most: MTU_MOST,
        mtu: MtuBy::Kernel,
        mac: MacBy::Kernel,
        leaves_packets: false,
    }
}

/// Octets a buffer must have behind its headroom.
pub(super) fn buffer(mtu: u16) -> u32 {
    BEFORE_RECEIVED + longest_frame(mtu)
}

/// The kernel finds a buffer by its distance from the pool's beginning, and takes none that is
/// larger than a page.
pub(super) fn check_pool(port: &str, pool: &Mempool) -> Result<(), PortError> {
    let most = (PAGE - AROUND) as u16;
    if pool.data_room() > most {
        return Err(PortError::DataRoomMost {
            port: port.to_owned(),
            most,
            actual: pool.data_room(),
            mtu: MTU_MOST,
        });
    }
    if !pool.is_contiguous() {
        return Err(PortError::Scattered {
            port: port.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_packet_fits_a_page_with_everything_around_it() {
        assert_eq!(
            AROUND + u32::from(Mempool::HEADROOM) + buffer(MTU_MOST),
            PAGE
        );
        assert_eq!(MTU_MOST, 3438);
    }
}
