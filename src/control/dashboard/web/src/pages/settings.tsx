import { useState } from "preact/hooks";
import { ask, mayChange, path, useAsked } from "../api";
import { setting } from "../format";
import { go } from "../route";
import { typed, withValue } from "../settings";
import { attempt, Badge, Button, Field, Filters, FormDialog, Id, Page, Panel, Reload, say, Select, Table, Trouble } from "../ui";

interface Setting {
  key: string;
  value: unknown;
  origin: string;
  live: boolean;
}

const WHERE = "/configs_settings";
/** Where changes made at run time are kept. */
const CHANGED_HERE = /overrides\.toml/;
/** How the API shows a secret. */
const HIDDEN = /^\*+$/;

export function Settings({ query }: { query: URLSearchParams }) {
  const asked = useAsked<Setting[]>(WHERE);
  const [changed, setChanged] = useState<Setting>();
  const wanted = query.get("name") ?? "";
  const which = query.get("which") ?? "";
  const fits = (row: Setting) =>
    row.key.includes(wanted.trim().toLowerCase()) && (which === "" || (which === "set" ? row.origin !== "default" : row.live));
  const rows = asked.data?.filter(fits);
  const roots = [...new Set(rows?.map((row) => row.key.split(".")[0] ?? ""))];
  /** The file's value, or the default, counts again. */
  const takeBack = async (row: Setting) => {
    const [root = "", ...rest] = row.key.split(".");
    const body = withValue({}, rest, null);
    if (!(await attempt(() => ask("PUT", path("/configs/{}", root), { body }), "the change is taken back"))) return;
    setChanged(undefined);
    asked.reload();
  };
  const send = async (values: Record<string, string>) => {
    if (!changed) return true;
    const [root = "", ...rest] = changed.key.split(".");
    const done = await attempt(async () => {
      // A section that names this setting only: the others stay as they are.
      const body = withValue({}, rest, typed(values.value ?? "", changed.value));
      await ask("PUT", path("/configs/{}", root), { body });
    }, "the setting is in force");
    if (done) asked.reload();
    return done;
  };
  const readAgain = async () => {
    const done = await attempt(async () => {
      const { changed: others } = await ask<{ changed: unknown[] }>("POST", "/configs_reload");
      say(others.length === 0 ? "the files say what is in force already" : `${others.length} settings are others than before`);
    });
    if (done) asked.reload();
  };
  return (
    <Page title="Settings" note="What is in force, and where it came from" actions={<>
      <Reload of={asked} />
      {mayChange() && <Button onClick={() => void readAgain()}>Read the files again</Button>}
    </>}>
      <Filters key={query.toString()} onSubmit={(values) => go("settings", undefined, values)} onClear={wanted || which ? () => go("settings") : undefined}>
        <Field label="Name"><input name="name" type="search" placeholder="part of it" defaultValue={wanted} spellcheck={false} /></Field>
        <Field label="Which">
          <Select name="which" initial={which} options={[["", "all"], ["set", "those that are set"], ["live", "those that can be changed now"]]} />
        </Field>
      </Filters>
      <Trouble error={asked.error} path={`/api/v5${WHERE}`} />
      {rows?.length === 0 && <Panel><div class="empty">No setting fits.</div></Panel>}
      {roots.map((root) => (
        <Panel title={root} key={root} flush>
          <Table rows={rows?.filter((row) => row.key.split(".")[0] === root)} keyOf={(row) => row.key} empty="" columns={[
            { head: "Name", cell: (row) => <code>{row.key}</code> },
            { head: "Value", grow: true, cell: (row) => (HIDDEN.test(String(row.value)) ? <span class="none">not told</span> : <Id whole>{setting(row.value)}</Id>) },
            { head: "From", cell: (row) => (row.origin === "default" ? <span class="none">default</span> : <span>{row.origin}</span>) },
            { head: "Changes", cell: (row) => (row.live ? <Badge tone="good">now</Badge> : <Badge tone="plain">at a restart</Badge>) },
            ...(mayChange() ? [{ head: "Change", actions: true, cell: (row: Setting) => (row.live ? <Button kind="quiet" onClick={() => setChanged(row)}>Change</Button> : null) }] : []),
          ]} />
        </Panel>
      ))}
      {changed && (
        <FormDialog title="Change a setting" yes="Change" close={() => setChanged(undefined)} send={send}>
          <Field label={changed.key} hint={`now: ${setting(changed.value)}`}>
            {typeof changed.value === "boolean"
              ? <Select name="value" initial={String(changed.value)} options={["true", "false"]} />
              : <input name="value" required autofocus spellcheck={false} defaultValue={Array.isArray(changed.value) ? JSON.stringify(changed.value) : String(changed.value ?? "")} />}
          </Field>
          {CHANGED_HERE.test(changed.origin) && <div><Button kind="quiet" onClick={() => void takeBack(changed)}>Take the change back</Button></div>}
        </FormDialog>
      )}
    </Page>
  );
}
