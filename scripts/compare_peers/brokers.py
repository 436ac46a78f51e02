"""The brokers that are compared: where they are, how they are configured and started.

Each broker has two kinds of settings. `installed` is what its package or repository ships, with only
the address, the folder of its data and anonymous access changed. `equal` gives all of them the same
windows: 1000 messages in flight, queues and buffers large enough for every row, and TCP_NODELAY (two
peers leave it off, and then wait for the client's delayed acknowledgements).
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

IN_FLIGHT = 1000
QUEUED_MESSAGES = 100_000
BUFFER_BYTES = 64 << 20
PACKET_BYTES = 1 << 20
PENDING_MAX = 65_535
START_SECONDS = 20
STOP_SECONDS = 10


@dataclass
class Broker:
    """One that was found. `prepare(self, settings, folder, port)` writes what it needs into `folder`
    and returns its command line."""

    name: str
    version: str
    commit: str
    prepare: object
    settings: dict
    # Where MQTT 5 clients connect, counted from the port of the others.
    v5_port_offset: int = 0
    latency_rows_only: bool = False
    # No broker, but the least that a broker could do.
    is_reference: bool = False
    # Prints its counters at SIGUSR1.
    counts_itself: bool = False
    # Runs already, here: nothing is started, and its CPU is known only if it runs on this machine.
    address: str = ""

    def identity(self):
        return {
            "name": self.name,
            "version": self.version,
            "commit": self.commit,
            "settings": self.settings,
        }


class Running:
    """A broker's process, from its start to its end."""

    def __init__(self, broker, settings, folder, port):
        folder = Path(folder)
        command = broker.prepare(broker, settings, folder, port)
        self.log = folder / "log"
        self.name = broker.name
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder
            )
        try:
            self._wait_until_open(port)
            if broker.v5_port_offset:
                self._wait_until_open(port + broker.v5_port_offset)
        except Exception:
            self.stop()
            raise

    def _wait_until_open(self, port):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        tail = self.log.read_text(errors="replace")[-600:]
        raise RuntimeError(f"{self.name} does not listen on {port}: {tail}")

    @property
    def pid(self):
        return self.process.pid

    def is_alive(self):
        return self.process.poll() is None

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Reached:
    """A broker that somebody else runs."""

    log = Path(os.devnull)

    def __init__(self, broker):
        self.address = broker.address
        host, port = broker.address.rsplit(":", 1)
        self.pid = owner_of(port) if host in ("127.0.0.1", "localhost") else None
        if not self.is_alive():
            raise RuntimeError(f"{broker.name} does not listen on {broker.address}")

    def is_alive(self):
        host, port = self.address.rsplit(":", 1)
        try:
            socket.create_connection((host, int(port)), 2).close()
            return True
        except OSError:
            return False

    def stop(self):
        """It is not ours."""


def owner_of(port):
    """The process that listens on a port of this machine, if it may be looked at."""
    found = re.search(r"pid=(\d+)", output("ss", "-ltnpH", f"sport = :{port}"))
    return int(found.group(1)) if found else None


def reached(named):
    """From NAME=HOST:PORT."""
    name, address = named.split("=", 1)
    int(address.rsplit(":", 1)[1])
    as_found = {kind: f"as found at {address}" for kind in ("installed", "equal")}
    return Broker(
        name=name, version="unknown", commit="unknown", prepare=None, settings=as_found, address=address
    )


def find(peers_dir, root, cores):
    """All that are there, and the names of those that are not."""
    found, missing = [], []
    for name, look in (
        ("millrace", lambda: millrace(root, cores)),
        ("FlashMQ", lambda: flashmq(peers_dir)),
        ("rumqttd", lambda: rumqttd(peers_dir)),
        ("mosquitto-2.1", lambda: mosquitto_built(peers_dir)),
        ("mosquitto-2.0", mosquitto_installed),
    ):
        broker = look()
        if broker is None:
            missing.append(name)
        else:
            found.append(broker)
    if found and found[0].name == "millrace":
        found.insert(1, millrace(root, 1, name="millrace-1-core"))
        found.insert(2, millrace(root, cores, name="millrace-spin", spin="50us"))
        found.append(reference(root))
    return found, missing


def reference(root):
    """One thread that copies bytes from socket to socket: `bench-harness reference`."""
    program = root / "target/release/bench-harness"

    def prepare(broker, settings, folder, port):
        return [str(program), "reference", "--wakes", "500", "--listen", f"127.0.0.1:{port}"]

    return Broker(
        name="reference",
        version="none",
        commit=commit_of(root),
        prepare=prepare,
        settings={"installed": "no broker: epoll, copies bytes", "equal": "no broker: epoll, copies bytes"},
        is_reference=True,
    )


def output(*command):
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout + run.stderr


def version_in(text):
    match = re.search(r"\d+\.\d+(\.\d+)?[-\w.]*", text)
    return match.group(0) if match else "unknown"


def commit_of(folder):
    return output("git", "-C", str(folder), "rev-parse", "--short", "HEAD").strip() or "unknown"


def first_executable(*paths):
    return next((str(p) for p in paths if os.access(p, os.X_OK) and Path(p).is_file()), None)


