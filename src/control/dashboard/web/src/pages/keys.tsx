import { useState } from "preact/hooks";
import { ask, mayChange, path, useAsked } from "../api";
import { moment, toLocalInput, toRfc3339 } from "../format";
import { attempt, Badge, Button, confirmed, Copy, Dialog, Facts, Field, FormDialog, IconButton, Id, Page, Panel, Reload, Table, Trouble } from "../ui";
import { RoleSelect } from "./users";

interface Key {
  name: string;
  api_key: string;
  api_secret?: string;
  role: string;
  enable: boolean;
  expired: boolean;
  expired_at: string;
  desc: string;
  created_at: string;
}

export function Keys() {
  const asked = useAsked<Key[]>("/api_key");
  const [adding, setAdding] = useState(false);
  const [made, setMade] = useState<Key>();
  const remove = async (key: Key) => {
    if (!(await confirmed("Remove this API key?", <p>Programs that use <Id whole>{key.name}</Id> are not let in any more.</p>, "Remove"))) return;
    if (await attempt(() => ask("DELETE", path("/api_key/{}", key.name)), "the key is gone")) asked.reload();
  };
  const enable = async (key: Key) => {
    const body = { enable: !key.enable };
    if (await attempt(() => ask("PUT", path("/api_key/{}", key.name), { body }), key.enable ? "the key is switched off" : "the key is switched on")) asked.reload();
  };
  return (
    <Page title="API keys" note="How programs use the HTTP API" actions={<>
      <Reload of={asked} />
      {mayChange() && <Button icon="plus" kind="main" onClick={() => setAdding(true)}>Make a key</Button>}
    </>}>
      <Trouble error={asked.error} />
      <Panel flush>
        <Table rows={asked.data} keyOf={(row) => row.name} empty="There are no API keys." columns={[
          { head: "Name", cell: (row) => <Id>{row.name}</Id> },
          { head: "Key", cell: (row) => <span class="with-copy"><Id>{row.api_key}</Id><Copy text={row.api_key} label="Copy the key" /></span> },
          { head: "Role", cell: (row) => row.role },
          { head: "State", cell: (row) => (row.expired ? <Badge tone="warn">over</Badge> : row.enable ? <Badge tone="good">on</Badge> : <Badge tone="plain">off</Badge>) },
          { head: "Expires", cell: (row) => <span class="nowrap">{moment(row.expired_at)}</span> },
          { head: "Description", grow: true, cell: (row) => row.desc || <span class="none">-</span> },
          ...(mayChange() ? [{ head: "Actions", actions: true, cell: (row: Key) => <>
            <Button kind="quiet" onClick={() => void enable(row)}>{row.enable ? "Switch off" : "Switch on"}</Button>
            <IconButton icon="trash" kind="danger" label={`Remove ${row.name}`} onClick={() => void remove(row)} />
          </> }] : []),
        ]} />
      </Panel>
      {adding && <NewKey close={() => setAdding(false)} done={(key) => { setMade(key); asked.reload(); }} />}
      {made && (
        <Dialog title="The key is made" close={() => setMade(undefined)}>
          <p class="trouble missing">The secret is told here only. Keep it now.</p>
          <Facts rows={[
            ["Key", <span class="with-copy"><Id whole>{made.api_key}</Id><Copy text={made.api_key} label="Copy the key" /></span>],
            ["Secret", <span class="with-copy"><Id whole>{made.api_secret ?? ""}</Id><Copy text={made.api_secret ?? ""} label="Copy the secret" /></span>],
          ]} />
          <div class="dialog-buttons"><Button kind="main" onClick={() => setMade(undefined)}>I have kept it</Button></div>
        </Dialog>
      )}
    </Page>
  );
}

function NewKey({ close, done }: { close: () => void; done: (key: Key) => void }) {
  const [ends, setEnds] = useState(false);
  const send = async (values: Record<string, string>) => {
    const body = { name: values.name, role: values.role, desc: values.desc, expired_at: values.until ? toRfc3339(values.until) : "infinity" };
    return attempt(async () => done(await ask<Key>("POST", "/api_key", { body })), "the key is made");
  };
  return (
    <FormDialog title="Make an API key" yes="Make" close={close} send={send}>
      <Field label="Name" hint="letters, digits, _ and -"><input name="name" required pattern="[A-Za-z0-9_\-]+" maxLength={255} autofocus spellcheck={false} /></Field>
      <RoleSelect role="viewer" />
      <Field label="Description"><input name="desc" /></Field>
      <label class="check"><input type="checkbox" checked={ends} onChange={(event) => setEnds(event.currentTarget.checked)} />It expires</label>
      {ends && <Field label="Until"><input name="until" type="datetime-local" required defaultValue={toLocalInput(Date.now() + 90 * 86_400_000)} /></Field>}
    </FormDialog>
  );
}
