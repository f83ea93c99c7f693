//! Path attributes, held once however many prefixes share them.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sekisho_types::Asn;

/// Where a path entered BGP (RFC 4271 section 5.1.1). Lower is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The originating AS's own routing.
    Igp,
    /// The EGP protocol.
    Egp,
    /// By other means.
    Incomplete,
}

impl Origin {
    /// The name operators read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Igp => "IGP",
            Self::Egp => "EGP",
            Self::Incomplete => "incomplete",
        }
    }
}

/// The ASes a path went through, the nearest first. One sequence: sets are no longer allowed (RFC
/// 9774).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath(Box<[u32]>);

impl AsPath {
    /// A path through these ASes.
    pub fn new(asns: impl IntoIterator<Item = u32>) -> Self {
        Self(asns.into_iter().collect())
    }

    /// Its length as best-path selection counts it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it never left its AS.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ASes, the nearest first.
    pub fn asns(&self) -> &[u32] {
        &self.0
    }

    /// The AS it was learnt from.
    pub fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }

    /// Whether it went through `asn`.
    pub fn contains(&self, asn: Asn) -> bool {
        self.0.contains(&asn.value())
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, asn) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            asn.fmt(f)?;
        }
        Ok(())
    }
}

/// The attributes of a path that selection and operators look at; what is not used is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathAttributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH.
    pub as_path: AsPath,
    /// NEXT_HOP, or that of MP_REACH_NLRI.
    pub next_hop: IpAddr,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF; never from another AS.
    pub local_pref: Option<u32>,
    /// COMMUNITIES (RFC 1997).
    pub communities: Box<[u32]>,
    /// LARGE_COMMUNITIES (RFC 8092).
    pub large_communities: Box<[[u32; 3]]>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456).
    pub cluster_list: Box<[Ipv4Addr]>,
}

impl PathAttributes {
    /// LOCAL_PREF of a path that has none.
    pub const DEFAULT_LOCAL_PREF: u32 = 100;

    /// Attributes of a path that has the mandatory ones only.
    pub fn new(origin: Origin, as_path: AsPath, next_hop: IpAddr) -> Self {
        Self {
            origin,
            as_path,
            next_hop,
            med: None,
            local_pref: None,
            communities: Box::default(),
            large_communities: Box::default(),
            originator_id: None,
            cluster_list: Box::default(),
        }
    }

    /// LOCAL_PREF in effect.
    pub fn local_pref(&self) -> u32 {
        self.local_pref.unwrap_or(Self::DEFAULT_LOCAL_PREF)
    }
}

/// A shared attribute set. Equal sets from one [`Interner`] are one allocation.
pub type Attributes = Arc<PathAttributes>;

/// Holds each distinct attribute set once.
#[derive(Debug, Default)]
pub struct Interner {
    sets: HashSet<Attributes>,
    sweep_at: usize,
}

impl Interner {
    const FIRST_SWEEP: usize = 1024;

    /// The shared copy of `attributes`.
    pub fn intern(&mut self, attributes: PathAttributes) -> Attributes {
        if let Some(shared) = self.sets.get(&attributes) {
            return Arc::clone(shared);
        }
        if self.sets.len() >= self.sweep_at.max(Self::FIRST_SWEEP) {
            self.sweep();
        }
        let shared = Arc::new(attributes);
        self.sets.insert(Arc::clone(&shared));
        shared
    }

    /// Forgets sets nobody else holds. Runs by itself whenever their number has doubled.
    pub fn sweep(&mut self) {
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        self.sweep_at = self.sets.len() * 2;
    }

    /// How many sets are held.
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(asn: u32) -> PathAttributes {
        PathAttributes::new(
            Origin::Igp,
            AsPath::new([asn]),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        )
    }

    #[test]
    fn equal_sets_are_one_allocation() {
        let mut interner = Interner::default();
        let (a, b) = (interner.intern(set(1)), interner.intern(set(1)));
        assert!(Arc::ptr_eq(&a, &b));
        assert!(!Arc::ptr_eq(&a, &interner.intern(set(2))));
        assert_eq!(interner.len(), 2);
    }

    #[test]
    fn sets_nobody_holds_are_forgotten_as_their_number_grows() {
        let mut interner = Interner::default();
        let kept = interner.intern(set(1));
        for asn in 2..10_000 {
            interner.intern(set(asn));
        }
        assert!(interner.len() <= Interner::FIRST_SWEEP + 1);
        assert!(Arc::ptr_eq(&kept, &interner.intern(set(1))));
    }

    #[test]
    fn an_as_path_reads_nearest_first() {
        assert_eq!(
            AsPath::new([65001, 4_200_000_000]).to_string(),
            "65001 4200000000"
        );
    }
}
