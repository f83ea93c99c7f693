//! A slow, obvious model of the same rules, and random packets to compare the engine with it.
//!
//! The model knows flows only: a list that is searched from end to end. Which port a new mapping gets
//! is the engine's choice, and so is which half-open connection makes room; the model checks that it
//! was free to choose it.

mod inputs;
mod pair;

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

pub(super) use inputs::{VARIANTS, policy_input};
use sekisho_types::{InterfaceId, IpProtocol, VrfId};

use super::Outbound;
use crate::tcp::{Effect, Side, TcpState, Tracker};
use crate::*;

/// What a flow's outside tuple comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Pool(PoolId),
    Uplink(InterfaceId),
    Forward,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    protocol: IpProtocol,
    vrf: VrfId,
    inside: SocketAddrV4,
    outside: SocketAddrV4,
    remote: SocketAddrV4,
    origin: Origin,
    /// Its outside tuple is its alone: endpoint-dependent.
    own: bool,
    last_seen: u64,
    tcp: Tracker,
}

impl Flow {
    fn is_of_mapping(&self, other: &Self) -> bool {
        let mapping = |flow: &Self| (flow.protocol, flow.vrf, flow.inside, flow.outside);
        !self.own && mapping(self) == mapping(other) && self.origin == other.origin
    }
}

/// What the model lets the engine answer to an outbound packet.
#[derive(Debug)]
enum Expected {
    Exactly(Result<Outbound, Refusal>),
    /// This source, of a flow that is there or of a port forward.
    Source(SocketAddrV4),
    /// A source of the engine's choice.
    New(Origin, MappingMode),
    /// Refused, or after a half-open connection of the tenant made room.
    Crowded(Refusal, Origin, MappingMode),
}

/// Where an inbound packet goes.
type Entry = Result<(VrfId, SocketAddrV4), Refusal>;

struct Model {
    policy: Arc<Policy>,
    capacity: usize,
    flows: Vec<Flow>,
    now: u64,
    /// When ports everybody was let in by were last in use, and by whom.
    rested: HashMap<(IpProtocol, SocketAddrV4), (u64, (VrfId, SocketAddrV4))>,
}

impl Model {
    fn timeout(&self, flow: &Flow) -> Duration {
        let timers = self.policy.timers();
        let rule = self
            .policy
            .snat(flow.vrf, *flow.inside.ip(), *flow.remote.ip());
        let by_rule = rule.filter(|_| flow.origin != Origin::Forward);
        let of = by_rule.map_or(RuleTimeouts::default(), |rule| rule.timeouts);
        match flow.protocol {
            IpProtocol::UDP if timers.udp_short_ports.contains(&flow.remote.port()) => {
                timers.udp_short
            }
            IpProtocol::UDP => of.udp.unwrap_or(timers.udp),
            IpProtocol::ICMP => of.icmp.unwrap_or(timers.icmp),
            _ if flow.tcp.state() == TcpState::Established => {
                of.tcp_established.unwrap_or(timers.tcp_established)
            }
            _ => of.tcp_transitory.unwrap_or(timers.tcp_transitory),
        }
    }

    fn is_live(&self, flow: &Flow) -> bool {
        self.now - flow.last_seen < self.timeout(flow).as_millis() as u64
    }

    /// Whether the policy would give the flow its outside tuple now.
    fn is_allowed(&self, flow: &Flow) -> bool {
        let policy = &self.policy;
        if flow.origin == Origin::Forward {
            let (vrf, inside) = (flow.vrf, flow.inside);
            return policy.forward(flow.protocol, flow.outside) == Some(Forward { vrf, inside });
        }
        let used_for = policy.outside_use(*flow.outside.ip());
        let rule = policy.snat(flow.vrf, *flow.inside.ip(), *flow.remote.ip());
        let target = rule.map(|rule| rule.target);
        let by_rule = match flow.origin {
            Origin::Pool(pool) => {
                target == Some(SnatTarget::Pool(pool)) && used_for == Some(OutsideUse::Pool(pool))
            }
            Origin::Uplink(uplink) => {
                target == Some(SnatTarget::Uplink) && used_for == Some(OutsideUse::Uplink(uplink))
            }
            Origin::Forward => false,
        };
        let forwarded = [IpProtocol::TCP, IpProtocol::UDP]
            .iter()
            .any(|&protocol| policy.forward(protocol, flow.outside).is_some());
        let own_forward = policy.forward_back(flow.vrf, flow.protocol, flow.inside);
        by_rule
            && !forwarded
            && own_forward.is_none()
            && policy.floating_out(flow.vrf, *flow.inside.ip()).is_none()
    }

    /// Whether a mapping that has some flow lets everybody in.
    fn is_open(&self, flow: &Flow) -> bool {
        self.filtering(flow, flow.remote) == Some(Filtering::EndpointIndependent)
    }

