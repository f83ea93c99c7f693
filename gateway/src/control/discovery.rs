//! What the control task says with neighbour discovery: questions for neighbours, announcements of
//! our own addresses, and router advertisements when they are due (RFC 4861, RFC 4862).

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::time::Duration;

use sekisho_fib::Link;
use sekisho_packet::ndp::{self, Envelope, Message};
use sekisho_types::{InterfaceId, MacAddr, SegmentId};

use super::neighbor::Now;
use crate::snapshot::{Segment, SegmentV6, Snapshot};

/// The first advertisements follow each other soon, so that a host that missed one, or whose VTEP
/// was not known yet, does not wait: at first as close as RFC 4861 section 6.2.6 allows.
const INITIAL: u8 = 5;
const CLOSE_ONES: u8 = 2;
const CLOSE_INTERVAL: Duration = Duration::from_secs(3);
const INITIAL_INTERVAL: Duration = Duration::from_secs(16);
/// Later ones are as far apart as the default of RFC 4861 section 6.2.1 lets them be.
const INTERVAL: Duration = Duration::from_secs(400);

/// A frame with a question for `target`: to everybody whose address ends like that, or to the
/// station where it was last seen.
pub(super) fn solicitation(
    target: Ipv6Addr,
    mac: MacAddr,
    src: Ipv6Addr,
    known: Option<MacAddr>,
) -> Option<Frame> {
    let envelope = match known {
        Some(ethernet_dst) => Envelope {
            ethernet_dst,
            mac,
            src,
            dst: target,
        },
        None => Envelope::to_group(mac, src, ndp::solicited_node(target)),
    };
    Frame::new(&Message::Solicitation { target }, &envelope)
}

/// A frame that asks whether anybody else has an address of ours.
pub(super) fn probe(target: Ipv6Addr, mac: MacAddr) -> Option<Frame> {
    solicitation(target, mac, Ipv6Addr::UNSPECIFIED, None)
}

/// A frame that tells everybody where an address of ours is now.
pub(super) fn announcement(target: Ipv6Addr, mac: MacAddr) -> Option<Frame> {
    let message = Message::Advertisement {
        target,
        solicited: false,
    };
    Frame::new(&message, &Envelope::to_group(mac, target, ndp::ALL_NODES))
}

/// A frame that tells the hosts of a segment of us, if they are to be told.
pub(super) fn router_advertisement(segment: &Segment) -> Option<Frame> {
    let message = Message::Router(segment.router_advertisement()?);
    let link_local = segment.ipv6.as_ref()?.link_local;
    let envelope = Envelope::to_group(segment.mac, link_local, ndp::ALL_NODES);
    Frame::new(&message, &envelope)
}

/// A whole Ethernet frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    bytes: [u8; ndp::MAX_FRAME_LEN],
    len: usize,
}

impl Frame {
    fn new(message: &Message, envelope: &Envelope) -> Option<Self> {
        let mut bytes = [0; ndp::MAX_FRAME_LEN];
        let len = message.write(envelope, &mut bytes).ok()?;
        Some(Self { bytes, len })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Our addresses on a link, and the station that has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) link: Link,
    pub(super) mac: MacAddr,
    pub(super) address: Ipv6Addr,
}

/// All IPv6 addresses of ours that neighbours ask for.
pub(super) fn owned(snapshot: &Snapshot) -> Vec<Owned> {
    let mut all = Vec::new();
    for (uplink, index) in snapshot.uplinks.iter().zip(0..) {
        let Some((uplink, ipv6)) = uplink
            .as_ref()
            .and_then(|own| Some((own, own.ipv6.as_ref()?)))
        else {
            continue;
        };
        all.extend(ipv6.own().map(|address| Owned {
            link: Link::Interface(InterfaceId::new(index)),
            mac: uplink.mac,
            address,
        }));
    }
    for (id, segment, ipv6) in segments(snapshot) {
        all.extend([ipv6.gateway, ipv6.link_local].map(|address| Owned {
            link: Link::Segment(id),
            mac: segment.mac,
            address,
        }));
    }
    all
}

fn segments(snapshot: &Snapshot) -> impl Iterator<Item = (SegmentId, &Segment, &SegmentV6)> {
    let segments = snapshot.segments.iter().zip(0..);
    segments.filter_map(|(segment, index)| {
        let segment = segment.as_ref()?;
        Some((SegmentId::new(index), segment, segment.ipv6.as_ref()?))
    })
}

/// When which segment's hosts are told again. Pure: time in, segments out.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    due: BTreeSet<(Now, SegmentId)>,
    /// When, and how many of the first ones are left.
    of: HashMap<SegmentId, (Now, u8)>,
}

impl Schedule {
    /// Follows a new configuration: segments that are new, or tell something else than before,
    /// begin anew at once; those that tell nothing any more are forgotten.
    pub(super) fn follow(&mut self, old: Option<&Snapshot>, new: &Snapshot, now: Now) {
        let told = |snapshot: &Snapshot, id| {
            let segment = snapshot.segment(id)?;
            Some((
                segment.router_advertisement()?,
                segment.mac,
                segment.vteps.clone(),
            ))
        };
        let stays: HashMap<SegmentId, bool> = segments(new)
            .filter_map(|(id, ..)| {
                let now_told = told(new, id)?;
                let before = old.and_then(|old| told(old, id));
                Some((id, before == Some(now_told)))
            })
            .collect();
        self.of.retain(|id, _| stays.contains_key(id));
        self.due.retain(|(_, id)| stays.contains_key(id));
        for (id, unchanged) in stays {
            if !unchanged || !self.of.contains_key(&id) {
                self.set(id, now, INITIAL);
            }
        }
    }

