import { expect, it } from "vitest";
import { typed, withValue } from "./settings";

it("keeps the type of a setting", () => {
  expect([typed("true", false), typed("12", 3), typed("infinity", 3), typed(" 5s ", "1s")]).toEqual([true, 12, "infinity", "5s"]);
  expect([typed('["a","b"]', []), typed("a, b", ["x"]), typed("", ["x"])]).toEqual([["a", "b"], ["a", "b"], []]);
});

it("changes one value and leaves the others", () => {
  const section = { a: 1, b: { c: 2, d: 3 } };
  expect(withValue(section, ["b", "c"], 9)).toEqual({ a: 1, b: { c: 9, d: 3 } });
  expect(section.b.c).toBe(2);
  expect(withValue({}, ["x", "y"], 1)).toEqual({ x: { y: 1 } });
});
