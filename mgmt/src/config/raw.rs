//! What the documents say, value by value, before anything is compared with anything. A value that
//! is missing or was not understood is `None`; the latter has been reported.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sekisho_types::{IpProtocol, Ipv4Prefix, MacAddr, Name, PciAddress, Prefix};

use super::fields::Fields;
use super::model::{
    Allocation, Filtering, Hugepages, InterfaceAddress, LogLevel, MappingMode, MemifRole, MssClamp,
    NextHop, UnsolicitedSyn,
};
use super::problem::{Located, Place, Problems};
use super::text::{Driver, KernelInterface, Permit, Secret, SocketPath};

/// A value that may be missing.
pub(super) type Maybe<T> = Option<Located<T>>;

/// All documents together.
#[derive(Default)]
pub(super) struct Raw {
    pub(super) gateway: Option<Gateway>,
    pub(super) underlay: Option<Underlay>,
    pub(super) ports: Vec<Port>,
    pub(super) uplinks: Vec<Uplink>,
    pub(super) routes: Vec<Route>,
    pub(super) bgp: Option<Bgp>,
    pub(super) prefix_lists: Vec<PrefixList>,
    pub(super) nat_pools: Vec<NatPool>,
    pub(super) nat: Option<NatTimers>,
    pub(super) nat_log: Option<NatLog>,
    pub(super) tenants: Vec<Tenant>,
}

pub(super) struct Gateway {
    pub(super) at: Place,
    pub(super) hostname: Maybe<Name>,
    pub(super) workers: Maybe<u8>,
    pub(super) cpus: Option<Vec<Located<u16>>>,
    pub(super) hugepages: Maybe<Hugepages>,
    pub(super) memory_mib: Maybe<u32>,
    pub(super) max_sessions: Maybe<u32>,
    pub(super) session_counters: Maybe<bool>,
    pub(super) api_socket: Maybe<PathBuf>,
    pub(super) host_interface: Maybe<KernelInterface>,
}

impl Gateway {
    pub(super) fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let gateway = Self {
            at: f.at.clone(),
            hostname: f.text("hostname", p),
            workers: f.integer("workers", 1, 64, p),
            cpus: f.integers("cpus", 0, 4095, p),
            hugepages: f.text("hugepages", p),
            memory_mib: f.integer("memory-mib", 64, 1 << 20, p),
            max_sessions: f.integer("max-sessions", 1024, 1 << 30, p),
            session_counters: f.flag("session-counters", p),
            api_socket: f.text("api-socket", p),
            host_interface: f.text("host-interface", p),
        };
        f.finish(p);
        gateway
    }
}

pub(super) struct Underlay {
    pub(super) address: Maybe<Ipv4Addr>,
    pub(super) vxlan_port: Maybe<u16>,
}

impl Underlay {
    pub(super) fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let underlay = Self {
            address: f.required("address", "\"10.1.0.1\"", p),
            vxlan_port: f.integer("vxlan-port", 1, 65535, p),
        };
        f.finish(p);
        underlay
    }
}

/// Which of the keys belong together is told by the kind.
pub(super) struct Port {
    pub(super) at: Place,
    pub(super) name: Maybe<Name>,
    pub(super) kind: Maybe<Driver>,
    pub(super) interface: Maybe<KernelInterface>,
    pub(super) namespace: Maybe<Name>,
    pub(super) address: Maybe<PciAddress>,
    pub(super) socket: Maybe<SocketPath>,
    pub(super) id: Maybe<u32>,
    pub(super) role: Maybe<MemifRole>,
    pub(super) secret: Maybe<Secret>,
    pub(super) ring_size: Maybe<u32>,
    pub(super) mac: Maybe<MacAddr>,
    pub(super) mtu: Maybe<u16>,
    /// The keys that are there, understood or not.
    pub(super) said: Vec<&'static str>,
}

