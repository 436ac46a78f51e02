import { useEffect, useRef, useState } from "preact/hooks";
import { read, useAsked } from "../api";
import { Chart } from "../chart";
import { bytes, count, duration, rate } from "../format";
import { figuresOf, History, SPAN_S, type Figures, type MonitorRow, type Overview as Told } from "../history";
import { href } from "../route";
import { Badge, Page, Panel, Trouble } from "../ui";

/** Milliseconds between two questions. */
const EVERY_MS = 2000;

export function Overview() {
  const asked = useAsked<Told>("/overview", {}, EVERY_MS);
  const history = useRef(new History());
  const [figures, setFigures] = useState<Figures>();
  const [past, setPast] = useState(false);
  useEffect(() => {
    read<MonitorRow[]>("/monitor", { latest: SPAN_S })
      .then((rows) => history.current.begin(rows))
      .catch(() => undefined)
      .finally(() => setPast(true));
  }, []);
  useEffect(() => {
    if (!asked.data || !past) return;
    setFigures(history.current.add(asked.data));
  }, [asked.data, past]);
  const now = asked.data;
  if (!now) return <Page title="Overview"><Trouble error={asked.error} path="/api/v5/overview" /></Page>;
  const shown = figures ?? figuresOf(undefined, now);
  return (
    <Page title="Overview" note={<>{now.node}, version {now.version}, up {duration(now.uptime_ms)}</>}>
      <Trouble error={asked.error} />
      {now.alarms > 0 && (
        <p class="trouble"><a href={href("alarms")}>{now.alarms === 1 ? "One alarm is active" : `${now.alarms} alarms are active`}</a></p>
      )}
      <Tiles now={now} shown={shown} />
      <Charts history={history.current} at={now.at_ms + (past ? 0 : 1)} cores={now.cores.length} />
      <div class="two">
        <Cores now={now} shown={shown} />
        <Memory now={now} />
      </div>
      <Drops now={now} shown={shown} />
    </Page>
  );
}

function Tile({ name, value, more, to }: { name: string; value: string; more: string; to: string }) {
  return (
    <a class="tile" href={to}>
      <span class="tile-name">{name}</span>
      <span class="tile-value">{value}</span>
      <span class="tile-more">{more}</span>
    </a>
  );
}

function Tiles({ now, shown }: { now: Told; shown: Figures }) {
  const c = now.counts;
  return (
    <div class="tiles">
      <Tile name="Connected clients" value={count(c.live_connections)} more={`${count(c.sessions)} sessions`} to={href("clients")} />
      <Tile name="Messages in" value={`${rate(shown.received)}/s`} more={`${bytes(shown.bytesIn)}/s`} to={href("metrics")} />
      <Tile name="Messages out" value={`${rate(shown.sent)}/s`} more={`${bytes(shown.bytesOut)}/s`} to={href("metrics")} />
      <Tile name="Dropped" value={`${rate(shown.dropped)}/s`} more={`${count(now.totals.dropped)} since the start`} to={href("metrics")} />
      <Tile name="Subscriptions" value={count(c.subscriptions)} more={`${count(c.topics)} topics, ${count(c.shared_subscriptions)} shared`} to={href("subscriptions")} />
      <Tile name="Retained messages" value={count(c.retained)} more={`${count(c.delayed)} delayed`} to={href("retained")} />
    </div>
  );
}

function Charts({ history, at, cores }: { history: History; at: number; cores: number }) {
  const percent = (value: number) => `${value.toFixed(0)} %`;
  return (
    <div class="charts">
      <Panel title="Connections">
        <Chart names={history.connections.names} data={history.connections.data()} version={at} write={count} top={5} filled />
      </Panel>
      <Panel title="Messages a second">
        <Chart names={history.messages.names} data={history.messages.data()} version={at} write={rate} top={5} filled />
      </Panel>
      <Panel title="Dropped a second">
        <Chart names={history.drops.names} data={history.drops.data()} version={at} write={rate} top={5} />
      </Panel>
      <Panel title={cores > 8 ? "Processor time of the cores" : "Processor time of each core"}>
        <Chart names={history.cpu.names} data={history.cpu.data()} version={at} write={percent} top={100} />
      </Panel>
    </div>
  );
}

