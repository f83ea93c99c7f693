use std::net::Ipv4Addr;

use sekisho_types::{Asn, InterfaceId, VrfId};

use super::*;
use crate::bgp::attributes::{AsPath, Origin, PathAttributes};
use crate::config::{NeighborConfig, RoutingConfig};
use crate::rib::{Candidate, Rib, Source, Target};
use crate::route::{InterfaceRef, LinkState, Protocol};

/// A speaker with internal neighbours (which need no policy), its RIB and its clock.
struct Bench {
    speaker: Speaker,
    rib: Rib,
    now: Instant,
    config: RoutingConfig,
}

const DEFERRAL: Duration = Duration::from_secs(30);

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn uplink() -> InterfaceRef {
    InterfaceRef::uplink(InterfaceId::new(0), "up0")
}

impl Bench {
    fn new(neighbors: &[u8]) -> Self {
        let asn = Asn::new(65010).unwrap();
        let config = RoutingConfig {
            bgp: Some(BgpConfig {
                asn,
                router_id: Ipv4Addr::new(10, 0, 0, 10),
                maximum_paths: 8,
                listen: Vec::new(),
                neighbors: neighbors
                    .iter()
                    .map(|last| NeighborConfig::new(address(*last), asn))
                    .collect(),
            }),
            prefix_lists: Vec::new(),
        };
        let mut bench = Self {
            speaker: Speaker::new(DEFERRAL, 1),
            rib: Rib::default(),
            now: Instant::now(),
            config,
        };
        let key = (
            VrfId::PROVIDER,
            "192.0.2.0/24".parse().unwrap(),
            Source::new(0, Protocol::Connected),
        );
        bench
            .rib
            .set(key, Candidate::new(Target::Connected(uplink())), bench.now);
        bench.speaker.configure(&bench.config, bench.now);
        bench
    }

    fn establish(&mut self, last: u8, end_of_rib: Option<bool>) -> ConnectionId {
        let connection = ConnectionId(last.into());
        let ends = Ends {
            local: SocketAddr::new(address(100), 179),
            remote: SocketAddr::new(address(last), 4000),
        };
        let peer = self.speaker.neighbor(address(last)).unwrap();
        self.speaker
            .connected(peer, connection, Side::Incoming, ends, self.now);
        let open = Open {
            asn: 65010,
            hold_time: 0,
            router_id: Ipv4Addr::new(10, 0, 0, last),
            capabilities: Capabilities {
                end_of_rib,
                ..Capabilities::default()
            },
        };
        self.receive(connection, Message::Open(open));
        self.receive(connection, Message::Keepalive);
        connection
    }

    fn receive(&mut self, connection: ConnectionId, message: Message) {
        self.speaker
            .input(connection, Input::Message(message), self.now);
    }

    fn announce(&mut self, connection: ConnectionId, next_hop: IpAddr) {
        let attributes = PathAttributes::new(Origin::Igp, AsPath::default(), next_hop);
        let update = Update {
            announced: vec![(attributes, vec!["10.0.0.0/8".parse().unwrap()])],
            ..Update::default()
        };
        self.receive(connection, Message::Update(update));
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let busy = self.speaker.decide(&mut self.rib, 2, self.now);
            let busy = busy | self.rib.evaluate(2);
            let changed = self.rib.take_changed();
            self.speaker.next_hops_changed(&changed);
            if !busy && changed.is_empty() {
                break;
            }
        }
        while let Some(batch) = self.rib.drain(16) {
            self.rib.acknowledge(batch.generation);
        }
        self.speaker
            .review_deferral(self.rib.is_settled(), self.now);
    }

    /// The usable paths of 10.0.0.0/8, by neighbour, the best first.
    fn used(&self) -> Vec<IpAddr> {
        let views = self
            .speaker
            .routes(&self.rib, crate::view::RouteFilter::All, self.now);
        let paths = views.iter().flat_map(|view| &view.paths);
        paths
            .filter(|path| path.best || path.multipath)
            .filter_map(|path| path.peer)
            .collect()
    }
}

