// The HTTP API, and who is logged in.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

const BASE = "/api/v5";
const KEPT_AS = "millrace.login";

/** Who is logged in. The login is kept for this tab only. */
export interface Login {
  username: string;
  token: string;
  role: string;
}

/** An answer that is an error. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** A page of a list. */
export interface Listed<T> {
  data: T[];
  meta: { page?: number; limit?: number; count?: number; hasnext: boolean; cursor?: string };
}

let login: Login | null = kept();
/** Why the login has ended, for the page that asks for a new one. */
export let endedBecause = "";
const watchers = new Set<() => void>();

function kept(): Login | null {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT_AS) ?? "null") as Login | null;
  } catch {
    return null;
  }
}

function setLogin(next: Login | null, why = ""): void {
  login = next;
  endedBecause = why;
  if (next) sessionStorage.setItem(KEPT_AS, JSON.stringify(next));
  else sessionStorage.removeItem(KEPT_AS);
  watchers.forEach((watcher) => watcher());
}

/** The present login. */
export function useLogin(): Login | null {
  const [now, setNow] = useState(login);
  useEffect(() => {
    const changed = () => setNow(login);
    watchers.add(changed);
    return () => void watchers.delete(changed);
  }, []);
  return now;
}

/** Whether the present user may change things. */
export function mayChange(): boolean {
  return login?.role === "administrator";
}

/** What goes into a query; empty values are left out. */
export type Query = Record<string, string | number | boolean | undefined | null>;

function search(query: Query): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : "";
}

/** A path of which `{}` stands for the arguments, percent-encoded. */
export function path(pattern: string, ...parts: string[]): string {
  let at = 0;
  return pattern.replace(/\{\}/g, () => encodeURIComponent(parts[at++] ?? ""));
}

/** The answer as it comes. Credentials of the browser are left out, so that it never asks for them. */
async function fetched(method: string, where: string, query: Query, body: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  const asking = login;
  if (asking) headers.authorization = `Bearer ${asking.token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(BASE + where + search(query), {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
      signal: signal ?? null,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "UNREACHABLE", "the broker does not answer");
  }
  if (response.ok) return response;
  const told = (await response.json().catch(() => ({}))) as { code?: string; message?: string };
  // A late answer to somebody who has logged out says nothing of who has logged in since.
  if (response.status === 401 && login && login === asking && where !== "/login") setLogin(null, "Your login has ended.");
  throw new ApiError(response.status, told.code ?? "", told.message ?? `status ${response.status}`);
}

/** Asks; an answer without a body is `undefined`. */
export async function ask<T>(method: string, where: string, options: { query?: Query; body?: unknown; signal?: AbortSignal } = {}): Promise<T> {
  const response = await fetched(method, where, options.query ?? {}, options.body, options.signal);
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

export const read = <T,>(where: string, query: Query = {}, signal?: AbortSignal): Promise<T> =>
  ask<T>("GET", where, signal ? { query, signal } : { query });

/** Fetches a file and gives it to the reader to keep. */
export async function download(where: string, query: Query, name: string): Promise<void> {
  const blob = await (await fetched("GET", where, query, undefined)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Logs in. */
export async function logIn(username: string, password: string): Promise<void> {
  const given = await ask<{ token: string; role: string }>("POST", "/login", { body: { username, password } });
  setLogin({ username, token: given.token, role: given.role });
}

/** Logs out here and at the broker. */
export async function logOut(): Promise<void> {
  await ask("POST", "/logout").catch(() => undefined);
  setLogin(null);
}

/** The login is void at the broker; the page that asks for a new one says why. */
export function loginEnded(why: string): void {
  setLogin(null, why);
}

/** What became of a question. */
export interface Asked<T> {
  data: T | undefined;
  error: ApiError | undefined;
  loading: boolean;
  /** Asks again. */
  reload: () => void;
}

/**
 * Asks when the page is opened and whenever `where` or `query` change; with `every_ms` again and again,
 * each time so long after the answer, but never while the tab is hidden. No path asks nothing.
 */
export function useAsked<T>(where: string | undefined, query: Query = {}, every_ms?: number): Asked<T> {
  const [state, setState] = useState<{ data?: T; error?: ApiError; loading: boolean; of?: string }>({ loading: true });
  const [turn, setTurn] = useState(0);
  const key = where === undefined ? undefined : where + search(query);
  const shownKey = useRef(key);
  useEffect(() => {
    if (key === undefined) return;
    const stop = new AbortController();
    let timer: number | undefined;
    const run = async () => {
      timer = undefined;
      try {
        const data = await read<T>(key, {}, stop.signal);
        if (!stop.signal.aborted) setState({ data, loading: false, of: key });
      } catch (error) {
        if (stop.signal.aborted) return;
        const known = error instanceof ApiError ? error : new ApiError(0, "", String(error));
        setState((before) => ({ ...(before.of === key && known.status !== 404 ? before : {}), error: known, loading: false, of: key }));
      }
      if (every_ms !== undefined && !stop.signal.aborted && !document.hidden) timer = window.setTimeout(run, every_ms);
    };
    const seen = () => {
      if (every_ms === undefined) return;
      if (document.hidden) {
        clearTimeout(timer);
        timer = undefined;
      } else if (timer === undefined) void run();
    };
    if (shownKey.current !== key) setState((before) => ({ ...before, loading: true }));
    shownKey.current = key;
    if (!document.hidden || every_ms === undefined) void run();
    document.addEventListener("visibilitychange", seen);
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [key, every_ms, turn]);
  const reload = useCallback(() => setTurn((now) => now + 1), []);
  return { data: state.data, error: state.error, loading: state.loading, reload };
}
