use super::*;

const OUT: ConnectionId = ConnectionId(1);
const IN: ConnectionId = ConnectionId(2);

/// A machine and its clock.
struct Bench {
    fsm: Fsm,
    now: Instant,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            local_as: Asn::new(65010).unwrap(),
            router_id: Ipv4Addr::new(10, 0, 0, 10),
            remote_as: Asn::new(65001).unwrap(),
            hold_time: 90,
            connect_retry: Duration::from_secs(5),
            passive: false,
        };
        change(&mut config);
        let mut bench = Self {
            fsm: Fsm::new(config, 99),
            now: Instant::now(),
        };
        bench.event(Event::Start);
        bench
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.fsm.handle(event, self.now, &mut actions);
        actions
    }

    fn after(&mut self, pause: Duration) -> Vec<Action> {
        self.now += pause;
        self.event(Event::Tick)
    }

    fn receive(&mut self, id: ConnectionId, message: Message) -> Vec<Action> {
        self.event(Event::Received(id, message))
    }

    fn establish(&mut self) {
        self.event(Event::Connected(OUT, Side::Outgoing));
        self.receive(OUT, Message::Open(open()));
        self.receive(OUT, Message::Keepalive);
        assert_eq!(self.fsm.state(), SessionState::Established);
    }
}

fn open() -> Open {
    Open {
        asn: 65001,
        hold_time: 9,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        capabilities: Capabilities::default(),
    }
}

/// The NOTIFICATION among the actions, and that the connection is closed after it.
fn parting(actions: &[Action]) -> Option<(u8, u8)> {
    let sent = actions
        .iter()
        .position(|action| matches!(action, Action::Send(_, Outgoing::Notification(_))))?;
    let Action::Send(id, Outgoing::Notification(notification)) = &actions[sent] else {
        return None;
    };
    assert!(actions[sent..].contains(&Action::Close(*id)));
    Some((notification.code, notification.subcode))
}

#[test]
fn b01_a_session_comes_up_with_the_lesser_hold_time() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.fsm.state(), SessionState::Connect);
    let sent = bench.event(Event::Connected(OUT, Side::Outgoing));
    assert_eq!(sent, [Action::Send(OUT, Outgoing::Open)]);
    assert_eq!(bench.fsm.state(), SessionState::OpenSent);
    let sent = bench.receive(OUT, Message::Open(open()));
    assert_eq!(sent, [Action::Send(OUT, Outgoing::Keepalive)]);
    assert_eq!(bench.fsm.state(), SessionState::OpenConfirm);
    let up = bench.receive(OUT, Message::Keepalive);
    let [Action::Up(OUT, negotiated)] = up.as_slice() else {
        panic!("{up:?}");
    };
    assert_eq!(negotiated.hold_time, Duration::from_secs(9));
    assert_eq!(negotiated.keepalive_interval(), Duration::from_secs(3));
}

#[test]
fn b02_a_passive_session_never_connects_but_accepts() {
    let mut bench = Bench::new(|config| config.passive = true);
    assert_eq!(bench.fsm.state(), SessionState::Active);
    assert_eq!(bench.fsm.deadline(), None);
    bench.event(Event::Connected(IN, Side::Incoming));
    bench.event(Event::Closed(IN, String::new()));
    assert_eq!(bench.fsm.deadline(), None);
}

