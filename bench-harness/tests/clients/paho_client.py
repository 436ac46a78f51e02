"""Paho (Python) against a broker: `paho_client.py HOST PORT`.

Each check compares what arrived with what was sent. The last line is `N passed, M failed`.
"""

import queue
import sys
import threading
import time
import traceback

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, PORT = sys.argv[1], int(sys.argv[2])
PATIENCE_S = 20
SILENCE_S = 0.3
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


class Peer:
    """A client with its network thread, its messages in a queue."""

    def __init__(self, name, version, clean=True, will=None, expiry=None):
        self.version = version
        self.messages = queue.Queue()
        self.connected = threading.Event()
        self.acked = threading.Event()
        self.session_present = None
        self.granted = None
        self.expiry = expiry
        self.clean = clean
        options = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=version, **options
        )
        self.client.on_connect = self.on_connect
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_subscribe = self.on_subscribe
        if will:
            self.client.will_set(*will)

    def on_connect(self, client, data, flags, reason, properties):
        assert not reason.is_failure, reason
        self.session_present = flags.session_present
        self.connected.set()

    def on_subscribe(self, client, data, mid, reasons, properties):
        self.granted = [reason.value for reason in reasons]
        self.acked.set()

    def connect(self):
        options = {}
        if self.version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            if self.expiry is not None:
                properties.SessionExpiryInterval = self.expiry
            options = {"clean_start": self.clean, "properties": properties}
        self.connected.clear()
        self.client.connect(HOST, PORT, keepalive=30, **options)
        self.client.loop_start()
        assert self.connected.wait(PATIENCE_S), "no CONNACK"
        return self

    def subscribe(self, topic, qos=0, options=None):
        self.acked.clear()
        if options is not None:
            self.client.subscribe(topic, options=options)
        else:
            self.client.subscribe(topic, qos)
        assert self.acked.wait(PATIENCE_S), "no SUBACK"
        return self

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        info = self.client.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(PATIENCE_S)
        assert info.is_published(), "not acknowledged"

    def take(self, count):
        return [self.messages.get(timeout=PATIENCE_S) for _ in range(count)]

    def expect_nothing(self):
        time.sleep(SILENCE_S)
        assert self.messages.empty(), self.messages.get().payload

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self):
        """Stops without DISCONNECT."""
        self.client.on_disconnect = None
        self.client._sock_close()
        self.client.loop_stop()


def messages_of_all_qos(name, version):
    to, frm = Peer(f"to-{name}", version).connect(), Peer(f"from-{name}", version).connect()
    for qos in range(3):
        to.subscribe(f"{name}/{qos}/+", qos)
        assert to.granted == [qos], to.granted
        sent = [f"{qos}-{number}-\u00e9\u6c34".encode() for number in range(100)]
        for payload in sent:
            frm.publish(f"{name}/{qos}/x", payload, qos)
        got = to.take(len(sent))
        assert [message.payload for message in got] == sent
        assert {(message.topic, message.qos, message.retain) for message in got} == {
            (f"{name}/{qos}/x", qos, False)
        }
    to.expect_nothing()
    to.leave()
    frm.leave()


def retained(name, version):
    frm = Peer(f"from-{name}", version).connect()
    topic = f"retained/{name}"
    frm.publish(topic, b"kept", 1, retain=True)
    to = Peer(f"to-{name}", version).connect().subscribe("retained/" + name, 1)
    message = to.take(1)[0]
    assert (message.payload, message.retain) == (b"kept", True)
    frm.publish(topic, b"", 1, retain=True)
    assert to.take(1)[0].payload == b""
    late = Peer(f"late-{name}", version).connect().subscribe(topic, 1)
    late.expect_nothing()
    for peer in (frm, to, late):
        peer.leave()


def wills(name, version):
    topic = f"wills/{name}"
    heir = Peer(f"heir-{name}", version).connect().subscribe(topic, 1)
    Peer(f"polite-{name}", version, will=(topic, b"polite", 1)).connect().leave()
    Peer(f"rude-{name}", version, will=(topic, b"rude", 1)).connect().vanish()
    message = heir.take(1)[0]
    assert (message.payload, message.qos) == (b"rude", 1)
    heir.expect_nothing()
    heir.leave()


def sessions(name, version):
    topic = f"sessions/{name}"
    frm = Peer(f"from-{name}", version).connect()
    to = Peer(f"to-{name}", version, clean=False, expiry=60).connect()
    assert not to.session_present
    to.subscribe(topic, 2)
    for round_number in range(3):
        to.vanish() if round_number % 2 else to.leave()
        sent = [f"{round_number}-{number}".encode() for number in range(50)]
        for payload in sent:
            frm.publish(topic, payload, 1 + round_number % 2)
        to = Peer(f"to-{name}", version, clean=False, expiry=60).connect()
        # Version 3.1 has no such flag.
        assert to.session_present or version == mqtt.MQTTv31
        assert [message.payload for message in to.take(50)] == sent
        to.expect_nothing()
    to.leave()
    frm.leave()


def reconnects_by_itself(name, version):
    """The library reconnects after its connection was taken over, and goes on with its session."""
    topic = f"again/{name}"
    to = Peer(f"again-{name}", version, clean=False, expiry=60)
    to.client.reconnect_delay_set(1, 1)
    to.connect().subscribe(topic, 1)
    to.connected.clear()
    thief = Peer(f"again-{name}", version, clean=False, expiry=60).connect()
    thief.leave()
    assert to.connected.wait(PATIENCE_S), "it did not reconnect"
    frm = Peer(f"from-{name}", version).connect()
    frm.publish(topic, b"after", 1)
    got = [to.take(1)[0].payload]
    assert got == [b"after"], got
    to.leave()
    frm.leave()


def properties(name, version):
    to = Peer(f"to-{name}", version).connect()
    to.subscribe("properties/#", options=SubscribeOptions(qos=1, noLocal=True))
    frm = Peer(f"from-{name}", version).connect()
    carried = Properties(PacketTypes.PUBLISH)
    carried.UserProperty = [("a", "1"), ("a", "2"), ("b", "3")]
    carried.ContentType = "text/plain"
    carried.ResponseTopic = "answers"
    carried.CorrelationData = b"\x00\xff"
    carried.MessageExpiryInterval = 100
    to.publish("properties/own", b"own", 1)
    frm.publish("properties/x", b"x", 1, properties=carried)
    message = to.take(1)[0]
    got = message.properties
    assert message.payload == b"x"
    assert got.UserProperty == carried.UserProperty, got
    assert (got.ContentType, got.ResponseTopic) == ("text/plain", "answers")
    assert got.CorrelationData == b"\x00\xff"
    assert 95 <= got.MessageExpiryInterval <= 100
    to.leave()
    frm.leave()


def large(name, version):
    to = Peer(f"to-{name}", version).connect().subscribe(f"large/{name}", 2)
    frm = Peer(f"from-{name}", version).connect()
    payload = bytes(range(256)) * 3000
    for qos in range(3):
        frm.publish(f"large/{name}", payload, qos)
        assert to.take(1)[0].payload == payload
    to.leave()
    frm.leave()


def main():
    passed = failed = 0
    for name, version in VERSIONS.items():
        checks = [messages_of_all_qos, retained, wills, sessions, reconnects_by_itself, large]
        if version == mqtt.MQTTv5:
            checks.append(properties)
        for check in checks:
            try:
                check(name, version)
                passed += 1
            except Exception:
                failed += 1
                print(f"FAILED: {check.__name__} of version {name}")
                traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


main()