impl Port {
    pub(super) fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let port = Self {
            at: f.at.clone(),
            name: f.required("name", "\"isp-a\"", p),
            kind: f.required("kind", "\"pci\", \"af_packet\", ..", p),
            interface: f.text("interface", p),
            namespace: f.text("namespace", p),
            address: f.text("address", p),
            socket: f.text("socket", p),
            id: f.integer("id", 0, u32::MAX.into(), p),
            role: f.text("role", p),
            secret: f.text("secret", p),
            ring_size: f.integer("ring-size", 2, 16384, p),
            mac: f.text("mac", p),
            mtu: f.integer("mtu", 576, 9216, p),
            said: f.said(),
        };
        f.finish(p);
        port
    }

    /// The keys that only some kinds have, where they are.
    pub(super) fn own_keys(&self) -> Vec<(&'static str, &Place)> {
        fn at<T>(value: &Maybe<T>) -> Option<&Place> {
            value.as_ref().map(|located| &located.at)
        }
        let keys = [
            ("interface", at(&self.interface)),
            ("namespace", at(&self.namespace)),
            ("address", at(&self.address)),
            ("socket", at(&self.socket)),
            ("id", at(&self.id)),
            ("role", at(&self.role)),
            ("secret", at(&self.secret)),
            ("ring-size", at(&self.ring_size)),
        ];
        let there = keys.into_iter();
        there.filter_map(|(key, at)| Some((key, at?))).collect()
    }
}

pub(super) struct Uplink {
    pub(super) at: Place,
    pub(super) name: Maybe<Name>,
    pub(super) port: Maybe<Name>,
    pub(super) addresses: Option<Vec<Located<InterfaceAddress>>>,
    pub(super) mtu: Maybe<u16>,
    pub(super) icmp_errors: Maybe<bool>,
    pub(super) unsolicited_syn: Maybe<UnsolicitedSyn>,
}

impl Uplink {
    pub(super) fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let uplink = Self {
            at: f.at.clone(),
            name: f.required("name", "\"isp-a\"", p),
            port: f.required("port", "the name of a [[port]]", p),
            addresses: f.texts("addresses", p),
            mtu: f.integer("mtu", 576, 9216, p),
            icmp_errors: f.flag("icmp-errors", p),
            unsolicited_syn: f.text("unsolicited-syn", p),
        };
        f.finish(p);
        uplink
    }
}

/// `[[route]]` and `[[tenant.route]]`
pub(super) struct Route {
    pub(super) at: Place,
    pub(super) prefix: Maybe<Prefix>,
    pub(super) next_hop: Maybe<NextHop>,
    pub(super) next_hops: Option<Vec<Located<NextHop>>>,
    pub(super) vrf: Maybe<Name>,
    pub(super) discard: Maybe<bool>,
    pub(super) distance: Maybe<u8>,
}

impl Route {
    pub(super) fn read(mut f: Fields<'_>, of_tenant: bool, p: &mut Problems<'_>) -> Self {
        let route = Self {
            at: f.at.clone(),
            prefix: f.required("prefix", "\"0.0.0.0/0\"", p),
            next_hop: f.text("next-hop", p),
            next_hops: f.texts("next-hops", p),
            vrf: if of_tenant { f.text("vrf", p) } else { None },
            discard: f.flag("discard", p),
            distance: f.integer("distance", 1, 255, p),
        };
        f.finish(p);
        route
    }
}

pub(super) struct Bgp {
    pub(super) asn: Maybe<u32>,
    pub(super) router_id: Maybe<Ipv4Addr>,
    pub(super) maximum_paths: Maybe<u8>,
    pub(super) neighbors: Vec<Neighbor>,
}

impl Bgp {
    pub(super) fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let neighbors = f.tables("neighbor", "[[bgp.neighbor]]", p);
        let bgp = Self {
            asn: f.required_integer("as", AS_NUMBERS, "65010", p),
            router_id: f.required("router-id", "\"10.1.0.1\"", p),
            maximum_paths: f.integer("maximum-paths", 1, 64, p),
            neighbors: neighbors
                .into_iter()
                .map(|n| Neighbor::read(n, p))
                .collect(),
        };
        f.finish(p);
        bgp
    }
}

/// AS 0 is reserved (RFC 7607).
const AS_NUMBERS: (i64, i64) = (1, u32::MAX as i64);

pub(super) struct Neighbor {
    pub(super) at: Place,
    pub(super) address: Maybe<IpAddr>,
    pub(super) remote_as: Maybe<u32>,
    pub(super) description: Maybe<String>,
    pub(super) import: Maybe<Name>,
    pub(super) export: Maybe<Name>,
    pub(super) hold_time: Maybe<Duration>,
    pub(super) connect_retry_time: Maybe<Duration>,
    pub(super) passive: Maybe<bool>,
    pub(super) local_address: Maybe<IpAddr>,
    pub(super) shutdown: Maybe<bool>,
}

