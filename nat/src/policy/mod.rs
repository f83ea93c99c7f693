//! The rules of one generation: what is translated to what, and whose an outside address is.

mod build;
mod error;
mod input;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::Arc;

use sekisho_types::{InterfaceId, IpProtocol, VrfId, WorkerId};

pub use error::PolicyError;
pub use input::{
    Filtering, FloatingIp, PolicyInput, PoolId, PoolInput, PortForward, SnatRule, SnatTarget,
    Timers, UplinkInput, VrfInput,
};

use crate::key::Transport;
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
}

/// Where the time-out of established TCP stands.
const ESTABLISHED: usize = Transport::COUNT;

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
}

/// What is translated in one VRF.
#[derive(Debug)]
pub(crate) struct Tenant {
    snat: Vec<SnatRule>,
    /// Whether it has any floating IP, and any port forward: most have none.
    has_floating: bool,
    has_forwards: bool,
    /// Most sessions on a worker.
    max_sessions: u32,
    /// Most new ones in a second on a worker.
    max_new_sessions: Option<u32>,
    /// Most ports of a host.
    max_host_ports: u32,
}

impl Tenant {
    /// Whether SNAT rules are all that is translated.
    #[inline]
    pub(crate) const fn has_rules_only(&self) -> bool {
        !(self.has_floating | self.has_forwards)
    }

    /// The rule that decides about an inside source.
    #[inline]
    pub(crate) fn snat(&self, inside: Ipv4Addr) -> Option<&SnatRule> {
        self.snat.iter().find(|rule| rule.source.contains(inside))
    }
}

/// The rules of one generation, immutable. Workers hold it by `Arc` and look things up without
/// locks; every lookup but that of SNAT rules costs one or two cache lines.
pub struct Policy {
    generation: Generation,
    steering: Steering,
    owners: Arc<OutsideOwners>,
    timers: Timers,
    /// In milliseconds, by transport; then that of established TCP.
    timeouts: [u32; Transport::COUNT + 1],
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
    /// The first forward of each inside tuple.
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

    /// What becomes of the source of an outbound packet.
    pub fn scope(&self, vrf: VrfId, source: SocketAddrV4, protocol: IpProtocol) -> Scope {
        if self.forward_back(vrf, protocol, source).is_some() {
            return Scope::Stateful;
        }
        if let Some(outside) = self.floating_out(vrf, *source.ip()) {
            return Scope::Floating(outside);
        }
        match self.snat(vrf, *source.ip()).map(|rule| rule.target) {
            None | Some(SnatTarget::NoNat) => Scope::Untranslated,
            Some(SnatTarget::Pool(_) | SnatTarget::Uplink) => Scope::Stateful,
        }
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

    /// The rule that decides about an inside source.
    pub fn snat(&self, vrf: VrfId, inside: Ipv4Addr) -> Option<&SnatRule> {
        self.tenant(vrf)?.snat(inside)
    }

    /// What is translated in a VRF, if anything.
    #[inline]
    pub(crate) fn tenant(&self, vrf: VrfId) -> Option<&Tenant> {
        self.vrfs.get(vrf.index())?.as_ref()
    }

    /// Most sessions a VRF may have on a worker.
    #[inline]
    pub(crate) fn max_sessions(&self, vrf: VrfId) -> u32 {
        self.tenant(vrf)
            .map_or(u32::MAX, |tenant| tenant.max_sessions)
    }

    /// Most sessions a VRF may open in a second on a worker, if there is a limit.
    #[inline]
    pub(crate) fn max_new_sessions(&self, vrf: VrfId) -> Option<u32> {
        self.tenant(vrf)?.max_new_sessions
    }

    /// Most ports a host of a VRF may have.
    #[inline]
    pub(crate) fn max_host_ports(&self, vrf: VrfId) -> u32 {
        self.tenant(vrf)
            .map_or(u32::MAX, |tenant| tenant.max_host_ports)
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

    /// The idle time-out, in milliseconds.
    #[inline]
    pub(crate) const fn timeout(&self, transport: Transport, established: bool) -> u32 {
        self.timeouts[if established {
            ESTABLISHED
        } else {
            transport.index()
        }]
    }

    /// The shortest idle time-out, in milliseconds.
    pub(crate) fn shortest_timeout(&self) -> u32 {
        self.timeouts.iter().copied().min().unwrap_or(0)
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

fn address_key(address: Ipv4Addr) -> u128 {
    u128::from(u32::from(address))
}

fn host_key(vrf: VrfId, inside: Ipv4Addr) -> u128 {
    u128::from(vrf.value()) << 32 | address_key(inside)
}

fn tuple_key(tuple: SocketAddrV4) -> u128 {
    address_key(*tuple.ip()) << 16 | u128::from(tuple.port())
}

fn forward_key(protocol: IpProtocol, outside: SocketAddrV4) -> u128 {
    u128::from(protocol.0) << 48 | tuple_key(outside)
}

fn forward_back_key(vrf: VrfId, protocol: IpProtocol, inside: SocketAddrV4) -> u128 {
    u128::from(vrf.value()) << 56 | forward_key(protocol, inside)
}

fn block_key(slot: Slot, block: u16) -> u128 {
    u128::from(slot) << 16 | u128::from(block)
}
