//! The rules of one generation: what is translated to what, and whose an outside address is.

mod build;
mod error;
mod input;
mod keys;
mod timeouts;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::Arc;

use sekisho_types::{InterfaceId, IpProtocol, VrfId, WorkerId};

pub use error::PolicyError;
pub use input::{
    Allocation, Filtering, FloatingIp, Limits, MappingMode, PolicyInput, PoolId, PoolInput,
    PortForward, RuleTimeouts, SnatRule, SnatTarget, Timers, UplinkInput, VrfInput,
};
pub(crate) use timeouts::{ESTABLISHED, Timeouts};

use keys::{address_key, block_key, forward_back_key, forward_host_key, forward_key, host_key};

use crate::key::{Transport, Word};
use crate::log::LogRules;
use crate::owners::{OutsideOwners, Slot};
use crate::ports::{BLOCK_PORTS, BLOCKS};
use crate::steering::Steering;
use crate::table::FlatMap;

/// Ports of uplink addresses that are the gateway's own: BGP, BFD (single-hop, echo, multihop),
/// VXLAN, Geneve, and VXLAN as Linux once numbered it.
pub const GATEWAY_PORTS: [u16; 7] = [179, 3784, 3785, 4784, 4789, 6081, 8472];

/// Ports that may be handed out: never a well-known one (RFC 4787 REQ-3, RFC 6335).
pub const DYNAMIC_PORTS: RangeInclusive<u16> = 1024..=65535;

/// The number of a committed configuration; later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// Wraps a number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn value(self) -> u64 {
        self.0
    }
}

/// What an outside address is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutsideUse {
    /// It stands for one inside address.
    Floating {
        /// The inside address's VRF.
        vrf: VrfId,
        /// The inside address.
        inside: Ipv4Addr,
    },
    /// It is shared by the hosts of a pool.
    Pool(PoolId),
    /// It is an uplink's own, and shared.
    Uplink(InterfaceId),
    /// It carries port forwards only.
    Forwards,
}

/// What becomes of the source of an outbound packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It becomes this floating IP, port unchanged: no state, no steering.
    Floating(Ipv4Addr),
    /// It needs a session: to be steered to the inside address's owner and given to its engine.
    Stateful,
    /// It stays, by a rule that says so or because no rule matches.
    Untranslated,
}

/// Where a port forward leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The inside VRF.
    pub vrf: VrfId,
    /// The inside address and port.
    pub inside: SocketAddrV4,
}

/// A pool or an uplink, as a number: what inside hosts are paired with addresses of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target(pub(crate) u32);

impl Target {
    /// How many there can be.
    pub(crate) const COUNT: usize = 2 << 16;

    pub(crate) fn pool(id: PoolId) -> Self {
        Self(u32::from(id.value()))
    }

    pub(crate) fn uplink(id: InterfaceId) -> Self {
        Self(1 << 16 | u32::from(id.value()))
    }

    pub(crate) const fn is_uplink(self) -> bool {
        self.0 >> 16 != 0
    }

    /// Whether a rule's target leads here.
    pub(crate) fn is_of(self, target: SnatTarget) -> bool {
        match target {
            SnatTarget::Pool(pool) => self == Self::pool(pool),
            SnatTarget::Uplink => self.is_uplink(),
            SnatTarget::NoNat => false,
        }
    }

    /// The uplink, if it is one.
    pub(crate) fn uplink_id(self) -> Option<InterfaceId> {
        self.is_uplink().then(|| InterfaceId::new(self.0 as u16))
    }
}

/// An outside address whose ports are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    pub(crate) address: Ipv4Addr,
    pub(crate) slot: Slot,
    pub(crate) target: Target,
    /// Blocks with at least one port to hand out.
    pub(crate) blocks: u16,
    /// Ports to hand out, of each protocol.
    ports: u16,
}

/// What a pool or an uplink may hand out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCapacity {
    /// Addresses.
    pub addresses: u64,
    /// Their blocks of 64 ports.
    pub blocks: u64,
    /// Their ports, of each protocol.
    pub ports: u64,
}

impl PoolCapacity {
    fn of(addresses: &[Shared]) -> Self {
        let mut sum = Self::default();
        for address in addresses {
            sum.addresses += 1;
            sum.blocks += u64::from(address.blocks);
            sum.ports += u64::from(address.ports);
        }
        sum
    }
}

#[derive(Clone, Copy, Debug)]
struct OutsideAddress {
    used_for: OutsideUse,
    /// For pool and uplink addresses.
    shared: Option<Shared>,
}

