//! The flows of the two bridges: `physical` with the port (1) and a patch (4) into `tenant`, which
//! has the tunnel (2) and the patch's other end (3).

use super::super::flows::{GATEWAY_MAC, OUTSIDE, SEGMENT_MAC, VNI, VTEP};

/// What the switch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Routes between stations on its port.
    Plain,
    /// Ends a tunnel and routes what was in it.
    Tunnel,
    /// And translates.
    Translation,
}

/// The next hop's Ethernet address, and an inside host's.
const ROUTER_MAC: &str = "02:00:00:00:99:99";
const HOST_MAC: &str = "02:00:00:01:00:00";

/// The flows of `physical`.
pub(super) fn physical(service: Service) -> String {
    match service {
        Service::Plain => format!(
            "in_port=1,ip,actions=mod_dl_src:{GATEWAY_MAC},mod_dl_dst:{ROUTER_MAC},dec_ttl,in_port\n"
        ),
        Service::Tunnel | Service::Translation => "\
            priority=20,in_port=1,udp,tp_dst=4789,actions=LOCAL\n\
            priority=10,in_port=1,ip,actions=output:4\n\
            priority=10,in_port=4,actions=output:1\n\
            priority=10,in_port=LOCAL,actions=output:1\n"
            .to_owned(),
    }
}

/// The flows of `tenant`. One pass of connection tracking for each packet: a flow of one direction
/// stays "new", so it is committed each time, which costs nothing once it is there.
pub(super) fn tenant(service: Service) -> String {
    let out = format!("mod_dl_src:{GATEWAY_MAC},mod_dl_dst:{ROUTER_MAC},dec_ttl,output:3");
    let back = format!(
        "mod_dl_src:{SEGMENT_MAC},mod_dl_dst:{HOST_MAC},dec_ttl,\
         set_field:{VTEP}->tun_dst,set_field:{VNI}->tun_id,output:2"
    );
    match service {
        Service::Plain => String::new(),
        Service::Tunnel => format!("in_port=2,ip,actions={out}\n"),
        Service::Translation => format!(
            "table=0,in_port=2,ip,actions=ct(commit,zone=1,nat(src={OUTSIDE}),table=1)\n\
             table=1,ip,actions={out}\n\
             table=0,in_port=3,ip,actions=ct(zone=1,nat,table=2)\n\
             table=2,ip,actions={back}\n"
        ),
    }
}
