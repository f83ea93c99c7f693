//! What sessions and floating IPs do in the data plane, as messages: the translation is the
//! session's, the rest is what the forwarding tables say when it is asked for.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use sekisho_fib::Adjacency;
use sekisho_mgmt::api::v1;
use sekisho_mgmt::server::{BackendError, Rows};
use sekisho_mgmt::session_match::{SessionMatch, TupleMatch};
use sekisho_nat::{SessionView, Traffic};
use sekisho_packet::FlowKey;
use sekisho_types::{InterfaceId, IpProtocol, VrfId};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::super::dataplane::Request;
use super::super::manager::{Manager, unavailable};
use super::super::ways::{FlowWay, WayQuestion};
use super::super::workers::Query;
use super::nat::{session_filter, state_of};
use super::{PAGES, vrf_name};
use crate::snapshot::Snapshot;

/// Sessions whose ways are asked for together: few enough that the task that knows them goes on.
const TOGETHER: usize = 128;
/// Flows on their way to a client.
const FLOWS: usize = 256;

/// A floating IP and its tenant.
#[derive(Clone, Copy, Debug)]
struct Floating {
    vrf: VrfId,
    inside: Ipv4Addr,
    outside: Ipv4Addr,
}

/// What is needed to turn sessions into flows.
struct Flows {
    snapshot: Arc<Snapshot>,
    dataplane: mpsc::Sender<Request>,
    seed: u64,
    sender: mpsc::Sender<v1::Flow>,
}

