import { useState } from "preact/hooks";
import { ask, mayChange, path, useAsked } from "../api";
import { count, moment, rate } from "../format";
import { attempt, Button, confirmed, Field, FormDialog, IconButton, Id, Page, Panel, Reload, Table, Trouble } from "../ui";

interface TopicMetric {
  topic: string;
  create_time: string;
  reset_time?: string;
  metrics: Record<string, number>;
}

const WHERE = "/mqtt/topic_metrics";

export function TopicMetrics() {
  const asked = useAsked<TopicMetric[]>(WHERE, {}, 5000);
  const [adding, setAdding] = useState(false);
  const missing = asked.error?.status === 404;
  const add = async (values: Record<string, string>) => {
    const done = await attempt(() => ask("POST", WHERE, { body: { topic: values.topic } }), "the topic is counted");
    if (done) asked.reload();
    return done;
  };
  const remove = async (row: TopicMetric) => {
    if (!(await confirmed("Stop counting this topic?", <Id whole>{row.topic}</Id>, "Stop"))) return;
    if (await attempt(() => ask("DELETE", path(`${WHERE}/{}`, row.topic)), "the topic is not counted any more")) asked.reload();
  };
  const reset = async (row: TopicMetric) => {
    if (await attempt(() => ask("PUT", WHERE, { body: { topic: row.topic, action: "reset" } }), "the figures begin anew")) asked.reload();
  };
  const both = (row: TopicMetric, which: string) => (
    <span class="nowrap">{count(row.metrics[`messages.${which}.count`])} <span class="faint">{rate(row.metrics[`messages.${which}.rate`])}/s</span></span>
  );
  return (
    <Page title="Topic metrics" note="Messages of single topics" actions={!missing && <>
      <Reload of={asked} />
      {mayChange() && <Button icon="plus" kind="main" onClick={() => setAdding(true)}>Count a topic</Button>}
    </>}>
      <Trouble error={asked.error} path={`/api/v5${WHERE}`} />
      {!missing && <Panel flush>
        <Table rows={asked.data} keyOf={(row) => row.topic} empty="No topic is counted on its own." columns={[
          { head: "Topic", grow: true, cell: (row) => <Id>{row.topic}</Id> },
          { head: "In", number: true, cell: (row) => both(row, "in") },
          { head: "Out", number: true, cell: (row) => both(row, "out") },
          { head: "Dropped", number: true, cell: (row) => both(row, "dropped") },
          { head: "Since", cell: (row) => <span class="nowrap">{moment(row.reset_time ?? row.create_time)}</span> },
          ...(mayChange() ? [{ head: "Actions", actions: true, cell: (row: TopicMetric) => <>
            <Button kind="quiet" onClick={() => void reset(row)}>Reset</Button>
            <IconButton icon="trash" kind="danger" label={`Stop counting ${row.topic}`} onClick={() => void remove(row)} />
          </> }] : []),
        ]} />
      </Panel>}
      {adding && (
        <FormDialog title="Count a topic" yes="Count" close={() => setAdding(false)} send={add}>
          <Field label="Topic" hint="without wildcards"><input name="topic" required autofocus spellcheck={false} /></Field>
        </FormDialog>
      )}
    </Page>
  );
}
