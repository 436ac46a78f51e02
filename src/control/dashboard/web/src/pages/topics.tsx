import { useAsked, type Listed } from "../api";
import { count } from "../format";
import { go, href } from "../route";
import { Field, Filters, Id, Page, Pager, Panel, Reload, Table, Trouble, usePages } from "../ui";

const LIMIT = 50;

export function Topics({ query }: { query: URLSearchParams }) {
  const topic = query.get("topic") ?? "";
  const pages = usePages(topic);
  const asked = useAsked<Listed<{ topic: string; node: string }>>("/topics", { topic, page: pages.page, limit: LIMIT });
  const page = asked.data;
  return (
    <Page title="Topics" note={<>Filters that someone has subscribed to{!topic && page?.meta.count !== undefined && `; ${count(page.meta.count)} in all`}</>} actions={<Reload of={asked} />}>
      <Filters key={topic} onSubmit={(values) => go("topics", undefined, values)} onClear={topic ? () => go("topics") : undefined}>
        <Field label="Filter"><input name="topic" type="search" placeholder="exactly" defaultValue={topic} spellcheck={false} /></Field>
      </Filters>
      <Trouble error={asked.error} />
      <Panel flush>
        <Table rows={page?.data} keyOf={(row) => row.topic} empty={topic ? "Nobody has subscribed to this filter." : "Nobody has subscribed to anything."} columns={[
          { head: "Filter", grow: true, cell: (row) => <Id>{row.topic}</Id> },
          { head: "Subscriptions", actions: true, cell: (row) => <a class="nowrap" href={href("subscriptions", undefined, { topic: row.topic })}>Who has subscribed</a> },
        ]} />
        {page && <Pager from={(pages.page - 1) * LIMIT + 1} shown={page.data.length} more={page.meta.hasnext} total={page.meta.count} back={pages.back} next={pages.next} />}
      </Panel>
    </Page>
  );
}