function Meter({ percent, label }: { percent: number | null; label: string }) {
  const width = percent === null ? 0 : Math.max(percent, 0.5);
  return (
    <span class="meter" role="img" aria-label={label}>
      <span class={width > 85 ? "meter-fill hot" : "meter-fill"} style={{ width: `${width}%` }} />
    </span>
  );
}

function Cores({ now, shown }: { now: Told; shown: Figures }) {
  const percent = (value: number | null) => (value === null ? "-" : `${value.toFixed(0)} %`);
  const machine = now.machine;
  return (
    <Panel title="Cores" actions={<span class="note">load {machine.load.map((load) => load.toFixed(2)).join(", ")}</span>}>
      <table class="bars">
        <thead><tr><th>Core</th><th class="grow">Processor time</th><th class="number">Clients</th><th class="number">In/s</th><th class="number">Out/s</th></tr></thead>
        <tbody>
          {now.cores.map((core, at) => {
            const figures = shown.cores[at];
            const busy = figures?.cpu ?? null;
            return (
              <tr key={core.core}>
                <td>{core.core}</td>
                <td><span class="meter-row"><Meter percent={busy} label={`core ${core.core}: ${percent(busy)}`} /><span class="meter-value">{percent(busy)}</span></span></td>
                <td class="number">{count(core.live_connections)}</td>
                <td class="number">{rate(figures?.received)}</td>
                <td class="number">{rate(figures?.sent)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      <p class="note">Other threads: {now.threads.length === 0 ? "none" : now.threads.map((thread, at) =>
        <span key={thread.name}>{at > 0 && ", "}{thread.name} {percent(shown.threads[at] ?? null)}</span>)}</p>
    </Panel>
  );
}

function Memory({ now }: { now: Told }) {
  const tables = [...now.memory.tables].sort((a, b) => b.bytes - a.bytes);
  const named = tables.reduce((sum, table) => sum + table.bytes, 0);
  const rest = Math.max(0, now.memory.process - named);
  const whole = Math.max(named + rest, 1);
  const share = (value: number) => (value * 100) / whole;
  return (
    <Panel title="Memory" actions={<span class="note">process {bytes(now.memory.process)}; machine {bytes(now.machine.memory_used)} of {bytes(now.machine.memory_total)}</span>}>
      <table class="bars">
        <thead><tr><th>Table</th><th class="grow">Size</th><th class="number">Bytes</th><th class="number">Entries</th></tr></thead>
        <tbody>
          {tables.map((table) => (
            <tr key={table.name}>
              <td class="nowrap">{table.name}</td>
              <td><Meter percent={share(table.bytes)} label={`${table.name}: ${bytes(table.bytes)}`} /></td>
              <td class="number">{bytes(table.bytes)}</td>
              <td class="number">{table.entries === 0 ? "" : count(table.entries)}</td>
            </tr>
          ))}
          <tr>
            <td class="nowrap">rest of the process</td>
            <td><Meter percent={share(rest)} label={`rest: ${bytes(rest)}`} /></td>
            <td class="number">{bytes(rest)}</td>
            <td class="number" />
          </tr>
        </tbody>
      </table>
      <p class="note">Capacity of each table over all cores. Capacity that was never touched takes no memory of the machine.</p>
    </Panel>
  );
}

function Drops({ now, shown }: { now: Told; shown: Figures }) {
  const rows = Object.entries(now.dropped).filter(([, total]) => total > 0).sort((a, b) => b[1] - a[1]);
  return (
    <Panel title="Dropped messages by reason" actions={rows.length === 0 ? <Badge tone="good">none since the start</Badge> : undefined}>
      {rows.length === 0 ? <p class="note">Nothing was dropped. Messages that nobody has subscribed to count as well.</p> : (
        <table class="bars">
          <thead><tr><th class="grow">Reason</th><th class="number">Since the start</th><th class="number">A second</th></tr></thead>
          <tbody>
            {rows.map(([reason, total]) => (
              <tr key={reason}>
                <td><code>{reason}</code></td>
                <td class="number">{count(total)}</td>
                <td class="number">{rate(shown.reasons[reason])}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}
