//! IPv6, packet by packet.

use anyhow::{Result, ensure};
use sekisho_tests::lab::{Capture, wait_until};

use crate::raw::Injector;
use crate::site::{SOON, Site};
use crate::site6::{LOCAL6, SERVER6, WEB6, config6, play_config6, play6};

/// Makes packets of a host of blue's web; `six` is what is in the frame.
const PREAMBLE: &str = "
host = '2001:db8:1010::5'
def six(payload, **ip):
    return Ether(src=vm, dst=seg)/IPv6(**{'src': host, 'dst': '2001:db8:1010::1', **ip})/payload
def echo6(ident, **ip):
    return six(ICMPv6EchoRequest(id=ident, data=b'probe'), **ip)
def ns(target, hlim=255, src=host, dst=None, mac=True, eth='33:33:ff:00:00:01'):
    body = ICMPv6ND_NS(tgt=target)
    if mac:
        body = body/ICMPv6NDOptSrcLLAddr(lladdr=vm)
    return Ether(src=vm, dst=eth)/IPv6(src=src, dst=dst or 'ff02::1:ff00:1', hlim=hlim)/body
";

struct Six {
    injector: Injector,
}

impl Six {
    fn new(site: &Site) -> Result<Self> {
        Ok(Self {
            injector: Injector::new(site)?,
        })
    }

    fn send(&self, script: &str) -> Result<()> {
        self.injector.send(&format!("{PREAMBLE}{script}"))
    }

    fn capture(&self) -> &Capture {
        self.injector.capture()
    }

    /// Nothing comes back for what the script sends, and it is counted under `reason`.
    fn dropped(&self, site: &Site, script: &str, reason: &str) -> Result<()> {
        const ANSWERS: &str = "icmpv6.type < 5 || icmpv6.type == 129 || icmpv6.type == 136";
        let before = site.sekishod.drops(reason)?;
        let earlier = self.capture().count(ANSWERS)?;
        let script = format!("{PREAMBLE}{script}");
        let seen = self.injector.send_and_count(&script, ANSWERS)?;
        ensure!(seen == earlier, "something came back for: {script}");
        site.wait_dropped(reason, before)
    }

    fn wait(&self, filter: &str) -> Result<()> {
        self.capture().wait(filter, 1, SOON)
    }
}

#[test]
fn neighbour_solicitations_for_our_addresses_are_answered_and_probes_to_everybody() -> Result<()> {
    play6(|site| {
        let six = Six::new(site)?;
        for target in [WEB6, LOCAL6] {
            let group = if target == WEB6 {
                "ff02::1:ff00:1"
            } else {
                "ff02::1:ff00:1389"
            };
            six.send(&format!("put(vx(ns('{target}', dst='{group}')))"))?;
            six.wait(&format!(
                "icmpv6.type == 136 && icmpv6.nd.na.target_address == {target} && \
                 icmpv6.nd.na.flag.s == 1 && icmpv6.nd.na.flag.r == 1 && \
                 ipv6.dst == 2001:db8:1010::5 && ipv6.hlim == 255"
            ))?;
        }
        // RFC 4862: who asks from the unspecified address learns that the address is taken.
        six.send(&format!("put(vx(ns('{WEB6}', src='::', mac=False)))"))?;
        six.wait(
            "icmpv6.type == 136 && icmpv6.nd.na.flag.s == 0 && icmpv6.nd.na.flag.o == 1 && \
             ipv6.dst == ff02::1",
        )?;
        // The kernel's own detection sees it too.
        let vm = &site.topology.blue_web2;
        vm.ip(&format!("addr add {WEB6}/64 dev eth0"))?;
        wait_until(SOON, "the machine has found the duplicate", || {
            let addresses = vm.run("ip -6 addr show dev eth0")?;
            ensure!(addresses.contains("dadfailed"), "{addresses}");
            Ok(())
        })
    })
}

#[test]
fn a_router_solicitation_is_answered_with_prefix_mtu_and_lifetime() -> Result<()> {
    play6(|site| {
        let six = Six::new(site)?;
        six.send(
            "put(vx(Ether(src=vm, dst='33:33:00:00:00:02')/IPv6(src='fe80::77', dst='ff02::2', \
             hlim=255)/ICMPv6ND_RS()))",
        )?;
        six.wait(&format!(
            "icmpv6.type == 134 && ipv6.dst == fe80::77 && ipv6.src == {LOCAL6} && \
             icmpv6.nd.ra.router_lifetime == 1800 && icmpv6.opt.mtu == 1450 && \
             icmpv6.opt.prefix == 2001:db8:1010:: && icmpv6.opt.prefix.flag.a == 1 && \
             icmpv6.opt.prefix.flag.l == 1"
        ))
    })
}

