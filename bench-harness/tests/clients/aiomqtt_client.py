"""aiomqtt against a broker: `aiomqtt_client.py HOST PORT`. The last line is `N passed, M failed`."""

import asyncio
import sys
import traceback

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST, PORT = sys.argv[1], int(sys.argv[2])
PATIENCE_S = 20
SILENCE_S = 0.3
VERSIONS = {
    "3.1": aiomqtt.ProtocolVersion.V31,
    "3.1.1": aiomqtt.ProtocolVersion.V311,
    "5": aiomqtt.ProtocolVersion.V5,
}


def client(name, version, clean=True, will=None):
    options = {"clean_session": clean}
    if version == aiomqtt.ProtocolVersion.V5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0 if clean else 60
        options = {"clean_start": clean, "properties": properties}
    return aiomqtt.Client(
        HOST, PORT, identifier=name, protocol=version, will=will, timeout=PATIENCE_S, **options
    )


async def take(peer, count):
    messages = []

    async def read():
        async for message in peer.messages:
            messages.append(message)
            if len(messages) == count:
                return

    await asyncio.wait_for(read(), PATIENCE_S)
    return messages


async def expect_nothing(peer):
    try:
        message = await asyncio.wait_for(anext(aiter(peer.messages)), SILENCE_S)
    except (asyncio.TimeoutError, TimeoutError):
        return
    raise AssertionError(message.payload)


async def all_qos(name, version):
    async with client(f"to-{name}", version) as to, client(f"from-{name}", version) as frm:
        for qos in range(3):
            await to.subscribe(f"{name}/{qos}/+", qos=qos)
            sent = [f"{qos}-{number}-\u00e9".encode() for number in range(50)]
            for payload in sent:
                await frm.publish(f"{name}/{qos}/x", payload, qos=qos)
            got = await take(to, len(sent))
            assert [message.payload for message in got] == sent
            assert {message.qos for message in got} == {qos}


async def retained(name, version):
    topic = f"retained/{name}"
    async with client(f"from-{name}", version) as frm:
        await frm.publish(topic, b"kept", qos=1, retain=True)
        async with client(f"to-{name}", version) as to:
            await to.subscribe(topic, qos=1)
            message = (await take(to, 1))[0]
            assert (message.payload, message.retain) == (b"kept", True)
        await frm.publish(topic, b"", qos=1, retain=True)
        async with client(f"late-{name}", version) as late:
            await late.subscribe(topic, qos=1)
            await expect_nothing(late)


async def wills(name, version):
    topic = f"wills/{name}"
    async with client(f"heir-{name}", version) as heir:
        await heir.subscribe(topic, qos=1)
        async with client(f"polite-{name}", version, will=aiomqtt.Will(topic, b"polite", 1)):
            pass
        rude = client(f"rude-{name}", version, will=aiomqtt.Will(topic, b"rude", 1))
        await rude.__aenter__()
        rude._client._sock_close()
        message = (await take(heir, 1))[0]
        assert (message.payload, message.qos) == (b"rude", 1)
        await expect_nothing(heir)


async def sessions(name, version):
    topic = f"sessions/{name}"
    async with client(f"from-{name}", version) as frm:
        async with client(f"to-{name}", version, clean=False) as to:
            await to.subscribe(topic, qos=2)
        sent = [f"away-{number}".encode() for number in range(50)]
        for payload in sent:
            await frm.publish(topic, payload, qos=2)
        async with client(f"to-{name}", version, clean=False) as to:
            assert [message.payload for message in await take(to, 50)] == sent
            await expect_nothing(to)


async def properties(name, version):
    async with client(f"to-{name}", version) as to, client(f"from-{name}", version) as frm:
        await to.subscribe("properties/x", qos=1)
        carried = Properties(PacketTypes.PUBLISH)
        carried.UserProperty = [("a", "1"), ("a", "2")]
        carried.ContentType = "text/plain"
        carried.ResponseTopic = "answers"
        carried.CorrelationData = b"\x00\xff"
        await frm.publish("properties/x", b"x", qos=1, properties=carried)
        got = (await take(to, 1))[0].properties
        assert got.UserProperty == carried.UserProperty, got
        assert (got.ContentType, got.ResponseTopic) == ("text/plain", "answers")
        assert got.CorrelationData == b"\x00\xff"


async def main():
    passed = failed = 0
    for name, version in VERSIONS.items():
        checks = [all_qos, retained, wills, sessions]
        if version == aiomqtt.ProtocolVersion.V5:
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
    sys.exit(1 if failed else 0)


asyncio.run(main())