#[test]
fn unacceptable_opens_are_answered_with_their_subcode() {
    type Case = (&'static str, fn(&mut Open), (u8, u8));
    let cases: [Case; 5] = [
        ("b04 wrong AS", |open| open.asn = 65002, (2, 2)),
        (
            "b05 identifier 0",
            |open| open.router_id = Ipv4Addr::UNSPECIFIED,
            (2, 3),
        ),
        ("b06 hold time 1", |open| open.hold_time = 1, (2, 6)),
        ("b06 hold time 2", |open| open.hold_time = 2, (2, 6)),
        ("AS 0", |open| open.asn = 0, (2, 2)),
    ];
    for (name, change, expected) in cases {
        let mut bench = Bench::new(|_| {});
        bench.event(Event::Connected(OUT, Side::Outgoing));
        let mut open = open();
        change(&mut open);
        let actions = bench.receive(OUT, Message::Open(open));
        assert_eq!(parting(&actions), Some(expected), "{name}");
        assert_eq!(bench.fsm.state(), SessionState::Active);
    }
}

#[test]
fn b05_our_own_identifier_is_refused_inside_our_as_only() {
    for (internal, expected) in [(true, Some((2, 3))), (false, None)] {
        let mut bench = Bench::new(|config| {
            config.router_id = open().router_id;
            if internal {
                config.remote_as = config.local_as;
            }
        });
        bench.event(Event::Connected(OUT, Side::Outgoing));
        let mut open = open();
        open.asn = bench.fsm.config().remote_as.value();
        assert_eq!(parting(&bench.receive(OUT, Message::Open(open))), expected);
    }
}

#[test]
fn b06_hold_time_0_needs_no_keepalives() {
    let mut bench = Bench::new(|_| {});
    bench.event(Event::Connected(OUT, Side::Outgoing));
    let mut open = open();
    open.hold_time = 0;
    bench.receive(OUT, Message::Open(open));
    bench.receive(OUT, Message::Keepalive);
    assert_eq!(bench.fsm.deadline(), None);
    assert_eq!(bench.after(Duration::from_secs(1000)), []);
    assert_eq!(bench.fsm.state(), SessionState::Established);
}

#[test]
fn unexpected_messages_are_state_machine_errors() {
    let mut bench = Bench::new(|_| {});
    bench.event(Event::Connected(OUT, Side::Outgoing));
    assert_eq!(
        parting(&bench.receive(OUT, Message::Keepalive)),
        Some((5, 1))
    );
    bench.event(Event::Connected(IN, Side::Incoming));
    bench.receive(IN, Message::Open(open()));
    let update = Message::Update(Update::default());
    assert_eq!(parting(&bench.receive(IN, update)), Some((5, 2)));
    bench.establish();
    assert_eq!(
        parting(&bench.receive(OUT, Message::Open(open()))),
        Some((5, 3))
    );
}

#[test]
fn b11_silence_for_the_hold_time_ends_the_session_and_keepalives_prevent_it() {
    let mut bench = Bench::new(|_| {});
    bench.establish();
    for _ in 0..5 {
        bench.after(Duration::from_secs(8));
        assert_eq!(bench.receive(OUT, Message::Keepalive), [Action::Alive]);
    }
    assert_eq!(parting(&bench.after(Duration::from_millis(8_999))), None);
    let actions = bench.after(Duration::from_millis(1));
    assert_eq!(parting(&actions), Some((4, 0)));
    assert!(matches!(actions.last(), Some(Action::Down(Ended::Sent(_)))));
}

#[test]
fn keepalives_are_sent_at_least_every_third_of_the_hold_time() {
    let mut bench = Bench::new(|_| {});
    bench.establish();
    for _ in 0..20 {
        let pause = bench.fsm.deadline().unwrap() - bench.now;
        assert!(pause <= Duration::from_secs(3), "{pause:?}");
        bench.receive(OUT, Message::Keepalive);
        let sent = bench.after(pause);
        assert_eq!(sent, [Action::Send(OUT, Outgoing::Keepalive)]);
    }
}

#[test]
fn b12_failed_attempts_are_repeated_with_growing_pauses() {
    let mut bench = Bench::new(|_| {});
    let mut last = Duration::ZERO;
    for _ in 0..4 {
        let down = bench.event(Event::ConnectFailed("refused".to_owned()));
        assert_eq!(down.len(), 1);
        assert_eq!(bench.fsm.state(), SessionState::Active);
        let pause = bench.fsm.next_attempt().unwrap() - bench.now;
        assert!(pause > last, "{pause:?} after {last:?}");
        last = pause;
        assert_eq!(bench.after(pause), [Action::Connect]);
    }
}

#[test]
fn b12_a_session_that_lasted_is_retried_after_the_first_pause() {
    let mut bench = Bench::new(|_| {});
    for _ in 0..5 {
        bench.event(Event::ConnectFailed(String::new()));
        let pause = bench.fsm.next_attempt().unwrap() - bench.now;
        bench.after(pause);
    }
    bench.establish();
    bench.now += STABLE;
    bench.event(Event::Closed(OUT, "reset".to_owned()));
    let pause = bench.fsm.next_attempt().unwrap() - bench.now;
    assert!(pause <= Duration::from_secs(5), "{pause:?}");
}

#[test]
fn an_attempt_without_an_answer_is_given_up() {
    let mut bench = Bench::new(|_| {});
    let actions = bench.after(ATTEMPT);
    assert_eq!(actions[0], Action::AbortConnect);
    assert_eq!(bench.fsm.state(), SessionState::Active);
}

/// Both sides connected; the OPEN comes on `first`, then on the other.
fn collide(router_id: [u8; 4], asn: u32, first: ConnectionId) -> Option<ConnectionId> {
    let mut bench = Bench::new(|config| config.remote_as = Asn::new(asn).unwrap());
    bench.event(Event::Connected(OUT, Side::Outgoing));
    bench.event(Event::Connected(IN, Side::Incoming));
    let open = Open {
        router_id: router_id.into(),
        asn,
        ..open()
    };
    let second = if first == OUT { IN } else { OUT };
    assert_eq!(
        parting(&bench.receive(first, Message::Open(open.clone()))),
        None
    );
    let actions = bench.receive(second, Message::Open(open));
    assert_eq!(parting(&actions), Some((6, 7)));
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::Down(_)))
    );
    let closed = |id| actions.contains(&Action::Close(id));
    [OUT, IN].into_iter().find(|id| !closed(*id))
}