    /// Whom the rule for a flow's inside and a remote lets in through the flow's mapping.
    fn filtering(&self, flow: &Flow, remote: SocketAddrV4) -> Option<Filtering> {
        let rule = self
            .policy
            .snat(flow.vrf, *flow.inside.ip(), *remote.ip())?;
        let leads = match (flow.origin, rule.target) {
            (Origin::Pool(pool), SnatTarget::Pool(other)) => pool == other,
            (Origin::Uplink(_), SnatTarget::Uplink) => true,
            _ => false,
        };
        (leads && !flow.own).then_some(rule.filter())
    }

    fn forget_dead(&mut self) {
        let flows = std::mem::take(&mut self.flows);
        let live = |flow: &Flow| self.is_live(flow) && self.is_allowed(flow);
        let (live, dead): (Vec<Flow>, Vec<Flow>) = flows.into_iter().partition(live);
        self.flows = live;
        for flow in &dead {
            self.rest(flow);
        }
    }

    /// Notes when the port of a flow that is gone was given up.
    fn rest(&mut self, gone: &Flow) {
        let open = gone.origin != Origin::Forward && self.is_open(gone);
        if open && !self.flows.iter().any(|flow| flow.is_of_mapping(gone)) {
            let user = (gone.vrf, gone.inside);
            self.rested
                .insert((gone.protocol, gone.outside), (self.now, user));
        }
    }

    fn outbound(
        &mut self,
        vrf: VrfId,
        key: &FlowKey,
        tcp: &TcpSegment,
        egress: InterfaceId,
    ) -> Expected {
        self.forget_dead();
        let remote = remote(key.dst, key.protocol);
        let same = |flow: &Flow| {
            (flow.protocol, flow.vrf, flow.inside, flow.remote)
                == (key.protocol, vrf, key.src, remote)
        };
        self.flows.retain(|flow| {
            !same(flow) || !matches!(flow.origin, Origin::Uplink(uplink) if uplink != egress)
        });
        let now = self.now;
        if let Some(flow) = self.flows.iter_mut().find(|flow| same(flow)) {
            flow.tcp.segment(Side::Inside, tcp);
            flow.last_seen = now;
            return Expected::Source(flow.outside);
        }
        if let Some(outside) = self.policy.floating_out(vrf, *key.src.ip()) {
            return Expected::Source(SocketAddrV4::new(outside, key.src.port()));
        }
        let forward = self.policy.forward_back(vrf, key.protocol, key.src);
        let rule = self.policy.snat(vrf, *key.src.ip(), *key.dst.ip()).copied();
        let mode = rule.map_or(MappingMode::default(), |rule| rule.mapping);
        let origin = match (forward, rule.map(|rule| rule.target)) {
            (Some(_), _) => Origin::Forward,
            (None, Some(SnatTarget::Pool(pool))) => Origin::Pool(pool),
            (None, Some(SnatTarget::Uplink)) => Origin::Uplink(egress),
            (None, _) => return Expected::Exactly(Ok(Outbound::Untranslated)),
        };
        if key.protocol == IpProtocol::TCP && !tcp.opens() {
            return Expected::Exactly(Err(Refusal::NotSyn));
        }
        if self.has_too_many(vrf) {
            return Expected::Exactly(Err(Refusal::TenantLimit));
        }
        if let Some(refusal) = self.crowded(vrf) {
            return Expected::Crowded(refusal, origin, mode);
        }
        if let Some(outside) = forward {
            return Expected::Source(outside);
        }
        match self.refused(vrf, key, origin, mode) {
            Some(refusal) => Expected::Exactly(Err(refusal)),
            None => Expected::New(origin, mode),
        }
    }

    fn count(&self, is: impl Fn(&Flow) -> bool) -> usize {
        self.flows.iter().filter(|flow| is(flow)).count()
    }

    /// Whether a tenant has more sessions than it may have by now.
    fn has_too_many(&self, vrf: VrfId) -> bool {
        let own = self.count(|flow| flow.vrf == vrf);
        let most = self.policy.limits(vrf).sessions;
        most.is_some_and(|most| own > most as usize)
    }

    /// Why a tenant may have no further session, unless one makes room.
    fn crowded(&self, vrf: VrfId) -> Option<Refusal> {
        let limits = *self.policy.limits(vrf);
        let own = self.count(|flow| flow.vrf == vrf);
        if limits.sessions.is_some_and(|most| own >= most as usize) {
            return Some(Refusal::TenantLimit);
        }
        let kept_for = |other: VrfId| {
            let reserved = self.policy.limits(other).reserved_sessions as usize;
            reserved.saturating_sub(self.count(|flow| flow.vrf == other))
        };
        let kept: usize = [1, 2].map(VrfId::new).into_iter().map(kept_for).sum();
        let room = self.capacity - self.flows.len();
        let full = if kept_for(vrf) > 0 {
            room == 0
        } else {
            room <= kept
        };
        full.then_some(Refusal::SessionsFull)
    }

