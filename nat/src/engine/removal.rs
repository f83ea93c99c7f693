//! Many sessions removed together, so that their cold lines come at the same time.

use super::Engine;
use super::lifecycle::Places;

/// Most sessions removed together.
pub(super) const TOGETHER: usize = 32;

impl Engine {
    /// Removes sessions, none of them twice, at most [`TOGETHER`].
    pub(super) fn remove_sessions(&mut self, numbers: &[u32]) {
        let mut places = [Places::default(); TOGETHER];
        for (&number, places) in numbers.iter().zip(&mut places) {
            let session = &self.sessions[number];
            *places = self.places(session);
            self.index.prefetch(places.outbound);
            self.index.prefetch(places.inbound);
            self.mappings.prefetch(session.mapping);
            if session.next != number {
                self.sessions.prefetch(session.next);
                self.sessions.prefetch(session.previous);
            }
        }
        for (&number, places) in numbers.iter().zip(&places) {
            let mapping = &self.mappings[self.sessions[number].mapping];
            self.ports.prefetch_host(mapping.host);
            self.ports.prefetch_block(mapping.block);
            self.index.approach_second(places.outbound);
            self.index.approach_second(places.inbound);
        }
        for (&number, places) in numbers.iter().zip(&mut places) {
            let mapping = &self.mappings[self.sessions[number].mapping];
            if mapping.sessions == 1 {
                places.mapping = self.hash_of_mapping(mapping);
                self.mapping_index.prefetch(places.mapping);
            }
        }
        for (&number, &places) in numbers.iter().zip(&places) {
            // An earlier one may have handed its place in the index to this.
            let moved = self.sessions[number].filed_first != places.first;
            let places = if moved {
                let mapping = places.mapping;
                Places {
                    mapping,
                    ..self.places(&self.sessions[number])
                }
            } else {
                places
            };
            self.remove_session_at(number, places);
        }
    }
}
