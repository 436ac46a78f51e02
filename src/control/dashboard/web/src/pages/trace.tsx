import { useEffect, useRef, useState } from "preact/hooks";
import { ask, download, mayChange, path, read, useAsked } from "../api";
import { bytes, moment, toLocalInput, toRfc3339 } from "../format";
import { go, href } from "../route";
import { attempt, Badge, Button, confirmed, Field, FormDialog, IconButton, Id, Page, Panel, Reload, Select, Table, Trouble } from "../ui";

interface Traced {
  name: string;
  type: string;
  clientid?: string;
  topic?: string;
  ip_address?: string;
  start_at: string;
  end_at: string;
  status: string;
  payload_encode?: string;
  log_size?: Record<string, number>;
}

const KINDS: [string, string][] = [["clientid", "client id"], ["topic", "topic filter"], ["ip_address", "IP address"]];
/** Bytes of a question for the log, and of what is shown at most. */
const CHUNK = 65_536;
const SHOWN_MAX = 512 * 1024;
const EVERY_MS = 2000;

export function Trace({ about, query }: { about: string | undefined; query: URLSearchParams }) {
  return about === undefined ? <Traces clientid={query.get("clientid") ?? undefined} /> : <TraceLog name={about} />;
}

const aim = (row: Traced) => row.clientid ?? row.topic ?? row.ip_address ?? "";
const TONES: Record<string, "good" | "warn" | "plain"> = { running: "good", waiting: "warn" };

function Traces({ clientid }: { clientid: string | undefined }) {
  const asked = useAsked<Traced[]>("/trace", {}, 5000);
  const [open, setOpen] = useState(false);
  const missing = asked.error?.status === 404;
  const remove = async (row: Traced) => {
    if (!(await confirmed("Delete this trace?", <><Id whole>{row.name}</Id><p>Its file is deleted.</p></>, "Delete"))) return;
    if (await attempt(() => ask("DELETE", path("/trace/{}", row.name)), "the trace is deleted")) asked.reload();
  };
  const stop = async (row: Traced) => {
    if (await attempt(() => ask("PUT", path("/trace/{}/stop", row.name)), "the trace has stopped")) asked.reload();
  };
  const close = () => {
    setOpen(false);
    if (clientid !== undefined) go("trace");
  };
  const size = (row: Traced) => Object.values(row.log_size ?? {}).reduce((sum, one) => sum + one, 0);
  return (
    <Page title="Trace" note="What happens to one client, topic or address, written to a file" actions={!missing && <>
      <Reload of={asked} />
      {mayChange() && <Button icon="plus" kind="main" onClick={() => setOpen(true)}>Begin a trace</Button>}
    </>}>
      <Trouble error={asked.error} path="/api/v5/trace" />
      {!missing && <Panel flush>
        <Table rows={asked.data} keyOf={(row) => row.name} empty="Nothing is traced." columns={[
          { head: "Name", cell: (row) => <Id href={href("trace", row.name)}>{row.name}</Id> },
          { head: "Of", cell: (row) => <span class="nowrap">{KINDS.find(([kind]) => kind === row.type)?.[1] ?? row.type}</span> },
          { head: "Which", grow: true, cell: (row) => <Id>{aim(row)}</Id> },
          { head: "State", cell: (row) => <Badge tone={TONES[row.status] ?? "plain"}>{row.status}</Badge> },
          { head: "From", cell: (row) => <span class="nowrap">{moment(row.start_at)}</span> },
          { head: "Until", cell: (row) => <span class="nowrap">{moment(row.end_at)}</span> },
          { head: "Size", number: true, cell: (row) => <span class="nowrap">{bytes(size(row))}</span> },
          { head: "Actions", actions: true, cell: (row) => <>
            {mayChange() && row.status !== "stopped" && <Button kind="quiet" onClick={() => void stop(row)}>Stop</Button>}
            <IconButton icon="down" label={`Download ${row.name}`} onClick={() => void fetchFile(row.name)} />
            {mayChange() && <IconButton icon="trash" kind="danger" label={`Delete ${row.name}`} onClick={() => void remove(row)} />}
          </> },
        ]} />
      </Panel>}
      {(open || clientid !== undefined) && !missing && mayChange() && <NewTrace clientid={clientid} close={close} done={asked.reload} />}
    </Page>
  );
}