impl Neighbor {
    fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let neighbor = Self {
            at: f.at.clone(),
            address: f.required("address", "\"198.51.100.0\"", p),
            remote_as: f.required_integer("remote-as", AS_NUMBERS, "65001", p),
            description: f.text("description", p),
            import: f.text("import", p),
            export: f.text("export", p),
            hold_time: f.text("hold-time", p),
            connect_retry_time: f.text("connect-retry-time", p),
            passive: f.flag("passive", p),
            local_address: f.text("local-address", p),
            shutdown: f.flag("shutdown", p),
        };
        f.finish(p);
        neighbor
    }
}

pub(super) struct PrefixList {
    pub(super) name: Maybe<Name>,
    pub(super) rules: Vec<PrefixRule>,
}

impl PrefixList {
    pub(super) fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let rules = f.tables("rules", "rules = [{ action = ..., prefix = ... }]", p);
        let list = Self {
            name: f.required("name", "\"to-isp\"", p),
            rules: rules
                .into_iter()
                .map(|rule| PrefixRule::read(rule, p))
                .collect(),
        };
        f.finish(p);
        list
    }
}

pub(super) struct PrefixRule {
    pub(super) action: Maybe<Permit>,
    pub(super) prefix: Maybe<Prefix>,
    pub(super) ge: Maybe<u8>,
    pub(super) le: Maybe<u8>,
}

impl PrefixRule {
    fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let rule = Self {
            action: f.required("action", "\"permit\" or \"deny\"", p),
            prefix: f.required("prefix", "\"203.0.113.0/24\"", p),
            ge: f.integer("ge", 0, 128, p),
            le: f.integer("le", 0, 128, p),
        };
        f.finish(p);
        rule
    }
}

pub(super) struct NatPool {
    pub(super) at: Place,
    pub(super) name: Maybe<Name>,
    pub(super) addresses: Option<Vec<Located<Vec<Ipv4Prefix>>>>,
    pub(super) ports: Maybe<(u16, u16)>,
    pub(super) block_size: Maybe<u16>,
    pub(super) blocks_per_host: Maybe<u16>,
    pub(super) allocation: Maybe<Allocation>,
    pub(super) preserve_parity: Maybe<bool>,
    pub(super) preserve_class: Maybe<bool>,
    pub(super) advertise: Maybe<bool>,
}

impl NatPool {
    pub(super) fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let pool = Self {
            at: f.at.clone(),
            name: f.required("name", "\"public\"", p),
            addresses: f.texts("addresses", p),
            ports: f.text("ports", p),
            block_size: f.integer("block-size", 64, 4096, p),
            blocks_per_host: f.integer("blocks-per-host", 1, 1024, p),
            allocation: f.text("allocation", p),
            preserve_parity: f.flag("preserve-parity", p),
            preserve_class: f.flag("preserve-class", p),
            advertise: f.flag("advertise", p),
        };
        f.finish(p);
        pool
    }
}

pub(super) struct NatTimers {
    pub(super) timeouts: Timeouts,
    pub(super) short_udp: Maybe<Duration>,
    pub(super) short_udp_ports: Option<Vec<Located<u16>>>,
    pub(super) inbound_refresh: Maybe<bool>,
    pub(super) port_quarantine: Maybe<Duration>,
}

impl NatTimers {
    pub(super) fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let timers = Self {
            timeouts: Timeouts::read(&mut f, p),
            short_udp: f.text("short-udp-timeout", p),
            short_udp_ports: f.integers("short-udp-ports", 1, 1023, p),
            inbound_refresh: f.flag("inbound-refresh", p),
            port_quarantine: f.text("port-quarantine", p),
        };
        f.finish(p);
        timers
    }
}

/// Idle time-outs of sessions.
pub(super) struct Timeouts {
    pub(super) udp: Maybe<Duration>,
    pub(super) tcp_established: Maybe<Duration>,
    pub(super) tcp_transitory: Maybe<Duration>,
    pub(super) icmp: Maybe<Duration>,
}

impl Timeouts {
    fn read(f: &mut Fields<'_>, p: &mut Problems<'_>) -> Self {
        Self {
            udp: f.text("udp-timeout", p),
            tcp_established: f.text("tcp-established-timeout", p),
            tcp_transitory: f.text("tcp-transitory-timeout", p),
            icmp: f.text("icmp-timeout", p),
        }
    }
}

