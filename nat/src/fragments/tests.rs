use proptest::prelude::*;
use rand::Rng;
use rand::seq::SliceRandom;

use super::*;

const UDP: IpProtocol = IpProtocol::UDP;
const NOW: Time = Time::from_millis(1_000);

/// What a test sends: which datagram, and which of its fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Tag {
    datagram: u32,
    offset: u16,
}

/// What became of fragments.
#[derive(Default)]
struct Fate {
    passed: Vec<(Tag, Ports)>,
    refused: Vec<(Tag, Refused)>,
}

struct Bench {
    table: Fragments<Tag>,
    now: Time,
    fate: Fate,
}

impl Bench {
    fn new(limits: FragmentLimits) -> Self {
        Self {
            table: Fragments::new(limits, 7),
            now: NOW,
            fate: Fate::default(),
        }
    }

    fn send(&mut self, key: &Datagram, fragment: &Fragment, datagram: u32) {
        let tag = Tag {
            datagram,
            offset: fragment.offset,
        };
        match self.table.meet(self.now, key, fragment) {
            Verdict::Pass(ports) => self.fate.passed.push((tag, ports)),
            Verdict::Refuse(why) => self.fate.refused.push((tag, why)),
            Verdict::Wait(place) => {
                if let Err(tag) = self.table.wait(place, tag) {
                    self.fate.refused.push((tag, Refused::Full));
                }
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(ready) = self.table.next_ready() {
            self.fate.passed.push(ready);
        }
        while let Some(lost) = self.table.next_lost() {
            self.fate.refused.push(lost);
        }
    }

    fn later(&mut self, millis: u64) {
        self.now = self.now.after(std::time::Duration::from_millis(millis));
        self.table.expire(self.now);
        self.collect();
    }

    fn refusals(&self) -> Vec<Refused> {
        self.fate.refused.iter().map(|&(_, why)| why).collect()
    }
}

fn key(vrf: u16, id: u16) -> Datagram {
    Datagram {
        vrf: VrfId::new(vrf),
        src: Ipv4Addr::new(172, 16, 0, 1),
        dst: Ipv4Addr::new(192, 0, 2, 1),
        protocol: UDP,
        id,
    }
}

fn ports(number: u32) -> Ports {
    Ports {
        src: 1024 + number as u16,
        dst: 53,
    }
}

fn fragment(number: u32, offset: u16, len: u16, more: bool) -> Fragment {
    Fragment {
        offset,
        len,
        more,
        ports: (offset == 0).then(|| ports(number)),
    }
}

/// The fragments of a datagram of `parts` fragments.
fn parts(number: u32, count: u16) -> Vec<Fragment> {
    let part = |at: u16| {
        let last = at + 1 == count;
        fragment(number, at * 64, if last { 17 } else { 64 }, !last)
    };
    (0..count).map(part).collect()
}

#[test]
fn u16_later_fragments_have_the_ports_of_the_first_in_any_order() {
    let orders = [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]];
    for order in orders {
        let mut bench = Bench::new(FragmentLimits::default());
        let all = parts(5, 3);
        for at in order {
            bench.send(&key(1, 9), &all[at], 5);
        }
        assert_eq!(bench.fate.passed.len(), 3, "{order:?}");
        assert!(bench.fate.passed.iter().all(|(_, of)| *of == ports(5)));
        assert_eq!((bench.table.datagrams(), bench.table.held()), (0, 0));
    }
}

#[test]
fn u16_equal_identifications_of_two_tenants_hosts_or_protocols_do_not_mix() {
    let base = key(1, 9);
    let keys = [
        base,
        key(2, 9),
        Datagram {
            src: Ipv4Addr::new(172, 16, 0, 2),
            ..base
        },
        Datagram {
            protocol: IpProtocol::ICMP,
            ..base
        },
        Datagram {
            dst: Ipv4Addr::new(192, 0, 2, 2),
            ..base
        },
        key(1, 10),
    ];
    let mut bench = Bench::new(FragmentLimits::default());
    for (key, number) in keys.iter().zip(0..) {
        bench.send(key, &parts(number, 2)[1], number);
    }
    assert!(bench.fate.passed.is_empty());
    for (key, number) in keys.iter().zip(0..) {
        bench.send(key, &parts(number, 2)[0], number);
    }
    assert_eq!(bench.fate.passed.len(), 12);
    for (tag, of) in &bench.fate.passed {
        assert_eq!(*of, ports(tag.datagram));
    }
}

#[test]
fn u16_what_waits_in_vain_is_lost_after_two_seconds_however_much_comes() {
    let mut bench = Bench::new(FragmentLimits::default());
    bench.send(&key(1, 1), &fragment(0, 64, 64, true), 0);
    bench.later(1999);
    bench.send(&key(1, 1), &fragment(0, 128, 64, true), 0);
    assert!(bench.fate.refused.is_empty());
    bench.later(1);
    assert_eq!(bench.refusals(), [Refused::Timeout; 2]);
    assert_eq!((bench.table.datagrams(), bench.table.held()), (0, 0));
    bench.send(&key(1, 1), &fragment(0, 0, 64, true), 0);
    assert_eq!(bench.fate.passed.len(), 1);
    bench.now = bench.now.after(std::time::Duration::from_secs(2));
    bench.send(&key(1, 1), &fragment(0, 64, 8, false), 0);
    assert_eq!(bench.fate.passed.len(), 1, "the first is forgotten");
}

#[test]
fn sec22_tiny_and_malformed_fragments_are_refused() {
    let tcp = Datagram {
        protocol: IpProtocol::TCP,
        ..key(1, 1)
    };
    let mut table = Fragments::<()>::new(FragmentLimits::default(), 7);
    let mut verdict = |key: &Datagram, offset, len, more| {
        let mut fragment = fragment(0, offset, len, more);
        fragment.ports = None;
        match table.meet(NOW, key, &fragment) {
            Verdict::Refuse(why) => Some(why),
            _ => None,
        }
    };
    // No L4 header in the first; a part of TCP's in the second.
    assert_eq!(verdict(&tcp, 0, 16, true), Some(Refused::Tiny));
    assert_eq!(verdict(&tcp, 8, 64, true), Some(Refused::Tiny));
    assert_eq!(verdict(&tcp, 16, 64, true), Some(Refused::Tiny));
    assert_eq!(verdict(&tcp, 24, 64, true), None);
    assert_eq!(verdict(&key(1, 1), 8, 64, true), None);
    assert_eq!(verdict(&key(1, 2), 8, 63, true), Some(Refused::Malformed));
    assert_eq!(verdict(&key(1, 2), 8, 0, false), Some(Refused::Malformed));
    let beyond = verdict(&key(1, 2), 65_512, 4, false);
    assert_eq!(beyond, Some(Refused::Malformed));
    assert_eq!(verdict(&key(1, 2), 65_512, 3, false), None);
    assert_eq!(table.datagrams(), 3);
}

#[test]
fn sec22_an_overlap_ends_the_datagram_and_a_duplicate_only_itself() {
    let first = fragment(0, 0, 64, true);
    let cases = [
        (fragment(0, 56, 64, true), Refused::Overlap),
        (fragment(0, 0, 72, true), Refused::Overlap),
        (fragment(0, 0, 64, false), Refused::Overlap),
        (first, Refused::Duplicate),
    ];
    for (second, why) in cases {
        let mut bench = Bench::new(FragmentLimits::default());
        bench.send(&key(1, 1), &first, 0);
        bench.send(&key(1, 1), &second, 0);
        bench.send(&key(1, 1), &fragment(0, 64, 64, true), 0);
        let poisoned = why == Refused::Overlap;
        assert_eq!(bench.refusals()[0], why, "{second:?}");
        assert_eq!(bench.fate.passed.len(), 2 - usize::from(poisoned));
        // The next datagram of that name comes in time.
        bench.later(2000);
        bench.send(&key(1, 1), &first, 0);
        assert_eq!(bench.fate.passed.len(), 3 - usize::from(poisoned));
    }
}

#[test]
fn sec22_an_overlap_takes_what_waits_along() {
    let mut bench = Bench::new(FragmentLimits::default());
    bench.send(&key(1, 1), &fragment(0, 64, 64, true), 0);
    bench.send(&key(1, 1), &fragment(0, 120, 64, true), 0);
    bench.send(&key(1, 1), &fragment(0, 0, 64, true), 0);
    assert_eq!(bench.refusals(), [Refused::Overlap; 3]);
    assert!(bench.fate.passed.is_empty());
}

#[test]
fn sec22_nothing_follows_the_last_fragment() {
    for (one, other) in [
        (fragment(0, 128, 8, false), fragment(0, 192, 8, true)),
        (fragment(0, 192, 8, true), fragment(0, 128, 8, false)),
        (fragment(0, 128, 8, false), fragment(0, 192, 8, false)),
        (fragment(0, 192, 8, false), fragment(0, 128, 8, false)),
    ] {
        let mut bench = Bench::new(FragmentLimits::default());
        bench.send(&key(1, 1), &fragment(0, 0, 64, true), 0);
        bench.send(&key(1, 1), &one, 0);
        bench.send(&key(1, 1), &other, 0);
        assert_eq!(bench.refusals(), [Refused::Overlap]);
    }
}

#[test]
fn sec22_a_datagram_has_no_more_than_64_fragments() {
    let mut bench = Bench::new(FragmentLimits::default());
    for at in 0..=MAX_FRAGMENTS as u16 {
        bench.send(&key(1, 1), &fragment(0, at * 8, 8, true), 0);
    }
    assert_eq!(bench.refusals(), [Refused::TooMany]);
    assert_eq!(bench.fate.passed.len(), MAX_FRAGMENTS);
}

#[test]
fn sec22_a_million_incomplete_datagrams_of_one_tenant_harm_nobody_else() {
    let limits = FragmentLimits::default();
    let mut bench = Bench::new(limits);
    let mut random = StdRng::seed_from_u64(1);
    let mut victims = Vec::new();
    for number in 0..1_000_000_u32 {
        let mut flood = key(1, number as u16);
        flood.src = Ipv4Addr::from(0xac10_0000 + number / 3);
        let offset = if number % 3 == 0 { 0 } else { 64 };
        bench.send(&flood, &fragment(0, offset, 64, true), u32::MAX);
        if number % 1000 == 0 {
            let id = number / 1000;
            let mut all = parts(id, 4);
            all.shuffle(&mut random);
            victims.push((id, all));
        }
        // Its fragments come with a hundred of the flood's between them.
        if number % 100 == 0
            && let Some((id, all)) = victims.last_mut()
            && let Some(part) = all.pop()
        {
            bench.send(&key(2, *id as u16), &part, *id);
            bench.later(1);
        }
        assert!(bench.table.datagrams() <= limits.datagrams);
        assert!(bench.table.held() <= limits.waiting_of_vrf as usize + 3);
        bench.fate.refused.clear();
        bench
            .fate
            .passed
            .retain(|(tag, _)| tag.datagram != u32::MAX);
    }
    assert_eq!(bench.fate.passed.len(), 4000);
}

#[test]
fn sec22_many_tenants_at_their_share_leave_room_for_another() {
    let limits = FragmentLimits {
        datagrams: 64,
        datagrams_of_vrf: 16,
        waiting: 32,
        waiting_of_vrf: 8,
        ..FragmentLimits::default()
    };
    let mut bench = Bench::new(limits);
    for round in 0..50 {
        for vrf in 2..12 {
            bench.send(&key(vrf, round), &fragment(0, 64, 64, true), u32::MAX);
        }
    }
    assert_eq!((bench.table.datagrams(), bench.table.held()), (32, 32));
    bench.send(&key(1, 1), &parts(1, 2)[1], 1);
    bench.send(&key(1, 1), &parts(1, 2)[0], 1);
    assert_eq!(bench.fate.passed.len(), 2);
}

/// A fragment of one of a few datagrams, anywhere near the start.
fn any_fragment() -> impl Strategy<Value = (u16, Fragment)> {
    (0u16..6, 0u16..12, 1u16..6).prop_map(|(id, at, len)| {
        // Without an end no datagram is complete, so that a new one of its name could begin.
        (id, fragment(u32::from(id), at * 8, len * 8, true))
    })
}

proptest! {
    #[test]
    fn u16_any_order_of_several_datagrams_gives_each_fragment_its_own_ports(
        counts in prop::collection::vec(2u16..12, 1..8), seed: u64,
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut all: Vec<(u32, Fragment)> = Vec::new();
        for (number, count) in (0..).zip(&counts) {
            all.extend(parts(number, *count).into_iter().map(|part| (number, part)));
        }
        all.shuffle(&mut random);
        let mut bench = Bench::new(FragmentLimits::default());
        for (number, part) in &all {
            let key = key((number % 3) as u16, 40 + *number as u16 / 3);
            bench.send(&key, part, *number);
        }
        prop_assert!(bench.fate.refused.is_empty());
        for (tag, of) in &bench.fate.passed {
            prop_assert_eq!(*of, ports(tag.datagram));
        }
        let mut passed: Vec<Tag> = bench.fate.passed.iter().map(|&(tag, _)| tag).collect();
        passed.sort_unstable();
        let mut sent: Vec<Tag> = all
            .iter()
            .map(|&(datagram, part)| Tag { datagram, offset: part.offset })
            .collect();
        sent.sort_unstable();
        prop_assert_eq!(passed, sent);
        prop_assert_eq!((bench.table.datagrams(), bench.table.held()), (0, 0));
    }

    #[test]
    fn sec22_no_two_fragments_that_overlap_pass(
        pieces in prop::collection::vec(any_fragment(), 1..60),
    ) {
        let mut table = Fragments::<Fragment>::new(FragmentLimits::default(), 7);
        // Of each datagram, what passed since it began.
        let mut passed: Vec<Vec<Fragment>> = vec![Vec::new(); 6];
        for (id, piece) in pieces {
            match table.meet(NOW, &key(1, id), &piece) {
                Verdict::Pass(_) => passed[usize::from(id)].push(piece),
                Verdict::Wait(place) => table.wait(place, piece).unwrap(),
                Verdict::Refuse(_) => {}
            }
            while let Some((piece, of)) = table.next_ready() {
                passed[usize::from(of.src - 1024)].push(piece);
            }
            while table.next_lost().is_some() {}
        }
        for passed in passed {
            for (at, one) in passed.iter().enumerate() {
                for other in &passed[..at] {
                    let apart = one.offset + one.len <= other.offset
                        || other.offset + other.len <= one.offset;
                    prop_assert!(apart, "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn sec22_every_fragment_has_one_end_and_the_bounds_hold(seed: u64, count in 1u32..600) {
        let limits = FragmentLimits {
            datagrams: 12,
            datagrams_of_vrf: 5,
            datagrams_from_outside: 6,
            waiting: 10,
            waiting_of_vrf: 4,
            waiting_from_outside: 5,
            waiting_of_datagram: 3,
        };
        let mut random = StdRng::seed_from_u64(seed);
        let mut bench = Bench::new(limits);
        for number in 0..count {
            let key = key(random.random_range(0..4), random.random_range(0..6));
            let (at, len) = (random.random_range(0..6), random.random_range(1..3));
            let piece = fragment(number, at * 8, len * 8, random.random_range(0..4) > 0);
            bench.send(&key, &piece, number);
            if random.random_range(0..8) == 0 {
                bench.later(random.random_range(0..900));
            }
            let table = &bench.table;
            prop_assert!(table.datagrams() <= limits.datagrams);
            prop_assert!(table.held() <= limits.waiting as usize);
            for (vrf, share) in (0..).zip(&table.shares[..4]) {
                let vrf = VrfId::new(vrf);
                prop_assert!(share.datagrams.len() <= limits.datagrams_of(vrf));
                prop_assert!(share.waiting <= limits.waiting_of(vrf));
            }
            let ended = bench.fate.passed.len() + bench.fate.refused.len();
            prop_assert_eq!(ended + table.held(), number as usize + 1);
        }
        bench.later(2000);
        prop_assert_eq!((bench.table.datagrams(), bench.table.held()), (0, 0));
        prop_assert_eq!(bench.table.free.len(), 12);
        prop_assert!(bench.table.buckets.iter().all(|&first| first == NONE));
        prop_assert_eq!(bench.fate.passed.len() + bench.fate.refused.len(), count as usize);
    }
}
