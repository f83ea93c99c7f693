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
use crate::nodes::{INHERIT, NO_NODE, Nodes, is_child};
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

    #[inline]
    fn root<A: Address>(&self, vrf: VrfId, address: A) -> &AtomicU64 {
        let at = if vrf == VrfId::PROVIDER {
            address.bits_at(0, WIDE)
        } else {
            (1 << WIDE) + vrf.index()
        };
        &self.roots[at]
    }

    /// The leaf of the longest prefix in `vrf` that covers `address`.
    #[inline]
    pub(crate) fn lookup<A: Address>(&self, vrf: VrfId, address: A) -> PackedLeaf {
        // Acquire: a node is complete before the word that names it is stored.
        let root = Root::unpack(self.root(vrf, address).load(Ordering::Acquire));
        let dense = A::DENSE && vrf == VrfId::PROVIDER;
        let mut word = self
            .nodes
            .word_at(self.nodes.find_either(dense, root.node, address));
        while is_child(word) {
            word = self.nodes.step(word & !CHILD, address);
        }
        inherit(word, root.cover)
    }

    /// [`Self::lookup`] of each address in the VRF that `vrf` says for its number, in stages: each
    /// overlaps the loads of all. A stage has no branch that depends on what was loaded; only
    /// addresses that are not at their leaf pass the next.
    #[inline]
    pub(crate) fn lookup_batch<A: Address, L: From<PackedLeaf>, V: Vrfs + ?Sized>(
        &self,
        vrfs: &V,
        addresses: &[A],
        leaves: &mut [L],
    ) {
        let batches = addresses.chunks(LANES).zip(leaves.chunks_mut(LANES));
        for (number, (addresses, leaves)) in batches.enumerate() {
            let vrf = |lane: usize| vrfs.vrf(number * LANES + lane);
            let addresses = &addresses[..addresses.len().min(leaves.len())];
            for (lane, address) in addresses.iter().enumerate() {
                prefetch_read(self.root(vrf(lane), *address));
            }
            let mut roots = [0; LANES];
            for (lane, (root, address)) in roots.iter_mut().zip(addresses).enumerate() {
                *root = self.root(vrf(lane), *address).load(Ordering::Acquire);
                prefetch_read(self.nodes.block(Root::unpack(*root).node));
            }
            let mut found = [0; LANES];
            let lanes = addresses.iter().zip(&roots).zip(&mut found);
            for (lane, ((address, root), found)) in lanes.enumerate() {
                let Root { node, .. } = Root::unpack(*root);
                *found = match (V::PROVIDER, A::DENSE) {
                    (true, true) => self.nodes.find_dense(node, *address),
                    (false, true) => {
                        let dense = vrf(lane) == VrfId::PROVIDER;
                        self.nodes.find_either(dense, node, *address)
                    }
                    _ => self.nodes.find(node, *address),
                };
                self.nodes.prefetch_at(*found);
            }
            let mut lower = [(0, 0); LANES];
            let mut count = 0;
            let lanes = found.iter().zip(&roots).zip(&mut *leaves);
            for (lane, ((found, root), leaf)) in lanes.enumerate().take(addresses.len()) {
                let word = self.nodes.word_at(*found);
                *leaf = inherit(word, Root::unpack(*root).cover).into();
                // Kept if the word names a node, without a branch.
                lower[count % LANES] = (lane as u32, word);
                count += usize::from(is_child(word));
                if !(V::PROVIDER && A::DENSE) {
                    self.prefetch_next(word);
                }
            }
            if V::PROVIDER && A::DENSE {
                // Few go further.
                for (_, word) in &lower[..count] {
                    self.prefetch_next(*word);
                }
            }
            while count > 0 {
                count = self.descend(addresses, &roots, leaves, &mut lower, count);
            }
        }
    }

    /// Takes the first `count` lanes of `lower`, each with the word that names its node, one node
    /// further. Those that are not at their leaf then are in `lower` again; returns how many.
    #[inline]
    fn descend<A: Address, L: From<PackedLeaf>>(
        &self,
        addresses: &[A],
        roots: &[u64; LANES],
        leaves: &mut [L],
        lower: &mut [(u32, u32); LANES],
        count: usize,
    ) -> usize {
        let mut next = 0;
        for at in 0..count.min(LANES) {
            let (lane, word) = lower[at];
            let lane = lane as usize % LANES;
            let word = self.nodes.step(word & !CHILD, addresses[lane]);
            leaves[lane] = inherit(word, Root::unpack(roots[lane]).cover).into();
            // Never beyond `at`.
            lower[next % LANES] = (lane as u32, word);
            next += usize::from(is_child(word));
            self.prefetch_next(word);
        }
        next
    }

    /// Brings the node that the word names close, without a branch.
    #[inline]
    fn prefetch_next(&self, word: u32) {
        let node = select_unpredictable(is_child(word), word & !CHILD, NO_NODE);
        prefetch_read(self.nodes.block(node));
    }
}

/// Addresses looked up together, so that their loads overlap.
const LANES: usize = 64;

#[inline]
fn inherit(word: u32, cover: u32) -> PackedLeaf {
    PackedLeaf::from_word(select_unpredictable(word == INHERIT, cover, word))
}

/// In which VRF each address of a batch is looked up.
pub(crate) trait Vrfs {
    /// Whether all are in the provider VRF.
    const PROVIDER: bool;

    fn vrf(&self, number: usize) -> VrfId;
}

/// All in the provider VRF.
pub(crate) struct InProvider;

impl Vrfs for InProvider {
    const PROVIDER: bool = true;

    #[inline]
    fn vrf(&self, _: usize) -> VrfId {
        VrfId::PROVIDER
    }
}

/// All in the same one.
impl Vrfs for VrfId {
    const PROVIDER: bool = false;

    #[inline]
    fn vrf(&self, _: usize) -> VrfId {
        *self
    }
}

/// Each in its own; one beyond the slice is in the provider VRF.
impl Vrfs for [VrfId] {
    const PROVIDER: bool = false;

    #[inline]
    fn vrf(&self, number: usize) -> VrfId {
        self.get(number).copied().unwrap_or(VrfId::PROVIDER)
    }
}