impl Manager {
    /// The flows of floating IPs, then of sessions.
    pub(super) async fn list_flows(
        &self,
        filter: v1::SessionFilter,
    ) -> Result<Rows<v1::Flow>, BackendError> {
        let wanted = SessionMatch::try_from(&filter);
        let wanted = wanted.map_err(|error| BackendError::Invalid(error.to_string()))?;
        let vrf = match &wanted.tenant {
            Some(tenant) => Some(self.vrf(tenant).await?),
            None => None,
        };
        let floating = self.floating(&wanted, vrf).await;
        let (pages, mut received) = mpsc::channel(PAGES);
        let filter = session_filter(&wanted, vrf);
        self.ask(Request::Ask(Query::List(filter, pages))).await?;
        let (sender, receiver) = mpsc::channel(FLOWS);
        let flows = Flows {
            snapshot: self.snapshot().await,
            dataplane: self.rooms.dataplane.clone(),
            seed: self.facts.flow_seed,
            sender,
        };
        tokio::spawn(async move {
            for some in floating.chunks(TOGETHER) {
                if flows.send_floating(some).await.is_err() {
                    return;
                }
            }
            while let Some(page) = received.recv().await {
                for some in page.chunks(TOGETHER) {
                    if flows.send_sessions(some).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }

    /// The floating IPs that match: none, if something is asked for that they do not have.
    async fn floating(&self, wanted: &SessionMatch, vrf: Option<VrfId>) -> Vec<Floating> {
        if wanted.protocol.is_some() || wanted.state.is_some() || wanted.remote.is_some() {
            return Vec::new();
        }
        let fits = |wanted: Option<TupleMatch>, address: Ipv4Addr| {
            wanted.is_none_or(|wanted| wanted.port.is_none() && wanted.prefix.contains(address))
        };
        let running = self.current().await;
        let vrfs = self.tenant_vrfs(&running.config).await;
        let tenants = running.config.tenants.iter().zip(vrfs);
        let tenants = tenants.filter(|(_, own)| vrf.is_none_or(|vrf| vrf == *own));
        tenants
            .flat_map(|(tenant, vrf)| {
                tenant.floating_ips.iter().map(move |floating| Floating {
                    vrf,
                    inside: floating.inside,
                    outside: floating.outside,
                })
            })
            .filter(|floating| {
                fits(wanted.inside, floating.inside) && fits(wanted.outside, floating.outside)
            })
            .collect()
    }
}

impl Flows {
    async fn send_sessions(&self, sessions: &[SessionView]) -> Result<(), BackendError> {
        let questions = sessions.iter().flat_map(|session| {
            let (out, back) = keys_of(session);
            [
                self.question(session.vrf, *session.remote.ip(), out),
                self.question(session.vrf, *session.inside.ip(), back),
            ]
        });
        let ways = self.ways(questions.collect()).await?;
        for (session, ways) in sessions.iter().zip(ways.chunks_exact(2)) {
            self.send(self.outbound(session, ways)).await?;
            self.send(self.inbound(session, ways)).await?;
        }
        Ok(())
    }

    async fn send_floating(&self, floating: &[Floating]) -> Result<(), BackendError> {
        let questions = floating.iter().map(|floating| WayQuestion {
            vrf: floating.vrf,
            destination: floating.inside,
            hash: 0,
        });
        let ways = self.ways(questions.collect()).await?;
        for (floating, way) in floating.iter().zip(ways) {
            self.send(self.floating_out(floating, way)).await?;
            self.send(self.floating_in(floating, way)).await?;
        }
        Ok(())
    }

    async fn send(&self, flow: v1::Flow) -> Result<(), BackendError> {
        let sent = self.sender.send(flow).await;
        sent.map_err(|error| unavailable(&error))
    }

    async fn ways(&self, questions: Vec<WayQuestion>) -> Result<Vec<FlowWay>, BackendError> {
        let (done, ways) = oneshot::channel();
        let asked = self.dataplane.send(Request::Ways(questions, done)).await;
        asked.map_err(|error| unavailable(&error))?;
        ways.await.map_err(|error| unavailable(&error))
    }

    fn question(&self, vrf: VrfId, destination: Ipv4Addr, key: FlowKey) -> WayQuestion {
        WayQuestion {
            vrf,
            destination,
            hash: key.hash(self.seed),
        }
    }

    fn outbound(&self, session: &SessionView, ways: &[FlowWay]) -> v1::Flow {
        let (vni, vtep) = ways.last().map_or((None, String::new()), origin);
        let remote_port = has_ports(session).then(|| session.remote.port().into());
        let mut actions = v1::FlowActions {
            set_source_address: session.outside.ip().to_string(),
            set_source_port: Some(session.outside.port().into()),
            ..v1::FlowActions::default()
        };
        self.lead(&mut actions, ways.first());
        let keys = v1::FlowMatch {
            vni,
            vtep,
            protocol: session.protocol.to_string(),
            source_address: session.inside.ip().to_string(),
            source_port: Some(session.inside.port().into()),
            destination_address: session.remote.ip().to_string(),
            destination_port: remote_port,
        };
        self.flow(session, "out", keys, actions)
    }

    fn inbound(&self, session: &SessionView, ways: &[FlowWay]) -> v1::Flow {
        let remote_port = has_ports(session).then(|| session.remote.port().into());
        let mut actions = v1::FlowActions {
            set_destination_address: session.inside.ip().to_string(),
            set_destination_port: Some(session.inside.port().into()),
            ..v1::FlowActions::default()
        };
        self.lead(&mut actions, ways.last());
        let keys = v1::FlowMatch {
            protocol: session.protocol.to_string(),
            source_address: session.remote.ip().to_string(),
            source_port: remote_port,
            destination_address: session.outside.ip().to_string(),
            destination_port: Some(session.outside.port().into()),
            ..v1::FlowMatch::default()
        };
        self.flow(session, "in", keys, actions)
    }

    fn flow(
        &self,
        session: &SessionView,
        direction: &str,
        keys: v1::FlowMatch,
        actions: v1::FlowActions,
    ) -> v1::Flow {
        let carried: Option<Traffic> = session.counts.map(|counts| match direction {
            "out" => counts.outbound,
            _ => counts.inbound,
        });
        v1::Flow {
            tenant: vrf_name(&self.snapshot, session.vrf),
            direction: direction.to_owned(),
            r#match: Some(keys),
            actions: Some(actions),
            state: state_of(session).to_owned(),
            packets: carried.map(|carried| carried.packets),
            octets: carried.map(|carried| carried.octets),
            last_used_seconds: Some((session.idle_ms / 1000).into()),
        }
    }

    /// Packets of a floating IP go wherever each leads: no way is theirs.
    fn floating_out(&self, floating: &Floating, way: FlowWay) -> v1::Flow {
        let (vni, vtep) = origin(&way);
        let keys = v1::FlowMatch {
            vni,
            vtep,
            source_address: floating.inside.to_string(),
            ..v1::FlowMatch::default()
        };
        let actions = v1::FlowActions {
            set_source_address: floating.outside.to_string(),
            output: "routed".to_owned(),
            ..v1::FlowActions::default()
        };
        self.stateless(floating, "out", keys, actions)
    }

    fn floating_in(&self, floating: &Floating, way: FlowWay) -> v1::Flow {
        let keys = v1::FlowMatch {
            destination_address: floating.outside.to_string(),
            ..v1::FlowMatch::default()
        };
        let mut actions = v1::FlowActions {
            set_destination_address: floating.inside.to_string(),
            ..v1::FlowActions::default()
        };
        self.lead(&mut actions, Some(&way));
        self.stateless(floating, "in", keys, actions)
    }

    fn stateless(
        &self,
        floating: &Floating,
        direction: &str,
        keys: v1::FlowMatch,
        actions: v1::FlowActions,
    ) -> v1::Flow {
        v1::Flow {
            tenant: vrf_name(&self.snapshot, floating.vrf),
            direction: direction.to_owned(),
            r#match: Some(keys),
            actions: Some(actions),
            state: "stateless".to_owned(),
            ..v1::Flow::default()
        }
    }

    /// Says where a way leads.
    fn lead(&self, actions: &mut v1::FlowActions, way: Option<&FlowWay>) {
        match way {
            None | Some(FlowWay::Unknown) => {}
            Some(FlowWay::Hairpin) => "hairpin".clone_into(&mut actions.output),
            Some(FlowWay::Wire(wire)) => self.output(actions, wire),
            Some(FlowWay::Tunnel(tunnel, wire)) => {
                if let Adjacency::Tunnel {
                    vni,
                    vtep,
                    inner_destination,
                    ..
                } = tunnel
                {
                    let underlay = self.snapshot.underlay;
                    actions.set_mac = inner_destination.to_string();
                    actions.tunnel = Some(v1::FlowTunnel {
                        vni: vni.value(),
                        source: underlay.map_or_else(String::new, |own| own.address.to_string()),
                        destination: vtep.to_string(),
                    });
                }
                if let Some(wire) = wire {
                    self.output(actions, wire);
                }
            }
        }
    }

    fn output(&self, actions: &mut v1::FlowActions, wire: &Adjacency) {
        if let Adjacency::Ethernet {
            interface,
            next_hop,
            ..
        } = wire
        {
            actions.output = self.uplink_name(*interface);
            actions.next_hop = next_hop.to_string();
        }
    }

    fn uplink_name(&self, id: InterfaceId) -> String {
        let uplink = self.snapshot.uplink(id);
        uplink.map_or_else(String::new, |uplink| uplink.name.to_string())
    }
}

/// The tunnel by which packets of an endpoint come: the one that leads to it.
fn origin(way: &FlowWay) -> (Option<u32>, String) {
    match way {
        FlowWay::Tunnel(
            Adjacency::Tunnel {
                vni,
                vtep: IpAddr::V4(vtep),
                ..
            },
            _,
        ) => (Some(vni.value()), vtep.to_string()),
        _ => (None, String::new()),
    }
}

fn has_ports(session: &SessionView) -> bool {
    session.protocol != IpProtocol::ICMP
}

/// The keys by which packets of a session are spread over next hops, out and in.
fn keys_of(session: &SessionView) -> (FlowKey, FlowKey) {
    let key = |src: SocketAddrV4, dst: SocketAddrV4| FlowKey {
        src: *src.ip(),
        dst: *dst.ip(),
        sport: src.port(),
        dport: dst.port(),
        proto: session.protocol,
    };
    let (inside, outside, remote) = (session.inside, session.outside, session.remote);
    if has_ports(session) {
        return (key(inside, remote), key(remote, outside));
    }
    // A ping has its identifier in the place of both ports.
    let at = |port| SocketAddrV4::new(*remote.ip(), port);
    (
        key(inside, at(inside.port())),
        key(at(outside.port()), outside),
    )
}
