import { useState } from "preact/hooks";
import { ask, mayChange, useAsked, type Listed } from "../api";
import { ago, duration, moment } from "../format";
import { attempt, Button, confirmed, Page, Pager, Panel, Reload, Table, Trouble, usePages, type Column } from "../ui";

interface Alarm {
  name: string;
  message: string;
  details: unknown;
  activate_at: string;
  deactivate_at: string;
  duration: number;
}

const LIMIT = 50;

export function Alarms() {
  const [active, setActive] = useState(true);
  const pages = usePages(String(active));
  const asked = useAsked<Listed<Alarm>>("/alarms", { activated: active, page: pages.page, limit: LIMIT }, active ? 10_000 : undefined);
  const page = asked.data;
  const end = async (row: Alarm) => {
    if (await attempt(() => ask("POST", "/alarms/force_deactivate", { body: { name: row.name } }), "the alarm is over")) asked.reload();
  };
  const forget = async () => {
    if (!(await confirmed("Forget the alarms that are over?", <p>Those that are active stay.</p>, "Forget"))) return;
    if (await attempt(() => ask("DELETE", "/alarms"), "the alarms are forgotten")) asked.reload();
  };
  const columns: Column<Alarm>[] = [
    { head: "Alarm", cell: (row) => <code>{row.name}</code> },
    { head: "Message", grow: true, cell: (row) => <span title={JSON.stringify(row.details, null, 2)}>{row.message}</span> },
    { head: "Began", cell: (row) => <span class="nowrap" title={moment(row.activate_at)}>{ago(row.activate_at)}</span> },
    ...(active ? [] : [{ head: "Ended", cell: (row: Alarm) => <span class="nowrap">{moment(row.deactivate_at)}</span> }]),
    { head: "Duration", cell: (row) => <span class="nowrap">{duration(row.duration)}</span> },
    ...(active && mayChange() ? [{ head: "Deactivate", actions: true, cell: (row: Alarm) => <Button kind="quiet" onClick={() => void end(row)}>Deactivate</Button> }] : []),
  ];
  return (
    <Page title="Alarms" actions={<>
      <Reload of={asked} />
      {!active && mayChange() && !!page?.data.length && <Button icon="trash" kind="danger" onClick={() => void forget()}>Forget all</Button>}
    </>}>
      <div class="tabs" role="tablist">
        <button type="button" role="tab" aria-selected={active} onClick={() => setActive(true)}>Active</button>
        <button type="button" role="tab" aria-selected={!active} onClick={() => setActive(false)}>Over</button>
      </div>
      <Trouble error={asked.error} />
      <Panel flush>
        <Table columns={columns} rows={page?.data} keyOf={(row) => `${row.name} ${row.activate_at}`} empty={active ? "No alarm is active." : "There was no alarm."} />
        {page && <Pager from={(pages.page - 1) * LIMIT + 1} shown={page.data.length} more={page.meta.hasnext} total={page.meta.count} back={pages.back} next={pages.next} />}
      </Panel>
    </Page>
  );
}
