"""A small network peer: servers that tell their client how they see it, and clients that print it.

  web PORT NAME            HTTP server
  web6 PORT NAME           the same over IPv6
  echo PORT...             UDP server: answers each datagram with its source, "ADDRESS:PORT"
  mirror PORT              UDP server: answers each datagram, however large, with itself
  big DST SIZE             sends SIZE octets to a mirror, prints "same" if just they come back
  tcp-echo PORT            TCP server: greets with the client's "ADDRESS:PORT", then echoes lines
  ask SOURCE-PORT DST...   from one UDP socket asks each DST ("ADDRESS:PORT"), prints "DST SEEN-AS"
  tcp-ask SOURCE-PORT DST  prints how the tcp-echo server at DST sees us
  tcp-hold SOURCE-PORT DST prints how DST sees us, then listens where it called from, like tcp-echo
  tcp-beat DST INTERVAL    one TCP connection, a line each INTERVAL seconds: "beat N" per echo
  listen PORT              prints "ADDRESS:PORT TEXT" for each datagram
  hold SOURCE-PORT DST     asks DST, prints how it sees us, then prints whatever else comes in
  send SOURCE-PORT DST TEXT  one datagram
"""

import http.server
import select
import socket
import sys
import time

# The socket module lacks them in Python 3.11; the values are Linux's.
IP_PKTINFO = 8
IP_MTU_DISCOVER = 10


def endpoint(text):
    address, port = text.rsplit(":", 1)
    return address, int(port)


def show(address):
    return f"{address[0]}:{address[1]}"


def say(text):
    print(text, flush=True)


def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", port))
    return s


class Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def web(port, name, kind=http.server.ThreadingHTTPServer, any_address="0.0.0.0"):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"hello from {name}; you are {show(self.client_address)}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            say(f"{show(self.client_address)} GET {self.path}")

        def log_message(self, *_):
            pass

    server = kind((any_address, int(port)), Handler)
    say("ready")
    server.serve_forever()


def web6(port, name):
    web(port, name, Server6, "::")


def echo(*ports):
    sockets = [udp(int(port)) for port in ports]
    for s in sockets:
        s.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    say("ready")
    while True:
        for s in select.select(sockets, [], [])[0]:
            # The answer's source is the address that was asked, which PKTINFO carries.
            _, info, _, source = s.recvmsg(2048, 64)
            say(show(source))
            s.sendmsg([show(source).encode()], info, 0, source)


def cuttable(port):
    """A socket whose large datagrams the kernel cuts, whatever it knows of the path."""
    s = udp(port)
    s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 0)
    return s


def mirror(port):
    s = cuttable(int(port))
    say("ready")
    while True:
        data, source = s.recvfrom(65535)
        say(f"{show(source)} {len(data)}")
        s.sendto(data, source)


def big(destination, size):
    s = cuttable(0)
    s.settimeout(2)
    sent = bytes(at * 7 % 251 for at in range(int(size)))
    s.sendto(sent, endpoint(destination))
    say("same" if s.recv(65535) == sent else "other")


def tcp_echo(port):
    listener = socket.create_server(("0.0.0.0", int(port)))
    say("ready")
    clients = []
    while True:
        for s in select.select([listener, *clients], [], [])[0]:
            if s is listener:
                client, source = listener.accept()
                say(show(source))
                client.sendall(f"{show(source)}\n".encode())
                clients.append(client)
                continue
            try:
                data = s.recv(2048)
            except OSError:
                data = b""
            if data:
                s.sendall(data)
            else:
                clients.remove(s)
                s.close()


def answer_from(s, destination):
    """What `destination` answers within a second; a late answer to an earlier question is passed
    over, an answer from anybody else is not."""
    deadline = time.monotonic() + 1
    while select.select([s], [], [], max(0, deadline - time.monotonic()))[0]:
        data, source = s.recvfrom(2048)
        if show(source) == destination:
            return data.decode()
        if show(source) not in asked:
            return f"from {show(source)}"
    return None


asked = set()


def ask(port, *destinations):
    s = udp(int(port))
    for destination in destinations:
        asked.add(destination)
        seen = "nothing"
        for _ in range(3):
            s.sendto(b"who am I", endpoint(destination))
            answer = answer_from(s, destination)
            if answer:
                seen = answer
                break
        say(f"{destination} {seen}")


def tcp_connect(port, destination):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", int(port)))
    s.settimeout(5)
    s.connect(endpoint(destination))
    return s


def tcp_ask(port, destination):
    say(tcp_connect(port, destination).recv(2048).decode().strip())


def tcp_hold(port, destination):
    s = tcp_connect(port, destination)
    say(f"seen as {s.recv(2048).decode().strip()}")
    tcp_echo(port)


def tcp_beat(destination, interval):
    s = tcp_connect(0, destination)
    s.settimeout(30)
    stream = s.makefile("rw")
    say(f"seen as {stream.readline().strip()}")
    number = 0
    while True:
        number += 1
        stream.write(f"{number}\n")
        stream.flush()
        line = stream.readline()
        if not line:
            sys.exit("the server closed the connection")
        say(f"beat {int(line)}")
        time.sleep(float(interval))


def listen(port):
    s = udp(int(port))
    say("ready")
    receive(s)


def hold(port, destination):
    s = udp(int(port))
    s.sendto(b"who am I", endpoint(destination))
    s.settimeout(3)
    data, _ = s.recvfrom(2048)
    s.settimeout(None)
    say(f"seen as {data.decode()}")
    receive(s)


def receive(s):
    while True:
        data, source = s.recvfrom(2048)
        say(f"{show(source)} {data.decode()}")


def send(port, destination, text):
    udp(int(port)).sendto(text.encode(), endpoint(destination))


roles = {
    "web": web,
    "web6": web6,
    "echo": echo,
    "mirror": mirror,
    "big": big,
    "tcp-echo": tcp_echo,
    "ask": ask,
    "tcp-ask": tcp_ask,
    "tcp-hold": tcp_hold,
    "tcp-beat": tcp_beat,
    "listen": listen,
    "hold": hold,
    "send": send,
}
try:
    roles[sys.argv[1]](*sys.argv[2:])
except KeyboardInterrupt:
    pass
