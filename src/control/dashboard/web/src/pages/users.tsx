import { useState } from "preact/hooks";
import { ask, mayChange, path, useAsked, useLogin } from "../api";
import { attempt, Badge, Button, confirmed, Field, FormDialog, IconButton, Id, Page, Panel, Reload, Select, Table, Trouble } from "../ui";

interface User {
  username: string;
  role: string;
  description: string;
}

export const ROLES: [string, string][] = [
  ["administrator", "administrator: everything"],
  ["viewer", "viewer: look at everything"],
  ["publisher", "publisher: publish messages"],
];

export function RoleSelect({ role }: { role: string }) {
  return <Field label="Role"><Select name="role" initial={role} options={ROLES} /></Field>;
}

export function Users() {
  const login = useLogin();
  const asked = useAsked<User[]>("/users");
  const [adding, setAdding] = useState(false);
  const [changed, setChanged] = useState<User>();
  const remove = async (user: User) => {
    if (!(await confirmed("Remove this user?", <Id whole>{user.username}</Id>, "Remove"))) return;
    if (await attempt(() => ask("DELETE", path("/users/{}", user.username)), "the user is gone")) asked.reload();
  };
  const add = async (values: Record<string, string>) => {
    const done = await attempt(() => ask("POST", "/users", { body: values }), "the user is added");
    if (done) asked.reload();
    return done;
  };
  const change = async (values: Record<string, string>) => {
    const done = await attempt(() => ask("PUT", path("/users/{}", changed?.username ?? ""), { body: values }), "the user is changed");
    if (done) asked.reload();
    return done;
  };
  return (
    <Page title="Users" note="Who may use this page and the HTTP API" actions={<>
      <Reload of={asked} />
      {mayChange() && <Button icon="plus" kind="main" onClick={() => setAdding(true)}>Add a user</Button>}
    </>}>
      <Trouble error={asked.error} />
      <Panel flush>
        <Table rows={asked.data} keyOf={(row) => row.username} empty="There are no users." columns={[
          { head: "User name", cell: (row) => <><Id>{row.username}</Id>{row.username === login?.username && <> <Badge tone="plain">you</Badge></>}</> },
          { head: "Role", cell: (row) => row.role },
          { head: "Description", grow: true, cell: (row) => row.description || <span class="none">-</span> },
          ...(mayChange() ? [{ head: "Actions", actions: true, cell: (row: User) => <>
            <Button kind="quiet" onClick={() => setChanged(row)}>Change</Button>
            <IconButton icon="trash" kind="danger" label={`Remove ${row.username}`} onClick={() => void remove(row)} />
          </> }] : []),
        ]} />
      </Panel>
      {adding && (
        <FormDialog title="Add a user" yes="Add" close={() => setAdding(false)} send={add}>
          <Field label="User name"><input name="username" required maxLength={64} autofocus spellcheck={false} autocomplete="off" /></Field>
          <Field label="Password" hint="8 to 256 characters"><input name="password" type="password" required minLength={8} maxLength={256} autocomplete="new-password" /></Field>
          <RoleSelect role="viewer" />
          <Field label="Description"><input name="description" /></Field>
        </FormDialog>
      )}
      {changed && (
        <FormDialog title={`Change ${changed.username}`} yes="Change" close={() => setChanged(undefined)} send={change}>
          <RoleSelect role={changed.role} />
          <Field label="Description"><input name="description" defaultValue={changed.description} /></Field>
        </FormDialog>
      )}
    </Page>
  );
}