pub(super) struct NatLog {
    pub(super) at: Place,
    pub(super) level: Maybe<LogLevel>,
    pub(super) destinations: Maybe<bool>,
    pub(super) file: Maybe<PathBuf>,
    pub(super) journal: Maybe<bool>,
    pub(super) collectors: Option<Vec<Located<SocketAddr>>>,
    pub(super) source: Maybe<IpAddr>,
    pub(super) template_interval: Maybe<Duration>,
}

impl NatLog {
    pub(super) fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let log = Self {
            at: f.at.clone(),
            level: f.text("level", p),
            destinations: f.flag("destinations", p),
            file: f.text("file", p),
            journal: f.flag("journal", p),
            collectors: f.texts("collectors", p),
            source: f.text("source", p),
            template_interval: f.text("template-interval", p),
        };
        f.finish(p);
        log
    }
}

pub(super) struct Tenant {
    pub(super) name: Maybe<Name>,
    pub(super) segments: Vec<Segment>,
    pub(super) routes: Vec<Route>,
    pub(super) snat: Vec<Snat>,
    pub(super) floating_ips: Vec<FloatingIp>,
    pub(super) port_forwards: Vec<PortForward>,
    pub(super) max_sessions: Maybe<u32>,
    pub(super) max_new_sessions: Maybe<u32>,
    pub(super) max_ports: Maybe<u32>,
    pub(super) reserved_sessions: Maybe<u32>,
    pub(super) max_sessions_per_host: Maybe<u32>,
    pub(super) max_new_sessions_per_host: Maybe<u32>,
    pub(super) max_ports_per_host: Maybe<u32>,
    pub(super) nat_log: Maybe<LogLevel>,
}

impl Tenant {
    pub(super) fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let segments = f.tables("segment", "[[tenant.segment]]", p);
        let routes = f.tables("route", "[[tenant.route]]", p);
        let snat = f.tables("snat", "[[tenant.snat]]", p);
        let floating_ips = f.tables("floating-ip", "[[tenant.floating-ip]]", p);
        let port_forwards = f.tables("port-forward", "[[tenant.port-forward]]", p);
        let tenant = Self {
            name: f.required("name", "\"blue\"", p),
            segments: segments.into_iter().map(|f| Segment::read(f, p)).collect(),
            routes: routes
                .into_iter()
                .map(|f| Route::read(f, true, p))
                .collect(),
            snat: snat.into_iter().map(|f| Snat::read(f, p)).collect(),
            floating_ips: floating_ips
                .into_iter()
                .map(|f| FloatingIp::read(f, p))
                .collect(),
            port_forwards: port_forwards
                .into_iter()
                .map(|f| PortForward::read(f, p))
                .collect(),
            max_sessions: f.integer("max-sessions", 1, 1 << 30, p),
            max_new_sessions: f.integer("max-new-sessions", 1, 1 << 30, p),
            max_ports: f.integer("max-ports", 1, 1 << 30, p),
            reserved_sessions: f.integer("reserved-sessions", 1, 1 << 30, p),
            max_sessions_per_host: f.integer("max-sessions-per-host", 1, 1 << 30, p),
            max_new_sessions_per_host: f.integer("max-new-sessions-per-host", 1, 1 << 30, p),
            max_ports_per_host: f.integer("max-ports-per-host", 1, 1 << 30, p),
            nat_log: f.text("nat-log", p),
        };
        f.finish(p);
        tenant
    }
}

pub(super) struct Segment {
    pub(super) at: Place,
    pub(super) name: Maybe<Name>,
    pub(super) vni: Maybe<u32>,
    pub(super) gateway: Maybe<InterfaceAddress>,
    pub(super) gateway6: Maybe<InterfaceAddress>,
    pub(super) mac: Maybe<MacAddr>,
    pub(super) mtu: Maybe<u16>,
    pub(super) vteps: Option<Vec<Located<Ipv4Addr>>>,
    pub(super) learning: Maybe<bool>,
    pub(super) advertise: Maybe<bool>,
    pub(super) advertise6: Maybe<bool>,
    pub(super) router_advertisements: Maybe<bool>,
    pub(super) icmp_errors: Maybe<bool>,
    pub(super) mss_clamp: Maybe<MssClamp>,
    pub(super) endpoints: Vec<Endpoint>,
}

