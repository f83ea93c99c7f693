//! What a neighbour is to know, against what it has been told: the difference becomes UPDATEs, as
//! few as the attribute sets allow, withdrawals first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use sekisho_types::Prefix;

use super::attributes::Attributes;
use super::codec::Encoder;

/// What one neighbour has been told in its session, and what it is still to be told.
#[derive(Debug, Default)]
pub struct AdjRibOut {
    told: BTreeMap<Prefix, Attributes>,
    withdrawals: BTreeSet<Prefix>,
    announcements: HashMap<Attributes, BTreeSet<Prefix>>,
    waiting: BTreeMap<Prefix, Attributes>,
}

impl AdjRibOut {
    /// The neighbour is to know `prefix` with `attributes`.
    pub fn announce(&mut self, prefix: Prefix, attributes: &Attributes) {
        if self.waiting.get(&prefix) == Some(attributes) {
            return;
        }
        self.cancel(prefix);
        if self.told.get(&prefix) != Some(attributes) {
            self.enqueue(prefix, attributes);
        }
    }

    /// The neighbour is not to know `prefix`.
    pub fn withdraw(&mut self, prefix: Prefix) {
        self.cancel(prefix);
        if self.told.contains_key(&prefix) {
            self.withdrawals.insert(prefix);
        }
    }

    /// The neighbour is to be told everything again (RFC 2918).
    pub fn repeat(&mut self) {
        let told = self.told.iter();
        let again: Vec<_> = told
            .map(|(prefix, set)| (*prefix, Attributes::clone(set)))
            .collect();
        for (prefix, attributes) in again {
            if !self.withdrawals.contains(&prefix) && !self.waiting.contains_key(&prefix) {
                self.enqueue(prefix, &attributes);
            }
        }
    }

    /// The next message, if there is something to tell.
    pub fn next_message(&mut self, encoder: Encoder) -> Option<Bytes> {
        if !self.withdrawals.is_empty() {
            let packed = encoder.withdraw(&self.withdrawals);
            for prefix in drain_first(&mut self.withdrawals, packed.count.max(1)) {
                self.told.remove(&prefix);
            }
            return Some(packed.message);
        }
        while let Some(attributes) = self.announcements.keys().next().cloned() {
            let mut group = self.announcements.remove(&attributes).unwrap_or_default();
            let Some(packed) = encoder.announce(&attributes, &group) else {
                // Cannot be said on this session at all, so the neighbour never hears of it.
                for prefix in group {
                    self.waiting.remove(&prefix);
                }
                continue;
            };
            for prefix in drain_first(&mut group, packed.count) {
                self.waiting.remove(&prefix);
                self.told.insert(prefix, Attributes::clone(&attributes));
            }
            if !group.is_empty() {
                self.announcements.insert(attributes, group);
            }
            return Some(packed.message);
        }
        None
    }

    /// Prefixes the neighbour has been told.
    pub fn told(&self) -> &BTreeMap<Prefix, Attributes> {
        &self.told
    }

    /// Prefixes it is still to be told something about.
    pub fn pending(&self) -> usize {
        self.withdrawals.len() + self.waiting.len()
    }

    fn enqueue(&mut self, prefix: Prefix, attributes: &Attributes) {
        let group = self.announcements.entry(Attributes::clone(attributes));
        group.or_default().insert(prefix);
        self.waiting.insert(prefix, Attributes::clone(attributes));
    }

    fn cancel(&mut self, prefix: Prefix) {
        self.withdrawals.remove(&prefix);
        let Some(attributes) = self.waiting.remove(&prefix) else {
            return;
        };
        if let Some(group) = self.announcements.get_mut(&attributes) {
            group.remove(&prefix);
            if group.is_empty() {
                self.announcements.remove(&attributes);
            }
        }
    }
}

