// Figures over time for the charts: a window of rows, and rates out of counters. Pure; tested in
// series.test.ts.

/** Rows of one time and as many values as there are names; old rows go. */
export class Series {
  readonly names: readonly string[];
  private times: number[] = [];
  private columns: (number | null)[][];

  /** `span_s`: seconds that are kept; `rows_max`: rows that are kept at most. */
  constructor(names: readonly string[], private span_s: number, private rows_max = 2000) {
    this.names = names;
    this.columns = names.map(() => []);
  }

  /** Adds a row; one that is not later than the last is passed over. */
  push(at_s: number, values: readonly (number | null)[]): void {
    const last = this.times.at(-1);
    if (last !== undefined && at_s <= last) return;
    this.times.push(at_s);
    this.columns.forEach((column, at) => column.push(values[at] ?? null));
    let gone = 0;
    while ((this.times[gone] ?? at_s) < at_s - this.span_s || this.times.length - gone > this.rows_max) gone += 1;
    if (gone > 0) {
      this.times.splice(0, gone);
      this.columns.forEach((column) => column.splice(0, gone));
    }
  }

  /** Times first, then the columns, as uPlot wants them. */
  data(): [number[], ...(number | null)[][]] {
    return [this.times, ...this.columns];
  }

  get length(): number {
    return this.times.length;
  }
}

/** How fast a counter goes; nothing if it has gone back, which a restart makes it do. */
export function perSecond(before: number | undefined, now: number | undefined, elapsed_ms: number): number | null {
  if (before === undefined || now === undefined || elapsed_ms <= 0 || now < before) return null;
  return ((now - before) * 1000) / elapsed_ms;
}

/** Share of one processor in percent, between 0 and 100. */
export function cpuPercent(before_ms: number | undefined, now_ms: number | undefined, elapsed_ms: number): number | null {
  const share = perSecond(before_ms, now_ms, elapsed_ms);
  return share === null ? null : Math.min(100, share / 10);
}

/** Greatest, mean and least of what is known. */
export function spread(values: readonly (number | null)[]): [number | null, number | null, number | null] {
  const known = values.filter((value): value is number => value !== null);
  if (known.length === 0) return [null, null, null];
  const sum = known.reduce((all, value) => all + value, 0);
  return [Math.max(...known), sum / known.length, Math.min(...known)];
}