impl Segment {
    fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let endpoints = f.tables("endpoint", "[[tenant.segment.endpoint]]", p);
        let segment = Self {
            at: f.at.clone(),
            name: f.required("name", "\"web\"", p),
            // 0 and 16777215 are kept free: peers use them for "no network" and "any network".
            vni: f.required_integer("vni", (1, 0x00ff_fffe), "5001", p),
            gateway: f.required("gateway", "\"172.16.10.1/24\"", p),
            gateway6: f.text("gateway6", p),
            mac: f.text("mac", p),
            mtu: f.integer("mtu", 576, 9166, p),
            vteps: f.texts("vteps", p),
            learning: f.flag("learning", p),
            advertise: f.flag("advertise", p),
            advertise6: f.flag("advertise6", p),
            router_advertisements: f.flag("router-advertisements", p),
            icmp_errors: f.flag("icmp-errors", p),
            mss_clamp: f.text("mss-clamp", p),
            endpoints: endpoints
                .into_iter()
                .map(|f| Endpoint::read(f, p))
                .collect(),
        };
        f.finish(p);
        segment
    }
}

impl Segment {
    /// The gateway's addresses that were understood.
    pub(super) fn gateways(&self) -> impl Iterator<Item = &Located<InterfaceAddress>> {
        self.gateway.iter().chain(&self.gateway6)
    }

    /// Those whose prefix is reachable from the provider VRF.
    pub(super) fn advertised(&self) -> impl Iterator<Item = &Located<InterfaceAddress>> {
        let is_set = |flag: &Maybe<bool>| flag.as_ref().is_some_and(|flag| flag.value);
        let v4 = self.gateway.iter().filter(move |_| is_set(&self.advertise));
        let v6 = self.gateway6.iter();
        v4.chain(v6.filter(move |_| is_set(&self.advertise6)))
    }
}

pub(super) struct Endpoint {
    pub(super) address: Maybe<IpAddr>,
    pub(super) mac: Maybe<MacAddr>,
    pub(super) vtep: Maybe<Ipv4Addr>,
}

impl Endpoint {
    fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let endpoint = Self {
            address: f.required("address", "\"172.16.10.11\"", p),
            mac: f.required("mac", "\"02:00:00:00:10:11\"", p),
            vtep: f.required("vtep", "\"10.1.0.11\"", p),
        };
        f.finish(p);
        endpoint
    }
}

pub(super) struct Snat {
    pub(super) at: Place,
    pub(super) source: Maybe<Ipv4Prefix>,
    pub(super) pool: Maybe<Name>,
    pub(super) to: Maybe<Name>,
    pub(super) destination: Maybe<Ipv4Prefix>,
    pub(super) mapping: Maybe<MappingMode>,
    pub(super) filtering: Maybe<Filtering>,
    pub(super) timeouts: Timeouts,
}

impl Snat {
    fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let snat = Self {
            at: f.at.clone(),
            source: f.required("source", "\"172.16.0.0/16\"", p),
            pool: f.text("pool", p),
            to: f.text("to", p),
            destination: f.text("destination", p),
            mapping: f.text("mapping", p),
            filtering: f.text("filtering", p),
            timeouts: Timeouts::read(&mut f, p),
        };
        f.finish(p);
        snat
    }
}

pub(super) struct FloatingIp {
    pub(super) outside: Maybe<Ipv4Addr>,
    pub(super) inside: Maybe<Ipv4Addr>,
}

impl FloatingIp {
    fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let floating = Self {
            outside: f.required("outside", "\"203.0.113.10\"", p),
            inside: f.required("inside", "\"172.16.10.11\"", p),
        };
        f.finish(p);
        floating
    }
}

pub(super) struct PortForward {
    pub(super) protocol: Maybe<IpProtocol>,
    pub(super) outside: Maybe<(Ipv4Addr, u16)>,
    pub(super) inside: Maybe<(Ipv4Addr, u16)>,
}

impl PortForward {
    fn read(mut f: Fields<'_>, p: &mut Problems<'_>) -> Self {
        let forward = Self {
            protocol: f.required("protocol", "\"tcp\" or \"udp\"", p),
            outside: f.required("outside", "\"203.0.113.20:8080\"", p),
            inside: f.required("inside", "\"172.16.10.12:80\"", p),
        };
        f.finish(p);
        forward
    }
}