fn drain_first(set: &mut BTreeSet<Prefix>, count: usize) -> Vec<Prefix> {
    (0..count).map_while(|_| set.pop_first()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::bgp::attributes::{AsPath, Origin, PathAttributes};
    use crate::bgp::codec::{Decoder, MAX_MESSAGE, Message};

    fn attributes(med: u32) -> Attributes {
        let next_hop = Ipv4Addr::new(192, 0, 2, 1).into();
        let path = PathAttributes::new(Origin::Igp, AsPath::new([65010]), next_hop);
        Arc::new(PathAttributes {
            med: Some(med),
            ..path
        })
    }

    fn prefix(number: u32) -> Prefix {
        Prefix::host(Ipv4Addr::from(0x0a00_0000 + number).into())
    }

    /// A neighbour that believes what it reads.
    #[derive(Default)]
    struct Reader(BTreeMap<Prefix, PathAttributes>);

    impl Reader {
        fn drain(&mut self, out: &mut AdjRibOut, four_octet_as: bool) -> usize {
            let mut messages = 0;
            while let Some(message) = out.next_message(Encoder::new(four_octet_as)) {
                messages += 1;
                assert!(message.len() <= MAX_MESSAGE);
                self.read(&message, four_octet_as);
            }
            assert_eq!(out.pending(), 0);
            messages
        }

        fn read(&mut self, message: &[u8], four_octet_as: bool) {
            let Ok(Message::Update(update)) =
                Decoder::established(false, four_octet_as).decode(message)
            else {
                panic!("not an UPDATE");
            };
            assert_eq!(update.malformed, None);
            for prefix in update.withdrawn {
                assert!(
                    self.0.remove(&prefix).is_some(),
                    "{prefix} was never announced"
                );
            }
            for (attributes, prefixes) in update.announced {
                for prefix in prefixes {
                    self.0.insert(prefix, attributes.clone());
                }
            }
        }
    }

    #[test]
    fn prefixes_of_one_attribute_set_share_messages() {
        let mut out = AdjRibOut::default();
        for number in 0..2000 {
            out.announce(prefix(number), &attributes(0));
        }
        let mut reader = Reader::default();
        // 2000 prefixes of 5 octets, about 4000 octets a message.
        assert_eq!(reader.drain(&mut out, true), 3);
        assert_eq!(reader.0.len(), 2000);
    }

    #[test]
    fn a_withdrawal_goes_before_announcements_that_waited_longer() {
        let mut out = AdjRibOut::default();
        out.announce(prefix(1), &attributes(0));
        Reader::default().drain(&mut out, true);
        out.announce(prefix(2), &attributes(0));
        out.withdraw(prefix(1));
        let message = out.next_message(Encoder::new(true)).unwrap();
        assert_eq!(out.told().len(), 0);
        assert_eq!(message[19..21], [0, 5]);
    }

    #[test]
    fn what_changed_back_is_not_told() {
        let mut out = AdjRibOut::default();
        out.announce(prefix(1), &attributes(0));
        out.withdraw(prefix(1));
        assert_eq!(out.next_message(Encoder::new(true)), None);
        out.announce(prefix(1), &attributes(0));
        Reader::default().drain(&mut out, true);
        out.withdraw(prefix(1));
        out.announce(prefix(1), &attributes(0));
        assert_eq!(out.next_message(Encoder::new(true)), None);
    }

    #[test]
    fn b20_a_refresh_repeats_everything() {
        let mut out = AdjRibOut::default();
        for number in 0..3 {
            out.announce(prefix(number), &attributes(0));
        }
        let mut reader = Reader::default();
        reader.drain(&mut out, true);
        out.withdraw(prefix(0));
        out.repeat();
        assert_eq!(out.pending(), 3);
        out.withdraw(prefix(1));
        reader.drain(&mut out, true);
        assert_eq!(reader.0.len(), 1);
    }

    proptest! {
        #[test]
        fn whoever_reads_all_messages_knows_exactly_the_announced(
            steps in prop::collection::vec((0u32..40, prop::option::weighted(0.7, 0u32..4), any::<bool>()), 0..300),
            four_octet_as: bool,
        ) {
            let mut out = AdjRibOut::default();
            let mut reader = Reader::default();
            let mut model = BTreeMap::new();
            for (number, med, send) in steps {
                let prefix = prefix(number);
                match med {
                    Some(med) => {
                        out.announce(prefix, &attributes(med));
                        model.insert(prefix, attributes(med).as_ref().clone());
                    }
                    None => {
                        out.withdraw(prefix);
                        model.remove(&prefix);
                    }
                }
                if send && let Some(message) = out.next_message(Encoder::new(four_octet_as)) {
                    reader.read(&message, four_octet_as);
                }
            }
            reader.drain(&mut out, four_octet_as);
            prop_assert_eq!(&reader.0, &model);
            let told: BTreeMap<_, _> = out.told().iter().map(|(p, a)| (*p, a.as_ref().clone())).collect();
            prop_assert_eq!(&told, &model);
        }
    }
}
