//! Why packets are dropped: every drop has a name.

macro_rules! drop_reasons {
    ($($variant:ident = $label:literal, $what:literal;)+) => {
        /// The reason a packet was dropped. Labels are an interface: they never change meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $what] $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of the packet's way.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name seen in the CLI and the metrics.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// One sentence for people.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $what,)+ }
            }
        }
    };
}

drop_reasons! {
    MalformedEthernet = "malformed-ethernet", "The frame is shorter than its Ethernet header.";
    UnknownPort = "unknown-port", "No uplink is configured on the port.";
    VlanUnexpected = "vlan-unexpected", "A VLAN tag on a port without that VLAN.";
    NotOurMac = "not-our-mac", "The frame is addressed to another station.";
    UnknownEthertype = "unknown-ethertype", "Neither IPv4, IPv6 nor ARP.";
    Ipv6Disabled = "ipv6-disabled", "The uplink or segment has no IPv6 address.";
    MalformedArp = "malformed-arp", "Not a valid ARP packet for Ethernet and IPv4.";
    MalformedIpv4 = "malformed-ipv4", "Version, header length, total length or checksum is wrong.";
    MalformedIpv6 = "malformed-ipv6", "Version, payload length or extension headers are wrong, or the headers are too many.";
    MalformedTransport = "malformed-transport", "The TCP, UDP or ICMP header is cut short or inconsistent.";
    SourceRoute = "source-route", "The packet carries a source route: an IPv4 option, or an IPv6 routing header of type 0.";
    MartianSource = "martian-source", "The source address can be nobody's.";
    MartianDestination = "martian-destination", "The destination is multicast, loopback or reserved.";
    BeyondScope = "beyond-scope", "A link-local IPv6 address would have to leave its link.";
    MalformedNd = "malformed-nd", "Not a valid neighbour discovery message (RFC 4861).";
    NdHopLimit = "nd-hop-limit", "A neighbour discovery message from beyond the link: its hop limit is not 255.";
    OuterFragment = "outer-fragment", "A tunnel packet arrived in fragments.";
    OuterChecksum = "outer-checksum", "The UDP checksum of a tunnel packet is wrong.";
    MalformedVxlan = "malformed-vxlan", "The tunnel packet is cut short.";
    VxlanFlags = "vxlan-flags", "The VXLAN header does not mark its VNI as valid.";
    UnknownVni = "unknown-vni", "No segment has the VNI.";
    UnknownVtep = "unknown-vtep", "The sender is not a VTEP of the segment.";
    OuterCongestion = "outer-congestion", "The underlay marked congestion on a packet that cannot carry the mark (RFC 6040).";
    InnerMalformed = "inner-malformed", "The frame inside the tunnel is cut short.";
    InnerVlan = "inner-vlan", "The frame inside the tunnel carries a VLAN tag.";
    InnerNotForGateway = "inner-not-for-gateway", "The frame inside the tunnel is addressed to another station of the segment.";
    SpoofedSource = "spoofed-source", "The tenant's source address does not live on that segment, or lives elsewhere on it.";
    GatewayService = "gateway-service", "A tenant asked the gateway for something other than ARP, neighbour discovery or ping.";
    NoRoute = "no-route", "The VRF has no route to the destination.";
    DiscardRoute = "discard-route", "The route says discard.";
    VrfLoop = "vrf-loop", "Routes lead from VRF to VRF without end.";
    TtlExpired = "ttl-expired", "The time to live, or hop limit, ran out here.";
    NotTranslated = "not-translated", "No NAT rule covers the tenant's source, and its segment is not advertised.";
    NotAdvertised = "not-advertised", "The tenant's IPv6 source is in no segment with advertise6: it stays inside.";
    NatNoMapping = "nat-no-mapping", "Nothing maps the outside address and port to a tenant.";
    NatFiltered = "nat-filtered", "The mapping exists, but the remote address was never contacted.";
    NatSynBacklog = "nat-syn-backlog", "A SYN nobody asked for, whose sender will not be told: too many wait for that already.";
    NatSessionsFull = "nat-sessions-full", "The session table is full.";
    NatTenantLimit = "nat-tenant-limit", "The tenant has as many sessions as its max-sessions allows.";
    NatTenantRate = "nat-tenant-rate", "The tenant opens more sessions in a second than its max-new-sessions allows.";
    NatHostLimit = "nat-host-limit", "The host has as many ports as its tenant's max-ports-per-host, or as many blocks as its pool's blocks-per-host allows.";
    NatTenantPorts = "nat-tenant-ports", "The tenant has as many outside ports as its max-ports allows.";
    NatHostSessions = "nat-host-sessions", "The host has as many sessions as its tenant's max-sessions-per-host allows.";
    NatHostRate = "nat-host-rate", "The host opens more sessions in a second than its tenant's max-new-sessions-per-host allows.";
    NatPortsExhausted = "nat-ports-exhausted", "The pool has no free port for the host.";
    NatProtocol = "nat-protocol", "The protocol has no ports to translate; only a floating IP carries it.";
    FragmentMalformed = "fragment-malformed", "A fragment that can be part of no packet: empty, of an odd length, or beyond 65,535 octets.";
    FragmentTiny = "fragment-tiny", "A first fragment without the whole TCP, UDP or ICMP header, or another in its place.";
    FragmentDuplicate = "fragment-duplicate", "A fragment that came already.";
    FragmentOverlap = "fragment-overlap", "A fragment that overlaps another, or of a packet of which two did.";
    FragmentTooMany = "fragment-too-many", "A packet in more than 64 fragments.";
    FragmentTimeout = "fragment-timeout", "The first fragment of the packet did not come within two seconds.";
    FragmentTableFull = "fragment-table-full", "Too many packets are incomplete, or too many fragments wait, in the tenant or from outside.";
    FragmentRefused = "fragment-refused", "A later fragment of a packet whose first was refused.";
    NatIcmpError = "nat-icmp-error", "An ICMP error about no session we know, or malformed.";
    NatNotSyn = "nat-not-syn", "A TCP segment that neither belongs to a session nor opens one.";
    NatNoUplinkAddress = "nat-no-uplink-address", "SNAT to an uplink that has no IPv4 address.";
    NatConflict = "nat-conflict", "Another session of the same hosts and ports holds another outside port.";
    MtuExceeded = "mtu-exceeded", "Too big for the way out, and must not be fragmented; IPv6 never is.";
    NeighborUnresolved = "neighbor-unresolved", "The next hop or endpoint did not answer ARP or neighbour discovery.";
    HoldFull = "hold-full", "Too many packets already wait for ARP or neighbour discovery.";
    NextHopDown = "next-hop-down", "No next hop of the route is usable.";
    NoTunnelRoute = "no-tunnel-route", "The underlay has no route to the VTEP.";
    HandoverFull = "handover-full", "The ring to the owner worker is full.";
    SteerLoop = "steer-loop", "Workers disagree about who owns the flow.";
    PuntPoliced = "punt-policed", "The policer of its class keeps it from the control plane.";
    PuntFull = "punt-full", "The ring of its class to the control plane is full.";
    NoBuffer = "no-buffer", "The buffer pool is empty.";
    BufferShape = "buffer-shape", "The packet does not fit one buffer.";
    TxFull = "tx-full", "The port did not take the packet.";
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_are_unique_and_indexes_dense() {
        let labels: HashSet<_> = DropReason::ALL
            .iter()
            .map(|reason| reason.label())
            .collect();
        assert_eq!(labels.len(), DropReason::COUNT);
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