/// The addresses and ports of a pool or an uplink.
#[derive(Debug)]
struct SharedSet {
    addresses: Vec<Shared>,
    /// Per block, the ports that may be handed out if no forward takes them.
    masks: Arc<[u64; BLOCKS]>,
    allocation: Allocation,
}

/// What is translated in one VRF.
#[derive(Debug)]
pub(crate) struct Tenant {
    snat: Vec<Rule>,
    /// Whether it has any floating IP, and any port forward: most have none.
    has_floating: bool,
    has_forwards: bool,
    limits: Limits,
}

/// A rule, and the number of its set of time-outs.
#[derive(Clone, Copy, Debug)]
struct Rule {
    rule: SnatRule,
    timeouts: u8,
}

impl Tenant {
    /// Whether SNAT rules are all that is translated.
    #[inline]
    pub(crate) const fn has_rules_only(&self) -> bool {
        !(self.has_floating | self.has_forwards)
    }

    /// The rule that decides about an inside source and a remote.
    #[inline]
    pub(crate) fn snat(&self, inside: Ipv4Addr, remote: Ipv4Addr) -> Option<&SnatRule> {
        Some(&self.rule(inside, remote)?.rule)
    }

    #[inline]
    fn rule(&self, inside: Ipv4Addr, remote: Ipv4Addr) -> Option<&Rule> {
        self.snat
            .iter()
            .find(|rule| rule.rule.matches(inside, remote))
    }

    /// How much it may have.
    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// The rules of one generation, immutable. Workers hold it by `Arc` and look things up without
/// locks; every lookup but that of SNAT rules costs one or two cache lines.
pub struct Policy {
    generation: Generation,
    steering: Steering,
    owners: Arc<OutsideOwners>,
    timers: Timers,
    timeouts: Timeouts,
    /// Whether any VRF has limits: most gateways have none.
    has_limits: bool,
    /// VRFs others may not take all room from, and how much is kept.
    reserved: Vec<(VrfId, u32)>,
    /// By VRF number.
    vrfs: Vec<Option<Tenant>>,
    /// Whether a rule lets everybody in: found out when it is built, for a worker that takes it over
    /// has no time to walk through all rules.
    has_open_rules: bool,
    /// By target; sorted.
    shared: Vec<(u32, SharedSet)>,
    outside: FlatMap<OutsideAddress>,
    /// Floating IPs by VRF and inside address.
    floating: FlatMap<Ipv4Addr>,
    forwards: FlatMap<Forward>,
    /// The first forward of each inside tuple, and of each inside host.
    forwards_back: FlatMap<SocketAddrV4>,
    /// Ports taken by forwards, by slot and block.
    forwarded: FlatMap<u64>,
    log: Arc<LogRules>,
}

impl Policy {
    /// Builds the policy of a generation.
    ///
    /// # Errors
    /// When two parts of the input want the same outside address or port, when a rule names
    /// something that does not exist, or when there are more addresses than `owners` has room for.
    pub fn build(
        input: &PolicyInput,
        generation: Generation,
        steering: Steering,
        owners: &Arc<OutsideOwners>,
    ) -> Result<Self, PolicyError> {
        build::build(input, generation, steering, owners)
    }

    /// The same with a translation log; without, nothing is logged.
    #[must_use]
    pub fn with_log(mut self, rules: LogRules) -> Self {
        self.log = Arc::new(rules);
        self
    }

    pub(crate) const fn log_rules(&self) -> &Arc<LogRules> {
        &self.log
    }

    /// Its generation.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Idle time-outs.
    pub const fn timers(&self) -> &Timers {
        &self.timers
    }

    /// The function that spreads inside addresses over workers.
    pub const fn steering(&self) -> &Steering {
        &self.steering
    }

    /// The worker that holds all mappings and sessions of an inside address.
    #[inline]
    pub fn inside_owner(&self, vrf: VrfId, inside: Ipv4Addr) -> WorkerId {
        self.steering.inside_owner(vrf, inside)
    }

    /// The worker that holds the session of an inbound packet, or of the packet an ICMP error from
    /// outside embeds (then called with the embedded source). `None`: nobody's, drop it as
    /// [`crate::Refusal::NoMapping`]. For ICMP queries the port is the identifier.
    ///
    /// Floating IPs need no worker; see [`Self::floating_in`].
    #[inline]
    pub fn outside_owner(
        &self,
        protocol: IpProtocol,
        address: Ipv4Addr,
        port: u16,
    ) -> Option<WorkerId> {
        if let Some(forward) = self.forward(protocol, SocketAddrV4::new(address, port)) {
            return Some(self.inside_owner(forward.vrf, *forward.inside.ip()));
        }
        let shared = self.shared_address(address)?;
        self.owners.owner(shared.slot, port / BLOCK_PORTS)
    }

