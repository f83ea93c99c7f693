//! Longest-prefix match, the reader's side.
//!
//! A root is one 64-bit word: the node below it, and the leaf of the longest prefix that covers
//! everything below, which addresses without a longer prefix inherit. Both come from one load, so
//! they are of one moment; and a short prefix is one store for each root, whatever lies below.
//! The provider VRF has a root for each value of the first 18 bits, a tenant one in all.

use std::hint::select_unpredictable;
use std::sync::atomic::{AtomicU64, Ordering};

use sekisho_mem::{HugeSlice, prefetch_read};
use sekisho_types::VrfId;

use crate::leaf::CHILD;
use crate::nodes::NodeKind::{Dense, NotDense};
use crate::nodes::{INHERIT, NO_NODE, NodeKind, NodeReader, Nodes, is_child};
use crate::{Address, FibError, Leaf, PackedLeaf};

/// Bits the provider's roots decide.
pub(crate) const WIDE: u8 = 18;
/// VRFs there can be.
const VRFS: usize = 1 << 16;

/// The trees of one family, of all VRFs.
pub(crate) struct Trees {
    /// The provider's, then one for each VRF.
    roots: HugeSlice<AtomicU64>,
    pub(crate) nodes: Nodes,
}

/// What a root says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) node: u32,
    pub(crate) cover: u32,
}

impl Root {
    #[inline]
    pub(crate) const fn pack(self) -> u64 {
        self.node as u64 | (self.cover as u64) << 32
    }

    #[inline]
    pub(crate) const fn unpack(word: u64) -> Self {
        Self {
            node: word as u32,
            cover: (word >> 32) as u32,
        }
    }
}

const _: () = assert!(NO_NODE == 0 && Leaf::None.pack() == 0, "untouched roots");

impl Trees {
    pub(crate) fn new(capacity: u32) -> Result<Self, FibError> {
        Ok(Self {
            roots: HugeSlice::new((1 << WIDE) + VRFS)?,
            nodes: Nodes::new(capacity)?,
        })
    }

    /// The roots of a VRF.
    pub(crate) fn roots(&self, vrf: VrfId) -> &[AtomicU64] {
        let tenant = (1 << WIDE) + vrf.index();
        match vrf {
            VrfId::PROVIDER => &self.roots[..1 << WIDE],
            _ => &self.roots[tenant..=tenant],
        }
    }

    /// The roots of the provider VRF, and one of each VRF.
    #[inline(always)]
    fn read(&self) -> Reading<'_> {
        let (provider, tenants) = self.roots.as_chunks();
        Reading {
            provider: &provider[0],
            tenants: &tenants.as_chunks().0[0],
            nodes: self.nodes.read(),
        }
    }

    /// Brings the provider's root of `address` close.
    #[inline(always)]
    pub(crate) fn prefetch_root<A: Address>(&self, address: A) {
        prefetch_read(&self.roots[address.bits_at(0, WIDE)]);
    }

    /// Brings close what the provider's roots of the addresses lead to.
    #[inline(never)]
    pub(crate) fn prefetch_nodes<A: Address>(&self, addresses: &[A]) {
        let trees = self.read();
        for address in addresses {
            let root = trees.root(VrfId::PROVIDER, *address);
            let node = Root::unpack(root.load(Ordering::Acquire)).node;
            trees.nodes.prefetch(node);
        }
    }

    /// The leaf of the longest prefix in `vrf` that covers `address`.
    #[inline]
    pub(crate) fn lookup<A: Address>(&self, vrf: VrfId, address: A) -> PackedLeaf {
        let trees = self.read();
        // Acquire: a node is complete before the word that names it is stored.
        let root = Root::unpack(trees.root(vrf, address).load(Ordering::Acquire));
        let dense = A::DENSE && vrf == VrfId::PROVIDER;
        let kind = NodeKind::Either { dense };
        let mut word = trees.nodes.step(kind, root.node, address);
        while is_child(word) {
            word = trees.nodes.step(NotDense, word & !CHILD, address);
        }
        inherit(word, root.cover)
    }

    /// [`Self::lookup`] of each address in the VRF at the same place, as many as the shortest of the
    /// slices has. Addresses that follow each other in the provider VRF, or in tenants', are
    /// cheaper than those that alternate.
    #[inline]
    pub(crate) fn lookup_batch_mixed<A: Address>(
        &self,
        vrfs: &[VrfId],
        addresses: &[A],
        leaves: &mut [PackedLeaf],
    ) {
        let count = vrfs.len().min(addresses.len()).min(leaves.len());
        let mut begin = 0;
        while begin < count {
            let next = &vrfs[begin..count.min(begin + LANES)];
            let (kind, run) = run(next);
            let lanes = begin..begin + run;
            let (vrfs, addresses) = (&vrfs[lanes.clone()], &addresses[lanes.clone()]);
            let leaves = &mut leaves[lanes];
            match kind {
                Kind::Provider => self.read().lookup_lanes(InProvider, addresses, leaves),
                Kind::Tenants => self.read().lookup_lanes(OfTenants(vrfs), addresses, leaves),
                Kind::Either => self.read().lookup_lanes(OfEither(vrfs), addresses, leaves),
            }
            begin += run;
        }
    }

    /// [`Self::lookup`] of each address in one VRF.
    #[inline]
    pub(crate) fn lookup_batch<A: Address>(
        &self,
        vrf: VrfId,
        addresses: &[A],
        leaves: &mut [PackedLeaf],
    ) {
        let trees = self.read();
        let lanes = addresses.chunks(LANES).zip(leaves.chunks_mut(LANES));
        for (addresses, leaves) in lanes {
            if vrf == VrfId::PROVIDER {
                trees.lookup_lanes(InProvider, addresses, leaves);
            } else {
                trees.lookup_lanes(InTenant(vrf), addresses, leaves);
            }
        }
    }
}

