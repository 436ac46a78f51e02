// Where the reader is: the part of the address after `#`. Parsing is pure; tested in route.test.ts.

import { useEffect, useState } from "preact/hooks";

/** A page, what it is about, and the query. */
export interface Route {
  page: string;
  /** Such as a client id; decoded. */
  about: string | undefined;
  query: URLSearchParams;
}

/** `#/clients/a%2Fb?x=1` -> page `clients`, about `a/b`. */
export function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split(/\?(.*)/s);
  const [page = "", ...rest] = path.split("/");
  const raw = rest.join("/");
  let about: string | undefined;
  try {
    about = raw === "" ? undefined : decodeURIComponent(raw);
  } catch {
    about = raw;
  }
  return { page: page || "overview", about, query: new URLSearchParams(query) };
}

/** The other way round. */
export function href(page: string, about?: string, query: Record<string, string | undefined> = {}): string {
  const given = Object.entries(query).filter((pair): pair is [string, string] => !!pair[1]);
  const search = new URLSearchParams(given).toString();
  const path = about === undefined ? page : `${page}/${encodeURIComponent(about)}`;
  return `#/${path}${search ? `?${search}` : ""}`;
}

/** Goes there. */
export function go(page: string, about?: string, query: Record<string, string | undefined> = {}): void {
  location.hash = href(page, about, query);
}

/** The present route. */
export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return parse(hash);
}