    /// Why a host may have no further session of a pool or uplink, or no further port.
    fn refused(
        &self,
        vrf: VrfId,
        key: &FlowKey,
        origin: Origin,
        mode: MappingMode,
    ) -> Option<Refusal> {
        let limits = *self.policy.limits(vrf);
        let of_host =
            |flow: &Flow| (flow.vrf, flow.inside.ip(), flow.origin) == (vrf, key.src.ip(), origin);
        let sessions = self.count(of_host);
        if limits
            .host_sessions
            .is_some_and(|most| sessions >= most as usize)
        {
            return Some(Refusal::HostSessions);
        }
        let known = |flow: &Flow| {
            of_host(flow) && !flow.own && (flow.protocol, flow.inside) == (key.protocol, key.src)
        };
        if mode == MappingMode::EndpointIndependent && self.flows.iter().any(known) {
            return None;
        }
        let of_tenant = |flow: &Flow| flow.vrf == vrf && flow.origin != Origin::Forward;
        if limits
            .ports
            .is_some_and(|most| self.mappings(of_tenant) >= most as usize)
        {
            return Some(Refusal::TenantPorts);
        }
        let most = limits.host_ports;
        most.is_some_and(|most| self.mappings(of_host) >= most as usize)
            .then_some(Refusal::HostLimit)
    }

    /// Mappings of flows.
    fn mappings(&self, is: impl Fn(&Flow) -> bool) -> usize {
        let flows: Vec<&Flow> = self.flows.iter().filter(|flow| is(flow)).collect();
        let first = |(place, flow): &(usize, &&Flow)| {
            !flows[..*place]
                .iter()
                .any(|earlier| earlier.is_of_mapping(flow))
        };
        flows.iter().enumerate().filter(first).count()
    }

    /// Takes note of the outside tuple a new flow got.
    fn add(&mut self, vrf: VrfId, key: &FlowKey, outside: SocketAddrV4, new: (Origin, bool)) {
        let (origin, own) = new;
        let flow = Flow {
            protocol: key.protocol,
            vrf,
            inside: key.src,
            outside,
            remote: remote(key.dst, key.protocol),
            origin,
            own,
            last_seen: self.now,
            tcp: Tracker::default(),
        };
        if origin != Origin::Forward {
            assert!(
                self.is_allowed(&flow),
                "{flow:?} is not what the policy says"
            );
            assert!(outside.port() >= 1024);
            self.check_rest(&flow);
        }
        for other in &self.flows {
            self.check_beside(&flow, other);
        }
        self.flows.push(flow);
    }

    /// A port everybody was let in by is not given to somebody else too soon.
    fn check_rest(&self, flow: &Flow) {
        let Some((rested, user)) = self.rested.get(&(flow.protocol, flow.outside)) else {
            return;
        };
        // A mapping that lost its last flow to the one that is to come has never rested.
        let same = *user == (flow.vrf, flow.inside);
        let quarantine = self.policy.timers().quarantine.as_millis() as u64;
        assert!(same || self.now - rested >= quarantine, "{flow:?}");
    }

    fn check_beside(&self, flow: &Flow, other: &Flow) {
        let same_outside = (other.outside, other.protocol) == (flow.outside, flow.protocol);
        let same_inside = (other.vrf, other.inside) == (flow.vrf, flow.inside);
        let same_mapping = same_inside
            && other.protocol == flow.protocol
            && other.origin == flow.origin
            && !(other.own || flow.own);
        if other.own && flow.own {
            let clash = same_outside && other.remote == flow.remote;
            assert!(!clash, "{flow:?} beside {other:?}");
        } else {
            assert_eq!(same_mapping, same_outside, "{flow:?} beside {other:?}");
        }
        let same_host = (other.vrf, other.inside.ip()) == (flow.vrf, flow.inside.ip());
        if same_host && other.origin == flow.origin && flow.origin != Origin::Forward {
            assert_eq!(other.outside.ip(), flow.outside.ip(), "paired pooling");
        }
    }

