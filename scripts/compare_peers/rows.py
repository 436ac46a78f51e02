"""What is measured: one row is one call of `bench-harness pubsub`, the same for every broker."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    arguments: str
    # The row's CPU a delivery may be this share of the best peer's; none: no target.
    cpu_share_max: float = None
    is_v5: bool = False
    # Open loop at this many messages a second in all, or at half of what the best peer reaches in
    # the row named.
    rate: float = None
    half_rate_of: str = None
    publishers: int = 1

    @property
    def is_latency_row(self):
        return self.rate is not None or self.half_rate_of is not None


DEEP = "--window 1000"
ONE = "-p 1 -s 1"
TEN = "-p 10 -s 10"

ROWS = [
    Row("one-qos0", "1 to 1, QoS 0, deep", f"{ONE} -q 0 {DEEP}", 0.6),
    Row("one-qos1", "1 to 1, QoS 1, deep", f"{ONE} -q 1 {DEEP}", 0.6),
    Row("ten-qos0", "10 pairs, QoS 0, deep", f"{TEN} -q 0 {DEEP}", 0.44),
    Row("ten-qos1", "10 pairs, QoS 1, deep", f"{TEN} -q 1 {DEEP}", 0.6),
    Row("ten-qos2", "10 pairs, QoS 2, deep", f"{TEN} -q 2 {DEEP}"),
    Row("fan-out", "1 to 1000, QoS 0, 20 in flight", "-p 1 -s 1000 --topology fan-out -q 0 --window 20", 0.6),
    Row("hundred-one", "100 pairs, QoS 0, 1 in flight", "-p 100 -s 100 -q 0 --window 1", 0.8),
    Row("ten-qos0-v5", "10 pairs, QoS 0, deep, MQTT 5", f"{TEN} -q 0 {DEEP}", is_v5=True),
    Row("ten-qos1-v5", "10 pairs, QoS 1, deep, MQTT 5", f"{TEN} -q 1 {DEEP}", is_v5=True),
    Row("shared-qos0", "10 to a shared group of 10, QoS 0, deep", f"{TEN} --topology shared -q 0 {DEEP}"),
    Row("one-qos0-1k", "1 to 1, QoS 0, 1 KiB, deep", f"{ONE} -q 0 --size 1024 {DEEP}"),
    Row("one-qos0-64k", "1 to 1, QoS 0, 64 KiB, 20 in flight", f"{ONE} -q 0 --size 65536 --window 20"),
    Row("half-qos0", "10 pairs, QoS 0, half rate", f"{TEN} -q 0", half_rate_of="ten-qos0", publishers=10),
    Row("half-qos1", "10 pairs, QoS 1, half rate", f"{TEN} -q 1", half_rate_of="ten-qos1", publishers=10),
    Row("steady-1000", "1 to 1, QoS 0, 1,000 a second", f"{ONE} -q 0", rate=1000.0),
]

BY_NAME = {row.name: row for row in ROWS}

# Rows whose CPU a delivery is compared with another row's of the same broker.
RATIOS = [
    ("qos2_to_qos1", "ten-qos2", "ten-qos1", 2.0),
    ("v5_to_v311_qos0", "ten-qos0-v5", "ten-qos0", 1.1),
    ("v5_to_v311_qos1", "ten-qos1-v5", "ten-qos1", 1.1),
    ("shared_to_plain", "shared-qos0", "ten-qos0", 1.2),
]