#[test]
fn discovery_from_beyond_the_link_or_malformed_changes_nothing() -> Result<()> {
    play6(|site| {
        let six = Six::new(site)?;
        six.dropped(
            site,
            &format!("put(vx(ns('{WEB6}', hlim=254)))"),
            "nd-hop-limit",
        )?;
        let na = "Ether(src=vm, dst=seg)/IPv6(src='2001:db8:1010::12', dst='2001:db8:1010::1', \
                  hlim={h})/ICMPv6ND_NA(tgt='2001:db8:1010::12', O=1)/\
                  ICMPv6NDOptDstLLAddr(lladdr={mac})";
        let forged = na.replace("{h}", "64").replace("{mac}", "vm");
        six.dropped(site, &format!("put(vx({forged}))"), "nd-hop-limit")?;
        let other = na
            .replace("{h}", "255")
            .replace("{mac}", "'02:00:00:00:00:99'");
        six.dropped(site, &format!("put(vx({other}))"), "malformed-nd")?;
        let ns = format!("ns('{WEB6}')");
        for broken in [
            "p[ICMPv6ND_NS].cksum = 0x1234",
            "p[ICMPv6ND_NS].code = 1",
            "p[ICMPv6NDOptSrcLLAddr].len = 0",
            "p[ICMPv6NDOptSrcLLAddr].len = 9",
            "p[ICMPv6ND_NS].tgt = 'ff02::1'",
            "p[IPv6].src = '::'",
        ] {
            six.dropped(
                site,
                &format!("p = {ns}\n{broken}\nput(vx(p))"),
                "malformed-nd",
            )?;
        }
        // The gateway's own address is nobody else's.
        let ours = format!("put(vx(ns('2001:db8:1010::9', src='{WEB6}', dst='ff02::2')))");
        six.dropped(site, &ours, "spoofed-source")
    })
}

#[test]
fn sec01_a_tenant_cannot_send_in_anothers_name() -> Result<()> {
    play6(|site| {
        let six = Six::new(site)?;
        let server = Capture::start(&site.topology.server, "eth0", "ip6 and udp port 9")?;
        for source in ["2001:db8:1020::11", "2001:db8:99::1", "fd00::1", WEB6] {
            let script =
                format!("put(vx(six(UDP(sport=1, dport=9), src='{source}', dst='{SERVER6}')))");
            six.dropped(site, &script, "spoofed-source")?;
        }
        ensure!(server.count("udp.dstport == 9")? == 0);
        Ok(())
    })
}

#[test]
fn sec01_a_fixed_endpoint_is_where_it_is_configured_and_nowhere_else() -> Result<()> {
    let mut config = config6();
    config.tenants[0] = config.tenants[0].replacen(
        "[[tenant.segment]]\nname = \"db\"",
        "[[tenant.segment.endpoint]]\naddress = \"2001:db8:1010::66\"\n\
         mac = \"02:00:00:00:66:66\"\nvtep = \"10.1.0.12\"\n\n\
         [[tenant.segment]]\nname = \"db\"",
        1,
    );
    play_config6(&config, |site| {
        let six = Six::new(site)?;
        let spoofed = "put(vx(six(UDP(sport=1, dport=9), src='2001:db8:1010::66', dst='DST')))";
        six.dropped(site, &spoofed.replace("DST", SERVER6), "spoofed-source")?;
        let claim = format!("put(vx(ns('{WEB6}', src='2001:db8:1010::66')))");
        six.dropped(site, &claim, "spoofed-source")?;
        // Nobody has to be asked where it is.
        let fabric = site.topology.hv2.host();
        let capture = Capture::start(fabric, "eth0", "src host 10.1.0.1 and udp port 4789")?;
        site.topology
            .blue_db1
            .output("ping -n -c 1 -W 1 2001:db8:1010::66")?;
        let there = "eth.dst == 02:00:00:00:66:66 && icmpv6.type == 128";
        capture.wait(there, 1, SOON)?;
        let asked = capture.count("icmpv6.nd.ns.target_address == 2001:db8:1010::66")?;
        ensure!(asked == 0, "{asked} questions for a fixed endpoint");
        Ok(())
    })
}

#[test]
fn l06_a_martian_is_dropped_wherever_it_comes_from() -> Result<()> {
    play6(|site| {
        let six = Six::new(site)?;
        let from = |source: &str| {
            format!("put(vx(six(UDP(sport=1, dport=9), src='{source}', dst='{SERVER6}')))")
        };
        for source in ["::1", "ff02::1", "::ffff:192.0.2.1", SERVER6] {
            six.dropped(site, &from(source), "martian-source")?;
        }
        let to = |target: &str| format!("put(vx(six(UDP(sport=1, dport=9), dst='{target}')))");
        for target in ["::1", "::", "::ffff:192.0.2.1"] {
            six.dropped(site, &to(target), "martian-destination")?;
        }
        six.dropped(site, &to("fe80::9"), "beyond-scope")?;
        six.dropped(site, &to("ff0e::1"), "inner-not-for-gateway")?;
        let isp_a = site.topology.isp_a.host();
        let gateway = site.topology.gateway.mac("eth-isp-a")?;
        for source in ["::1", "2001:db8:b::1"] {
            let before = site.sekishod.drops("martian-source")?;
            isp_a.scapy(&format!(
                "sendp(Ether(dst='{gateway}')/IPv6(src='{source}', dst='2001:db8:1010::5')\
                 /UDP(sport=1, dport=9), iface='eth-gw')"
            ))?;
            site.wait_dropped("martian-source", before)?;
        }
        Ok(())
    })
}

