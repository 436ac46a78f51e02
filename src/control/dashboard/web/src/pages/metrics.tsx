import { useState } from "preact/hooks";
import { useAsked } from "../api";
import { count } from "../format";
import { Field, Page, Panel, Reload, Trouble } from "../ui";

type Named = Record<string, number>;

const GROUPS: [string, (name: string) => boolean][] = [
  ["Messages", (name) => /^(messages|delivery|api|retained|delayed|rewrite|will)\./.test(name)],
  ["Packets and bytes", (name) => /^(packets|bytes)\./.test(name)],
  ["Clients and sessions", (name) => /^(client|session|auto_subscribe|exclusive|banned|overload_protection)\b/.test(name)],
  ["Access", (name) => /^(authentication|authorization)\./.test(name)],
  ["Why connections ended", (name) => /^shutdown_count\./.test(name)],
  ["Accepting and TLS", (name) => /^(accept|tls|proxy_protocol|handover)\./.test(name)],
  ["The machinery", () => true],
];

/** Names by group; each in the first group that takes it. */
function grouped(names: string[]): [string, string[]][] {
  const groups = GROUPS.map(([group]): [string, string[]] => [group, []]);
  for (const name of names) {
    const at = GROUPS.findIndex(([, takes]) => takes(name));
    groups[at]?.[1].push(name);
  }
  return groups.filter(([, inside]) => inside.length > 0);
}

export function Metrics() {
  const counters = useAsked<Named>("/metrics", { aggregate: true }, 5000);
  const gauges = useAsked<Named>("/stats", { aggregate: true }, 5000);
  const [wanted, setWanted] = useState("");
  const [zeros, setZeros] = useState(false);
  const all = counters.data ?? {};
  const fits = (name: string, value: number) => name.includes(wanted.trim().toLowerCase()) && (zeros || value !== 0);
  const names = Object.keys(all).filter((name) => fits(name, all[name] ?? 0)).sort();
  const stats = Object.keys(gauges.data ?? {}).filter((name) => name.endsWith(".count") && name.includes(wanted.trim().toLowerCase())).sort();
  return (
    <Page title="Metrics" note="Counters since the start, all cores together" actions={<Reload of={counters} />}>
      <div class="filters">
        <Field label="Name"><input type="search" placeholder="part of it" value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} spellcheck={false} /></Field>
        <label class="check"><input type="checkbox" checked={zeros} onChange={(event) => setZeros(event.currentTarget.checked)} />Those that are 0 as well</label>
      </div>
      <Trouble error={counters.error ?? gauges.error} />
      <div class="metric-groups">
        {stats.length > 0 && (
          <Panel title="Now, and at most so far">
            <table class="bars">
              <tbody>
                {stats.map((name) => (
                  <tr key={name}>
                    <td class="grow"><code>{name}</code></td>
                    <td class="number">{count(gauges.data?.[name])}</td>
                    <td class="number faint">{count(gauges.data?.[name.replace(/count$/, "max")])}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Panel>
        )}
        {grouped(names).map(([group, inside]) => (
          <Panel title={group} key={group}>
            <table class="bars">
              <tbody>
                {inside.map((name) => <tr key={name}><td class="grow"><code>{name}</code></td><td class="number">{count(all[name])}</td></tr>)}
              </tbody>
            </table>
          </Panel>
        ))}
      </div>
      {counters.data && names.length === 0 && stats.length === 0 && <Panel><div class="empty">No figure fits.</div></Panel>}
    </Page>
  );
}
