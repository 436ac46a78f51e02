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
    # Also driven through the reference, which copies bytes and knows nothing of MQTT.
    with_reference: bool = False
    # Arguments of a second load that runs beside the one that is measured.
    beside: str = None
    # `bench-harness connect` instead of `pubsub`; the CPU is that of a connect.
    is_connect_row: bool = False
    # Bytes of a message, where bytes a second are the figure.
    size: int = None

    @property
    def is_latency_row(self):
        return self.rate is not None or self.half_rate_of is not None


DEEP = "--window 1000"
ONE = "-p 1 -s 1"
TEN = "-p 10 -s 10"



def large(name, size, window):
    """Messages of a size, as many in flight as are about 1 MiB."""
    unit = f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
    return Row(f"one-qos0-{name}", f"1 to 1, QoS 0, {unit}, {window} in flight",
               f"{ONE} -q 0 --size {size} --window {window}", with_reference=True, size=size)


ROWS = [
    Row("one-qos0", "1 to 1, QoS 0, deep", f"{ONE} -q 0 {DEEP}", 0.6, with_reference=True),
    Row("one-qos1", "1 to 1, QoS 1, deep", f"{ONE} -q 1 {DEEP}", 0.6),
    Row("ten-qos0", "10 pairs, QoS 0, deep", f"{TEN} -q 0 {DEEP}", 0.44, with_reference=True),
    Row("ten-qos1", "10 pairs, QoS 1, deep", f"{TEN} -q 1 {DEEP}", 0.6),
    Row("ten-qos2", "10 pairs, QoS 2, deep", f"{TEN} -q 2 {DEEP}"),
    Row("fan-out", "1 to 1000, QoS 0, 20 in flight", "-p 1 -s 1000 --topology fan-out -q 0 --window 20", 0.6),
    Row("hundred-one", "100 pairs, QoS 0, 1 in flight", "-p 100 -s 100 -q 0 --window 1", 0.8,
        with_reference=True),
    Row("ten-qos0-v5", "10 pairs, QoS 0, deep, MQTT 5", f"{TEN} -q 0 {DEEP}", is_v5=True),
    Row("ten-qos1-v5", "10 pairs, QoS 1, deep, MQTT 5", f"{TEN} -q 1 {DEEP}", is_v5=True),
    Row("plus-qos0", "10 pairs, QoS 0, deep, filters with a +", f"{TEN} --plus -q 0 {DEEP}"),
    Row("shared-qos0", "10 to a shared group of 10, QoS 0, deep", f"{TEN} --topology shared -q 0 {DEEP}"),
    Row("churn-qos0", "10 pairs, QoS 0, deep, beside 10,000 SUBSCRIBE and UNSUBSCRIBE a second",
        f"{TEN} -q 0 {DEEP} --churn 10000"),
    large("1k", 1 << 10, 1000),
    large("16k", 16 << 10, 64),
    large("64k", 64 << 10, 20),
    large("256k", 256 << 10, 8),
    large("1m", (1 << 20) - 1024, 4),
    Row("connect", "Connects, 1,000 a second (CPU a connect)",
        "-n 3000 --rate 1000 --hold 0.2 --settle 0.2", 0.8, is_connect_row=True),
    Row("half-qos0", "10 pairs, QoS 0, half rate", f"{TEN} -q 0", half_rate_of="ten-qos0", publishers=10),
    Row("half-qos1", "10 pairs, QoS 1, half rate", f"{TEN} -q 1", half_rate_of="ten-qos1", publishers=10),
    Row("steady-1000", "1 to 1, QoS 0, 1,000 a second", f"{ONE} -q 0", rate=1000.0, with_reference=True),
    Row("steady-beside", "the same beside 95 MiB a second in messages of 1 MiB", f"{ONE} -q 0", rate=1000.0,
        beside=f"{ONE} -q 0 --size {(1 << 20) - 1024} --rate 95", with_reference=True),
]

BY_NAME = {row.name: row for row in ROWS}

# What `--quick` measures in about five minutes.
QUICK = ["one-qos0", "one-qos1", "ten-qos0", "ten-qos1", "ten-qos2", "fan-out", "hundred-one", "ten-qos0-v5",
         "plus-qos0", "shared-qos0", "one-qos0-64k", "connect", "steady-1000"]

# Rows whose CPU a delivery is compared with another row's of the same broker.
RATIOS = [
    ("qos2_to_qos1", "ten-qos2", "ten-qos1", 2.0),
    ("v5_to_v311_qos0", "ten-qos0-v5", "ten-qos0", 1.1),
    ("v5_to_v311_qos1", "ten-qos1-v5", "ten-qos1", 1.1),
    # The group's filter has a +, so the plain ones it is compared with have one, too.
    ("shared_to_plain", "shared-qos0", "plus-qos0", 1.2),
    ("churn_to_calm", "churn-qos0", "ten-qos0", 1.3),
]
