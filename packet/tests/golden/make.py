#!/usr/bin/env python3
"""Writes the goldens beside this file with scapy, which computes every checksum from scratch.

A golden is one line of hexadecimal. `NAME-before` and `NAME-after` are one packet on either side
of a change that the crate must make to the byte.
"""

from pathlib import Path

from scapy.all import (
    ARP, ICMP, IP, TCP, UDP, Dot1Q, Ether, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6, Padding,
    IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, Raw, VXLAN, raw,
)
from scapy.layers.inet import IPOption_LSRR

HERE = Path(__file__).parent
VM, GW = "02:00:00:00:00:0a", "02:00:00:00:00:01"
A, POOL, REMOTE, ROUTER = "10.0.0.10", "203.0.113.7", "198.51.100.80", "192.0.2.33"


def save(name, packet):
    (HERE / f"{name}.hex").write_text(raw(packet).hex() + "\n")


OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (305419896, 0)), ("NOP", None), ("WScale", 7)]


def syn(src=A, sport=40000, ttl=64, options=OPTIONS):
    return IP(src=src, dst=REMOTE, ttl=ttl, tos=2, flags="DF", id=0x1234) / TCP(
        sport=sport, dport=443, flags="SEC", seq=0x01020304, window=64240, options=options)


def dns(src=A, sport=5353, ttl=64, **udp):
    return IP(src=src, dst=REMOTE, ttl=ttl, id=7) / UDP(sport=sport, dport=53, **udp) / Raw(b"a question?")


def ping(src, dst, kind, ident, ttl=64):
    return IP(src=src, dst=dst, ttl=ttl, id=9) / ICMP(type=kind, id=ident, seq=3) / Raw(bytes(range(32)))


def error(dst, kind, code, quote, **icmp):
    return IP(src=ROUTER, dst=dst, ttl=60, id=1, tos=0xC0) / ICMP(type=kind, code=code, **icmp) / Raw(quote)


outer = Ether(src="02:00:00:00:01:02", dst="02:00:00:00:01:01") / IP(
    src="192.0.2.11", dst="192.0.2.1", ttl=64, tos=2, flags="DF", id=0)
save("vxlan-tcp-syn", outer / UDP(sport=51234, dport=4789, chksum=0) / VXLAN(flags=8, vni=0x012345)
     / Ether(src=VM, dst=GW) / syn())
save("udp-padded", Ether(src=VM, dst=GW) / IP(src=A, dst=REMOTE) / UDP(sport=1, dport=2)
     / Raw(b"hi") / Padding(b"\xee" * 16))
save("vlan-fragment", Ether(src=VM, dst=GW) / Dot1Q(vlan=42, prio=5)
     / IP(src=A, dst=REMOTE, proto=17, id=77, flags="MF", frag=185) / Raw(b"x" * 24))
save("source-route", Ether(src=VM, dst=GW) / IP(src=A, dst=REMOTE, options=[IPOption_LSRR(routers=[ROUTER])])
     / UDP(sport=1, dport=2) / Raw(b"hi"))
save("ipv6-extensions", Ether(src=VM, dst=GW) / IPv6(src="2001:db8::a", dst="2001:db8::b", tc=0x2E, fl=0xABCDE, hlim=63)
     / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(addresses=[], segleft=0)
     / IPv6ExtHdrFragment(offset=0, m=0, id=0xCAFE) / UDP(sport=1000, dport=2000) / Raw(b"six"))
save("icmpv6-ns", Ether(src=VM, dst="33:33:ff:00:00:01") / IPv6(src="fe80::a", dst="ff02::1:ff00:1", hlim=255)
     / ICMPv6ND_NS(tgt="fe80::1") / ICMPv6NDOptSrcLLAddr(lladdr=VM))
save("arp-request", Ether(src=GW, dst="ff:ff:ff:ff:ff:ff")
     / ARP(op=1, hwsrc=GW, psrc="10.0.0.1", hwdst="00:00:00:00:00:00", pdst=A))
save("arp-reply", Ether(src=VM, dst=GW) / ARP(op=2, hwsrc=VM, psrc=A, hwdst=GW, pdst="10.0.0.1"))

# Source address and port replaced: A:port becomes POOL:port.
save("snat-tcp-before", syn())
save("snat-tcp-after", syn(POOL, 61001))
save("snat-udp-before", dns())
save("snat-udp-after", dns(POOL, 61002))
save("snat-udp-zero-before", dns(chksum=0))
save("snat-udp-zero-after", dns(POOL, 61002, chksum=0))
save("snat-echo-before", ping(A, REMOTE, 8, 0x77))
save("snat-echo-after", ping(POOL, REMOTE, 8, 61003))
# Destination address and identifier replaced, on the way back.
save("unnat-echo-before", ping(REMOTE, POOL, 0, 61003))
save("unnat-echo-after", ping(REMOTE, A, 0, 0x77))
# An error from a router outside about a translated packet: 8 bytes of L4 quoted, or all.
save("error-udp-before", error(POOL, 11, 0, raw(dns(POOL, 61002, ttl=1))[:28]))
save("error-udp-after", error(A, 11, 0, raw(dns(A, 5353, ttl=1))[:28]))
save("error-tcp-short-before", error(POOL, 3, 1, raw(syn(POOL, 61001, ttl=9))[:28]))
save("error-tcp-short-after", error(A, 3, 1, raw(syn(A, 40000, ttl=9))[:28]))
save("error-tcp-before", error(POOL, 3, 4, raw(syn(POOL, 61001, ttl=9)), nexthopmtu=1400))
save("error-tcp-after", error(A, 3, 4, raw(syn(A, 40000, ttl=9)), nexthopmtu=1400))
save("error-echo-before", error(POOL, 11, 0, raw(ping(POOL, REMOTE, 8, 61003, ttl=1))))
save("error-echo-after", error(A, 11, 0, raw(ping(A, REMOTE, 8, 0x77, ttl=1))))
# One hop, an echo answered, a clamped MSS.
save("hop-before", dns())
save("hop-after", dns(ttl=63))
save("echo-before", ping(A, "10.0.0.1", 8, 5))
save("echo-after", ping("10.0.0.1", A, 0, 5, ttl=255))
save("mss-before", syn())
save("mss-after", syn(options=[("MSS", 1410)] + OPTIONS[1:]))
# Errors of our own.
big = IP(src=A, dst=REMOTE, flags="DF", id=5, ttl=1) / UDP(sport=1000, dport=2000) / Raw(bytes(1472))
ours = dict(src="10.0.0.1", dst=A, tos=0xC0, id=0)
save("too-big-before", big)
save("too-big-after", IP(ttl=64, **ours) / ICMP(type=3, code=4, nexthopmtu=1450) / Raw(raw(big)[:548]))
save("ttl-before", dns(ttl=1))
save("ttl-after", IP(ttl=255, **ours) / ICMP(type=11, code=0) / Raw(raw(dns(ttl=1))))