#[test]
fn b34_announcements_wait_for_every_end_of_rib_and_then_end_with_ours() {
    let mut bench = Bench::new(&[1, 2]);
    let prefix: Prefix = "203.0.113.1/32".parse().unwrap();
    bench.speaker.originate([prefix].into());
    let first = bench.establish(1, Some(false));
    let second = bench.establish(2, Some(false));
    let end = || Update {
        end_of_rib: Some(Family::Ipv4Unicast),
        ..Update::default()
    };
    bench.receive(first, Message::Update(end()));
    bench.settle();
    assert_eq!(bench.speaker.talkative(), []);
    assert_eq!(bench.speaker.next_message(first), None);
    bench.receive(second, Message::Update(end()));
    bench.settle();
    assert_eq!(bench.speaker.talkative(), [first, second]);
    assert!(
        bench
            .speaker
            .next_message(first)
            .unwrap()
            .ends_with(&[32, 203, 0, 113, 1])
    );
    assert_eq!(
        bench.speaker.next_message(first).unwrap(),
        Encoder::end_of_rib(Family::Ipv4Unicast)
    );
    assert_eq!(bench.speaker.next_message(first), None);
}

#[test]
fn b34_the_deferral_ends_by_itself_for_a_neighbour_that_stays_away() {
    let mut bench = Bench::new(&[1, 2]);
    let first = bench.establish(1, None);
    bench.receive(first, Message::Keepalive);
    bench.now += DEFERRAL - Duration::from_millis(1);
    bench.settle();
    assert_eq!(bench.speaker.talkative(), []);
    bench.now += Duration::from_millis(1);
    assert!(
        bench
            .speaker
            .deadline()
            .is_some_and(|deadline| deadline <= bench.now)
    );
    bench.settle();
    assert_eq!(bench.speaker.talkative(), [first]);
}

#[test]
fn a_neighbour_that_restarts_itself_is_not_waited_for() {
    let mut bench = Bench::new(&[1]);
    let first = bench.establish(1, Some(true));
    bench.settle();
    assert_eq!(bench.speaker.talkative(), [first]);
}

#[test]
fn announcements_wait_for_the_forwarding_tables() {
    let mut bench = Bench::new(&[1]);
    bench.establish(1, Some(true));
    bench.speaker.review_deferral(false, bench.now);
    assert_eq!(bench.speaker.talkative(), []);
}

#[test]
fn b24_a_path_counts_only_while_its_next_hop_is_reachable() {
    let mut bench = Bench::new(&[1, 2]);
    let (first, second) = (bench.establish(1, None), bench.establish(2, None));
    bench.announce(first, address(1));
    bench.announce(second, Ipv4Addr::new(172, 16, 0, 1).into());
    assert_eq!(bench.used(), [address(1)]);
    bench.rib.set_link(uplink().key, LinkState::Down);
    bench.settle();
    assert!(bench.used().is_empty());
    bench.rib.set_link(uplink().key, LinkState::Up);
    bench.settle();
    assert_eq!(bench.used(), [address(1)]);
}

#[test]
fn b12_a_lost_session_takes_its_paths_along() {
    let mut bench = Bench::new(&[1, 2]);
    let (first, second) = (bench.establish(1, None), bench.establish(2, None));
    bench.announce(first, address(1));
    bench.announce(second, address(2));
    assert_eq!(bench.used().len(), 2);
    bench
        .speaker
        .input(first, Input::Closed("reset".to_owned()), bench.now);
    bench.settle();
    assert_eq!(bench.used(), [address(2)]);
    assert_eq!(bench.rib.watches(), 1);
    assert_eq!(bench.speaker.owners.keys().collect::<Vec<_>>(), [&second]);
}

#[test]
fn an_address_whose_family_was_not_negotiated_is_ignored() {
    let mut bench = Bench::new(&[1]);
    let first = bench.establish(1, None);
    let attributes = PathAttributes::new(Origin::Igp, AsPath::default(), address(1));
    let update = Update {
        announced: vec![(attributes, vec!["2001:db8::/32".parse().unwrap()])],
        ..Update::default()
    };
    bench.receive(first, Message::Update(update));
    assert_eq!(bench.speaker.table.prefixes(), 0);
}
