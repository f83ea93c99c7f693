//! Which of a prefix's paths are used (RFC 4271 section 9.1.2.2).
//!
//! Rungs are elimination steps over the whole set, not pairwise comparisons: MED compares only
//! paths of one neighbouring AS and would otherwise depend on the order of arrival. Paths still
//! level after the metric of the next hop share the traffic, whatever AS they come from.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};

use super::attributes::PathAttributes;

/// A path that may be used: accepted by policy, its next hop reachable.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its attributes.
    pub attributes: &'a PathAttributes,
    /// Learnt from our own AS.
    pub internal: bool,
    /// The neighbour's BGP identifier.
    pub router_id: Ipv4Addr,
    /// The neighbour's address.
    pub peer: IpAddr,
    /// The metric of the route to its next hop.
    pub next_hop_metric: u32,
}

/// The rung on which a path lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Lower LOCAL_PREF.
    LocalPref,
    /// Longer AS_PATH.
    AsPathLength,
    /// Worse ORIGIN.
    Origin,
    /// Higher MED than another path of the same neighbouring AS.
    Med,
    /// Internal beside external.
    External,
    /// Farther next hop.
    NextHopMetric,
    /// Higher BGP identifier (or ORIGINATOR_ID, RFC 4456).
    RouterId,
    /// Longer CLUSTER_LIST (RFC 4456).
    ClusterList,
    /// Higher neighbour address.
    PeerAddress,
}

impl Rung {
    /// What the loser had.
    pub const fn lost(self) -> &'static str {
        match self {
            Self::LocalPref => "lower local preference",
            Self::AsPathLength => "longer AS path",
            Self::Origin => "worse origin",
            Self::Med => "higher MED",
            Self::External => "internal beside external",
            Self::NextHopMetric => "farther next hop",
            Self::RouterId => "higher router id",
            Self::ClusterList => "longer cluster list",
            Self::PeerAddress => "higher neighbor address",
        }
    }

    /// What the winner had.
    pub const fn won(self) -> &'static str {
        match self {
            Self::LocalPref => "higher local preference",
            Self::AsPathLength => "shorter AS path",
            Self::Origin => "better origin",
            Self::Med => "lower MED",
            Self::External => "external before internal",
            Self::NextHopMetric => "nearer next hop",
            Self::RouterId => "lower router id",
            Self::ClusterList => "shorter cluster list",
            Self::PeerAddress => "lower neighbor address",
        }
    }
}

/// What became of the candidates, by their positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Positions from the best to the worst.
    pub ranking: Vec<usize>,
    /// How many of the ranking's first share the traffic.
    pub multipath: usize,
    /// For each position, where it lost; `None` for the best.
    pub lost: Vec<Option<Rung>>,
}

impl Selection {
    /// The rung that decided for the best; `None` if it had no rival.
    pub fn decisive(&self) -> Option<Rung> {
        self.lost.iter().flatten().max().copied()
    }
}

