// How numbers, sizes and times are written. Pure; tested in format.test.ts.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** 12345 -> "12,345". */
export function count(value: number | null | undefined): string {
  return value == null ? "-" : whole.format(value);
}

/** A rate: one decimal below ten, "1.2 k" and "3.4 M" above ten thousand. */
export function rate(value: number | null | undefined): string {
  if (value == null) return "-";
  if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e8 ? 0 : 1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(value >= 1e5 ? 0 : 1)} k`;
  if (value >= 10 || Number.isInteger(value)) return whole.format(value);
  return value.toFixed(1);
}

/** 1536 -> "1.5 KiB". */
export function bytes(value: number | null | undefined): string {
  if (value == null) return "-";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let left = value;
  while (left >= 1024 && at < units.length - 1) {
    left /= 1024;
    at += 1;
  }
  return `${at === 0 || left >= 100 ? left.toFixed(0) : left.toFixed(1)} ${units[at]}`;
}

/** Milliseconds as the two greatest units: "3 d 4 h", "12 s". */
export function duration(ms: number | null | undefined): string {
  if (ms == null) return "-";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  let left = Math.floor(ms / 1000);
  const parts: string[] = [];
  for (const [unit, seconds] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]] as const) {
    const n = Math.floor(left / seconds);
    if (n > 0) parts.push(`${n} ${unit}`);
    else if (parts.length > 0) break;
    left -= n * seconds;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

const two = (n: number): string => String(n).padStart(2, "0");

/** A moment of the broker (RFC 3339 or milliseconds) in local time: "2026-11-25 13:04:05". */
export function moment(at: string | number | null | undefined): string {
  if (at == null || at === "" || at === "infinity") return at === "infinity" ? "never" : "-";
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${clock(date.getTime())}`;
}

/** Milliseconds as the time of day: "13:04:05". */
export function clock(ms: number): string {
  const date = new Date(ms);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** How long ago something was: "5 min 3 s ago". */
export function ago(at: string | number | null | undefined, now: number = Date.now()): string {
  if (at == null) return "-";
  const ms = now - new Date(at).getTime();
  if (Number.isNaN(ms)) return String(at);
  return ms < 1000 ? "just now" : `${duration(ms)} ago`;
}

/** Seconds of an expiry interval of MQTT. */
export function expiry(seconds: number): string {
  if (seconds === 0) return "ends with the connection";
  return seconds >= 4294967295 ? "never" : duration(seconds * 1000);
}

/** A limit, which may be "infinity" or 0 for none. */
export function limit(value: number | string | null | undefined): string {
  if (value === "infinity" || value === 0) return "no limit";
  return typeof value === "number" ? count(value) : value == null ? "-" : value;
}

/** The value of a setting as it stands in the file. */
export function setting(value: unknown): string {
  if (value === null || value === undefined || value === "") return "-";
  if (Array.isArray(value)) return value.length === 0 ? "[]" : value.map(setting).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** A local date and time of an input field ("2026-11-25T13:04") as RFC 3339 in UTC. */
export function toRfc3339(local: string): string {
  return new Date(local).toISOString().replace(/\.\d{3}Z$/, "Z");
}

/** Milliseconds as the local date and time of an input field. */
export function toLocalInput(ms: number): string {
  const date = new Date(ms);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}`;
}
