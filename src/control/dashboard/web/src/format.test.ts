import { describe, expect, it } from "vitest";
import { ago, bytes, count, duration, expiry, limit, moment, rate, setting, toLocalInput, toRfc3339 } from "./format";

describe("numbers", () => {
  it("groups thousands and says when nothing is known", () => {
    expect(count(1234567)).toBe("1,234,567");
    expect(count(null)).toBe("-");
  });
  it("shortens rates", () => {
    expect([0, 0.25, 9.96, 42.4, 9999, 12345, 234567, 1234567, 234567890].map(rate)).toEqual([
      "0", "0.3", "10.0", "42", "9,999", "12.3 k", "235 k", "1.2 M", "235 M",
    ]);
  });
  it("writes sizes in binary units", () => {
    expect([0, 1023, 1536, 150 * 1024, 5 * 1024 ** 3].map(bytes)).toEqual([
      "0 B", "1023 B", "1.5 KiB", "150 KiB", "5.0 GiB",
    ]);
  });
  it("tells limits and expiry", () => {
    expect([limit("infinity"), limit(0), limit(1000)]).toEqual(["no limit", "no limit", "1,000"]);
    expect([expiry(0), expiry(4294967295), expiry(90)]).toEqual(["ends with the connection", "never", "1 min 30 s"]);
  });
});

describe("times", () => {
  it("gives the two greatest units", () => {
    expect([5, 1000, 61000, 3600000, 90061000, 86405000].map(duration)).toEqual([
      "5 ms", "1 s", "1 min 1 s", "1 h", "1 d 1 h", "1 d",
    ]);
  });
  it("reads what the broker writes", () => {
    const local = new Date("2026-11-25T13:04:05Z");
    expect(moment("2026-11-25T13:04:05Z")).toContain(String(local.getFullYear()));
    expect(moment("infinity")).toBe("never");
    expect(moment("nonsense")).toBe("nonsense");
    expect(ago("2026-11-25T13:04:05Z", local.getTime() + 65000)).toBe("1 min 5 s ago");
  });
  it("goes through an input field and back", () => {
    const ms = Date.UTC(2026, 10, 25, 13, 4);
    expect(toRfc3339(toLocalInput(ms))).toBe("2026-11-25T13:04:00Z");
  });
});

describe("settings", () => {
  it("are written as in the file", () => {
    expect([setting(null), setting([1, "a"]), setting([]), setting(false), setting({ a: 1 })]).toEqual([
      "-", "1, a", "[]", "false", '{"a":1}',
    ]);
  });
});
