import { expect, it } from "vitest";
import { cpuPercent, perSecond, Series, spread } from "./series";

it("keeps a window of rows in order", () => {
  const series = new Series(["a", "b"], 10);
  for (const at of [1, 2, 2, 8, 12]) series.push(at, [at, null]);
  expect(series.data()).toEqual([[2, 8, 12], [2, 8, 12], [null, null, null]]);
  expect(series.length).toBe(3);
});

it("has at most so many rows", () => {
  const series = new Series(["a"], 1000, 3);
  for (let at = 0; at < 9; at += 1) series.push(at, [at]);
  expect(series.data()[0]).toEqual([6, 7, 8]);
});

it("makes rates of counters and nothing of a restart", () => {
  expect(perSecond(100, 300, 2000)).toBe(100);
  expect(perSecond(300, 100, 2000)).toBeNull();
  expect(perSecond(undefined, 100, 2000)).toBeNull();
  expect(perSecond(1, 2, 0)).toBeNull();
});

it("tells how busy a processor is", () => {
  expect(cpuPercent(1000, 2000, 2000)).toBe(50);
  expect(cpuPercent(1000, 4000, 2000)).toBe(100);
  expect(spread([null, 10, 30])).toEqual([30, 20, 10]);
  expect(spread([null])).toEqual([null, null, null]);
});
