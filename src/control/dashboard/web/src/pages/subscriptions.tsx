import { useAsked, type Listed } from "../api";
import { count } from "../format";
import { go, href } from "../route";
import { Badge, Field, Filters, Id, Page, Pager, Panel, QOS, Reload, Select, Table, Trouble, usePages } from "../ui";

export interface Subscription {
  clientid: string;
  topic: string;
  qos: number;
  nl: number;
  rap: number;
  rh: number;
  durable: boolean;
}

const LIMIT = 50;
const FILTERS = ["clientid", "topic", "match_topic", "share_group", "qos"] as const;

export function Subscriptions({ query }: { query: URLSearchParams }) {
  const filters: Record<string, string> = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const key = query.toString();
  const pages = usePages(key);
  const asked = useAsked<Listed<Subscription>>("/subscriptions", { ...filters, page: pages.page, limit: LIMIT });
  const filtered = Object.values(filters).some(Boolean);
  const page = asked.data;
  return (
    <Page title="Subscriptions" note={page?.meta.count !== undefined && `${count(page.meta.count)} in all`} actions={<Reload of={asked} />}>
      <Filters key={key} onSubmit={(values) => go("subscriptions", undefined, values)} onClear={filtered ? () => go("subscriptions") : undefined}>
        <Field label="Client id"><input name="clientid" type="search" placeholder="exactly" defaultValue={filters.clientid} spellcheck={false} /></Field>
        <Field label="Filter"><input name="topic" type="search" placeholder="exactly" defaultValue={filters.topic} spellcheck={false} /></Field>
        <Field label="Matches the topic"><input name="match_topic" type="search" placeholder="who would get it" defaultValue={filters.match_topic} spellcheck={false} /></Field>
        <Field label="Shared group"><input name="share_group" type="search" defaultValue={filters.share_group} spellcheck={false} /></Field>
        <Field label="QoS"><Select name="qos" initial={filters.qos} options={[["", "all"], ...QOS]} /></Field>
      </Filters>
      <Trouble error={asked.error} />
      <Panel flush>
        <Table rows={page?.data} keyOf={(row) => `${row.clientid}\n${row.topic}`} empty={filtered ? "No subscription fits." : "Nobody has subscribed to anything."} columns={[
          { head: "Filter", grow: true, cell: (row) => <Id>{row.topic}</Id> },
          { head: "Client id", grow: true, cell: (row) => <Id href={href("clients", row.clientid)}>{row.clientid}</Id> },
          { head: "QoS", number: true, cell: (row) => row.qos },
          { head: "No local", number: true, cell: (row) => (row.nl ? "yes" : "no") },
          { head: "Session", cell: (row) => <Badge tone="plain">{row.durable ? "stays" : "ends"}</Badge> },
        ]} />
        {page && <Pager from={(pages.page - 1) * LIMIT + 1} shown={page.data.length} more={page.meta.hasnext} total={page.meta.count} back={pages.back} next={pages.next} />}
      </Panel>
    </Page>
  );
}
