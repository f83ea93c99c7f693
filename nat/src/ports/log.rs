//! What the log is told of blocks: a host that gets one, and a host that has it no more.

use std::net::SocketAddrV4;

use sekisho_types::IpProtocol;

use super::{BLOCK_PORTS, Ports};
use crate::key::Word;
use crate::log::{LogEvent, LogKind, LogLevel};
use crate::policy::Target;

/// In `Block::listed`.
const LOGGED: u8 = 1 << 7;

impl Ports {
    /// Tells that the host of a block got it, if blocks are logged.
    #[cold]
    pub(super) fn log_allocated(&mut self, block: u32) {
        let vrf = Word(self.hosts[self.blocks[block].host].inside).vrf();
        if self.log.level(vrf) == LogLevel::Blocks {
            self.blocks[block].listed |= LOGGED;
            let event = self.block_event(block, LogKind::BlockAllocated);
            self.log.push(event);
        }
    }

    /// Tells that the host of a block has it no more, if it was told that it got it.
    pub(super) fn log_released(&mut self, block: u32) {
        if self.blocks[block].listed & LOGGED != 0 {
            self.blocks[block].listed &= !LOGGED;
            let event = self.block_event(block, LogKind::BlockReleased);
            self.log.push(event);
        }
    }

    /// Whether the log has it that a host has a block, and so that it has its ports.
    pub(crate) fn is_logged_of(&self, block: u32, host: u32) -> bool {
        let leader = &self.blocks[self.blocks[block].leader];
        leader.listed & LOGGED != 0 && leader.host == host
    }

    fn block_event(&self, block: u32, kind: LogKind) -> LogEvent {
        let mut last = block;
        while self.blocks[last].next_unit != 0 {
            last = self.blocks[last].next_unit;
        }
        let last = self.blocks[last].number * BLOCK_PORTS + (BLOCK_PORTS - 1);
        let block = &self.blocks[block];
        let inside = Word(self.hosts[block.host].inside);
        let first = block.number * BLOCK_PORTS;
        LogEvent {
            kind,
            protocol: IpProtocol(0),
            vrf: inside.vrf(),
            from: Target(block.target).into(),
            inside: SocketAddrV4::new(inside.address(), 0),
            outside: Word::outside_at(block.address_wire, first).tuple(),
            last_port: last,
            remote: None,
        }
    }
}
