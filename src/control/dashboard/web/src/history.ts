// What the overview keeps of the answers it had: rates out of counters, and windows for the charts.
// Pure; tested in history.test.ts.

import { cpuPercent, perSecond, Series, spread } from "./series";

/** Seconds that the charts show. */
export const SPAN_S = 600;
/** Cores that have lines of their own; of more cores the busiest, the mean and the least busy are shown. */
const LINES_MAX = 8;

/** The answer of `/overview`: counters since the start, and what there is now. */
export interface Overview {
  node: string;
  version: string;
  uptime_ms: number;
  at_ms: number;
  counts: {
    live_connections: number;
    sessions: number;
    subscriptions: number;
    shared_subscriptions: number;
    topics: number;
    retained: number;
    delayed: number;
  };
  totals: { received: number; sent: number; dropped: number; received_bytes: number; sent_bytes: number };
  dropped: Record<string, number>;
  cores: { core: number; cpu_ms: number; live_connections: number; received: number; sent: number }[];
  threads: { name: string; cpu_ms: number }[];
  memory: { process: number; tables: { name: string; entries: number; bytes: number }[] };
  machine: { memory_total: number; memory_used: number; load: number[] };
  alarms: number;
}

/** A row of `/monitor`: what was counted in ten seconds. */
export interface MonitorRow {
  time_stamp: number;
  received: number;
  sent: number;
  dropped: number;
  live_connections: number;
  connections: number;
}
const MONITOR_EVERY_S = 10;

/** Rates between two answers; nothing where one is not known. */
export interface Figures {
  received: number | null;
  sent: number | null;
  dropped: number | null;
  bytesIn: number | null;
  bytesOut: number | null;
  reasons: Record<string, number | null>;
  cores: { cpu: number | null; received: number | null; sent: number | null }[];
  threads: (number | null)[];
}

/** Rates between two answers. */
export function figuresOf(before: Overview | undefined, now: Overview): Figures {
  const elapsed = before ? now.at_ms - before.at_ms : 0;
  const of = (a: number | undefined, b: number) => perSecond(a, b, elapsed);
  const was = before?.totals;
  const is = now.totals;
  return {
    received: of(was?.received, is.received),
    sent: of(was?.sent, is.sent),
    dropped: of(was?.dropped, is.dropped),
    bytesIn: of(was?.received_bytes, is.received_bytes),
    bytesOut: of(was?.sent_bytes, is.sent_bytes),
    reasons: Object.fromEntries(Object.entries(now.dropped).map(([reason, total]) => [reason, of(before && (before.dropped[reason] ?? 0), total)])),
    cores: now.cores.map((core, at) => {
      const old = before?.cores[at];
      return {
        cpu: cpuPercent(old?.cpu_ms, core.cpu_ms, elapsed),
        received: of(old?.received, core.received),
        sent: of(old?.sent, core.sent),
      };
    }),
    threads: now.threads.map((thread) =>
      cpuPercent(before?.threads.find((old) => old.name === thread.name)?.cpu_ms, thread.cpu_ms, elapsed)),
  };
}

const NOBODY = "messages.dropped.no_subscribers";

/** Windows of what the charts show. */
export class History {
  readonly connections = new Series(["connected", "sessions"], SPAN_S);
  readonly messages = new Series(["in", "out"], SPAN_S);
  readonly drops = new Series(["nobody subscribed", "other messages", "deliveries"], SPAN_S);
  cpu = new Series([], SPAN_S);
  private before: Overview | undefined;

  /** What was before the page was opened. */
  begin(rows: readonly MonitorRow[]): void {
    for (const row of rows) {
      const at = row.time_stamp / 1000;
      this.connections.push(at, [row.live_connections, row.connections]);
      this.messages.push(at, [row.received / MONITOR_EVERY_S, row.sent / MONITOR_EVERY_S]);
      this.drops.push(at, [null, null, null]);
    }
  }

  /** Takes an answer; returns the rates since the one before. */
  add(now: Overview): Figures {
    const figures = figuresOf(this.before, now);
    this.before = now;
    const at = now.at_ms / 1000;
    this.connections.push(at, [now.counts.live_connections, now.counts.sessions]);
    // The first answer gives no rates, and a gap would cut the line.
    if (figures.received !== null) {
      this.messages.push(at, [figures.received, figures.sent]);
      this.drops.push(at, dropsOf(figures));
    }
    const each = now.cores.length <= LINES_MAX;
    const names = each ? now.cores.map((core) => `core ${core.core}`) : ["busiest", "mean", "least busy"];
    if (this.cpu.names.join() !== names.join()) this.cpu = new Series(names, SPAN_S);
    const busy = figures.cores.map((core) => core.cpu);
    this.cpu.push(at, each ? busy : spread(busy));
    return figures;
  }
}

function dropsOf(figures: Figures): (number | null)[] {
  let [messages, deliveries] = [0, 0];
  for (const [reason, rate] of Object.entries(figures.reasons)) {
    if (reason.startsWith("delivery.")) deliveries += rate ?? 0;
    else if (reason !== NOBODY) messages += rate ?? 0;
  }
  return [figures.reasons[NOBODY] ?? 0, messages, deliveries];
}
