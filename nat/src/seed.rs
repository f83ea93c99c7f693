//! Secret randomness and the keyed hash drawn from it.

use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sekisho_types::WorkerId;

/// Secret random octets, drawn once per boot from the operating system and shared by all workers.
#[derive(Clone, Copy)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Wraps 32 octets nobody outside can know.
    pub const fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// A generator for ports and keys that only `worker` draws from.
    pub(crate) fn generator(self, worker: WorkerId) -> StdRng {
        let mut octets: [u8; 32] = StdRng::from_seed(self.0).random();
        octets[0] ^= worker.value();
        StdRng::from_seed(octets)
    }

    /// The key every worker and the control plane agree on.
    pub(crate) fn shared_key(self) -> HashKey {
        HashKey::draw(&mut StdRng::from_seed(self.0))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(secret)")
    }
}

/// The secret of a hash function of two words: three rounds of AES where the target has them, else
/// two folded multiplications as in wyhash.
#[derive(Clone, Copy)]
pub(crate) struct HashKey([u64; 4]);

impl HashKey {
    pub(crate) fn draw(random: &mut StdRng) -> Self {
        Self(random.random())
    }

    /// Hashes `a` and `b`; different `domain`s are independent functions.
    #[inline(always)]
    pub(crate) fn hash(&self, domain: u64, a: u64, b: u64) -> u64 {
        #[cfg(all(target_arch = "x86_64", target_feature = "aes"))]
        {
            sekisho_mem::aes_hash(&self.0, domain, a, b)
        }
        #[cfg(not(all(target_arch = "x86_64", target_feature = "aes")))]
        {
            let [k0, k1, k2, k3] = self.0;
            fold(fold(a ^ k0, b ^ k1) ^ k2, domain ^ k3)
        }
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "aes")))]
/// Multiplies to 128 bits and folds the halves.
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_draw_different_numbers_and_share_a_key() {
        let seed = Seed::new([7; 32]);
        let draw = |worker| seed.generator(WorkerId::new(worker)).random::<u64>();
        assert_ne!(draw(0), draw(1));
        assert_eq!(draw(1), draw(1));
        let hash = |seed: Seed| seed.shared_key().hash(1, 2, 3);
        assert_eq!(hash(seed), hash(seed));
        assert_ne!(hash(seed), hash(Seed::new([8; 32])));
    }
}