def millrace(root, cores, name="millrace", spin=None):
    program = first_executable(root / "target/release/broker")
    if program is None:
        return None
    about = output(program, "--version")
    built_from = re.search(r"\(([0-9a-f-]+(?:dirty)?)\)", about)
    built_from = built_from and built_from.group(1)
    extra = ["--set", f"node.spin_before_park={spin}"] if spin else []
    equal = [
        f"mqtt.max_inflight={IN_FLIGHT}",
        f"mqtt.max_awaiting_rel={IN_FLIGHT}",
        f"mqtt.max_mqueue_len={QUEUED_MESSAGES}",
        f"mqtt.max_out_queue={BUFFER_BYTES}",
        f"mqtt.max_packet_size={PACKET_BYTES}",
    ]

    def prepare(broker, settings, folder, port):
        command = [program, "--cores", str(cores), "--listen", f"tcp://127.0.0.1:{port}"]
        command += ["--data-dir", str(folder / "data")] + extra
        if settings == "equal":
            command += [part for value in equal for part in ("--set", value)]
        return command

    return Broker(
        name=name,
        version=version_in(about),
        commit=built_from or commit_of(root),
        prepare=prepare,
        settings={
            "installed": " ".join([f"--cores {cores}"] + extra),
            "equal": " ".join([f"--cores {cores}"] + extra + equal),
        },
        latency_rows_only=name != "millrace",
        counts_itself=True,
    )


def flashmq(peers_dir):
    program = first_executable(
        peers_dir / "FlashMQ/build/flashmq", peers_dir / "FlashMQ/FlashMQBuildRelease/flashmq"
    )
    if program is None:
        return None
    # Here one limit is window and queue; what goes beyond it is dropped.
    equal = [
        f"max_qos_msg_pending_per_client {PENDING_MAX}",
        f"max_qos_bytes_pending_per_client {BUFFER_BYTES}",
        f"client_max_write_buffer_size {BUFFER_BYTES}",
    ]

    def prepare(broker, settings, folder, port):
        storage = folder / "storage"
        storage.mkdir()
        lines = [f"log_file {folder}/flashmq.log", f"storage_dir {storage}"]
        lines += ["allow_anonymous true"]
        lines += ["listen {", "  protocol mqtt", "  inet_protocol ip4"]
        lines += ["  inet4_bind_address 127.0.0.1", f"  port {port}"]
        lines += ["  tcp_nodelay true"] if settings == "equal" else []
        lines += ["}"]
        lines += equal if settings == "equal" else []
        return [program, "--config-file", write(folder / "flashmq.conf", lines)]

    return Broker(
        name="FlashMQ",
        version=version_in(output(program, "--version")),
        commit=commit_of(peers_dir / "FlashMQ"),
        prepare=prepare,
        settings={
            "installed": "storage_dir",
            "equal": "; ".join(["storage_dir", "tcp_nodelay true"] + equal),
        },
    )


def mosquitto(name, program, commit, persistence):
    equal = [f"max_inflight_messages {IN_FLIGHT}", f"max_queued_messages {QUEUED_MESSAGES}"]
    equal += ["set_tcp_nodelay true"]

    def prepare(broker, settings, folder, port):
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "user root"]
        lines += [f"log_dest file {folder}/mosquitto.log"]
        if persistence:
            lines += ["persistence true", f"persistence_location {folder}/"]
        lines += equal if settings == "equal" else []
        return [program, "-c", write(folder / "mosquitto.conf", lines)]

    kept = ["persistence true"] if persistence else []
    return Broker(
        name=name,
        version=version_in(output(program, "-h")),
        commit=commit,
        prepare=prepare,
        settings={"installed": "; ".join(kept), "equal": "; ".join(kept + equal)},
    )


def mosquitto_built(peers_dir):
    builds = sorted((peers_dir / "mosquitto").glob("build*/src/mosquitto"))
    program = first_executable(*builds, peers_dir / "mosquitto/src/mosquitto")
    if program is None:
        return None
    return mosquitto("mosquitto-2.1", program, commit_of(peers_dir / "mosquitto"), False)


def mosquitto_installed():
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    program = shutil.which("mosquitto", path=path)
    # The package's mosquitto.conf switches persistence on.
    return program and mosquitto("mosquitto-2.0", program, "package", True)


def rumqttd(peers_dir):
    program = first_executable(peers_dir / "rumqttd/bin/rumqttd")
    program = program or shutil.which("rumqttd")
    if program is None:
        return None
    # max_payload_size, max_inflight_count, max_outgoing_packet_count
    values = {"installed": (20480, 100, 200), "equal": (PACKET_BYTES, IN_FLIGHT, IN_FLIGHT)}

    def prepare(broker, settings, folder, port):
        payload, in_flight, packets = values[settings]
        lines = ["id = 0", "[router]", "id = 0", "max_connections = 10010"]
        lines += [f"max_outgoing_packet_count = {packets}"]
        lines += ["max_segment_size = 104857600", "max_segment_count = 10"]
        for version, at in (("v4", port), ("v5", port + 1)):
            lines += [f"[{version}.1]", f'name = "{version}-1"', f'listen = "127.0.0.1:{at}"']
            lines += ["next_connection_delay_ms = 1", f"[{version}.1.connections]"]
            lines += ["connection_timeout_ms = 60000", f"max_payload_size = {payload}"]
            lines += [f"max_inflight_count = {in_flight}", "dynamic_filters = true"]
        return [program, "--quiet", "--config", write(folder / "rumqttd.toml", lines)]

    described = "max_payload_size {}; max_inflight_count {}; max_outgoing_packet_count {}"
    return Broker(
        name="rumqttd",
        version=version_in(output(program, "--version")),
        commit="crates.io",
        prepare=prepare,
        settings={kind: described.format(*value) for kind, value in values.items()},
        v5_port_offset=1,
    )


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return str(path)
