import { useState } from "preact/hooks";
import { ask, mayChange, path, useAsked } from "../api";
import { ago, bytes, count, duration, expiry, limit, moment } from "../format";
import { fromBase64 } from "../payload";
import { go, href } from "../route";
import { attempt, Badge, Button, Copy, Facts, Field, FormDialog, IconButton, Id, Page, Pager, Panel, QOS, Select, Table, Trouble } from "../ui";
import { kick, VERSIONS, type Client } from "./clients";
import { PayloadView } from "./payload_view";
import type { Subscription } from "./subscriptions";

const EVERY_MS = 5000;
const MESSAGES = 20;

export function ClientPage({ id }: { id: string }) {
  const where = path("/clients/{}", id);
  const asked = useAsked<Client>(where, {}, EVERY_MS);
  const client = asked.data;
  const gone = asked.error?.status === 404;
  const title = <span class="title-id"><Id whole>{id}</Id><Copy text={id} label="Copy the client id" /></span>;
  const remove = async () => {
    if (await kick(id)) go("clients");
  };
  return (
    <Page title={title}
      note={<><a href={href("clients")}>Clients</a>{client && <>{" / "}<Badge tone={client.connected ? "good" : "plain"}>{client.connected ? "connected" : "away"}</Badge></>}</>}
      actions={client && mayChange() && <>
        <Button icon="trace" onClick={() => go("trace", undefined, { clientid: id })}>Trace</Button>
        <Button icon="bans" onClick={() => go("bans", undefined, { as: "clientid", who: id })}>Ban</Button>
        <Button icon="trash" kind="danger" onClick={() => void remove()}>Kick</Button>
      </>}>
      {gone ? <Panel><div class="empty">There is no client of this id: it never was here, it was kicked, or its session has ended.</div></Panel> : <Trouble error={asked.error} />}
      {client && <>
        <div class="two">
          <Panel title="Connection"><Facts rows={connection(client)} /></Panel>
          <Panel title="Session"><Facts rows={session(client)} /></Panel>
        </div>
        <Subscriptions id={id} connected={client.connected} />
        <Messages id={id} kind="mqueue_messages" title="Queued messages" count={client.mqueue_len} empty="No message waits for this client." />
        <Messages id={id} kind="inflight_messages" title="Messages in flight" count={client.inflight_cnt} empty="No message is on its way to this client." />
      </>}
    </Page>
  );
}

function connection(client: Client): [string, preact.ComponentChildren][] {
  return [
    ["User name", client.username === null ? <span class="none">none</span> : <Id whole>{client.username}</Id>],
    ["Address", client.ip_address ? `${client.ip_address}:${client.port}` : "-"],
    ["Listener", client.listener ?? "-"],
    ["Protocol", `MQTT ${VERSIONS[client.proto_ver] ?? client.proto_ver}${client.is_bridge ? ", a bridge" : ""}`],
    ["Keep-alive", client.keepalive === 0 ? "none" : `${client.keepalive} s`],
    client.connected
      ? ["Connected", <span title={moment(client.connected_at)}>{ago(client.connected_at)}</span>]
      : ["Went away", <span title={moment(client.disconnected_at)}>{ago(client.disconnected_at)}</span>],
    ["To be sent", bytes(client.send_pend)],
  ];
}

function session(client: Client): [string, preact.ComponentChildren][] {
  const of = (now: number, most: number | string) => `${count(now)} of ${limit(most) === "no limit" ? "any number" : limit(most)}`;
  return [
    ["Made", <span title={moment(client.created_at)}>{ago(client.created_at)}</span>],
    ["Clean start", client.clean_start ? "yes" : "no"],
    ["Expires", expiry(client.expiry_interval)],
    ["Subscriptions", of(client.subscriptions_cnt, client.subscriptions_max)],
    ["Queued", of(client.mqueue_len, client.mqueue_max)],
    ["In flight", of(client.inflight_cnt, client.inflight_max)],
    ["QoS 2 to be released", of(client.awaiting_rel_cnt, client.awaiting_rel_max)],
  ];
}

