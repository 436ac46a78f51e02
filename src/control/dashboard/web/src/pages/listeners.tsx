import { useState } from "preact/hooks";
import { ask, mayChange, path, useAsked } from "../api";
import { count, limit } from "../format";
import { attempt, Badge, Button, confirmed, Dialog, Facts, Page, Panel, Reload, say, Table, Trouble } from "../ui";

export interface Listener {
  id: string;
  type: string;
  name: string;
  bind: string;
  running: boolean;
  max_connections: number | string;
  current_connections: number;
  acceptors: number;
  proxy_protocol: boolean;
  shutdown_count: Record<string, number>;
}

export function Listeners() {
  const asked = useAsked<Listener[]>("/listeners", {}, 5000);
  const [seen, setSeen] = useState<string>();
  const told = asked.data?.find((row) => row.id === seen);
  const act = async (row: Listener, what: "start" | "stop" | "restart") => {
    if (what !== "start") {
      const text = <p>Connected clients stay. New ones are refused {what === "stop" ? "until it is started again" : "for a moment"}.</p>;
      if (!(await confirmed(`${what === "stop" ? "Stop" : "Restart"} ${row.id}?`, text, what === "stop" ? "Stop" : "Restart", what === "stop"))) return;
    }
    const done = { start: "the listener accepts clients", stop: "the listener accepts no more clients", restart: "the listener is restarted" }[what];
    await attempt(() => ask("POST", path("/listeners/{}/{}", row.id, what)), done);
    asked.reload();
  };
  const readCertificates = async () => {
    await attempt(async () => {
      const told = await ask<{ reloaded: string[]; failed: { listener: string; reason: string }[] }>("POST", "/tls/reload");
      told.failed.forEach((kept) => say(`${kept.listener} keeps its certificate: ${kept.reason}`, true));
      say(told.reloaded.length === 0 ? "no listener has new certificates" : `${told.reloaded.join(", ")}: the certificates were read again`);
    });
  };
  const hasTls = asked.data?.some((row) => row.type === "ssl" || row.type === "wss");
  return (
    <Page title="Listeners" actions={<>
      <Reload of={asked} />
      {hasTls && mayChange() && <Button onClick={() => void readCertificates()}>Read certificates again</Button>}
    </>}>
      <Trouble error={asked.error} />
      <Panel flush>
        <Table rows={asked.data} keyOf={(row) => row.id} empty="There are no listeners." columns={[
          { head: "Listener", grow: true, cell: (row) => <strong>{row.id}</strong> },
          { head: "Address", cell: (row) => <code>{row.bind}</code> },
          { head: "State", cell: (row) => <Badge tone={row.running ? "good" : "warn"}>{row.running ? "accepting" : "stopped"}</Badge> },
          { head: "Connections", number: true, cell: (row) => count(row.current_connections) },
          { head: "Limit", number: true, cell: (row) => <span class="nowrap">{limit(row.max_connections)}</span> },
          { head: "PROXY header", cell: (row) => (row.proxy_protocol ? "awaited" : "no") },
          { head: "Actions", actions: true, cell: (row) => <>
            <Button kind="quiet" onClick={() => setSeen(row.id)}>Ended</Button>
            {mayChange() && (row.running ? <>
              <Button kind="quiet" onClick={() => void act(row, "restart")}>Restart</Button>
              <Button kind="danger" onClick={() => void act(row, "stop")}>Stop</Button>
            </> : <Button onClick={() => void act(row, "start")}>Start</Button>)}
          </> },
        ]} />
      </Panel>
      {told && (
        <Dialog title={`Why connections of ${told.id} ended`} close={() => setSeen(undefined)}>
          {Object.keys(told.shutdown_count).length === 0
            ? <div class="empty">No connection has ended yet.</div>
            : <Facts rows={Object.entries(told.shutdown_count).sort((a, b) => b[1] - a[1]).map(([why, n]) => [why, count(n)])} />}
        </Dialog>
      )}
    </Page>
  );
}
