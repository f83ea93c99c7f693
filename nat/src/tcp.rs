//! What is known of a TCP connection from the segments that passed.
//!
//! The state decides only how long a session may idle, never whether a segment is translated. A
//! segment changes it only if its sequence and acknowledgment numbers fit what both sides sent, so
//! that nobody off the path can end a connection's session (RFC 7857 section 2, RFC 5961).

use sekisho_mem::zeroable_struct;

use crate::key::TcpSegment;

/// How far an acknowledgment may lag, or a sequence number run ahead, of what was last seen.
const MAX_LAG: u32 = 1 << 24;
/// The same before the connection is established.
const MAX_OPENING_LAG: u32 = 1 << 16;

/// Which side a segment comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Inside = 0,
    Outside = 1,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// Not both sides have sent and acknowledged a SYN.
    Opening,
    /// Both have.
    Established,
    /// Both sides have sent a FIN, or one a RST.
    Closing,
}

/// What a segment did to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It fits the connection.
    Fits,
    /// It does not, and changed nothing.
    Ignored,
}

const SYN_SEEN: u8 = 1;
const FIN_SEEN: u8 = 1 << 2;
const ACK_SEEN: u8 = 1 << 4;
const ESTABLISHED: u8 = 1 << 6;
const RESET: u8 = 1 << 7;

zeroable_struct! {
    /// Sequence numbers of a connection, by side.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Sequences {
        /// One past the highest sequence number sent.
        end: [u32; 2],
        /// The highest acknowledgment number sent.
        acked: [u32; 2],
    }
}

/// What is known of a connection; the default is before the first segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tracker {
    pub(crate) sequences: Sequences,
    /// `SYN_SEEN`, `FIN_SEEN` and `ACK_SEEN` shifted by the side, `ESTABLISHED`, `RESET`.
    pub(crate) flags: u8,
}

impl Tracker {
    /// How far the connection is.
    pub(crate) const fn state(&self) -> TcpState {
        let both_fins = FIN_SEEN | FIN_SEEN << 1;
        if self.flags & RESET != 0 || self.flags & both_fins == both_fins {
            TcpState::Closing
        } else if self.flags & ESTABLISHED != 0 {
            TcpState::Established
        } else {
            TcpState::Opening
        }
    }

    /// Takes note of a segment.
    pub(crate) fn segment(&mut self, from: Side, segment: &TcpSegment) -> Effect {
        if segment.has(TcpSegment::RST) {
            self.reset(from, segment)
        } else if segment.has(TcpSegment::SYN) {
            self.syn(from, segment)
        } else {
            self.data(from, segment)
        }
    }

    /// A RST counts if it stands exactly where the sender must stand: at what it sent last, or at
    /// what the other side acknowledged last; one that answers a SYN, if it acknowledges exactly it.
    fn reset(&mut self, from: Side, segment: &TcpSegment) -> Effect {
        let me = from as usize;
        let other = 1 - me;
        let at_end = self.has(SYN_SEEN, me) && segment.seq == self.sequences.end[me];
        let at_ack = self.has(ACK_SEEN, other) && segment.seq == self.sequences.acked[other];
        let refuses = !self.has(SYN_SEEN, me)
            && segment.has(TcpSegment::ACK)
            && self.has(SYN_SEEN, other)
            && segment.ack == self.sequences.end[other];
        if at_end || at_ack || refuses {
            self.flags |= RESET;
            Effect::Fits
        } else {
            Effect::Ignored
        }
    }

    fn syn(&mut self, from: Side, segment: &TcpSegment) -> Effect {
        let me = from as usize;
        let other = 1 - me;
        let end = segment
            .seq
            .wrapping_add(1)
            .wrapping_add(u32::from(segment.len));
        let acknowledges = segment.has(TcpSegment::ACK);
        if acknowledges && !(self.has(SYN_SEEN, other) && segment.ack == self.sequences.end[other])
        {
            return Effect::Ignored;
        }
        if !acknowledges && self.state() == TcpState::Closing {
            // The tuple is used again (RFC 9293 section 3.6.1).
            *self = Self::default();
        }
        if self.has(SYN_SEEN, me) {
            if self.state() == TcpState::Established {
                return Effect::Ignored;
            }
            if self.sequences.end[me] != end && self.has(SYN_SEEN, other) {
                return Effect::Ignored;
            }
        }
        self.sequences.end[me] = end;
        self.set(SYN_SEEN, me);
        if acknowledges {
            self.acknowledge(me, segment.ack);
            if self.has(ACK_SEEN, other) {
                // Both opened it at once: nothing more need be said (RFC 9293 section 3.5).
                self.flags |= ESTABLISHED;
            }
        }
        Effect::Fits
    }

