"""What users of EMQX 4 have in their scripts, against this broker; written from EMQX 4's documentation:

    emqx4_script.py MQTT_HOST MQTT_PORT API_URL APP_ID APP_SECRET BROKER_PROGRAM DATA_DIR

The API with AppID and AppSecret, as its examples for curl are (no Content-Type), its envelope and result
codes; the command line's output as it is parsed; $SYS topics; figures for Prometheus by EMQX's names.
Each check compares what is told with what was done. The last line is `N passed, M failed`.
"""

import base64
import json
import queue
import re
import subprocess
import sys
import threading
import time
import traceback

import paho.mqtt.client as mqtt
import requests

HOST, PORT, URL, APP_ID, APP_SECRET, BROKER, DATA_DIR = sys.argv[1:8]
PORT = int(PORT)
PATIENCE_S = 20
NODE = "millrace@127.0.0.1"

api = requests.Session()
api.auth = (APP_ID, APP_SECRET)


def ask(method, path, body=None, code=0):
    """The body goes as `curl -d` sends it: with a content type that is not JSON's."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
    data = None if body is None else json.dumps(body)
    answer = api.request(method, URL + path, data=data, headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 200, (method, path, answer.status_code, answer.text)
    told = answer.json()
    assert told["code"] == code, (method, path, told)
    return told


def ctl(*words, status=0):
    done = subprocess.run(
        [BROKER, "ctl", "--data-dir", DATA_DIR, *words], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == status, (words, done)
    return done.stdout.rstrip("\n") if status == 0 else done.stderr


def until(check):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, "did not come in time"
        time.sleep(0.05)


class Device:
    """A connected client."""

    def __init__(self, name, username="test"):
        self.messages = queue.Queue()
        self.connected = threading.Event()
        self.gone = threading.Event()
        self.subscribed = threading.Event()
        self.refused = None
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
        self.client.username_pw_set(username, "x")
        self.client.on_connect = self.on_connect
        self.client.on_disconnect = lambda *_: self.gone.set()
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.connect(HOST, PORT, keepalive=60)
        self.client.loop_start()
        assert self.connected.wait(PATIENCE_S)

    def on_connect(self, client, data, flags, reason, properties):
        self.refused = str(reason) if reason.is_failure else None
        self.connected.set()

    def subscribe(self, topic, qos=0):
        self.subscribed.clear()
        self.client.subscribe(topic, qos)
        assert self.subscribed.wait(PATIENCE_S)

    def next(self):
        return self.messages.get(timeout=PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()


def health_check():
    answer = requests.get(URL + "/status", timeout=PATIENCE_S)
    assert answer.status_code == 200
    assert answer.text.startswith(f"Node {NODE} is started\n"), answer.text
    assert answer.text.rstrip().endswith("is running"), answer.text


def wrong_credentials_are_401():
    for who in [(APP_ID, "wrong"), ("nobody", APP_SECRET), None]:
        answer = requests.get(URL + "/api/v4/clients", auth=who, timeout=PATIENCE_S)
        assert answer.status_code == 401, (who, answer.status_code)


def index_of_endpoints():
    paths = ask("GET", "/api/v4")["data"]
    assert {"path", "name", "method", "descr"} <= paths[0].keys()
    assert any(one["name"] == "mqtt_publish" for one in paths)


def brokers_and_nodes():
    broker = ask("GET", "/api/v4/brokers")["data"][0]
    assert broker["node"] == NODE and broker["node_status"] == "Running"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", broker["datetime"]), broker
    assert re.fullmatch(r"(\d+ \w+, )*\d+ seconds", broker["uptime"]), broker
    assert {"sysdescr", "version", "otp_release"} <= broker.keys()
    assert ask("GET", f"/api/v4/brokers/{NODE}")["data"]["node"] == NODE
    node = ask("GET", f"/api/v4/nodes/{NODE}")["data"]
    for name in ("load1", "load5", "load15"):
        assert float(node[name]) >= 0, node
    for name in ("memory_total", "memory_used"):
        assert re.fullmatch(r"\d+\.\d\dM", node[name]), node
    for name in ("connections", "max_fds", "process_available", "process_used"):
        assert isinstance(node[name], int), node


def clients_are_listed_looked_up_and_kicked():
    with Device("example", "test") as device, Device("other", "ann"):
        listed = ask("GET", "/api/v4/clients?_page=1&_limit=10")
        assert listed["meta"] == {"page": 1, "limit": 10, "count": 2, "hasnext": False}, listed["meta"]
        assert {one["clientid"] for one in listed["data"]} == {"example", "other"}
        (one,) = ask("GET", "/api/v4/clients/example")["data"]
        wanted = {
            "node": NODE, "clientid": "example", "username": "test", "proto_name": "MQTT", "proto_ver": 4,
            "ip_address": "127.0.0.1", "is_bridge": False, "connected": True, "keepalive": 60,
            "clean_start": True, "expiry_interval": 0, "subscriptions_cnt": 0, "inflight": 0,
            "max_inflight": 32, "mqueue_len": 0, "max_mqueue": 1000, "awaiting_rel": 0,
            "max_awaiting_rel": 100, "zone": "external", "mailbox_len": 0,
        }
        assert wanted.items() <= one.items(), one
        for name in ("connected_at", "created_at"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", one[name]), one
        assert isinstance(one["port"], int)
        by_name = ask("GET", "/api/v4/clients/username/ann")["data"]
        assert [one["clientid"] for one in by_name] == ["other"]
        on_node = ask("GET", f"/api/v4/nodes/{NODE}/clients/example")["data"]
        assert on_node[0]["clientid"] == "example"
        for query, found in [
            ("_like_clientid=exam", ["example"]),
            ("username=ann", ["other"]),
            ("conn_state=connected&_like_username=tes", ["example"]),
            ("proto_ver=5", []),
            ("_gte_connected_at=4102444800", []),
        ]:
            listed = ask("GET", f"/api/v4/clients?{query}")
            assert [one["clientid"] for one in listed["data"]] == found, (query, listed)
            assert listed["meta"]["count"] == -1, listed["meta"]
        assert ask("DELETE", "/api/v4/clients/example") == {"code": 0}
        assert device.gone.wait(PATIENCE_S)
        assert ask("GET", "/api/v4/clients/example")["data"] == []
        ask("DELETE", "/api/v4/clients/example", code=112)


def messages_and_subscriptions():
    with Device("example") as device:
        ask("POST", "/api/v4/mqtt/subscribe", {"topics": "a,b,c", "qos": 1, "clientid": "example"})
        listed = ask("GET", "/api/v4/subscriptions/example")["data"]
        assert {(one["topic"], one["qos"], one["node"]) for one in listed} == {
            (topic, 1, NODE) for topic in "abc"
        }
        message = {"topic": "a", "payload": "Hello World", "qos": 1, "retain": False, "clientid": "example"}
        assert ask("POST", "/api/v4/mqtt/publish", message) == {"code": 0}
        came = device.next()
        assert (came.topic, came.payload, came.qos, came.retain) == ("a", b"Hello World", 1, False)
        encoded = base64.b64encode(b"\0\1\2").decode()
        ask("POST", "/api/v4/mqtt/publish",
            {"topics": "b,c", "payload": encoded, "encoding": "base64", "clientid": "example"})
        assert {(m.topic, m.payload) for m in (device.next(), device.next())} == {
            ("b", b"\0\1\2"), ("c", b"\0\1\2"),
        }
        batch = [
            {"topic": "a", "payload": "one", "qos": 1, "retain": False, "clientid": "example"},
            {"topic": "a", "payload": "two", "qos": 0, "retain": False, "clientid": "example"},
        ]
        told = ask("POST", "/api/v4/mqtt/publish_batch", batch)
        assert [one["code"] for one in told["data"]] == [0, 0], told
        assert [device.next().payload, device.next().payload] == [b"one", b"two"]
        ask("POST", "/api/v4/mqtt/unsubscribe", {"topic": "a", "qos": 1, "clientid": "example"})
        batch = [{"topic": topic, "clientid": "example"} for topic in "bc"]
        ask("POST", "/api/v4/mqtt/unsubscribe_batch", batch)
        assert ask("GET", "/api/v4/subscriptions/example")["data"] == []
        batch = [{"topic": topic, "qos": 1, "clientid": "example"} for topic in ("a/+/c", "a/b/c")]
        ask("POST", "/api/v4/mqtt/subscribe_batch", batch)
        until(lambda: len(ask("GET", "/api/v4/routes")["data"]) == 2)
        assert ask("GET", "/api/v4/routes/a%2fb%2fc")["data"] == [{"topic": "a/b/c", "node": NODE}]
        listed = ask("GET", "/api/v4/subscriptions?_match_topic=a%2fb%2fc&_page=1&_limit=10")
        assert {one["topic"] for one in listed["data"]} == {"a/+/c", "a/b/c"}
        ask("POST", "/api/v4/mqtt/publish", {"payload": "x", "clientid": "example"}, code=107)
        ask("POST", "/api/v4/mqtt/publish", {"topic": "a/#", "payload": "x", "clientid": "e"}, code=115)
        ask("POST", "/api/v4/mqtt/subscribe", {"topic": "a", "clientid": "nobody"}, code=112)


def bans():
    now = int(time.time())
    body = {"who": "example", "as": "clientid", "reason": "example", "by": "script", "at": now,
            "until": now + 60}
    made = ask("POST", "/api/v4/banned", body)["data"]
    assert made == body, made
    assert Device("example").refused is not None
    listed = ask("GET", "/api/v4/banned")
    assert listed["data"] == [body] and listed["meta"]["count"] == 1, listed
    assert ask("DELETE", "/api/v4/banned/clientid/example") == {"code": 0}

    def is_let_in():
        with Device("example") as device:
            return device.refused is None

    until(is_let_in)


def figures():
    with Device("example") as device:
        device.subscribe("t", 1)
        stats = until(lambda: {
            name: value for name, value in ask("GET", f"/api/v4/nodes/{NODE}/stats")["data"].items()
        })
        for name in (
            "channels.count", "channels.max", "connections.count", "connections.max", "retained.count",
            "routes.count", "sessions.count", "sessions.max", "suboptions.count", "subscribers.count",
            "subscriptions.count", "subscriptions.shared.count", "topics.count", "topics.max",
        ):
            assert isinstance(stats[name], int), (name, stats)
        assert stats["connections.count"] == 1 and stats["subscriptions.count"] == 1, stats
        (of_node,) = ask("GET", "/api/v4/metrics")["data"]
        assert of_node["node"] == NODE
        missing = [name for name in METRICS if not isinstance(of_node["metrics"].get(name), int)]
        assert not missing, missing
        assert of_node["metrics"]["packets.connect.received"] >= 1


# Those of the documentation of 4.4 that mean something here.
METRICS = """
bytes.received bytes.sent client.connect client.connack client.connected client.authenticate
client.auth.anonymous client.check_acl client.subscribe client.unsubscribe client.disconnected
session.created session.resumed session.takeovered session.discarded session.terminated
packets.received packets.sent packets.connect.received packets.connack.sent packets.connack.error
packets.connack.auth_error packets.publish.received packets.publish.sent packets.publish.error
packets.publish.auth_error packets.publish.dropped packets.puback.received packets.puback.sent
packets.puback.missed packets.pubrec.received packets.pubrec.sent packets.pubrec.missed
packets.pubrel.received packets.pubrel.sent packets.pubrel.missed packets.pubcomp.received
packets.pubcomp.sent packets.pubcomp.missed packets.subscribe.received packets.subscribe.error
packets.subscribe.auth_error packets.suback.sent packets.unsubscribe.received packets.unsubscribe.error
packets.unsuback.sent packets.pingreq.received packets.pingresp.sent packets.disconnect.received
packets.disconnect.sent packets.auth.received packets.auth.sent
messages.received messages.sent messages.publish messages.qos0.received messages.qos0.sent
messages.qos1.received messages.qos1.sent messages.qos2.received messages.qos2.sent messages.dropped
messages.dropped.expired messages.dropped.no_subscribers messages.forward messages.retained
messages.delayed messages.delivered messages.acked delivery.dropped delivery.dropped.no_local
delivery.dropped.too_large delivery.dropped.qos0_msg delivery.dropped.queue_full
delivery.dropped.expired
""".split()


def listeners():
    (of_node,) = ask("GET", "/api/v4/listeners")["data"]
    assert of_node["node"] == NODE
    (one,) = of_node["listeners"]
    assert one["protocol"] == "mqtt:tcp" and one["listen_on"].endswith(f":{PORT}"), one
    assert isinstance(one["acceptors"], int) and isinstance(one["current_conns"], int), one
    assert all(len(reason) == 1 for reason in one["shutdown_count"]), one
    assert any("normal" in reason for reason in one["shutdown_count"]), one
    for identifier in (one["identifier"], "mqtt:tcp:external"):
        ask("PUT", f"/api/v4/listeners/{identifier}/restart")
    with Device("after"):
        pass


def alarms_and_acl_cache():
    for path in ("/api/v4/alarms", "/api/v4/alarms/activated", "/api/v4/alarms/deactivated"):
        (of_node,) = ask("GET", path)["data"]
        assert of_node["node"] == NODE and isinstance(of_node["alarms"], list), of_node
    ask("DELETE", "/api/v4/alarms/deactivated")
    assert ask("DELETE", "/api/v4/acl-cache") == {"code": 0}


def older_paths_kick_as_well():
    with Device("example") as device:
        assert ask("DELETE", "/api/v2/clients/example") == {"code": 0, "result": []}
        assert device.gone.wait(PATIENCE_S)
    with Device("example") as device:
        assert ask("DELETE", "/api/v3/connections/example") == {"code": 0}
        assert device.gone.wait(PATIENCE_S)


def figures_for_prometheus():
    with Device("example"):
        answer = requests.get(URL + "/api/v4/emqx_prometheus?type=prometheus", timeout=PATIENCE_S)
        assert answer.status_code == 200
        line = re.compile(r"(\w+)(?:\{[^}]*\})? ([0-9.e+-]+|NaN)$")
        found = {}
        for text in answer.text.splitlines():
            if text and not text.startswith("#"):
                name, value = line.match(text).groups()
                found[name] = float(value)
        # What EMQX's dashboard for Grafana draws.
        for name in (
            "emqx_connections_count", "emqx_sessions_count", "emqx_topics_count",
            "emqx_subscriptions_count", "emqx_subscribers_count", "emqx_routes_count",
            "emqx_retained_count", "emqx_messages_received", "emqx_messages_sent",
            "emqx_messages_dropped", "emqx_messages_retained", "emqx_messages_qos0_received",
            "emqx_messages_qos1_received", "emqx_messages_qos2_received", "emqx_bytes_received",
            "emqx_bytes_sent", "emqx_packets_received", "emqx_packets_sent", "emqx_packets_connect",
            "emqx_packets_publish_received", "emqx_packets_publish_sent", "emqx_client_connected",
            "emqx_client_disconnected", "emqx_session_created", "emqx_vm_cpu_use",
        ):
            assert any(one.startswith(name) for one in found), (name, sorted(found))
        assert found["emqx_connections_count"] >= 1


def command_line_status():
    started, running = ctl("status").splitlines()
    assert re.fullmatch(r"Node '(\S+)' is started", started).group(1) == NODE
    assert running.endswith(" is running"), running
    about = dict(re.split(r"\s+: ", line) for line in ctl("broker").splitlines())
    assert about.keys() == {"sysdescr", "version", "uptime", "datetime"}, about
    status = ctl("cluster", "status")
    nodes = re.fullmatch(r"Cluster status: #\{running_nodes => \['(.*)'\],stopped_nodes => \[\]\}", status)
    assert nodes.group(1) == NODE, status


def command_line_figures():
    for words, wanted in (
        (("broker", "stats"), ["connections.count", "topics.max", "subscriptions.shared.count"]),
        (("broker", "metrics"), METRICS),
    ):
        lines = ctl(*words).splitlines()
        found = {name: int(value) for name, value in (re.split(r"\s*: ", line) for line in lines)}
        missing = [name for name in wanted if name not in found]
        assert not missing, missing


def command_line_clients():
    with Device("c1", "ann") as device:
        device.subscribe("t/+/x", 1)
        line = re.compile(r"Client \(([^,]+), (.*)\)$")
        name, rest = line.match(ctl("clients", "show", "c1")).groups()
        told = dict(part.split("=", 1) for part in rest.split(", "))
        assert name == "c1" and told["username"] == "ann" and told["connected"] == "true", told
        assert told["subscriptions"] == "1" and told["keepalive"] == "60", told
        assert int(told["connected_at"]) > 1_700_000_000, told
        assert re.fullmatch(r"127\.0\.0\.1:\d+", told["peername"]), told
        assert [line.match(one).group(1) for one in ctl("clients", "list").splitlines()] == ["c1"]
        assert ctl("routes", "show", "t/+/x") == f"t/+/x -> {NODE}"
        assert ctl("subscriptions", "show", "c1") == "c1 -> t/+/x:1"
        assert ctl("subscriptions", "add", "c1", "t2", "1") == "ok"
        assert "t2 -> " in ctl("routes", "list")
        assert ctl("subscriptions", "del", "c1", "t2") == "ok"
        assert ctl("acl", "cache-clean", "all") == "ok"
        assert ctl("acl", "cache-clean", "c1") == "ok"
        assert ctl("clients", "kick", "c1") == "ok"
        assert device.gone.wait(PATIENCE_S)
        assert "no client" in ctl("clients", "show", "c1", status=1)


def command_line_listeners():
    text = ctl("listeners")
    name, *fields = text.splitlines()
    assert name == "tcp:default", text
    told = dict(re.split(r"\s*: ", field.strip(), maxsplit=1) for field in fields)
    assert told["listen_on"].endswith(f":{PORT}"), told
    assert {"acceptors", "max_conns", "current_conn", "shutdown_count"} <= told.keys(), told
    ends = dict(re.findall(r"\{(\w+),(\d+)\}", told["shutdown_count"]))
    assert int(ends["normal"]) >= 1 and int(ends["kicked"]) >= 1, told
    assert "successfully" in ctl("listeners", "restart", "mqtt:tcp:external")


def command_line_applications():
    secret = re.fullmatch(r"AppSecret: (\S{20,})", ctl("mgmt", "insert", "dbcb6e023370b", "world")).group(1)
    assert re.search(r"^app_id: dbcb6e023370b, .*name: world, .*status: true, expired: undefined$",
                     ctl("mgmt", "list"), re.M)
    listed = URL + "/api/v4/clients"

    def status():
        return requests.get(listed, auth=("dbcb6e023370b", secret), timeout=PATIENCE_S).status_code

    assert status() == 200
    assert ctl("mgmt", "update", "dbcb6e023370b", "stop") == "update successfully."
    assert status() == 401
    assert "status: false" in ctl("mgmt", "lookup", "dbcb6e023370b").splitlines()
    assert ctl("mgmt", "update", "dbcb6e023370b", "start") == "update successfully."
    assert status() == 200
    assert ctl("mgmt", "delete", "dbcb6e023370b") == "ok"
    assert status() == 401


def retained_messages():
    with Device("example"):
        for n in range(3):
            ask("POST", "/api/v4/mqtt/publish",
                {"topic": f"r/{n}", "payload": "x", "retain": True, "clientid": "example"})
        until(lambda: ctl("retainer", "topics").count("r/") == 3)
        assert re.match(r"retained/total: \d+$", ctl("retainer", "info"))
        assert ctl("retainer", "clean") == "ok"
        assert ctl("retainer", "topics") == ""


def system_topics():
    with Device("watcher") as watcher:
        watcher.subscribe("$SYS/#")
        began = time.time()
        with Device("example", "test"):
            pass
        wanted = {
            f"$SYS/brokers/{NODE}/clients/example/connected",
            f"$SYS/brokers/{NODE}/clients/example/disconnected",
            "$SYS/brokers", f"$SYS/brokers/{NODE}/version", f"$SYS/brokers/{NODE}/sysdescr",
            f"$SYS/brokers/{NODE}/uptime", f"$SYS/brokers/{NODE}/datetime",
            f"$SYS/brokers/{NODE}/stats/connections.count", f"$SYS/brokers/{NODE}/stats/sessions.max",
            f"$SYS/brokers/{NODE}/stats/connections/count",
            f"$SYS/brokers/{NODE}/metrics/bytes/received",
            f"$SYS/brokers/{NODE}/metrics/messages/qos1/received",
            f"$SYS/brokers/{NODE}/metrics/packets/connect/received",
        }
        found = {}
        while not wanted <= found.keys():
            message = watcher.next()
            found[message.topic] = message.payload.decode()
            assert time.time() - began < PATIENCE_S, wanted - found.keys()
        event = json.loads(found[f"$SYS/brokers/{NODE}/clients/example/connected"])
        assert event["clientid"] == "example" and event["username"] == "test", event
        assert event["ipaddress"] == "127.0.0.1" and event["proto_ver"] == 4, event
        assert {"clean_start", "connack", "connected_at", "expiry_interval", "keepalive", "proto_name",
                "sockport", "ts"} <= event.keys(), event
        event = json.loads(found[f"$SYS/brokers/{NODE}/clients/example/disconnected"])
        assert event["reason"] == "normal" and event["clientid"] == "example", event
        assert {"disconnected_at", "ipaddress", "proto_name", "proto_ver", "sockport", "ts",
                "username"} <= event.keys(), event
        assert found["$SYS/brokers"] == NODE
        assert int(found[f"$SYS/brokers/{NODE}/stats/connections.count"]) >= 1


CHECKS = [
    health_check, wrong_credentials_are_401, index_of_endpoints, brokers_and_nodes,
    clients_are_listed_looked_up_and_kicked, messages_and_subscriptions, bans, figures, listeners,
    alarms_and_acl_cache, older_paths_kick_as_well, figures_for_prometheus, command_line_status,
    command_line_figures, command_line_clients, command_line_listeners, command_line_applications,
    retained_messages, system_topics,
]

passed = failed = 0
for check in CHECKS:
    try:
        check()
        passed += 1
        print(f"ok {check.__name__}")
    except Exception:
        failed += 1
        print(f"FAILED {check.__name__}")
        traceback.print_exc(file=sys.stdout)
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
