"""gmqtt against a broker: `gmqtt_client.py HOST PORT`. The last line is `N passed, M failed`."""

import asyncio
import os
import sys
import traceback

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

HOST, PORT = sys.argv[1], int(sys.argv[2])
PATIENCE_S = 20
SILENCE_S = 0.3
VERSIONS = {"3.1.1": MQTTv311, "5": MQTTv50}


class Peer:
    """A client whose messages go to a queue."""

    def __init__(self, name, version, clean=True, will=None):
        self.version = version
        self.messages = asyncio.Queue()
        self.subscribed = asyncio.Event()
        expiry = {"session_expiry_interval": 60} if version == MQTTv50 and not clean else {}
        self.client = gmqtt.Client(name, clean_session=clean, will_message=will, **expiry)
        self.client.set_config({"reconnect_retries": 0})
        self.client.on_message = self.on_message
        self.client.on_subscribe = lambda client, mid, qos, properties: self.subscribed.set()

    async def on_message(self, client, topic, payload, qos, properties):
        await self.messages.put((topic, payload, qos, properties))
        return 0

    async def connect(self):
        await asyncio.wait_for(
            self.client.connect(HOST, PORT, keepalive=30, version=self.version), PATIENCE_S
        )
        return self

    async def subscribe(self, topic, qos):
        self.subscribed.clear()
        self.client.subscribe(topic, qos=qos)
        await asyncio.wait_for(self.subscribed.wait(), PATIENCE_S)
        return self

    async def take(self, count):
        return [
            await asyncio.wait_for(self.messages.get(), PATIENCE_S) for _ in range(count)
        ]

    async def expect_nothing(self):
        await asyncio.sleep(SILENCE_S)
        assert self.messages.empty(), self.messages.get_nowait()

    async def leave(self):
        await self.client.disconnect()

    def vanish(self):
        self.client._connection._transport.abort()


async def all_qos(name, version):
    to = await Peer(f"to-{name}", version).connect()
    frm = await Peer(f"from-{name}", version).connect()
    for qos in range(3):
        await to.subscribe(f"{name}/{qos}/+", qos)
        sent = [f"{qos}-{number}-\u00e9".encode() for number in range(50)]
        for payload in sent:
            frm.client.publish(f"{name}/{qos}/x", payload, qos=qos)
        got = await to.take(len(sent))
        assert [message[1] for message in got] == sent
        assert {message[2] for message in got} == {qos}
    await to.leave()
    await frm.leave()


async def retained(name, version):
    topic = f"retained/{name}"
    frm = await Peer(f"from-{name}", version).connect()
    to = await (await Peer(f"to-{name}", version).connect()).subscribe(topic, 1)
    frm.client.publish(topic, b"kept", qos=1, retain=True)
    await to.take(1)
    late = await (await Peer(f"late-{name}", version).connect()).subscribe(topic, 1)
    _, payload, _, properties = (await late.take(1))[0]
    assert payload == b"kept" and properties["retain"], properties
    frm.client.publish(topic, b"", qos=1, retain=True)
    assert (await to.take(1))[0][1] == b""
    later = await (await Peer(f"later-{name}", version).connect()).subscribe(topic, 1)
    await later.expect_nothing()
    for peer in (frm, to, late, later):
        await peer.leave()


async def wills(name, version):
    topic = f"wills/{name}"
    heir = await (await Peer(f"heir-{name}", version).connect()).subscribe(topic, 1)
    polite = gmqtt.Message(topic, b"polite", qos=1)
    await (await Peer(f"polite-{name}", version, will=polite).connect()).leave()
    rude = gmqtt.Message(topic, b"rude", qos=1)
    (await Peer(f"rude-{name}", version, will=rude).connect()).vanish()
    _, payload, qos, _ = (await heir.take(1))[0]
    assert (payload, qos) == (b"rude", 1)
    await heir.expect_nothing()
    await heir.leave()


async def sessions(name, version):
    topic = f"sessions/{name}"
    frm = await Peer(f"from-{name}", version).connect()
    to = await (await Peer(f"to-{name}", version, clean=False).connect()).subscribe(topic, 2)
    await to.leave()
    witness = await (await Peer(f"witness-{name}", version).connect()).subscribe(topic, 2)
    sent = [f"away-{number}".encode() for number in range(50)]
    for payload in sent:
        frm.client.publish(topic, payload, qos=1)
    await witness.take(50)
    to = await Peer(f"to-{name}", version, clean=False).connect()
    assert [message[1] for message in await to.take(50)] == sent
    await to.expect_nothing()
    for peer in (frm, to, witness):
        await peer.leave()


async def properties(name, version):
    to = await (await Peer(f"to-{name}", version).connect()).subscribe("properties/x", 1)
    frm = await Peer(f"from-{name}", version).connect()
    frm.client.publish(
        "properties/x",
        b"x",
        qos=1,
        user_property=[("a", "1"), ("a", "2")],
        content_type="text/plain",
        response_topic="answers",
        correlation_data=b"abc",
    )
    got = (await to.take(1))[0][3]
    assert got["user_property"] == [("a", "1"), ("a", "2")], got
    assert got["content_type"] == ["text/plain"], got
    assert got["response_topic"] == ["answers"], got
    assert got["correlation_data"] == [b"abc"], got
    await to.leave()
    await frm.leave()


async def main():
    passed = failed = 0
    for name, version in VERSIONS.items():
        checks = [all_qos, retained, wills, sessions]
        if version == MQTTv50:
            checks.append(properties)
        for check in checks:
            try:
                await asyncio.wait_for(check(name, version), 3 * PATIENCE_S)
                passed += 1
            except Exception:
                failed += 1
                print(f"FAILED: {check.__name__} of version {name}")
                traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed", flush=True)
    # Its tasks that reconnect do not end with the loop.
    os._exit(1 if failed else 0)


asyncio.run(main())