    fn data(&mut self, from: Side, segment: &TcpSegment) -> Effect {
        let me = from as usize;
        let other = 1 - me;
        if !(self.has(SYN_SEEN, me) && self.has(SYN_SEEN, other) && segment.has(TcpSegment::ACK)) {
            return Effect::Ignored;
        }
        let fin = segment.has(TcpSegment::FIN);
        let end = segment
            .seq
            .wrapping_add(u32::from(segment.len))
            .wrapping_add(u32::from(fin));
        let established = self.flags & ESTABLISHED != 0;
        let max_lag = if established {
            MAX_LAG
        } else {
            MAX_OPENING_LAG
        };
        let ack_fits = self.sequences.end[other].wrapping_sub(segment.ack) < max_lag;
        let ahead = end.wrapping_sub(self.sequences.end[me]);
        let behind = self.sequences.end[me].wrapping_sub(end);
        if !ack_fits || (ahead >= MAX_LAG && behind >= MAX_LAG) {
            return Effect::Ignored;
        }
        if ahead < MAX_LAG {
            self.sequences.end[me] = end;
        }
        self.acknowledge(me, segment.ack);
        if fin {
            self.set(FIN_SEEN, me);
        }
        // Data after a RST shows that the other side did not take it (RFC 7857 section 2).
        self.flags = self.flags & !RESET | ESTABLISHED;
        Effect::Fits
    }

    fn acknowledge(&mut self, me: usize, ack: u32) {
        let ahead = ack.wrapping_sub(self.sequences.acked[me]);
        if !self.has(ACK_SEEN, me) || ahead < 1 << 31 {
            self.sequences.acked[me] = ack;
            self.set(ACK_SEEN, me);
        }
    }

    const fn has(&self, flag: u8, side: usize) -> bool {
        self.flags & flag << side != 0
    }

    const fn set(&mut self, flag: u8, side: usize) {
        self.flags |= flag << side;
    }
}

/// Whether the state behind flags is [`TcpState::Established`]; without a branch.
#[inline(always)]
pub(crate) const fn is_established(flags: u8) -> bool {
    let both_fins = FIN_SEEN | FIN_SEEN << 1;
    (flags & (ESTABLISHED | RESET) == ESTABLISHED) & (flags & both_fins != both_fins)
}

/// [`Tracker::segment`] in place. For data on an established connection there is no branch that
/// depends on the packet.
#[inline(always)]
pub(crate) fn follow(
    seen: &mut Sequences,
    flags: &mut u8,
    from: Side,
    segment: &TcpSegment,
) -> Effect {
    const PLAIN: u8 = TcpSegment::SYN | TcpSegment::RST | TcpSegment::ACK;
    if (segment.flags & PLAIN ^ TcpSegment::ACK) | (!*flags & ESTABLISHED) != 0 {
        return follow_slowly(seen, flags, from, segment);
    }
    let me = from as usize;
    let fin = segment.flags & TcpSegment::FIN;
    let sent = u32::from(segment.len) + u32::from(fin);
    let end = segment.seq.wrapping_add(sent);
    let ahead = end.wrapping_sub(seen.end[me]);
    let behind = seen.end[me].wrapping_sub(end);
    let lag = seen.end[1 - me].wrapping_sub(segment.ack);
    let fits = (lag < MAX_LAG) & ((ahead < MAX_LAG) | (behind < MAX_LAG));
    let news = segment.ack.wrapping_sub(seen.acked[me]) < 1 << 31;
    let first = *flags & ACK_SEEN << me == 0;
    seen.end[me] = select(fits & (ahead < MAX_LAG), end, seen.end[me]);
    seen.acked[me] = select(fits & (first | news), segment.ack, seen.acked[me]);
    let fin_seen = fin * FIN_SEEN;
    let more = *flags & !RESET | (ACK_SEEN | fin_seen) << me;
    *flags = select(fits, more, *flags);
    if fits { Effect::Fits } else { Effect::Ignored }
}

#[cold]
#[inline(never)]
fn follow_slowly(seen: &mut Sequences, flags: &mut u8, from: Side, segment: &TcpSegment) -> Effect {
    let mut tracker = Tracker {
        sequences: *seen,
        flags: *flags,
    };
    let effect = tracker.segment(from, segment);
    (*seen, *flags) = (tracker.sequences, tracker.flags);
    effect
}