    /// What an address is used for; `None` if it is none of ours.
    #[inline]
    pub fn outside_use(&self, address: Ipv4Addr) -> Option<OutsideUse> {
        Some(self.outside.get(address_key(address))?.used_for)
    }

    /// What becomes of the source of an outbound packet to `remote`.
    pub fn scope(
        &self,
        vrf: VrfId,
        source: SocketAddrV4,
        remote: Ipv4Addr,
        protocol: IpProtocol,
    ) -> Scope {
        if self.forward_back(vrf, protocol, source).is_some() {
            return Scope::Stateful;
        }
        if let Some(outside) = self.floating_out(vrf, *source.ip()) {
            return Scope::Floating(outside);
        }
        match self.snat(vrf, *source.ip(), remote).map(|rule| rule.target) {
            None | Some(SnatTarget::NoNat) => Scope::Untranslated,
            Some(SnatTarget::Pool(_) | SnatTarget::Uplink) => Scope::Stateful,
        }
    }

    /// Whether what becomes of a source toward `remote` depends on its port, so that a fragment needs the ports of the
    /// first: it has a port forward, or an SNAT rule and no floating IP.
    pub fn needs_ports(
        &self,
        vrf: VrfId,
        inside: Ipv4Addr,
        remote: Ipv4Addr,
        protocol: IpProtocol,
    ) -> bool {
        if Transport::of(protocol).is_none() {
            return false;
        }
        let forwarded = self
            .forwards_back
            .get(forward_host_key(vrf, protocol, inside));
        let source = SocketAddrV4::new(inside, 0);
        forwarded.is_some() || self.scope(vrf, source, remote, protocol) == Scope::Stateful
    }

    /// Whether whom a packet to an address is for depends on its port, so that a fragment needs the
    /// ports of the first.
    pub fn shares_ports(&self, address: Ipv4Addr, protocol: IpProtocol) -> bool {
        let shared = match self.outside_use(address) {
            None | Some(OutsideUse::Floating { .. }) => false,
            Some(OutsideUse::Pool(_) | OutsideUse::Uplink(_) | OutsideUse::Forwards) => true,
        };
        shared && Transport::of(protocol).is_some()
    }

    /// The floating IP of an inside address.
    #[inline]
    pub fn floating_out(&self, vrf: VrfId, inside: Ipv4Addr) -> Option<Ipv4Addr> {
        self.floating_of(self.tenant(vrf)?, vrf, inside)
    }

    /// [`Self::floating_out`] of a VRF that was looked up.
    #[inline]
    pub(crate) fn floating_of(
        &self,
        tenant: &Tenant,
        vrf: VrfId,
        inside: Ipv4Addr,
    ) -> Option<Ipv4Addr> {
        if !tenant.has_floating {
            return None;
        }
        self.floating.get(host_key(vrf, inside))
    }

    /// The VRF and inside address a floating IP stands for.
    #[inline]
    pub fn floating_in(&self, outside: Ipv4Addr) -> Option<(VrfId, Ipv4Addr)> {
        match self.outside_use(outside)? {
            OutsideUse::Floating { vrf, inside } => Some((vrf, inside)),
            _ => None,
        }
    }

    /// Where an outside tuple is forwarded to.
    #[inline]
    pub fn forward(&self, protocol: IpProtocol, outside: SocketAddrV4) -> Option<Forward> {
        self.forwards.get(forward_key(protocol, outside))
    }

    /// The outside tuple of the port forward to an inside tuple; of several, the first configured.
    #[inline]
    pub fn forward_back(
        &self,
        vrf: VrfId,
        protocol: IpProtocol,
        inside: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        self.forward_back_of(self.tenant(vrf)?, vrf, protocol, inside)
    }

    /// [`Self::forward_back`] of a VRF that was looked up.
    #[inline]
    pub(crate) fn forward_back_of(
        &self,
        tenant: &Tenant,
        vrf: VrfId,
        protocol: IpProtocol,
        inside: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        if !tenant.has_forwards {
            return None;
        }
        self.forwards_back
            .get(forward_back_key(vrf, protocol, inside))
    }

    /// The rule that decides about an inside source and a remote.
    pub fn snat(&self, vrf: VrfId, inside: Ipv4Addr, remote: Ipv4Addr) -> Option<&SnatRule> {
        self.tenant(vrf)?.snat(inside, remote)
    }

