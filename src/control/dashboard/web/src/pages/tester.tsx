import { useEffect, useState } from "preact/hooks";
import { useAsked } from "../api";
import { clock, count } from "../format";
import { shown } from "../payload";
import { connect, disconnect, forget, MESSAGES_MAX, publish, subscribe, tester, unsubscribe, watch, type Message } from "../tester";
import { attempt, Badge, Button, Field, IconButton, Id, Page, Panel, QOS, Select, valuesOf } from "../ui";
import type { Listener } from "./listeners";
import { PayloadView } from "./payload_view";

function useTester() {
  const [now, setNow] = useState(tester());
  useEffect(() => watch(() => setNow(tester())), []);
  return now;
}

type QoS = 0 | 1 | 2;
const qosOf = (text: string | undefined): QoS => (text === "2" ? 2 : text === "1" ? 1 : 0);

/** The address of the broker's WebSocket listener, as seen from here. */
function addressOf(listeners: Listener[] | undefined): string | undefined {
  const kind = location.protocol === "https:" ? "wss" : "ws";
  const found = listeners?.find((one) => one.type === kind && one.running);
  const port = found?.bind.match(/:(\d+)$/)?.[1];
  return port && `${kind}://${location.hostname}:${port}/mqtt`;
}

export function Tester() {
  const now = useTester();
  return (
    <Page title="WebSocket client" note="MQTT from this page, over the broker's WebSocket listener" actions={
      <Badge tone={now.state === "on" ? "good" : now.state === "connecting" ? "warn" : "plain"}>
        {now.state === "on" ? "connected" : now.state === "connecting" ? "connecting" : "not connected"}
      </Badge>}>
      <div class="tester">
        <div class="tester-side">
          <Connection />
          <Subscribe />
          <Publish />
        </div>
        <Messages />
      </div>
    </Page>
  );
}

const OWN_ID = `dashboard_${Math.random().toString(16).slice(2, 10)}`;

function Connection() {
  const now = useTester();
  const listeners = useAsked<Listener[]>("/listeners");
  const [version, setVersion] = useState("5");
  if (now.state !== "off") {
    return (
      <Panel title="Connection" actions={<Button onClick={disconnect}>{now.state === "on" ? "Disconnect" : "Cancel"}</Button>}>
        <Id whole>{now.clientid}</Id>
      </Panel>
    );
  }
  const found = addressOf(listeners.data);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const values = valuesOf(event.currentTarget as HTMLFormElement);
    void connect({
      url: values.url ?? "",
      clientid: values.clientid ?? "",
      username: values.username ?? "",
      password: values.password ?? "",
      version: values.version === "4" ? 4 : 5,
      clean: values.clean === "on",
      keepalive: Number(values.keepalive),
      expiry: Number(values.expiry ?? 0),
    });
  };
  return (
    <Panel title="Connection">
      {now.error && <p class="trouble" role="alert">{now.error}</p>}
      <form class="stack" onSubmit={submit} key={found ?? ""}>
        <Field label="Address" hint={listeners.data && !found ? "No WebSocket listener is open; give the broker one, such as --listen ws://0.0.0.0:8083" : ""}>
          <input name="url" required spellcheck={false} defaultValue={found ?? ""} placeholder="ws://host:8083/mqtt" pattern="wss?://.+" />
        </Field>
        <Field label="Client id"><input name="clientid" required spellcheck={false} defaultValue={OWN_ID} /></Field>
        <div class="field-pair">
          <Field label="User name"><input name="username" spellcheck={false} autocomplete="off" /></Field>
          <Field label="Password"><input name="password" type="password" autocomplete="new-password" /></Field>
        </div>
        <div class="field-pair three">
          <Field label="MQTT"><select name="version" value={version} onChange={(event) => setVersion(event.currentTarget.value)}><option value="5">5.0</option><option value="4">3.1.1</option></select></Field>
          <Field label="Keep-alive, s"><input name="keepalive" type="number" min={0} max={65535} defaultValue="60" /></Field>
          {version === "5" && <Field label="Expiry, s"><input name="expiry" type="number" min={0} max={4294967295} defaultValue="0" /></Field>}
        </div>
        <label class="check"><input name="clean" type="checkbox" defaultChecked />{version === "5" ? "Clean start" : "Clean session"}</label>
        <Button kind="main" type="submit">Connect</Button>
      </form>
    </Panel>
  );
}

function Subscribe() {
  const now = useTester();
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const values = valuesOf(event.currentTarget as HTMLFormElement);
    await attempt(() => subscribe(values.topic ?? "", qosOf(values.qos)));
  };
  return (
    <Panel title="Subscribe">
      <form class="line" onSubmit={(event) => void submit(event)}>
        <Field label="Filter"><input name="topic" required spellcheck={false} defaultValue="test/#" /></Field>
        <Field label="QoS"><Select name="qos" initial="0" options={QOS} /></Field>
        <Button type="submit" disabled={now.state !== "on"}>Subscribe</Button>
      </form>
      {now.subscriptions.length > 0 && (
        <ul class="chips">
          {now.subscriptions.map((one) => (
            <li key={one.topic}>
              <Id>{one.topic}</Id><span class="faint">QoS {one.qos}</span>
              <IconButton icon="close" label={`Unsubscribe ${one.topic}`} onClick={() => void attempt(() => unsubscribe(one.topic))} />
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Publish() {
  const now = useTester();
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const values = valuesOf(event.currentTarget as HTMLFormElement);
    await attempt(() => publish(values.topic ?? "", values.payload ?? "", qosOf(values.qos), values.retain === "on"));
  };
  return (
    <Panel title="Publish">
      <form class="stack" onSubmit={(event) => void submit(event)}>
        <div class="line">
          <Field label="Topic"><input name="topic" required spellcheck={false} defaultValue="test/1" /></Field>
          <Field label="QoS"><Select name="qos" initial="0" options={QOS} /></Field>
        </div>
        <Field label="Payload"><textarea name="payload" rows={3} spellcheck={false}>{'{ "hello": "world" }'}</textarea></Field>
        <div class="line between">
          <label class="check"><input name="retain" type="checkbox" />Retain</label>
          <Button type="submit" disabled={now.state !== "on"}>Publish</Button>
        </div>
      </form>
    </Panel>
  );
}

function Messages() {
  const now = useTester();
  const [seen, setSeen] = useState<Message>();
  return (
    <Panel title={`Messages (${count(now.received)} received)`} actions={now.messages.length > 0 && <Button kind="quiet" onClick={forget}>Clear</Button>}>
      {now.messages.length === 0 ? <div class="empty">Nothing was sent or received yet.</div> : (
        <ul class="messages">
          {now.messages.map((message) => {
            const payload = shown(message.payload);
            return (
              <li key={message.id} class={message.out ? "message out" : "message"}>
                <button type="button" onClick={() => setSeen(message)} title="Show the whole payload">
                  <span class="message-head">
                    <strong>{message.out ? "sent" : "received"}</strong>
                    <Id>{message.topic}</Id>
                    <span class="faint nowrap">QoS {message.qos}{message.retain && ", retained"}</span>
                    <span class="faint nowrap">{clock(message.at)}</span>
                  </span>
                  <span class="message-text">{payload.kind === "empty" ? "(empty)" : payload.text.slice(0, 400)}</span>
                </button>
              </li>
            );
          })}
        </ul>
      )}
      {now.messages.length >= MESSAGES_MAX && <p class="note">The last {MESSAGES_MAX} are kept.</p>}
      {seen && <PayloadView topic={seen.topic} payload={seen.payload} close={() => setSeen(undefined)} />}
    </Panel>
  );
}