const fetchFile = (name: string) => attempt(() => download(path("/trace/{}/download", name), {}, `${name}.zip`), "the file is fetched");

function NewTrace({ clientid, close, done }: { clientid: string | undefined; close: () => void; done: () => void }) {
  const [kind, setKind] = useState("clientid");
  const now = Date.now();
  const send = async (values: Record<string, string>) => {
    const body = {
      name: values.name,
      type: kind,
      [kind]: values.aim,
      start_at: toRfc3339(values.start_at || toLocalInput(now)),
      end_at: toRfc3339(values.end_at ?? ""),
      payload_encode: values.payload_encode,
    };
    const made = await attempt(() => ask("POST", "/trace", { body }), "the trace is made");
    if (made) done();
    return made;
  };
  return (
    <FormDialog title="Begin a trace" yes="Begin" close={close} send={send}>
      <Field label="Name" hint="letters, digits, _ and -"><input name="name" required pattern="[A-Za-z][A-Za-z0-9_\-]*" maxLength={64} autofocus spellcheck={false} defaultValue={clientid ? `trace_${now % 100000}` : ""} /></Field>
      <Field label="Of"><select value={kind} onChange={(event) => setKind(event.currentTarget.value)}>{KINDS.map(([value, name]) => <option value={value} key={value}>{name}</option>)}</select></Field>
      <Field label={`Which ${KINDS.find(([value]) => value === kind)?.[1]}`}><input name="aim" required spellcheck={false} defaultValue={clientid ?? ""} /></Field>
      <div class="field-pair">
        <Field label="From"><input name="start_at" type="datetime-local" defaultValue={toLocalInput(now)} /></Field>
        <Field label="Until"><input name="end_at" type="datetime-local" required defaultValue={toLocalInput(now + 600_000)} /></Field>
      </div>
      <Field label="Payloads"><Select name="payload_encode" initial="text" options={[["text", "as text"], ["hex", "in hex"], "hidden"]} /></Field>
    </FormDialog>
  );
}

interface Chunk {
  meta: { position: number; bytes: number; hint?: string };
  items: string;
}

/** The log as it grows; it is asked for from where the last answer ended. */
function TraceLog({ name }: { name: string }) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const [running, setRunning] = useState(true);
  const view = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (!running) return;
    const stop = new AbortController();
    let position = 0;
    let timer: number | undefined;
    let kept = "";
    const run = async () => {
      if (document.hidden) {
        timer = window.setTimeout(run, EVERY_MS);
        return;
      }
      try {
        const chunk = await read<Chunk>(path("/trace/{}/log", name), { position, bytes: CHUNK }, stop.signal);
        const more = chunk.items.length > 0;
        position = chunk.meta.position;
        if (more) {
          kept = (kept + chunk.items).slice(-SHOWN_MAX);
          setText(kept);
        }
        timer = window.setTimeout(run, EVERY_MS);
      } catch (error) {
        if (!stop.signal.aborted) setProblem(error instanceof Error ? error.message : String(error));
      }
    };
    void run();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [name, running]);
  useEffect(() => {
    const pre = view.current;
    if (pre) pre.scrollTop = pre.scrollHeight;
  }, [text]);
  return (
    <Page title={<span class="title-id"><Id whole>{name}</Id></span>} note={<a href={href("trace")}>Trace</a>} actions={<>
      <Button onClick={() => setRunning(!running)}>{running ? "Pause" : "Go on"}</Button>
      <Button icon="down" onClick={() => void fetchFile(name)}>Download</Button>
    </>}>
      {problem && <p class="trouble" role="alert">{problem}</p>}
      <Panel>{text === "" ? <div class="empty">Nothing is in it yet.</div> : <pre class="log" ref={view} tabIndex={0}>{text}</pre>}</Panel>
    </Page>
  );
}