#[test]
fn b03_a_collision_leaves_the_connection_of_the_greater_identifier() {
    for first in [OUT, IN] {
        assert_eq!(collide([10, 0, 0, 9], 65001, first), Some(OUT));
        assert_eq!(collide([10, 0, 0, 11], 65001, first), Some(IN));
        // RFC 6286: equal identifiers are told apart by the AS.
        assert_eq!(collide([10, 0, 0, 10], 65001, first), Some(OUT));
        assert_eq!(collide([10, 0, 0, 10], 65011, first), Some(IN));
    }
}

#[test]
fn b03_an_established_session_refuses_further_connections() {
    let mut bench = Bench::new(|_| {});
    bench.establish();
    assert_eq!(
        parting(&bench.event(Event::Connected(IN, Side::Incoming))),
        Some((6, 7))
    );
    assert_eq!(bench.fsm.state(), SessionState::Established);
    // What still comes on the refused one means nothing.
    assert_eq!(bench.receive(IN, Message::Open(open())), []);
}

#[test]
fn a_second_incoming_connection_replaces_the_first() {
    let mut bench = Bench::new(|config| config.passive = true);
    bench.event(Event::Connected(IN, Side::Incoming));
    let newer = ConnectionId(3);
    let actions = bench.event(Event::Connected(newer, Side::Incoming));
    assert!(actions.contains(&Action::Close(IN)));
    bench.receive(newer, Message::Open(open()));
    bench.receive(newer, Message::Keepalive);
    assert_eq!(bench.fsm.state(), SessionState::Established);
}

#[test]
fn b13_a_stopped_session_says_why_and_stays_idle() {
    let mut bench = Bench::new(|_| {});
    bench.establish();
    let actions = bench.event(Event::Stop(Notification::shutdown("bye")));
    assert_eq!(parting(&actions), Some((6, 2)));
    assert_eq!(bench.fsm.state(), SessionState::Idle);
    assert_eq!(bench.fsm.deadline(), None);
    let refused = bench.event(Event::Connected(IN, Side::Incoming));
    assert_eq!(refused, [Action::Close(IN)]);
    assert_eq!(bench.event(Event::Start), [Action::Connect]);
}

#[test]
fn a_received_notification_closes_without_an_answer() {
    let mut bench = Bench::new(|_| {});
    bench.establish();
    let cease = Notification::new(6, 4, Vec::new());
    let actions = bench.receive(OUT, Message::Notification(cease.clone()));
    assert_eq!(
        actions,
        [Action::Close(OUT), Action::Down(Ended::Received(cease))]
    );
    assert!(bench.fsm.next_attempt().is_some());
}
