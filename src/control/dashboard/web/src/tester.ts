// The test client: one connection by MQTT.js, which lives on while other pages are looked at. MQTT.js is
// large, so it is fetched when it is used first.

import type { IClientOptions, MqttClient } from "mqtt";

/** Messages that are kept; older ones go. */
export const MESSAGES_MAX = 500;

export interface Message {
  id: number;
  at: number;
  out: boolean;
  topic: string;
  qos: number;
  retain: boolean;
  payload: Uint8Array;
}

export interface Wanted {
  url: string;
  clientid: string;
  username: string;
  password: string;
  version: 4 | 5;
  clean: boolean;
  keepalive: number;
  expiry: number;
}

export interface State {
  state: "off" | "connecting" | "on";
  clientid: string;
  error: string;
  subscriptions: { topic: string; qos: number }[];
  messages: Message[];
  /** All that came, those that are not kept any more included. */
  received: number;
}

const NOTHING: State = { state: "off", clientid: "", error: "", subscriptions: [], messages: [], received: 0 };

let now: State = NOTHING;
let client: MqttClient | undefined;
let waiting: Message[] = [];
let frame: number | undefined;
let next = 0;
const watchers = new Set<() => void>();

export const tester = (): State => now;

export function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => void watchers.delete(watcher);
}

function set(change: Partial<State>): void {
  now = { ...now, ...change };
  watchers.forEach((watcher) => watcher());
}

/** Takes messages into the list a few times a second: a storm of them is drawn as one. */
function note(message: Omit<Message, "id" | "at">): void {
  next += 1;
  waiting.push({ ...message, id: next, at: Date.now() });
  if (waiting.length > MESSAGES_MAX) waiting.splice(0, waiting.length - MESSAGES_MAX);
  frame ??= window.setTimeout(() => {
    frame = undefined;
    const messages = [...waiting.reverse(), ...now.messages].slice(0, MESSAGES_MAX);
    waiting = [];
    set({ messages });
  }, 100);
}

/** Connects; what goes wrong is in `error`. */
export async function connect(wanted: Wanted): Promise<void> {
  disconnect();
  set({ ...NOTHING, state: "connecting", clientid: wanted.clientid, messages: now.messages, received: now.received });
  const { default: mqtt } = await import("mqtt");
  const options: IClientOptions = {
    clientId: wanted.clientid,
    protocolVersion: wanted.version,
    clean: wanted.clean,
    keepalive: wanted.keepalive,
    reconnectPeriod: 0,
    connectTimeout: 10_000,
    // Its timers of a worker need a script that the page's policy does not allow.
    timerVariant: "native",
  };
  if (wanted.username) options.username = wanted.username;
  if (wanted.password) options.password = wanted.password;
  if (wanted.version === 5 && wanted.expiry > 0) options.properties = { sessionExpiryInterval: wanted.expiry };
  let mine: MqttClient;
  try {
    mine = mqtt.connect(wanted.url, options);
  } catch (error) {
    set({ state: "off", error: String(error) });
    return;
  }
  client = mine;
  const ours = (run: () => void) => () => client === mine && run();
  mine.on("connect", ours(() => set({ state: "on", error: "" })));
  mine.on("error", (error) => client === mine && set({ error: error.message || "the connection failed" }));
  mine.on("disconnect", (packet) => client === mine && set({ error: `the broker ended the connection (reason ${packet.reasonCode ?? 0})` }));
  mine.on("close", ours(() => {
    const error = now.error || (now.state === "connecting" ? "there is no connection to be had at this address" : "the connection was closed");
    client = undefined;
    set({ state: "off", error, subscriptions: [] });
  }));
  mine.on("message", (topic, payload, packet) => {
    if (client !== mine) return;
    now.received += 1;
    note({ out: false, topic, qos: packet.qos, retain: packet.retain, payload: new Uint8Array(payload) });
  });
}

/** Disconnects in order. */
export function disconnect(): void {
  const old = client;
  client = undefined;
  old?.end(false);
  if (now.state !== "off") set({ state: "off", error: "", subscriptions: [] });
}

/** Subscribes; the error says why not. */
export async function subscribe(topic: string, qos: 0 | 1 | 2): Promise<void> {
  const granted = await client?.subscribeAsync(topic, { qos });
  const given = granted?.[0]?.qos ?? qos;
  if (given > 2) throw new Error(`the broker refused (reason ${given})`);
  set({ subscriptions: [...now.subscriptions.filter((old) => old.topic !== topic), { topic, qos: given }] });
}

export async function unsubscribe(topic: string): Promise<void> {
  await client?.unsubscribeAsync(topic);
  set({ subscriptions: now.subscriptions.filter((old) => old.topic !== topic) });
}

export async function publish(topic: string, payload: string, qos: 0 | 1 | 2, retain: boolean): Promise<void> {
  if (!client) throw new Error("there is no connection");
  await client.publishAsync(topic, payload, { qos, retain });
  note({ out: true, topic, qos, retain, payload: new TextEncoder().encode(payload) });
}

export function forget(): void {
  waiting = [];
  set({ messages: [], received: 0 });
}