/// The trees as a lookup reads them: where they lie, in registers.
#[derive(Clone, Copy)]
struct Reading<'a> {
    provider: &'a [AtomicU64; 1 << WIDE],
    tenants: &'a [AtomicU64; VRFS],
    nodes: NodeReader<'a>,
}

impl<'a> Reading<'a> {
    #[inline(always)]
    fn root<A: Address>(self, vrf: VrfId, address: A) -> &'a AtomicU64 {
        if vrf == VrfId::PROVIDER {
            &self.provider[address.bits_at(0, WIDE)]
        } else {
            &self.tenants[vrf.index()]
        }
    }

    /// [`Self::root`], for VRFs that are known to be of a kind.
    #[inline(always)]
    fn root_of<A: Address, V: Vrfs>(self, vrf: VrfId, address: A) -> &'a AtomicU64 {
        match V::KIND {
            Kind::Provider => &self.provider[address.bits_at(0, WIDE)],
            Kind::Tenants => &self.tenants[vrf.index()],
            Kind::Either => self.root(vrf, address),
        }
    }

    /// Looks up the addresses of a batch at most in stages: each overlaps the loads of all. A stage
    /// has no branch that depends on what was loaded; only addresses that are not at their leaf pass
    /// the next.
    #[inline(never)]
    fn lookup_lanes<A: Address, V: Vrfs>(
        self,
        vrfs: V,
        addresses: &[A],
        leaves: &mut [PackedLeaf],
    ) {
        let count = addresses.len().min(leaves.len()).min(LANES);
        let vrfs = vrfs.first(count);
        let (addresses, leaves) = (&addresses[..count], &mut leaves[..count]);
        if !matches!(V::KIND, Kind::Tenants) {
            for (lane, address) in addresses.iter().enumerate() {
                prefetch_read(self.root_of::<A, V>(vrfs.vrf(lane), *address));
            }
        }
        let mut roots = [0; LANES];
        for lane in 0..count {
            // Acquire: a node is complete before the word that names it is stored.
            let root = self.root_of::<A, V>(vrfs.vrf(lane), addresses[lane]);
            roots[lane] = root.load(Ordering::Acquire);
            self.nodes.prefetch(Root::unpack(roots[lane]).node);
        }
        let kind = |lane: usize| match (A::DENSE, V::KIND) {
            (false, _) | (true, Kind::Tenants) => NotDense,
            (true, Kind::Provider) => Dense,
            (true, Kind::Either) => NodeKind::Either {
                dense: vrfs.vrf(lane) == VrfId::PROVIDER,
            },
        };
        if A::DENSE && !matches!(V::KIND, Kind::Either) {
            // What a node leads to is mostly on the line that was just read.
            for lane in 0..count {
                let Root { node, cover } = Root::unpack(roots[lane]);
                let word = self.nodes.step(kind(lane), node, addresses[lane]);
                leaves[lane] = inherit(word, cover);
            }
        } else {
            let mut found = [0; LANES];
            for lane in 0..count {
                let Root { node, .. } = Root::unpack(roots[lane]);
                found[lane] = self.nodes.find(kind(lane), node, addresses[lane]);
                self.nodes.prefetch_at(found[lane]);
            }
            for lane in 0..count {
                let word = self.nodes.word_at(found[lane]);
                leaves[lane] = inherit(word, Root::unpack(roots[lane]).cover);
            }
        }
        if is_child(leaves.iter().fold(0, |all, leaf| all | leaf.word())) {
            self.descend(addresses, &roots, leaves);
        }
    }

    /// Takes the addresses that are not at their leaf, where a word that names a node is instead, all
    /// the way.
    #[inline(never)]
    fn descend<A: Address>(self, addresses: &[A], roots: &[u64; LANES], leaves: &mut [PackedLeaf]) {
        let mut lower = [(0, 0); LANES];
        let mut count = 0;
        for (lane, leaf) in leaves.iter().enumerate() {
            let word = leaf.word();
            count = keep(&mut lower, count, lane, word);
            let node = select_unpredictable(is_child(word), word & !CHILD, NO_NODE);
            self.nodes.prefetch(node);
        }
        while count > 0 {
            let mut next = 0;
            for at in 0..count.min(LANES) {
                let (lane, word) = lower[at];
                let lane = lane as usize % LANES;
                let word = self.nodes.step(NotDense, word & !CHILD, addresses[lane]);
                leaves[lane] = inherit(word, Root::unpack(roots[lane]).cover);
                // Never beyond `at`.
                next = keep(&mut lower, next, lane, word);
                let node = select_unpredictable(is_child(word), word & !CHILD, NO_NODE);
                self.nodes.prefetch(node);
            }
            count = next;
        }
    }
}

