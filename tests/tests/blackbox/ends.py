"""Both ends of a flow in one script: HOST in blue's web segment, behind hv1, and FAR, behind isp-a.
Nobody answers for either, so every packet is the script's own. Filled in before this: GATEWAY and
GATEWAY_FABRIC (its Ethernet addresses toward isp-a and the fabric), SEGMENT (the same toward the
segment), HV1 and ISP_A (namespaces), CLI, and FLOW, a port of HOST that nothing else uses.

  inside.put(packet...), outside.put(packet...)   sends IP packets from there
  inside.take(), outside.take()                   the next IP packet that comes there for HOST or FAR
  out(l4), back(to, l4)                           sends one and returns what arrives on the other side
  lost(end, packet...)                            sends what must not reach the other side
"""

import ctypes
import itertools
import json
import os
import socket
import subprocess
import time

HOST, HOST_MAC = "172.16.10.50", "02:00:00:01:10:50"
FAR = "198.18.10.77"
VXLAN = bytes([8, 0, 0, 0]) + (5001).to_bytes(3, "big") + bytes([0])
OUTGOING = 4


def enter(netns):
    with open(f"/run/netns/{netns}") as handle:
        assert ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), 0x40000000) == 0


class End:
    def __init__(self, netns, interface):
        enter(netns)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind((interface, 0))

    def put(self, *packets):
        for packet in packets:
            self.socket.send(self.wrap(packet))

    def take(self, timeout=5):
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("nothing arrived")
            self.socket.settimeout(left)
            frame, (_, _, kind, *_) = self.socket.recvfrom(65535)
            packet = None if kind == OUTGOING else self.unwrap(frame)
            if packet is not None:
                return packet


class Inside(End):
    def wrap(self, packet):
        frame = Ether(src=HOST_MAC, dst=SEGMENT) / packet
        outer = IP(src="10.1.0.11", dst="10.1.0.1") / UDP(sport=50000, dport=4789, chksum=0)
        return bytes(Ether(src="02:00:00:00:00:11", dst=GATEWAY_FABRIC) / outer / Raw(VXLAN + bytes(frame)))

    def unwrap(self, frame):
        frame = Ether(frame)
        if UDP not in frame or frame[UDP].dport != 4789:
            return None
        inner = Ether(bytes(frame[UDP].payload)[8:])
        return inner[IP] if IP in inner and inner[IP].dst == HOST else None


class Outside(End):
    def wrap(self, packet):
        return bytes(Ether(src="02:00:00:00:00:12", dst=GATEWAY) / packet)

    def unwrap(self, frame):
        frame = Ether(frame)
        return frame[IP] if IP in frame and frame[IP].dst == FAR else None


def summed(packet):
    """Makes sure that every checksum is right, those of a quote too."""
    octets, size = bytes(packet), packet.ihl * 4
    assert checksum(octets[:size]) == 0, packet.show(dump=True)
    body = octets[size : packet.len]
    if packet.proto == 1:
        assert checksum(body) == 0, packet.show(dump=True)
        if body[0] in (3, 4, 11, 12):
            quote = IP(body[8:])
            assert checksum(body[8 : 8 + quote.ihl * 4]) == 0, packet.show(dump=True)
            if quote.proto == 6 and quote.len == len(body) - 8:
                assert in4_chksum(6, quote, body[8 + quote.ihl * 4 :]) == 0, packet.show(dump=True)
    elif packet.proto in (6, 17):
        assert in4_chksum(packet.proto, packet, body) == 0, packet.show(dump=True)
    return packet


def out(l4, dst=FAR, **ip):
    inside.put(IP(src=HOST, dst=dst, **ip) / l4)
    return summed(outside.take())


def back(to, l4, **ip):
    outside.put(IP(src=FAR, dst=to, **ip) / l4)
    return summed(inside.take())


def lost(end, *packets):
    """What comes out on the other side next is a datagram sent afterwards."""
    end.put(*packets)
    number = next(numbers).to_bytes(4, "big")
    if end is inside:
        seen = out(UDP(sport=FLOW, dport=9) / number)
    else:
        seen = back(known.src, UDP(sport=9, dport=known.sport) / number)
    assert UDP in seen and bytes(seen[UDP].payload) == number, seen.show(dump=True)


def cli(words):
    return json.loads(subprocess.check_output([CLI, "--json", *words.split()]))


def session(sport, protocol="tcp"):
    """The session of a port of HOST; `None` if there is none, an error if there are several."""
    found = [s for s in cli(f"show nat sessions inside {HOST}")
             if s["protocol"] == protocol and s["inside_port"] == sport]
    assert len(found) <= 1, found
    return found[0] if found else None


def until(what, condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def answered():
    """Whether a datagram comes through in both directions: then the gateway knows HOST."""
    global known
    known = out(UDP(sport=FLOW, dport=9) / b"warm")
    outside.put(IP(src=FAR, dst=known.src) / UDP(sport=9, dport=known.sport) / b"warm")
    try:
        inside.take(0.5)
        return True
    except TimeoutError:
        return False


class Tcp:
    """A connection of HOST from a port, both of whose ends are the script's."""

    def __init__(self, sport, dport=80, a=1000, b=900000):
        self.sport, self.dport, self.a, self.b = sport, dport, a, b
        self.outside = None

    def segment(self, flags, sport, dport, seq, ack, data):
        return TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack) / Raw(data)

    def out(self, flags, data=b"", seq=None, ack=None):
        seq, ack = self.a if seq is None else seq, self.b if ack is None else ack
        seen = out(self.segment(flags, self.sport, self.dport, seq, ack if "A" in flags else 0, data))
        assert (seen[TCP].dport, seen[TCP].seq, str(seen[TCP].flags)) == (self.dport, seq, flags)
        self.outside = seen.src, seen.sport
        self.a = max(self.a, seq + len(data) + ("S" in flags) + ("F" in flags))
        return seen

    def answer(self, flags, data=b"", seq=None, ack=None):
        seq, ack = self.b if seq is None else seq, self.a if ack is None else ack
        address, port = self.outside
        return IP(src=FAR, dst=address) / self.segment(
            flags, self.dport, port, seq, ack if "A" in flags else 0, data)

    def back(self, flags, data=b"", seq=None, ack=None):
        packet = self.answer(flags, data, seq, ack)
        outside.put(packet)
        seen = summed(inside.take())
        assert (seen[TCP].dport, str(seen[TCP].flags)) == (self.sport, flags), seen.show(dump=True)
        self.b = max(self.b, packet[TCP].seq + len(data) + ("S" in flags) + ("F" in flags))
        return seen

    def open(self):
        self.out("S")
        self.back("SA")
        self.out("A")
        return self.expect("established")

    def close(self, first="out"):
        one, other = (self.out, self.back) if first == "out" else (self.back, self.out)
        one("FA")
        other("A")
        other("FA")
        one("A")
        return self.expect("closing")

    def expect(self, state):
        seen = session(self.sport)
        assert (seen or {}).get("state") == state, f"{seen} instead of {state}"
        return self


numbers = itertools.count(1)
inside, outside = Inside(HV1, "eth0"), Outside(ISP_A, "eth-gw")
until("packets come through in both directions", answered)
