import { expect, it } from "vitest";
import { href, parse } from "./route";

it("reads what it writes", () => {
  for (const about of ["plain", "a/b?c#d", "\u6c34 %", "+"]) {
    const route = parse(href("clients", about, { q: "x&y", none: undefined }));
    expect([route.page, route.about, route.query.get("q")]).toEqual(["clients", about, "x&y"]);
    expect(route.query.has("none")).toBe(false);
  }
});

it("knows where it begins and bears what is broken", () => {
  expect(parse("").page).toBe("overview");
  expect(parse("#/bans").about).toBeUndefined();
  expect(parse("#/clients/%zz").about).toBe("%zz");
});
