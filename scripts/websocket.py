#!/usr/bin/env python3
"""What WebSocket costs beside plain TCP, in one run against one broker: bytes of memory an idle
connection, and CPU a message.

    scripts/websocket.py [BROKER [CONNECTIONS [MESSAGES]]]

Idle: a clean session, a client id of 20 bytes, keep-alive 300 s; growth of the broker's anonymous and
shared pages after 12 s, by which time the memory of the burst has been given back. CPU: 50 pairs of
publisher and subscriber, QoS 0, 64 bytes; the broker's CPU time over messages, in five interleaved
rounds of both kinds. Takes about 90 s.
"""
import os, re, select, shutil, socket, statistics, struct, subprocess, sys, tempfile, time

BROKER = sys.argv[1] if len(sys.argv) > 1 else "target/release/broker"
CONNECTIONS = int(sys.argv[2]) if len(sys.argv) > 2 else 9000
MESSAGES = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
PAIRS, ROUNDS, BATCH = 50, 5, 20
REQUEST = (b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Protocol: mqtt\r\n\r\n")


def packet(first, body):
    out, left = bytearray([first]), len(body)
    while True:
        left, byte = left >> 7, left & 127
        out.append(byte | (128 if left else 0))
        if not left:
            return bytes(out) + body


def text(value):
    return struct.pack(">H", len(value)) + value.encode()


def frame(payload):
    """A binary frame; its mask is zero, which costs the broker as much as any other."""
    n = len(payload)
    head = bytes([130, 128 | n]) if n < 126 else bytes([130, 254]) + struct.pack(">H", n)
    return head + bytes(4) + payload


class Client:
    def __init__(self, address, ws, name):
        self.ws, self.socket = ws, socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ws:
            self.socket.sendall(REQUEST)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += self.socket.recv(1)
            assert b" 101 " in head, head
        connect = text("MQTT") + b"\x04\x02" + struct.pack(">H", 300) + text(name)
        self.ask(packet(0x10, connect), 6 if ws else 4)

    def ask(self, data, answer_bytes):
        self.send(data)
        got = 0
        while got < answer_bytes:
            got += len(self.socket.recv(answer_bytes - got))

    def send(self, data):
        self.socket.sendall(frame(data) if self.ws else data)


def memory(pid):
    lines = open(f"/proc/{pid}/smaps_rollup").read()
    value = lambda name: int(re.search(rf"^{name}:\s+(\d+)", lines, re.M).group(1))
    return 1024 * (value("Anonymous") + value("Shared_Dirty"))


def cpu(pid):
    return sum(int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
               for task in os.listdir(f"/proc/{pid}/task"))


def idle(pid, address, ws):
    before = memory(pid)
    clients = [Client(address, ws, f"{'w' if ws else 't'}{n:019}") for n in range(CONNECTIONS)]
    time.sleep(12)
    return (memory(pid) - before) / CONNECTIONS, clients


def messages(pid, address, ws):
    publish = [packet(0x30, text(f"t/{n}") + bytes(64)) for n in range(PAIRS)]
    readers = [Client(address, ws, f"r{n}") for n in range(PAIRS)]
    for n, reader in enumerate(readers):
        reader.ask(packet(0x82, b"\0\1" + text(f"t/{n}") + b"\0"), 7 if ws else 5)
    writers = [Client(address, ws, f"s{n}") for n in range(PAIRS)]
    poll = select.epoll()
    for reader in readers:
        poll.register(reader.socket.fileno(), select.EPOLLIN)
    by_number = {reader.socket.fileno(): reader for reader in readers}
    begun, sent = cpu(pid), 0
    while sent < MESSAGES * PAIRS:
        for writer, data in zip(writers, publish):
            # Each message a frame of its own, as clients send them.
            writer.socket.sendall((frame(data) if ws else data) * BATCH)
        sent += PAIRS * BATCH
        # Payload bytes are counted; frames on the way back add two to four bytes a send.
        due, got = sum(len(data) * BATCH for data in publish), 0
        while got < due:
            for number, _ in poll.poll(20):
                got += len(by_number[number].socket.recv(65536))
    used = cpu(pid) - begun
    for client in readers + writers:
        client.socket.close()
    return used / sent / 1000


class Broker:
    """A broker with a listener of each kind; each figure of memory needs a fresh one, because what
    closed connections leave behind is used again."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp()
        self.process = subprocess.Popen(
            [BROKER, "--cores", "2", "--listen", "tcp://127.0.0.1:0", "--listen",
             "ws://127.0.0.1:0", "--data-dir", self.folder + "/data", "--set", "http.listen=off"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.pid, self.addresses = self.process.pid, []
        for line in self.process.stdout:
            if line == "ready\n":
                break
            host, port = line.split()[2].rsplit(":", 1)
            self.addresses.append((host, int(port)))
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


def main():
    for ws in (False, True):
        with Broker() as broker:
            bytes_each, clients = idle(broker.pid, broker.addresses[ws], ws)
            print(f"idle {'ws ' if ws else 'tcp'}: {bytes_each:.0f} bytes a connection", flush=True)
            for client in clients:
                client.socket.close()
    with Broker() as broker:
        rounds = [[messages(broker.pid, broker.addresses[ws], ws) for ws in (False, True)]
                  for _ in range(ROUNDS)]
    for tcp, ws in rounds:
        print(f"CPU a message: tcp {tcp:.2f} us, ws {ws:.2f} us, ratio {ws / tcp:.2f}")
    print(f"median of ratios: {statistics.median(ws / tcp for tcp, ws in rounds):.2f}")


main()
