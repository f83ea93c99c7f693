//! The lists a block is in: its host's, and its address's blocks with a free port by transport.

use super::{Ports, Transport};

impl Ports {
    /// Puts a block, by its leader, at the head of a host's list.
    pub(super) fn own(&mut self, host: u32, block: u32) {
        let next = self.hosts[host].first_block;
        self.hosts[host].first_block = block;
        self.hosts[host].blocks += 1;
        let record = &mut self.blocks[block];
        (record.host, record.host_next, record.host_previous) = (host, next, 0);
        if next != 0 {
            self.blocks[next].host_previous = block;
        }
        if self.log.is_on() {
            self.log_allocated(block);
        }
    }

    /// Takes a block from its host.
    pub(super) fn disown(&mut self, block: u32) {
        self.log_released(block);
        let record = &mut self.blocks[block];
        let (host, next, previous) = (record.host, record.host_next, record.host_previous);
        (record.host, record.host_next, record.host_previous) = (0, 0, 0);
        if next != 0 {
            self.blocks[next].host_previous = previous;
        }
        if previous != 0 {
            self.blocks[previous].host_next = next;
        } else {
            self.hosts[host].first_block = next;
        }
        self.hosts[host].blocks -= 1;
        for transport in Transport::ALL {
            let current = self.hosts[host].current[transport.index()];
            if self.blocks[current].leader == block {
                self.hosts[host].current[transport.index()] = 0;
            }
        }
    }

    /// Takes all blocks from a host; those that others share stay with the worker.
    pub(super) fn disown_blocks(&mut self, host: u32) {
        while self.hosts[host].first_block != 0 {
            self.disown(self.hosts[host].first_block);
        }
    }

    /// Notes that a block may have a free port.
    pub(super) fn list(&mut self, block: u32, transport: Transport) {
        let t = transport.index();
        let record = &mut self.blocks[block];
        if record.listed >> t & 1 == 1 {
            return;
        }
        let head = &mut self.listed[record.slot as usize][t];
        record.listed |= 1 << t;
        (record.next[t], record.previous[t]) = (*head, 0);
        let next = std::mem::replace(head, block);
        if next != 0 {
            self.blocks[next].previous[t] = block;
        }
    }

    /// Notes that a block has no free port.
    pub(super) fn unlist(&mut self, block: u32, transport: Transport) {
        let t = transport.index();
        let record = &mut self.blocks[block];
        if record.listed >> t & 1 == 0 {
            return;
        }
        record.listed &= !(1 << t);
        let (slot, next, previous) = (record.slot as usize, record.next[t], record.previous[t]);
        if next != 0 {
            self.blocks[next].previous[t] = previous;
        }
        if previous != 0 {
            self.blocks[previous].next[t] = next;
        } else {
            self.listed[slot][t] = next;
        }
    }
}
