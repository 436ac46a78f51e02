import { useState } from "preact/hooks";
import { ask, mayChange, useAsked, type Listed } from "../api";
import { ago, moment, setting } from "../format";
import { href } from "../route";
import { attempt, Badge, Button, Facts, Field, FormDialog, Id, Page, Panel, Reload, Select, Table, Trouble } from "../ui";

interface Slow {
  clientid: string;
  topic: string;
  timespan: number;
  last_update_time: number;
}

interface SlowSettings {
  enable: boolean;
  threshold: string;
  expire_interval: string;
  top_k_num: number;
  stats_type: string;
}

const STATS_TYPES: [string, string][] = [
  ["whole", "whole: from PUBLISH to the acknowledgement"],
  ["internal", "internal: within the broker"],
  ["response", "response: from sending to the acknowledgement"],
];
const WHERE = "/slow_subscriptions";

export function Slow() {
  const asked = useAsked<Slow[] | Listed<Slow>>(WHERE, {}, 10_000);
  const settings = useAsked<SlowSettings>(`${WHERE}/settings`);
  const [changing, setChanging] = useState(false);
  // EMQX's versions differ here.
  const rows = Array.isArray(asked.data) ? asked.data : asked.data?.data;
  const missing = asked.error?.status === 404;
  const clear = async () => {
    if (await attempt(() => ask("DELETE", WHERE), "the list is empty")) asked.reload();
  };
  const send = async (values: Record<string, string>) => {
    const body = { ...settings.data, ...values, enable: values.enable === "on", top_k_num: Number(values.top_k_num) };
    const done = await attempt(() => ask("PUT", `${WHERE}/settings`, { body }), "the settings are in force");
    if (done) {
      settings.reload();
      asked.reload();
    }
    return done;
  };
  const now = settings.data;
  return (
    <Page title="Slow subscriptions" note="Clients whose messages take long to arrive, slowest first" actions={!missing && <>
      <Reload of={asked} />
      {mayChange() && now && <Button icon="settings" onClick={() => setChanging(true)}>Settings</Button>}
      {mayChange() && !!rows?.length && <Button icon="trash" kind="danger" onClick={() => void clear()}>Clear</Button>}
    </>}>
      <Trouble error={asked.error ?? settings.error} path={`/api/v5${WHERE}`} />
      {now && <Panel><Facts rows={[
        ["State", <Badge tone={now.enable ? "good" : "plain"}>{now.enable ? "on" : "off"}</Badge>],
        ["Threshold", setting(now.threshold)],
        ["Forgotten after", setting(now.expire_interval)],
        ["Entries at most", setting(now.top_k_num)],
        ["What is timed", setting(now.stats_type)],
      ]} /></Panel>}
      {!missing && <Panel flush>
        <Table rows={rows} keyOf={(row) => `${row.clientid}\n${row.topic}`} empty={now && !now.enable ? "This is switched off." : "No subscription was slow."} columns={[
          { head: "Client id", grow: true, cell: (row) => <Id href={href("clients", row.clientid)}>{row.clientid}</Id> },
          { head: "Topic", grow: true, cell: (row) => <Id>{row.topic}</Id> },
          { head: "Took", number: true, cell: (row) => <span class="nowrap">{row.timespan} ms</span> },
          { head: "Last", cell: (row) => <span class="nowrap" title={moment(row.last_update_time)}>{ago(row.last_update_time)}</span> },
        ]} />
      </Panel>}
      {changing && now && (
        <FormDialog title="Slow subscriptions" yes="Save" close={() => setChanging(false)} send={send}>
          <label class="check"><input type="checkbox" name="enable" defaultChecked={now.enable} />Keep the list</label>
          <Field label="Threshold" hint="such as 500ms"><input name="threshold" required defaultValue={now.threshold} /></Field>
          <Field label="Forgotten after" hint="such as 300s"><input name="expire_interval" required defaultValue={now.expire_interval} /></Field>
          <Field label="Entries at most" hint="1 to 1000"><input name="top_k_num" type="number" min={1} max={1000} required defaultValue={String(now.top_k_num)} /></Field>
          <Field label="What is timed">
            <Select name="stats_type" initial={now.stats_type} options={STATS_TYPES} />
          </Field>
        </FormDialog>
      )}
    </Page>
  );
}