function Subscriptions({ id, connected }: { id: string; connected: boolean }) {
  const where = path("/clients/{}/subscriptions", id);
  const asked = useAsked<Subscription[]>(where);
  const [adding, setAdding] = useState(false);
  const change = mayChange();
  const remove = async (topic: string) => {
    if (await attempt(() => ask("POST", path("/clients/{}/unsubscribe", id), { body: { topic } }), "it is unsubscribed")) asked.reload();
  };
  const add = async (values: Record<string, string>) => {
    const body = { topic: values.topic, qos: Number(values.qos), nl: values.nl ? 1 : 0, rap: values.rap ? 1 : 0 };
    const done = await attempt(() => ask("POST", path("/clients/{}/subscribe", id), { body }), "it is subscribed");
    if (done) asked.reload();
    return done;
  };
  return (
    <Panel title="Subscriptions" flush actions={<>
      <Button icon="reload" kind="quiet" onClick={asked.reload}>Reload</Button>
      {change && connected && <Button icon="plus" onClick={() => setAdding(true)}>Subscribe</Button>}
    </>}>
      <Trouble error={asked.error?.status === 404 ? undefined : asked.error} />
      <Table rows={asked.data} keyOf={(row) => row.topic} empty="This client has no subscription." columns={[
        { head: "Filter", grow: true, cell: (row) => <Id>{row.topic}</Id> },
        { head: "QoS", number: true, cell: (row) => row.qos },
        { head: "No local", number: true, cell: (row) => (row.nl ? "yes" : "no") },
        { head: "Retain as published", number: true, cell: (row) => (row.rap ? "yes" : "no") },
        { head: "Retain handling", number: true, cell: (row) => row.rh },
        ...(change ? [{ head: "Unsubscribe", actions: true, cell: (row: Subscription) => <IconButton icon="trash" kind="danger" label={`Unsubscribe ${row.topic}`} onClick={() => void remove(row.topic)} /> }] : []),
      ]} />
      {adding && (
        <FormDialog title="Subscribe this client" yes="Subscribe" close={() => setAdding(false)} send={add}>
          <Field label="Filter"><input name="topic" required autofocus spellcheck={false} placeholder="sensors/+/temperature" /></Field>
          <Field label="QoS"><Select name="qos" initial="0" options={QOS} /></Field>
          <label class="check"><input name="nl" type="checkbox" />Not its own messages (no local)</label>
          <label class="check"><input name="rap" type="checkbox" />Retain flag as published</label>
        </FormDialog>
      )}
    </Panel>
  );
}

interface Waiting {
  msgid: string;
  topic: string;
  qos: number;
  publish_at: number;
  from_clientid: string | null;
  inserted_at: string;
  payload: string;
}

/** Messages are asked for only when the reader wants to see them. */
function Messages({ id, kind, title, count: waiting, empty }: { id: string; kind: string; title: string; count: number; empty: string }) {
  const [open, setOpen] = useState(false);
  return (
    <Panel title={`${title} (${count(waiting)})`} flush actions={<Button kind="quiet" onClick={() => setOpen(!open)}>{open ? "Hide" : "Show"}</Button>}>
      {open && <MessageList where={path(`/clients/{}/${kind}`, id)} empty={empty} />}
    </Panel>
  );
}

function MessageList({ where, empty }: { where: string; empty: string }) {
  const [positions, setPositions] = useState<string[]>(["none"]);
  const [seen, setSeen] = useState<Waiting>();
  const asked = useAsked<{ data: Waiting[]; meta: { position: string } }>(where, { limit: MESSAGES, position: positions.at(-1), payload: "base64" });
  const page = asked.data;
  return (
    <>
      <Trouble error={asked.error} />
      <Table rows={page?.data} keyOf={(row) => row.msgid} empty={positions.length > 1 ? "There are no more messages." : empty} columns={[
        { head: "Topic", grow: true, cell: (row) => <Id>{row.topic}</Id> },
        { head: "QoS", number: true, cell: (row) => row.qos },
        { head: "From", cell: (row) => (row.from_clientid ? <Id href={href("clients", row.from_clientid)}>{row.from_clientid}</Id> : <span class="none">-</span>) },
        { head: "Published", cell: (row) => <span class="nowrap" title={moment(row.publish_at)}>{duration(Date.now() - row.publish_at)} ago</span> },
        { head: "Size", number: true, cell: (row) => bytes(fromBase64(row.payload).length) },
        { head: "Payload", actions: true, cell: (row) => <IconButton icon="search" label={`Payload of ${row.topic}`} onClick={() => setSeen(row)} /> },
      ]} />
      {page && <Pager from={(positions.length - 1) * MESSAGES + 1} shown={page.data.length} more={page.data.length === MESSAGES}
        back={positions.length > 1 ? () => setPositions(positions.slice(0, -1)) : undefined}
        next={() => setPositions([...positions, page.meta.position])} />}
      {seen && <PayloadView topic={seen.topic} payload={fromBase64(seen.payload)} close={() => setSeen(undefined)} />}
    </>
  );
}