/// Ranks `candidates` and picks at most `maximum_paths` of the best to share the traffic.
pub fn select(candidates: &[Candidate<'_>], maximum_paths: usize) -> Selection {
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    let mut lost = vec![None; candidates.len()];
    let at = |position: usize| &candidates[position];

    keep(&mut left, &mut lost, Rung::LocalPref, |i| {
        Reverse(at(i).attributes.local_pref())
    });
    keep(&mut left, &mut lost, Rung::AsPathLength, |i| {
        at(i).attributes.as_path.len()
    });
    keep(&mut left, &mut lost, Rung::Origin, |i| {
        at(i).attributes.origin
    });
    lowest_med(&mut left, &mut lost, candidates);
    keep(&mut left, &mut lost, Rung::External, |i| at(i).internal);
    keep(&mut left, &mut lost, Rung::NextHopMetric, |i| {
        at(i).next_hop_metric
    });
    let level = left.len();
    keep(&mut left, &mut lost, Rung::RouterId, |i| {
        at(i).attributes.originator_id.unwrap_or(at(i).router_id)
    });
    keep(&mut left, &mut lost, Rung::ClusterList, |i| {
        at(i).attributes.cluster_list.len()
    });
    keep(&mut left, &mut lost, Rung::PeerAddress, |i| at(i).peer);

    let mut ranking: Vec<usize> = (0..candidates.len()).collect();
    // The later it lost, the better it is.
    ranking.sort_by_key(|&i| (lost[i].is_some(), Reverse(lost[i]), at(i).peer));
    Selection {
        ranking,
        multipath: level.min(maximum_paths),
        lost,
    }
}

/// Keeps those of `left` whose key is least; the others lost on `rung`.
fn keep<K: Ord>(
    left: &mut Vec<usize>,
    lost: &mut [Option<Rung>],
    rung: Rung,
    key: impl Fn(usize) -> K,
) {
    let Some(least) = left.iter().map(|&i| key(i)).min() else {
        return;
    };
    left.retain(|&i| {
        let stays = key(i) == least;
        if !stays {
            lost[i] = Some(rung);
        }
        stays
    });
}

/// RFC 4271 section 9.1.2.2 (c): a path loses to one of the same neighbouring AS with a lower MED.
/// A path without MED has the lowest.
fn lowest_med(left: &mut Vec<usize>, lost: &mut [Option<Rung>], candidates: &[Candidate<'_>]) {
    let key = |i: usize| {
        let attributes = candidates[i].attributes;
        (attributes.as_path.first(), attributes.med.unwrap_or(0))
    };
    let before = left.clone();
    left.retain(|&i| {
        let (asn, med) = key(i);
        let beaten = before
            .iter()
            .map(|&other| key(other))
            .any(|(a, m)| a == asn && m < med);
        if beaten {
            lost[i] = Some(Rung::Med);
        }
        !beaten
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bgp::attributes::{AsPath, Origin};

    fn path(asns: &[u32]) -> PathAttributes {
        let next_hop = Ipv4Addr::new(192, 0, 2, 1).into();
        PathAttributes::new(Origin::Igp, AsPath::new(asns.iter().copied()), next_hop)
    }

    fn candidate(attributes: &PathAttributes, last: u8) -> Candidate<'_> {
        Candidate {
            attributes,
            internal: false,
            router_id: Ipv4Addr::new(10, 0, 0, last),
            peer: Ipv4Addr::new(192, 0, 2, last).into(),
            next_hop_metric: 0,
        }
    }

    /// The second of two candidates must win on `rung`.
    fn second_wins(first: Candidate<'_>, second: Candidate<'_>, rung: Rung) {
        let selection = select(&[first, second], 1);
        assert_eq!(selection.ranking, [1, 0], "{rung:?}");
        assert_eq!(selection.lost, [Some(rung), None]);
        assert_eq!(selection.decisive(), Some(rung));
    }

    #[test]
    fn b21_each_rung_decides_when_all_before_are_level() {
        let plain = path(&[1, 2]);
        let mut preferred = path(&[1, 2, 3]);
        preferred.local_pref = Some(200);
        second_wins(
            candidate(&plain, 1),
            candidate(&preferred, 2),
            Rung::LocalPref,
        );
        let mut short = path(&[1]);
        short.origin = Origin::Incomplete;
        second_wins(
            candidate(&plain, 1),
            candidate(&short, 2),
            Rung::AsPathLength,
        );
        let mut egp = path(&[1, 2]);
        egp.origin = Origin::Egp;
        let mut high_med = path(&[1, 2]);
        high_med.med = Some(10);
        second_wins(candidate(&egp, 1), candidate(&high_med, 2), Rung::Origin);
        let internal = Candidate {
            internal: true,
            ..candidate(&plain, 2)
        };
        second_wins(candidate(&high_med, 1), internal, Rung::Med);
        let far = Candidate {
            next_hop_metric: 9,
            ..candidate(&plain, 3)
        };
        second_wins(internal, far, Rung::External);
        second_wins(far, candidate(&plain, 9), Rung::NextHopMetric);
        second_wins(candidate(&plain, 9), candidate(&plain, 3), Rung::RouterId);
        let mut reflected = path(&[1, 2]);
        reflected.cluster_list = [Ipv4Addr::LOCALHOST].into();
        let same_id = Candidate {
            router_id: Ipv4Addr::new(10, 0, 0, 9),
            ..candidate(&plain, 200)
        };
        second_wins(candidate(&reflected, 9), same_id, Rung::ClusterList);
        let lower_address = Candidate {
            router_id: same_id.router_id,
            ..candidate(&plain, 100)
        };
        second_wins(same_id, lower_address, Rung::PeerAddress);
    }

    #[test]
    fn b21_med_compares_only_paths_of_one_neighbouring_as() {
        let (mut a, mut b) = (path(&[1, 9]), path(&[2, 9]));
        (a.med, b.med) = (Some(50), Some(10));
        let selection = select(&[candidate(&a, 1), candidate(&b, 2)], 8);
        assert_eq!(selection.ranking, [0, 1]);
        assert_eq!(selection.multipath, 2);
    }

    #[test]
    fn b23_paths_of_different_ases_share_the_traffic_up_to_the_maximum() {
        let paths = [
            path(&[1, 9]),
            path(&[2, 9]),
            path(&[3, 9]),
            path(&[4, 5, 9]),
        ];
        let candidates: Vec<_> = (1u8..).zip(&paths).map(|(i, p)| candidate(p, i)).collect();
        assert_eq!(select(&candidates, 16).multipath, 3);
        assert_eq!(select(&candidates, 2).multipath, 2);
        assert_eq!(select(&candidates, 2).ranking, [0, 1, 2, 3]);
        assert_eq!(select(&[], 2), Selection::default());
    }

    proptest! {
        #[test]
        fn the_best_does_not_depend_on_the_order_of_arrival(
            shapes in prop::collection::vec((0u32..3, 1u32..4, prop::option::of(0u32..3), any::<bool>()), 1..7),
            rotation in 0usize..7,
        ) {
            let paths: Vec<_> = shapes.iter().map(|&(pref, asn, med, _)| {
                let mut path = path(&[asn, 9]);
                path.local_pref = Some(pref);
                path.med = med;
                path
            }).collect();
            let mut candidates: Vec<_> = (1u8..).zip(&paths).zip(&shapes).map(|((i, p), shape)| {
                Candidate { internal: shape.3, ..candidate(p, i) }
            }).collect();
            let of = |candidates: &[Candidate<'_>]| {
                let selection = select(candidates, 4);
                let shared = selection.ranking[..selection.multipath].iter();
                shared.map(|&i| candidates[i].peer).collect::<Vec<_>>()
            };
            let before = of(&candidates);
            let rotation = rotation % candidates.len();
            candidates.rotate_left(rotation);
            prop_assert_eq!(before, of(&candidates));
        }
    }
}
