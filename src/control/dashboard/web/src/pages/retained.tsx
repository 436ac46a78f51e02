import { useState } from "preact/hooks";
import { ask, mayChange, path, read, useAsked, type Listed } from "../api";
import { ago, count, moment } from "../format";
import { fromBase64 } from "../payload";
import { go, href } from "../route";
import { attempt, Button, confirmed, Field, Filters, IconButton, Id, Page, Pager, Panel, Reload, say, Table, Trouble, usePages } from "../ui";
import { PayloadView } from "./payload_view";

interface Retained {
  topic: string;
  qos: number;
  publish_at: string;
  expires_at?: string;
  from_clientid: string | null;
  payload?: string;
}

const LIMIT = 50;
const MESSAGE = "/mqtt/retainer/message/{}";

export function Retained({ query }: { query: URLSearchParams }) {
  const topic = query.get("topic") ?? "";
  const pages = usePages(topic);
  const [seen, setSeen] = useState<{ topic: string; payload: Uint8Array }>();
  const asked = useAsked<Listed<Retained>>("/mqtt/retainer/messages", { topic, page: pages.page, limit: LIMIT });
  const page = asked.data;
  const view = async (row: Retained) => {
    try {
      const message = await read<Retained>(path(MESSAGE, row.topic));
      setSeen({ topic: row.topic, payload: fromBase64(message.payload ?? "") });
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), true);
    }
  };
  const forget = async (row: Retained) => {
    if (!(await confirmed("Delete this retained message?", <Id whole>{row.topic}</Id>, "Delete"))) return;
    if (await attempt(() => ask("DELETE", path(MESSAGE, row.topic)), "the retained message is deleted")) asked.reload();
  };
  const forgetAll = async () => {
    const text = topic ? <p>All whose topics match <Id whole>{topic}</Id></p> : <p>All but those whose topics begin with <code>$</code>.</p>;
    if (!(await confirmed("Delete retained messages?", text, "Delete all"))) return;
    if (await attempt(() => ask("DELETE", "/mqtt/retainer/messages", { query: { topic } }), "the retained messages are deleted")) asked.reload();
  };
  return (
    <Page title="Retained messages" note={page?.meta.count !== undefined && `${count(page.meta.count)} in all; those whose topics begin with $ are listed only if asked for, as by $SYS/#`} actions={<>
      <Reload of={asked} />
      {mayChange() && !!page?.data.length && <Button icon="trash" kind="danger" onClick={() => void forgetAll()}>{topic ? "Delete these" : "Delete all"}</Button>}
    </>}>
      <Filters key={topic} onSubmit={(values) => go("retained", undefined, values)} onClear={topic ? () => go("retained") : undefined}>
        <Field label="Topics that match"><input name="topic" type="search" placeholder="site/+/state, $SYS/#" defaultValue={topic} spellcheck={false} /></Field>
      </Filters>
      <Trouble error={asked.error} />
      <Panel flush>
        <Table rows={page?.data} keyOf={(row) => row.topic} empty={topic ? "No retained message matches." : "There are no retained messages."} columns={[
          { head: "Topic", grow: true, cell: (row) => <Id>{row.topic}</Id> },
          { head: "QoS", number: true, cell: (row) => row.qos },
          { head: "From", cell: (row) => (row.from_clientid ? <Id href={href("clients", row.from_clientid)}>{row.from_clientid}</Id> : <span class="none">-</span>) },
          { head: "Published", cell: (row) => <span class="nowrap" title={moment(row.publish_at)}>{ago(row.publish_at)}</span> },
          { head: "Expires", cell: (row) => <span class="nowrap">{row.expires_at ? moment(row.expires_at) : "never"}</span> },
          { head: "Actions", actions: true, cell: (row) => <>
            <IconButton icon="search" label={`Payload of ${row.topic}`} onClick={() => void view(row)} />
            {mayChange() && <IconButton icon="trash" kind="danger" label={`Delete ${row.topic}`} onClick={() => void forget(row)} />}
          </> },
        ]} />
        {page && <Pager from={(pages.page - 1) * LIMIT + 1} shown={page.data.length} more={page.meta.hasnext} back={pages.back} next={pages.next} />}
      </Panel>
      {seen && <PayloadView {...seen} close={() => setSeen(undefined)} />}
    </Page>
  );
}
