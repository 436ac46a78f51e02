import { useState } from "preact/hooks";
import { ask, mayChange, path, useAsked, type Listed } from "../api";
import { moment, toLocalInput, toRfc3339 } from "../format";
import { go } from "../route";
import { attempt, Button, confirmed, Field, FormDialog, IconButton, Id, Page, Pager, Panel, Reload, Select, Table, Trouble, usePages } from "../ui";

interface Ban {
  as: string;
  who: string;
  by: string;
  reason: string;
  at: string;
  until: string;
}

const LIMIT = 50;
export const KINDS: [string, string][] = [
  ["clientid", "client id"],
  ["username", "user name"],
  ["peerhost", "IP address"],
  ["clientid_re", "client ids (regular expression)"],
  ["username_re", "user names (regular expression)"],
  ["peerhost_net", "network"],
];
const kindName = (kind: string) => KINDS.find(([value]) => value === kind)?.[1] ?? kind;

export function Bans({ query }: { query: URLSearchParams }) {
  const pages = usePages("");
  const asked = useAsked<Listed<Ban>>("/banned", { page: pages.page, limit: LIMIT });
  const wanted = query.get("who") ?? undefined;
  const [open, setOpen] = useState(false);
  const page = asked.data;
  const close = () => {
    setOpen(false);
    if (wanted !== undefined) go("bans");
  };
  const remove = async (row: Ban) => {
    if (!(await confirmed("End this ban?", <p>{kindName(row.as)} <Id whole>{row.who}</Id></p>, "End the ban", false))) return;
    if (await attempt(() => ask("DELETE", path("/banned/{}/{}", row.as, row.who)), "the ban is over")) asked.reload();
  };
  return (
    <Page title="Bans" note="Who is banned is not let in" actions={<>
      <Reload of={asked} />
      {mayChange() && <Button icon="plus" kind="main" onClick={() => setOpen(true)}>Add a ban</Button>}
    </>}>
      <Trouble error={asked.error} />
      <Panel flush>
        <Table rows={page?.data} keyOf={(row) => `${row.as} ${row.who}`} empty="Nobody is banned." columns={[
          { head: "What", cell: (row) => <span class="nowrap">{kindName(row.as)}</span> },
          { head: "Who", grow: true, cell: (row) => <Id>{row.who}</Id> },
          { head: "Reason", cell: (row) => (row.reason ? <span class="clip" title={row.reason}>{row.reason}</span> : <span class="none">-</span>) },
          { head: "By", cell: (row) => row.by },
          { head: "From", cell: (row) => <span class="nowrap">{moment(row.at)}</span> },
          { head: "Until", cell: (row) => <span class="nowrap">{row.until === "infinity" ? "for ever" : moment(row.until)}</span> },
          ...(mayChange() ? [{ head: "End", actions: true, cell: (row: Ban) => <IconButton icon="trash" kind="danger" label={`End the ban of ${row.who}`} onClick={() => void remove(row)} /> }] : []),
        ]} />
        {page && <Pager from={(pages.page - 1) * LIMIT + 1} shown={page.data.length} more={page.meta.hasnext} total={page.meta.count} back={pages.back} next={pages.next} />}
      </Panel>
      {(open || wanted !== undefined) && mayChange() && <BanDialog kind={query.get("as") ?? "clientid"} who={wanted ?? ""} close={close} done={asked.reload} />}
    </Page>
  );
}

function BanDialog({ kind, who, close, done }: { kind: string; who: string; close: () => void; done: () => void }) {
  const [ends, setEnds] = useState(true);
  const send = async (values: Record<string, string>) => {
    const until = values.until ? toRfc3339(values.until) : "infinity";
    const body = { as: values.as, who: values.who, reason: values.reason, until };
    const added = await attempt(() => ask("POST", "/banned", { body }), "the ban is in force");
    if (added) done();
    return added;
  };
  return (
    <FormDialog title="Add a ban" yes="Ban" close={close} send={send} danger>
      <Field label="What"><Select name="as" initial={kind} options={KINDS} /></Field>
      <Field label="Who"><input name="who" defaultValue={who} required autofocus spellcheck={false} /></Field>
      <Field label="Reason"><input name="reason" /></Field>
      <label class="check"><input type="checkbox" checked={ends} onChange={(event) => setEnds(event.currentTarget.checked)} />It ends by itself</label>
      {ends && <Field label="Until"><input name="until" type="datetime-local" required defaultValue={toLocalInput(Date.now() + 86_400_000)} /></Field>}
      <p class="hint">Who is connected has to go.</p>
    </FormDialog>
  );
}