    /// The next segment whose hosts are to be told, if it is time.
    pub(super) fn next(&mut self, now: Now) -> Option<SegmentId> {
        let &(due, id) = self.due.first()?;
        if due > now {
            return None;
        }
        let left = self.of.get(&id).map_or(0, |(_, left)| *left);
        let wait = match left {
            0 | 1 => INTERVAL,
            left if left > INITIAL - CLOSE_ONES => CLOSE_INTERVAL,
            _ => INITIAL_INTERVAL,
        };
        self.set(id, now + wait, left.saturating_sub(1));
        Some(id)
    }

    fn set(&mut self, id: SegmentId, due: Now, left: u8) {
        if let Some((before, _)) = self.of.insert(id, (due, left)) {
            self.due.remove(&(before, id));
        }
        self.due.insert((due, id));
    }
}

/// Says which duplicates have been reported, so that one who insists does not fill the log.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    said: HashMap<(Link, std::net::IpAddr), Now>,
}

/// A duplicate is reported again after this time.
const AGAIN: Duration = Duration::from_secs(60);

impl Conflicts {
    /// Whether it is time to report a duplicate of an address of ours.
    pub(super) fn is_news(&mut self, link: Link, address: std::net::IpAddr, now: Now) -> bool {
        // At most one for each address of ours: bounded by the configuration.
        let last = self.said.get(&(link, address));
        let news = last.is_none_or(|last| now >= *last + AGAIN);
        if news {
            self.said.insert((link, address), now);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use sekisho_types::VrfId;

    use super::*;

    fn segment(mtu: u16) -> Segment {
        Segment {
            name: "web".parse().unwrap(),
            vrf: VrfId::new(1),
            vni: sekisho_types::Vni::new(5001).unwrap(),
            gateway: "172.16.10.1".parse().unwrap(),
            prefix: "172.16.10.0/24".parse().unwrap(),
            mac: MacAddr::new([2, 0x53, 0x4b, 0, 0x13, 0x89]),
            mtu,
            vteps: Vec::new(),
            learning: true,
            advertise: false,
            static_endpoints: HashMap::new(),
            icmp_errors: true,
            mss_clamp: None,
            ipv6: Some(SegmentV6 {
                gateway: "2001:db8:10::1".parse().unwrap(),
                prefix: "2001:db8:10::/64".parse().unwrap(),
                link_local: "fe80::1".parse().unwrap(),
                advertise: true,
                router_advertisements: true,
                static_endpoints: HashMap::new(),
            }),
            traffic: Arc::new([]),
        }
    }

    fn snapshot(segments: Vec<Option<Segment>>) -> Snapshot {
        Snapshot {
            segments,
            ..Snapshot::for_tests()
        }
    }

    fn due(schedule: &mut Schedule, seconds: u64) -> Vec<SegmentId> {
        let now = Duration::from_secs(seconds);
        std::iter::from_fn(|| schedule.next(now)).collect()
    }

    #[test]
    fn hosts_are_told_a_few_times_soon_and_then_now_and_then() {
        let snapshot = snapshot(vec![Some(segment(1450)), None]);
        let mut schedule = Schedule::default();
        schedule.follow(None, &snapshot, Duration::ZERO);
        let told: Vec<u64> = (0..1000)
            .filter(|&second| due(&mut schedule, second) == [SegmentId::new(0)])
            .collect();
        assert_eq!(told, [0, 3, 6, 22, 38, 438, 838]);
    }

    #[test]
    fn what_changes_is_told_at_once_and_what_does_not_is_left_alone() {
        let old = snapshot(vec![Some(segment(1450)), Some(segment(1450))]);
        let new = snapshot(vec![Some(segment(1450)), Some(segment(1400))]);
        let mut schedule = Schedule::default();
        schedule.follow(None, &old, Duration::ZERO);
        assert_eq!(due(&mut schedule, 0).len(), 2);
        schedule.follow(Some(&old), &new, Duration::from_secs(1));
        assert_eq!(due(&mut schedule, 1), [SegmentId::new(1)]);
        schedule.follow(Some(&new), &snapshot(Vec::new()), Duration::from_secs(2));
        assert_eq!(due(&mut schedule, 5000), []);
    }

    #[test]
    fn a_duplicate_is_reported_once_a_minute() {
        let mut conflicts = Conflicts::default();
        let link = Link::Interface(InterfaceId::new(1));
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let news: Vec<u64> = (0..130)
            .filter(|&at| conflicts.is_news(link, address, Duration::from_secs(at)))
            .collect();
        assert_eq!(news, [0, 60, 120]);
    }

    #[test]
    fn every_address_of_ours_is_owned_link_local_ones_too() {
        let snapshot = snapshot(vec![Some(segment(1450))]);
        let all = owned(&snapshot);
        let addresses: Vec<String> = all.iter().map(|own| own.address.to_string()).collect();
        assert_eq!(addresses, ["2001:db8:10::1", "fe80::1"]);
    }
}