/// Lanes of a batch that are not at their leaf, each with the word that names its next node.
type Lower = [(u32, u32); LANES];

/// Keeps a lane if its word names a node, without a branch. Returns how many are kept.
#[inline(always)]
const fn keep(lower: &mut Lower, count: usize, lane: usize, word: u32) -> usize {
    lower[count % LANES] = (lane as u32, word);
    count + is_child(word) as usize
}

/// Addresses looked up together, so that their loads overlap.
const LANES: usize = 64;

#[inline]
fn inherit(word: u32, cover: u32) -> PackedLeaf {
    PackedLeaf::from_word(select_unpredictable(word == INHERIT, cover, word))
}

/// The VRFs of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// All the provider's.
    Provider,
    /// None of them the provider's.
    Tenants,
    Either,
}

const _: () = assert!(VrfId::PROVIDER.value() == 0, "the lowest number");

/// How many of these VRFs, a batch at most, are best looked up together, and their kind.
#[inline]
fn run(vrfs: &[VrfId]) -> (Kind, usize) {
    // Without a branch for each: mostly all are of one kind.
    let numbers = vrfs.iter().map(|vrf| vrf.value());
    let ends = |(low, high): (u16, u16), number: u16| (low.min(number), high.max(number));
    let (lowest, highest) = numbers.fold((u16::MAX, 0), ends);
    if highest == VrfId::PROVIDER.value() {
        (Kind::Provider, vrfs.len())
    } else if lowest != VrfId::PROVIDER.value() {
        (Kind::Tenants, vrfs.len())
    } else {
        mixed_run(vrfs)
    }
}

/// [`run`] of more than one kind: a short run is not worth a batch of its own.
#[inline(never)]
fn mixed_run(vrfs: &[VrfId]) -> (Kind, usize) {
    let is_provider = |vrf: &VrfId| *vrf == VrfId::PROVIDER;
    let first = vrfs.first().is_some_and(is_provider);
    let run = vrfs.iter().take_while(|vrf| is_provider(vrf) == first);
    match (run.count(), first) {
        (run, _) if run < SHORT => (Kind::Either, vrfs.len()),
        (run, true) => (Kind::Provider, run),
        (run, false) => (Kind::Tenants, run),
    }
}

/// Fewer lookups than this are not made a batch of their own.
const SHORT: usize = 8;

/// In which VRF each address of a batch is looked up.
trait Vrfs: Copy {
    const KIND: Kind;

    /// Those of the first `count` addresses.
    #[inline(always)]
    fn first(self, _count: usize) -> Self {
        self
    }

    fn vrf(self, lane: usize) -> VrfId;
}

/// All in the provider VRF.
#[derive(Clone, Copy)]
struct InProvider;

impl Vrfs for InProvider {
    const KIND: Kind = Kind::Provider;

    #[inline(always)]
    fn vrf(self, _: usize) -> VrfId {
        VrfId::PROVIDER
    }
}

/// All in the same one, a tenant's.
#[derive(Clone, Copy)]
struct InTenant(VrfId);

impl Vrfs for InTenant {
    const KIND: Kind = Kind::Tenants;

    #[inline(always)]
    fn vrf(self, _: usize) -> VrfId {
        self.0
    }
}

/// Each in its own tenant's.
#[derive(Clone, Copy)]
struct OfTenants<'a>(&'a [VrfId]);

impl Vrfs for OfTenants<'_> {
    const KIND: Kind = Kind::Tenants;

    #[inline(always)]
    fn first(self, count: usize) -> Self {
        Self(&self.0[..count])
    }

    #[inline(always)]
    fn vrf(self, lane: usize) -> VrfId {
        self.0[lane]
    }
}

/// Each in its own.
#[derive(Clone, Copy)]
struct OfEither<'a>(&'a [VrfId]);

impl Vrfs for OfEither<'_> {
    const KIND: Kind = Kind::Either;

    #[inline(always)]
    fn first(self, count: usize) -> Self {
        Self(&self.0[..count])
    }

    #[inline(always)]
    fn vrf(self, lane: usize) -> VrfId {
        self.0[lane]
    }
}