    /// The rules that share outside addresses of a target among sources like this, toward whatever
    /// remote.
    pub(crate) fn rules_toward(
        &self,
        inside: Word,
        target: Target,
    ) -> impl Iterator<Item = &SnatRule> {
        let rules = self
            .tenant(inside.vrf())
            .map_or(&[][..], |tenant| &tenant.snat);
        let leads = move |rule: &&SnatRule| {
            rule.source.contains(inside.address()) && target.is_of(rule.target)
        };
        rules.iter().map(|rule| &rule.rule).filter(leads)
    }

    /// What is translated in a VRF, if anything.
    #[inline]
    pub(crate) fn tenant(&self, vrf: VrfId) -> Option<&Tenant> {
        self.vrfs.get(vrf.index())?.as_ref()
    }

    /// How much a VRF may have.
    #[inline]
    pub(crate) fn limits(&self, vrf: VrfId) -> &Limits {
        if !self.has_limits {
            return &Limits::NONE;
        }
        self.tenant(vrf).map_or(&Limits::NONE, Tenant::limits)
    }

    /// Whether others may not take all room from some VRF.
    #[inline]
    pub(crate) const fn has_reserves(&self) -> bool {
        !self.reserved.is_empty()
    }

    /// The VRFs that others may not take all room from, and how many sessions are kept for each.
    pub(crate) fn reserved(&self) -> &[(VrfId, u32)] {
        &self.reserved
    }

    pub(crate) const fn owners(&self) -> &Arc<OutsideOwners> {
        &self.owners
    }

    /// The shared address of this value.
    pub(crate) fn shared_address(&self, address: Ipv4Addr) -> Option<Shared> {
        self.outside.get(address_key(address))?.shared
    }

    /// The addresses of a pool or an uplink.
    pub(crate) fn addresses(&self, target: Target) -> &[Shared] {
        self.shared_set(target)
            .map_or(&[], |set| set.addresses.as_slice())
    }

    /// What a pool may hand out.
    pub fn pool_capacity(&self, pool: PoolId) -> PoolCapacity {
        PoolCapacity::of(self.addresses(Target::pool(pool)))
    }

    /// What may be handed out of an uplink's own addresses.
    pub fn uplink_capacity(&self, uplink: InterfaceId) -> PoolCapacity {
        PoolCapacity::of(self.addresses(Target::uplink(uplink)))
    }

    /// The addresses of a pool whose ports are handed out, in order.
    pub fn pool_addresses(&self, pool: PoolId) -> Vec<Ipv4Addr> {
        let shared = self.addresses(Target::pool(pool)).iter();
        let mut addresses: Vec<_> = shared.map(|shared| shared.address).collect();
        addresses.sort_unstable();
        addresses
    }

    /// The ports of a block that may be handed out, one bit each.
    pub(crate) fn usable(&self, address: &Shared, block: u16) -> u64 {
        let Some(set) = self.shared_set(address.target) else {
            return 0;
        };
        let taken = self.forwarded.get(block_key(address.slot, block));
        set.masks[usize::from(block) % BLOCKS] & !taken.unwrap_or(0)
    }

    /// Whether a port of a shared address may be handed out for `target`.
    pub(crate) fn may_hand_out(&self, outside: SocketAddrV4, target: Target) -> bool {
        self.shared_address(*outside.ip()).is_some_and(|address| {
            let bit = outside.port() % BLOCK_PORTS;
            address.target == target
                && self.usable(&address, outside.port() / BLOCK_PORTS) >> bit & 1 == 1
        })
    }

    /// The idle time-outs.
    pub(crate) const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The class of a new session: which time-outs are its. `by_rule`: a rule, not a port forward,
    /// gives it its outside tuple.
    #[inline(always)]
    pub(crate) fn class(&self, inside: Word, peer: Word, by_rule: bool) -> u8 {
        let set = if by_rule & !self.timeouts.is_one_set() {
            self.set_of(inside, peer)
        } else {
            0
        };
        self.timeouts.class(set, peer)
    }

    #[inline(never)]
    fn set_of(&self, inside: Word, peer: Word) -> u8 {
        let tenant = self.tenant(inside.vrf());
        let rule = tenant.and_then(|tenant| tenant.rule(inside.address(), peer.address()));
        rule.map_or(0, |rule| rule.timeouts)
    }

    /// How the ports of a pool or an uplink are handed out.
    pub(crate) fn allocation(&self, target: Target) -> Allocation {
        self.shared_set(target)
            .map_or_else(Allocation::default, |set| set.allocation)
    }

    /// Whether a rule lets everybody in.
    pub(crate) const fn has_open_rules(&self) -> bool {
        self.has_open_rules
    }

    fn shared_set(&self, target: Target) -> Option<&SharedSet> {
        let place = self
            .shared
            .binary_search_by_key(&target.0, |(target, _)| *target)
            .ok()?;
        Some(&self.shared[place].1)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
