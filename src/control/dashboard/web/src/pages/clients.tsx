import { useState } from "preact/hooks";
import { ask, mayChange, path, useAsked } from "../api";
import { ago, count, moment } from "../format";
import { go, href } from "../route";
import { attempt, Badge, confirmed, Field, Filters, IconButton, Id, Page, Pager, Panel, Reload, Select, Table, Trouble, type Column } from "../ui";

export interface Client {
  clientid: string;
  username: string | null;
  proto_ver: number;
  ip_address?: string;
  port?: number;
  listener?: string;
  connected: boolean;
  connected_at?: string;
  disconnected_at?: string;
  created_at: string;
  clean_start: boolean;
  expiry_interval: number;
  keepalive: number;
  is_bridge: boolean;
  subscriptions_cnt: number;
  subscriptions_max: number | string;
  inflight_cnt: number;
  inflight_max: number;
  mqueue_len: number;
  mqueue_max: number | string;
  awaiting_rel_cnt: number;
  awaiting_rel_max: number;
  send_pend: number;
}

const LIMIT = 50;
const FILTERS = ["like_clientid", "like_username", "ip_address", "conn_state"] as const;
/** What a row needs; the rest is on the client's own page. */
const FIELDS = "clientid,username,proto_ver,ip_address,port,connected,connected_at,disconnected_at,subscriptions_cnt,mqueue_len,inflight_cnt";

export const VERSIONS: Record<number, string> = { 3: "3.1", 4: "3.1.1", 5: "5.0" };

/** Asks, and ends a session. */
export async function kick(id: string): Promise<boolean> {
  const yes = await confirmed("Kick this client?", <>
    <Id whole>{id}</Id>
    <p>Its connection is closed, its will is published, its session and what waits for it are removed.</p>
  </>, "Kick");
  return yes && attempt(() => ask("DELETE", path("/clients/{}", id)), "the client is gone");
}

export function Clients({ query }: { query: URLSearchParams }) {
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  return <ClientList key={query.toString()} filters={filters} />;
}

function ClientList({ filters }: { filters: Record<string, string> }) {
  // The cursors of the pages up to this one; the first page has none.
  const [cursors, setCursors] = useState<(string | undefined)[]>([undefined]);
  const asked = useAsked<{ data: Client[]; meta: { hasnext: boolean; cursor?: string } }>("/clients_v2", {
    ...filters, limit: LIMIT, cursor: cursors.at(-1), fields: FIELDS,
  });
  const stats = useAsked<Record<string, number>>("/stats", { aggregate: true });
  const filtered = Object.values(filters).some(Boolean);
  const page = asked.data;
  const columns: Column<Client>[] = [
    { head: "Client id", grow: true, cell: (row) => <Id href={href("clients", row.clientid)}>{row.clientid}</Id> },
    { head: "User name", cell: (row) => (row.username === null ? <span class="none">none</span> : <Id>{row.username}</Id>) },
    { head: "State", cell: (row) => <Badge tone={row.connected ? "good" : "plain"}>{row.connected ? "connected" : "away"}</Badge> },
    { head: "Address", cell: (row) => (row.ip_address ? <span class="nowrap">{row.ip_address}:{row.port}</span> : <span class="none">-</span>) },
    { head: "MQTT", cell: (row) => VERSIONS[row.proto_ver] ?? row.proto_ver },
    { head: "Since", cell: (row) => { const at = row.connected_at ?? row.disconnected_at; return <span class="nowrap" title={moment(at)}>{ago(at)}</span>; } },
    { head: "Subscriptions", number: true, cell: (row) => count(row.subscriptions_cnt) },
    { head: "Waiting", number: true, cell: (row) => count(row.mqueue_len + row.inflight_cnt) },
    ...(mayChange() ? [{
      head: "Kick", actions: true,
      cell: (row: Client) => <IconButton icon="trash" kind="danger" label={`Kick ${row.clientid}`} onClick={() => void kick(row.clientid).then((gone) => gone && asked.reload())} />,
    }] : []),
  ];
  return (
    <Page title="Clients" note={stats.data && `${count(stats.data["live_connections.count"])} connected, ${count(stats.data["sessions.count"])} sessions`} actions={<Reload of={asked} />}>
      <Filters onSubmit={(values) => go("clients", undefined, values)} onClear={filtered ? () => go("clients") : undefined}>
        <Field label="Client id"><input name="like_clientid" type="search" placeholder="part of it" defaultValue={filters.like_clientid} spellcheck={false} /></Field>
        <Field label="User name"><input name="like_username" type="search" placeholder="part of it" defaultValue={filters.like_username} spellcheck={false} /></Field>
        <Field label="IP address"><input name="ip_address" type="search" placeholder="192.0.2.1" defaultValue={filters.ip_address} spellcheck={false} /></Field>
        <Field label="State">
          <Select name="conn_state" initial={filters.conn_state} options={[["", "all"], "connected", ["disconnected", "away"]]} />
        </Field>
      </Filters>
      <Trouble error={asked.error} />
      <Panel flush>
        <Table columns={columns} rows={page?.data} keyOf={(row) => row.clientid}
          empty={filtered ? "No client fits." : cursors.length > 1 ? "There are no more clients." : "No client is connected and no session waits for one."} />
        {page && <Pager from={(cursors.length - 1) * LIMIT + 1} shown={page.data.length} more={page.meta.hasnext}
          total={filtered ? undefined : stats.data?.["sessions.count"]}
          back={cursors.length > 1 ? () => setCursors(cursors.slice(0, -1)) : undefined}
          next={() => setCursors([...cursors, page.meta.cursor])} />}
      </Panel>
    </Page>
  );
}
