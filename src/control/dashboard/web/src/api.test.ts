import { beforeEach, expect, it, vi } from "vitest";
import { endedBecause, logIn, logOut, mayChange, read } from "./api";

const json = (status: number, body: unknown) => new Response(JSON.stringify(body), { status });

/** Ends the questions that wait. */
let refuse: () => void;

beforeEach(() => {
  vi.stubGlobal("sessionStorage", { setItem: () => undefined, removeItem: () => undefined, getItem: () => null });
  vi.stubGlobal("fetch", async (url: string) => {
    if (url.endsWith("/login")) return json(200, { token: "t", role: "administrator" });
    if (url.endsWith("/logout")) return new Response(null, { status: 204 });
    await new Promise<void>((done) => (refuse = done));
    return json(401, { code: "UNAUTHORIZED", message: "no" });
  });
});

it("ends a login that the broker no longer knows", async () => {
  await logIn("a", "p");
  const asked = read("/nodes");
  refuse();
  await expect(asked).rejects.toThrow("no");
  expect(mayChange()).toBe(false);
  expect(endedBecause).not.toBe("");
});

it("keeps a login when an answer comes that an earlier one waited for", async () => {
  await logIn("a", "p");
  const asked = read("/nodes");
  await logOut();
  await logIn("b", "p");
  refuse();
  await expect(asked).rejects.toThrow("no");
  expect(mayChange()).toBe(true);
});
