import { expect, it } from "vitest";
import { figuresOf, History, type Overview } from "./history";

function told(at_ms: number, by: number, cores = 2): Overview {
  return {
    node: "n", version: "0", uptime_ms: at_ms, at_ms,
    counts: { live_connections: by, sessions: by, subscriptions: 0, shared_subscriptions: 0, topics: 0, retained: 0, delayed: 0 },
    totals: { received: by, sent: 2 * by, dropped: by, received_bytes: 10 * by, sent_bytes: 0 },
    dropped: { "messages.dropped.no_subscribers": by, "delivery.dropped.queue_full": 3 * by, "messages.dropped.delayed_full": 0 },
    cores: Array.from({ length: cores }, (_, core) => ({ core, cpu_ms: by * core, live_connections: 1, received: by, sent: by })),
    threads: [{ name: "control", cpu_ms: by }],
    memory: { process: 1, tables: [] },
    machine: { memory_total: 1, memory_used: 1, load: [0, 0, 0] },
    alarms: 0,
  };
}

it("makes rates of two answers", () => {
  const figures = figuresOf(told(1000, 100), told(3000, 300));
  expect([figures.received, figures.sent, figures.bytesIn]).toEqual([100, 200, 1000]);
  expect(figures.cores.map((core) => core.cpu)).toEqual([0, 10]);
  expect(figures.threads).toEqual([10]);
  expect(figures.reasons["delivery.dropped.queue_full"]).toBe(300);
  expect(figuresOf(undefined, told(1, 1)).received).toBeNull();
});

it("fills the charts with what was before and what comes", () => {
  const history = new History();
  history.begin([{ time_stamp: 0, received: 50, sent: 10, dropped: 0, live_connections: 5, connections: 6 }]);
  history.add(told(1000, 100));
  history.add(told(3000, 300));
  expect(history.messages.data()).toEqual([[0, 3], [5, 100], [1, 200]]);
  expect(history.drops.data()[1]).toEqual([null, 100]);
  expect(history.drops.data()[3]).toEqual([null, 300]);
  expect(history.cpu.names).toEqual(["core 0", "core 1"]);
});

it("shows many cores by three lines", () => {
  const history = new History();
  history.add(told(1000, 0, 12));
  history.add(told(2000, 10, 12));
  expect(history.cpu.names).toEqual(["busiest", "mean", "least busy"]);
  expect(history.cpu.data()[1]).toEqual([null, 11]);
});