#[test]
fn l08_a_routing_header_of_type_0_is_dropped() -> Result<()> {
    play6(|site| {
        let six = Six::new(site)?;
        let behind = |kind: u8| {
            format!(
                "put(vx(six(IPv6ExtHdrRouting(type={kind}, addresses=['2001:db8:99::1'], segleft=1)\
                 /UDP(sport=1, dport=9), dst='{SERVER6}')))"
            )
        };
        six.dropped(site, &behind(0), "source-route")?;
        let server = Capture::start(&site.topology.server, "eth0", "ip6")?;
        six.send(&behind(253))?;
        server.wait("ipv6.routing.type == 253", 1, SOON)
    })
}

#[test]
fn l02_a_malformed_packet_is_dropped_silently() -> Result<()> {
    play6(|site| {
        let six = Six::new(site)?;
        for broken in ["version=5", "plen=2000"] {
            let script = format!("put(vx(echo6(1, {broken})))");
            six.dropped(site, &script, "malformed-ipv6")?;
        }
        let chain = "IPv6ExtHdrDestOpt()/".repeat(12);
        let script = format!("put(vx(six({chain}UDP(sport=1, dport=9), dst='{SERVER6}')))");
        six.dropped(site, &script, "malformed-ipv6")
    })
}

#[test]
fn l04_no_error_is_sent_about_what_must_not_cause_one() -> Result<()> {
    play6(|site| {
        let six = Six::new(site)?;
        let answers = six.injector.send_and_count(
            &format!(
                "{PREAMBLE}
about = IPv6(src='{SERVER6}', dst=host)/UDP(sport=9, dport=9)
put(vx(six(ICMPv6DestUnreach()/about, dst='{SERVER6}', hlim=1)))
put(vx(six(ICMPv6TimeExceeded()/about, dst='{SERVER6}', hlim=1)))
put(vx(six(ICMPv6ND_Redirect(), dst='{SERVER6}', hlim=1)))
put(vx(six(UDP(sport=1, dport=9), dst='ff0e::9', hlim=1)))
put(vx(six(UDP(sport=1, dport=9), src='::', dst='{SERVER6}', hlim=1)))"
            ),
            "icmpv6.type < 5",
        )?;
        ensure!(answers == 0, "{answers} errors came back");
        // The same packets without the reason not to.
        six.send(&format!(
            "put(vx(six(UDP(sport=1, dport=9), dst='{SERVER6}', hlim=1)))"
        ))?;
        six.wait("icmpv6.type == 3")
    })
}

#[test]
fn v09_a_packet_truncated_anywhere_is_dropped_and_harms_nobody() -> Result<()> {
    play6(|site| {
        let six = Six::new(site)?;
        let answers = six.injector.send_and_count(
            &format!(
                "{PREAMBLE}
for frame in (bytes(echo6(1)), bytes(ns('{WEB6}')),
              bytes(six(IPv6ExtHdrDestOpt()/IPv6ExtHdrFragment(id=7)/UDP(sport=1, dport=9)))):
    for size in range(0, len(frame)):
        put(outer(vxlan() + frame[:size]))"
            ),
            "icmpv6.type == 129 || icmpv6.type == 136",
        )?;
        ensure!(answers == 0, "{answers} truncated packets were answered");
        six.send("put(vx(echo6(2)))")?;
        six.wait("icmpv6.type == 129")?;
        site.topology.blue_web2.wait_ping(SERVER6, SOON)
    })
}

#[test]
fn e02_congestion_in_the_underlay_is_not_lost() -> Result<()> {
    play6(|site| {
        let six = Six::new(site)?;
        let marked = |class: u8| {
            format!(
                "put(outer(vxlan() + bytes(six(UDP(sport=1, dport=9), dst='{SERVER6}', tc={class})), \
                 tos=3))"
            )
        };
        six.dropped(site, &marked(0xb8), "outer-congestion")?;
        let server = Capture::start(&site.topology.server, "eth0", "ip6 and udp port 9")?;
        six.send(&marked(0xba))?;
        server.wait("udp.dstport == 9", 1, SOON)?;
        let class = server.packets("udp", &["ipv6.tclass"])?.concat();
        ensure!(class == ["0xbb"] || class == ["0x000000bb"], "{class:?}");
        Ok(())
    })
}