    /// What the engine may answer to an inbound packet: one of some, and the new flow if the packet gets
    /// in only after another made room.
    fn inbound(&mut self, key: &FlowKey, tcp: &TcpSegment) -> (Vec<Entry>, Option<Flow>) {
        self.forget_dead();
        let remote = remote(key.src, key.protocol);
        let mine = |flow: &Flow| (flow.protocol, flow.outside) == (key.protocol, key.dst);
        let now = self.now;
        let refreshes = self.policy.timers().inbound_refresh;
        if let Some(flow) = self
            .flows
            .iter_mut()
            .find(|flow| mine(flow) && flow.remote == remote)
        {
            let fits = key.protocol != IpProtocol::TCP
                || flow.tcp.segment(Side::Outside, tcp) == Effect::Fits;
            if fits && refreshes {
                flow.last_seen = now;
            }
            return (vec![Ok((flow.vrf, flow.inside))], None);
        }
        if let Some((vrf, inside)) = self.policy.floating_in(*key.dst.ip()) {
            let inside = SocketAddrV4::new(inside, key.dst.port());
            return (vec![Ok((vrf, inside))], None);
        }
        let not_syn = key.protocol == IpProtocol::TCP && !tcp.opens();
        let forward = self.policy.forward(key.protocol, key.dst);
        let admits = |flow: &&Flow| {
            mine(flow)
                && match self.filtering(flow, remote) {
                    Some(Filtering::EndpointIndependent) => true,
                    Some(Filtering::AddressDependent) => flow.remote.ip() == remote.ip(),
                    _ => false,
                }
        };
        let (vrf, inside, origin) = if let Some(Forward { vrf, inside }) = forward {
            (vrf, inside, Origin::Forward)
        } else if !self.flows.iter().any(mine) {
            // An expired mapping may or may not have been met by the sweep.
            let refusals = vec![Err(Refusal::NoMapping), Err(Refusal::Filtered)];
            return (refusals, None);
        } else if let Some(flow) = self.flows.iter().find(admits) {
            (flow.vrf, flow.inside, flow.origin)
        } else {
            return (vec![Err(Refusal::Filtered)], None);
        };
        if not_syn {
            return (vec![Err(Refusal::NotSyn)], None);
        }
        self.enter(Flow {
            protocol: key.protocol,
            vrf,
            inside,
            outside: key.dst,
            remote,
            origin,
            own: false,
            last_seen: now,
            tcp: first_segment(Side::Outside, tcp),
        })
    }

    /// Lets a flow from outside in, within the limits.
    fn enter(&mut self, new: Flow) -> (Vec<Entry>, Option<Flow>) {
        let limits = *self.policy.limits(new.vrf);
        let host = |flow: &Flow| (flow.vrf, *flow.inside.ip(), flow.origin);
        let sessions = self.count(|flow| host(flow) == host(&new));
        let limited = limits
            .host_sessions
            .is_some_and(|most| sessions >= most as usize);
        if new.origin != Origin::Forward && limited {
            return (vec![Err(Refusal::HostSessions)], None);
        }
        let entry = Ok((new.vrf, new.inside));
        let key = |flow: &Flow| (flow.protocol, flow.vrf, flow.inside, flow.remote);
        let rival = self.flows.iter().any(|flow| key(flow) == key(&new));
        if self.has_too_many(new.vrf) {
            return (vec![Err(Refusal::TenantLimit)], None);
        }
        if let Some(refusal) = self.crowded(new.vrf) {
            // Who made room may have been the rival.
            let conflict = Err(Refusal::Conflict);
            return (vec![Err(refusal), conflict, entry], Some(new));
        }
        if rival {
            return (vec![Err(Refusal::Conflict)], None);
        }
        self.flows.push(new);
        (vec![entry], None)
    }

    /// Whether a tenant has a connection that is not open yet.
    fn has_half_open(&self, vrf: VrfId) -> bool {
        let half_open = |flow: &Flow| {
            flow.vrf == vrf
                && flow.protocol == IpProtocol::TCP
                && flow.tcp.state() == TcpState::Opening
        };
        self.flows.iter().any(half_open)
    }

    /// Removes flows the engine gave up for others, which must have been half open, and of that tenant.
    fn give_up(&mut self, vrf: VrfId, gone: impl Fn(&Flow) -> bool) {
        let flows = std::mem::take(&mut self.flows);
        let (gone, kept): (Vec<Flow>, Vec<Flow>) = flows.into_iter().partition(gone);
        self.flows = kept;
        for flow in &gone {
            assert_eq!(flow.protocol, IpProtocol::TCP, "{flow:?}");
            assert_eq!(flow.tcp.state(), TcpState::Opening, "{flow:?}");
            assert_eq!(flow.vrf, vrf, "{flow:?}");
            self.rest(flow);
        }
    }
}

/// ICMP has no remote port.
fn remote(tuple: SocketAddrV4, protocol: IpProtocol) -> SocketAddrV4 {
    if protocol == IpProtocol::ICMP {
        SocketAddrV4::new(*tuple.ip(), 0)
    } else {
        tuple
    }
}

fn first_segment(from: Side, tcp: &TcpSegment) -> Tracker {
    let mut tracker = Tracker::default();
    tracker.segment(from, tcp);
    tracker
}
