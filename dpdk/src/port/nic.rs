//! What a NIC is told that virtual ports are not: how to spread flows over its queues.
//!
//! It hashes addresses, and ports where there are any, with a key that nobody outside knows: who
//! knew it could aim all flows at one worker.

use std::mem;

use sekisho_dpdk_sys as sys;

use super::error::PortError;
use super::handle::Attached;

/// Octets of a key when the NIC does not say (Microsoft's RSS specification).
const KEY: usize = 40;
/// The longest key of any NIC.
const KEY_MOST: usize = 64;
/// Entries of the table by which hashes become queues, in one piece of it.
const PIECE: usize = 64;
/// The largest table of any NIC.
const PIECES_MOST: usize = 64;

/// How flows are spread over the queues of a NIC.
pub(super) struct Distribution {
    key: [u8; KEY_MOST],
    key_length: usize,
    hashes: u64,
    table: usize,
}

impl Attached {
    /// What the device can do.
    pub(super) fn device_info(&self) -> Result<sys::rte_eth_dev_info, PortError> {
        // SAFETY: all zeros is valid; the port is there.
        let (answer, info) = unsafe {
            let mut info: sys::rte_eth_dev_info = mem::zeroed();
            (sys::rte_eth_dev_info_get(self.id, &mut info), info)
        };
        self.ask("asking what the device can do", answer)?;
        Ok(info)
    }

    /// The numbers of descriptors nearest to these that the device takes.
    pub(super) fn descriptors(&self, rx: u16, tx: u16) -> Result<(u16, u16), PortError> {
        let (mut rx, mut tx) = (rx, tx);
        // SAFETY: the port is there; reads and writes two numbers.
        let answer = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &mut rx, &mut tx) };
        self.ask("choosing the number of descriptors", answer)?;
        Ok((rx, tx))
    }

    /// Lets frames to all groups in, which the workers sort out; a NIC without that is content
    /// with what it gets.
    pub(super) fn admit_groups(&self) {
        // SAFETY: a started port.
        unsafe { sys::rte_eth_allmulticast_enable(self.id) };
    }

    /// Gives every queue an equal share of the table.
    pub(super) fn share_out(&self, with: &Distribution, queues: u16) -> Result<(), PortError> {
        if with.table == 0 {
            return Ok(());
        }
        let entry = sys::rte_eth_rss_reta_entry64 {
            mask: u64::MAX,
            reta: [0; PIECE],
        };
        let mut table = vec![entry; with.table.div_ceil(PIECE)];
        for (index, queue) in table
            .iter_mut()
            .flat_map(|piece| &mut piece.reta)
            .zip((0..queues).cycle())
        {
            *index = queue;
        }
        // SAFETY: a started port; the table has as many entries as the device has.
        let answer = unsafe {
            sys::rte_eth_dev_rss_reta_update(self.id, table.as_mut_ptr(), with.table as u16)
        };
        match -answer {
            // It has a table but keeps it to itself.
            libc::ENOTSUP => Ok(()),
            _ => self.ask("sharing flows out among the queues", answer),
        }
    }
}

impl Distribution {
    /// For a device; `None` if it cannot hash.
    pub(super) fn of(info: &sys::rte_eth_dev_info) -> Option<Self> {
        // SAFETY: the shim returns a constant.
        let hashes = info.flow_type_rss_offloads & unsafe { sys::sekisho_rss_flows() };
        if hashes == 0 {
            return None;
        }
        let key_length = match usize::from(info.hash_key_size) {
            0 => KEY,
            length => length.min(KEY_MOST),
        };
        Some(Self {
            key: random_key(),
            key_length,
            hashes,
            table: usize::from(info.reta_size).min(PIECE * PIECES_MOST),
        })
    }

    /// Asks for it in a configuration, which must not outlive `self`.
    pub(super) fn ask_for(&mut self, configuration: &mut sys::rte_eth_conf) {
        configuration.rxmode.mq_mode = sys::SEKISHO_MQ_RSS;
        configuration.rx_adv_conf.rss_conf = sys::rte_eth_rss_conf {
            rss_key: self.key.as_mut_ptr(),
            // At most KEY_MOST.
            rss_key_len: self.key_length as u8,
            rss_hf: self.hashes,
        };
    }
}

fn random_key() -> [u8; KEY_MOST] {
    let mut key = [0; KEY_MOST];
    // SAFETY: writes at most so many octets; the kernel gives up to 256 at once, always in full.
    unsafe { libc::getrandom(key.as_mut_ptr().cast(), key.len(), 0) };
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_the_same_and_none_is_zero() {
        let (one, two) = (random_key(), random_key());
        assert!(one != two && one != [0; KEY_MOST]);
    }

    #[test]
    fn a_nic_that_cannot_hash_is_not_asked_to() {
        // SAFETY: all zeros is valid.
        let mut info: sys::rte_eth_dev_info = unsafe { mem::zeroed() };
        assert!(Distribution::of(&info).is_none());
        info.flow_type_rss_offloads = u64::MAX;
        let distribution = Distribution::of(&info).unwrap();
        assert_eq!(distribution.key_length, KEY);
    }
}
