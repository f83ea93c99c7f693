//! A new configuration touches only what differs.

use std::time::Instant;

use super::Speaker;
use crate::bgp::adj_rib_in::PeerId;
use crate::bgp::codec::Notification;
use crate::bgp::fsm::Event;
use crate::bgp::peer::Peer;
use crate::config::{BgpConfig, NeighborConfig, RoutingConfig};
use crate::policy::Policy;

impl Speaker {
    /// Makes a checked configuration the running one.
    pub(crate) fn configure(&mut self, config: &RoutingConfig, now: Instant) {
        self.lists.clone_from(&config.prefix_lists);
        let before = self.config.clone();
        self.config.clone_from(&config.bgp);
        let identity = |bgp: &BgpConfig| (bgp.asn, bgp.router_id);
        let same = before.as_ref().map(identity) == config.bgp.as_ref().map(identity);
        let wanted = config.bgp.iter().flat_map(|bgp| &bgp.neighbors);
        let wanted: Vec<&NeighborConfig> = wanted.collect();

        let peers = self.peers.values();
        let gone = peers.filter_map(|peer| {
            let found = wanted.iter().find(|n| n.address == peer.config.address);
            match found {
                None => Some((peer.id, Notification::DECONFIGURED)),
                Some(found) if same && peer.can_become(found) => None,
                Some(_) => Some((peer.id, Notification::CONFIGURATION)),
            }
        });
        for (id, reason) in gone.collect::<Vec<_>>() {
            self.remove_peer(id, reason, now);
        }
        if let Some(bgp) = &config.bgp {
            for neighbor in wanted {
                match self.addresses.get(&neighbor.address) {
                    Some(&id) => self.change_peer(id, neighbor, now),
                    None => self.add_peer(bgp, neighbor, now),
                }
            }
        }
        let paths = |bgp: &Option<BgpConfig>| bgp.as_ref().map(|bgp| bgp.maximum_paths);
        if paths(&before) != paths(&config.bgp) {
            self.dirty
                .extend(self.table.iter().map(|(prefix, _)| prefix));
        }
        self.begin_deferral(now);
    }

    fn add_peer(&mut self, bgp: &BgpConfig, neighbor: &NeighborConfig, now: Instant) {
        let id = PeerId(self.next_peer);
        self.next_peer += 1;
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let peer = Peer::new(id, bgp, neighbor.clone(), &self.lists, self.seed);
        self.addresses.insert(neighbor.address, id);
        self.peers.insert(id, peer);
        self.begin_deferral(now);
        if !neighbor.shutdown {
            self.drive(id, Event::Start, now);
        }
    }

    fn remove_peer(&mut self, id: PeerId, reason: Notification, now: Instant) {
        self.drive(id, Event::Stop(reason), now);
        if let Some(peer) = self.peers.remove(&id) {
            self.addresses.remove(&peer.config.address);
        }
        self.owners.retain(|_, owner| *owner != id);
    }

    fn change_peer(&mut self, id: PeerId, config: &NeighborConfig, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let was_shut = std::mem::replace(&mut peer.config, config.clone()).shutdown;
        let internal = peer.internal();
        let import = Policy::new(config.import.as_ref(), internal, &self.lists);
        let export = Policy::new(config.export.as_ref(), internal, &self.lists);
        let import_changed = std::mem::replace(&mut peer.import, import) != peer.import;
        let export_changed = std::mem::replace(&mut peer.export, export) != peer.export;
        let farewell = peer.farewell();
        if import_changed {
            let changed = self.table.judge(id, &peer.importer());
            self.dirty.extend(changed);
        }
        if export_changed {
            self.export_all(id);
        }
        match (was_shut, config.shutdown) {
            (false, true) => self.drive(id, Event::Stop(farewell), now),
            (true, false) => self.drive(id, Event::Start, now),
            _ => {}
        }
    }
}