/// A choice the compiler makes without a branch.
#[inline(always)]
pub(crate) fn select<T>(which: bool, yes: T, no: T) -> T {
    std::hint::select_unpredictable(which, yes, no)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Side::{Inside, Outside};
    use super::*;

    const SYN: u8 = TcpSegment::SYN;
    const ACK: u8 = TcpSegment::ACK;
    const FIN: u8 = TcpSegment::FIN;
    const RST: u8 = TcpSegment::RST;

    fn segment(flags: u8, seq: u32, ack: u32, len: u16) -> TcpSegment {
        TcpSegment {
            flags,
            seq,
            ack,
            len,
        }
    }

    fn established() -> Tracker {
        let mut tracker = Tracker::default();
        tracker.segment(Inside, &segment(SYN, 1000, 0, 0));
        tracker.segment(Outside, &segment(SYN | ACK, 5000, 1001, 0));
        assert_eq!(tracker.state(), TcpState::Opening);
        tracker.segment(Inside, &segment(ACK, 1001, 5001, 0));
        assert_eq!(tracker.state(), TcpState::Established);
        tracker
    }

    #[test]
    fn fins_of_both_sides_close() {
        let mut tracker = established();
        tracker.segment(Inside, &segment(FIN | ACK, 1001, 5001, 0));
        assert_eq!(tracker.state(), TcpState::Established);
        tracker.segment(Outside, &segment(FIN | ACK, 5001, 1002, 0));
        assert_eq!(tracker.state(), TcpState::Closing);
    }

    #[test]
    fn t02_a_reset_at_the_right_place_closes_and_data_revives() {
        let mut tracker = established();
        tracker.segment(Outside, &segment(ACK, 5001, 1001, 100));
        let reset = segment(RST, 5101, 0, 0);
        assert_eq!(tracker.segment(Outside, &reset), Effect::Fits);
        assert_eq!(tracker.state(), TcpState::Closing);
        tracker.segment(Inside, &segment(ACK, 1001, 5101, 10));
        assert_eq!(tracker.state(), TcpState::Established);
    }

    #[test]
    fn t03_a_simultaneous_open_completes() {
        let mut tracker = Tracker::default();
        tracker.segment(Inside, &segment(SYN, 1000, 0, 0));
        tracker.segment(Outside, &segment(SYN, 5000, 0, 0));
        tracker.segment(Inside, &segment(SYN | ACK, 1000, 5001, 0));
        assert_eq!(tracker.state(), TcpState::Opening);
        tracker.segment(Outside, &segment(SYN | ACK, 5000, 1001, 0));
        assert_eq!(tracker.state(), TcpState::Established);
    }

    #[test]
    fn a_refused_connection_may_be_tried_again_at_once() {
        let mut tracker = Tracker::default();
        tracker.segment(Inside, &segment(SYN, 1000, 0, 0));
        tracker.segment(Outside, &segment(RST | ACK, 0, 1001, 0));
        assert_eq!(tracker.state(), TcpState::Closing);
        tracker.segment(Inside, &segment(SYN, 77, 0, 0));
        tracker.segment(Outside, &segment(SYN | ACK, 88, 78, 0));
        tracker.segment(Inside, &segment(ACK, 78, 89, 0));
        assert_eq!(tracker.state(), TcpState::Established);
    }

    #[test]
    fn a_wrong_acknowledgment_does_not_establish() {
        let mut tracker = Tracker::default();
        tracker.segment(Inside, &segment(SYN, 1000, 0, 0));
        let forged = segment(SYN | ACK, 5000, 999_999, 0);
        assert_eq!(tracker.segment(Outside, &forged), Effect::Ignored);
        tracker.segment(Inside, &segment(ACK, 1001, 5001, 0));
        assert_eq!(tracker.state(), TcpState::Opening);
    }

    #[test]
    fn the_right_sequence_number_is_not_enough_without_the_acknowledgment() {
        let mut tracker = established();
        for ack in [1002, 999_999_999] {
            let forged = segment(FIN | ACK, 5001, ack, 0);
            assert_eq!(tracker.segment(Outside, &forged), Effect::Ignored);
        }
        let real = segment(FIN | ACK, 5001, 1001, 0);
        assert_eq!(tracker.segment(Outside, &real), Effect::Fits);
    }

    #[test]
    fn a_long_transfer_stays_tracked_across_the_wrap() {
        let mut tracker = established();
        let mut seq = 5001u32;
        for _ in 0..300_000 {
            let data = segment(ACK, seq, 1001, 60_000);
            assert_eq!(tracker.segment(Outside, &data), Effect::Fits);
            seq = seq.wrapping_add(60_000);
            let ack = segment(ACK, 1001, seq.wrapping_sub(1_000_000), 0);
            tracker.segment(Inside, &ack);
        }
        let reset = segment(RST, seq, 0, 0);
        assert_eq!(tracker.segment(Outside, &reset), Effect::Fits);
    }

    proptest! {
        /// Small numbers, so that segments fit, repeat and overtake each other.
        #[test]
        fn following_without_branches_is_tracking(
            segments in prop::collection::vec(
                (any::<bool>(), 0u8..32, 100u32..106, 100u32..106, 0u16..3),
                1..60,
            ),
        ) {
            let (mut slow, mut fast) = (Tracker::default(), Tracker::default());
            for (outside, flags, seq, ack, len) in segments {
                let side = if outside { Outside } else { Inside };
                let segment = segment(flags, seq, ack, len);
                let effect = slow.segment(side, &segment);
                let Tracker { sequences, flags } = &mut fast;
                prop_assert_eq!(follow(sequences, flags, side, &segment), effect);
                prop_assert_eq!(format!("{fast:?}"), format!("{slow:?}"));
                prop_assert_eq!(is_established(fast.flags), fast.state() == TcpState::Established);
            }
        }

        #[test]
        fn t10_segments_off_the_path_change_nothing(seq: u32, ack: u32, flags in 0u8..64) {
            // A guess that hits is not off the path.
            prop_assume!(seq != 5001 && ack.wrapping_add(MAX_LAG) > 2 * MAX_LAG);
            let mut tracker = established();
            let effect = tracker.segment(Outside, &segment(flags, seq, ack, 10));
            prop_assert_eq!(effect, Effect::Ignored);
            prop_assert_eq!(tracker.state(), TcpState::Established);
        }
    }
}
