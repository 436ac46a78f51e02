// MQTT.js against a broker: `mqttjs_client.cjs HOST PORT [ws]`, the last for WebSocket.
//
// Each check compares what arrived with what was sent. The last line is `N passed, M failed`.
'use strict';

const assert = require('node:assert');
const mqtt = require('mqtt');

const [host, port, protocol = 'mqtt'] = process.argv.slice(2);
const PATIENCE_MS = 20000;
const SILENCE_MS = 300;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

class Peer {
  constructor(clientId, version, more = {}) {
    const old = version === 3 ? { protocolId: 'MQIsdp' } : {};
    this.messages = [];
    this.waiting = null;
    this.client = mqtt.connect({
      protocol,
      host,
      port: Number(port),
      path: '/mqtt',
      clientId,
      protocolVersion: version,
      reconnectPeriod: 0,
      connectTimeout: PATIENCE_MS,
      ...old,
      ...more,
    });
    this.client.on('message', (topic, payload, packet) => {
      this.messages.push({ topic, payload, packet });
      if (this.waiting) this.waiting();
    });
    this.client.on('error', (error) => {
      this.error = error;
    });
  }

  connected() {
    const event = new Promise((resolve) => {
      this.client.once('connect', (connack) => {
        this.connack = connack;
        resolve(this);
      });
    });
    return within(event, `CONNACK, error ${this.error}`);
  }

  async subscribe(filter, options) {
    const granted = await within(this.client.subscribeAsync(filter, options), 'SUBACK');
    return granted[0].qos;
  }

  publish(topic, payload, options = {}) {
    return within(this.client.publishAsync(topic, payload, options), `publish to ${topic}`);
  }

  async take(count) {
    const all = (async () => {
      while (this.messages.length < count) {
        await new Promise((resolve) => {
          this.waiting = resolve;
        });
      }
    })();
    await within(all, `${count} messages`);
    return this.messages.splice(0, count);
  }

  async expectNothing() {
    await pause(SILENCE_MS);
    assert.deepStrictEqual(this.messages.map((m) => m.payload.toString()), []);
  }

  leave() {
    return within(this.client.endAsync(false), 'the end');
  }

  async vanish() {
    const closed = new Promise((resolve) => this.client.once('close', resolve));
    this.client.stream.destroy();
    await within(closed, 'close');
    await this.client.endAsync(true);
  }
}

const connect = (clientId, version, more) => new Peer(clientId, version, more).connected();
const kept = (version) =>
  version === 5
    ? { clean: false, properties: { sessionExpiryInterval: 60 } }
    : { clean: false };

async function messagesOfAllQos(version) {
  const to = await connect(`to-${version}`, version);
  const from = await connect(`from-${version}`, version);
  for (const qos of [0, 1, 2]) {
    const filter = `js/${version}/${qos}/+`;
    assert.strictEqual(await to.subscribe(filter, { qos }), qos);
    const topic = `js/${version}/${qos}/x`;
    const sent = Array.from({ length: 100 }, (_, n) => `${qos}-${n}-\u00e9\u6c34`);
    for (const payload of sent) await from.publish(topic, payload, { qos });
    const got = await to.take(sent.length);
    assert.deepStrictEqual(got.map((m) => m.payload.toString()), sent);
    for (const message of got) {
      assert.deepStrictEqual(
        [message.topic, message.packet.qos, message.packet.retain],
        [topic, qos, false],
      );
    }
  }
  await to.expectNothing();
  await to.leave();
  await from.leave();
}

async function pipelined(version) {
  const to = await connect(`to-${version}`, version);
  const from = await connect(`from-${version}`, version);
  await to.subscribe(`pipe/${version}`, { qos: 2 });
  const sent = Array.from({ length: 300 }, (_, n) => String(n));
  // MQTT.js does not keep to the broker's Receive Maximum, so the test does.
  const together = 20;
  for (let first = 0; first < sent.length; first += together) {
    const batch = sent.slice(first, first + together);
    await Promise.all(batch.map((payload, n) => from.publish(`pipe/${version}`, payload, { qos: 1 + (n % 2) })));
  }
  const got = (await to.take(sent.length)).map((m) => m.payload.toString());
  assert.deepStrictEqual([...got].sort(), [...sent].sort());
  await to.expectNothing();
  await to.leave();
  await from.leave();
}

async function retained(version) {
  const topic = `retained/${version}`;
  const from = await connect(`from-${version}`, version);
  await from.publish(topic, 'kept', { qos: 1, retain: true });
  const to = await connect(`to-${version}`, version);
  await to.subscribe(topic, { qos: 1 });
  const [message] = await to.take(1);
  assert.deepStrictEqual([message.payload.toString(), message.packet.retain], ['kept', true]);
  await from.publish(topic, '', { qos: 1, retain: true });
  const late = await connect(`late-${version}`, version);
  await late.subscribe(topic, { qos: 1 });
  await late.expectNothing();
  for (const peer of [from, to, late]) await peer.leave();
}

async function wills(version) {
  const topic = `wills/${version}`;
  const heir = await connect(`heir-${version}`, version);
  await heir.subscribe(topic, { qos: 1 });
  const will = (payload) => ({ will: { topic, payload: Buffer.from(payload), qos: 1, retain: false } });
  await (await connect(`polite-${version}`, version, will('polite'))).leave();
  await (await connect(`rude-${version}`, version, will('rude'))).vanish();
  const [message] = await heir.take(1);
  assert.deepStrictEqual([message.payload.toString(), message.packet.qos], ['rude', 1]);
  await heir.expectNothing();
  await heir.leave();
}

async function sessions(version) {
  const topic = `sessions/${version}`;
  const from = await connect(`from-${version}`, version);
  let to = await connect(`kept-${version}`, version, kept(version));
  await to.subscribe(topic, { qos: 2 });
  for (const round of [0, 1, 2]) {
    await (round % 2 ? to.vanish() : to.leave());
    const sent = Array.from({ length: 50 }, (_, n) => `${round}-${n}`);
    for (const payload of sent) await from.publish(topic, payload, { qos: 1 + (round % 2) });
    to = await connect(`kept-${version}`, version, kept(version));
    // Version 3.1 has no such flag.
    assert.strictEqual(to.connack.sessionPresent, version !== 3);
    assert.deepStrictEqual((await to.take(50)).map((m) => m.payload.toString()), sent);
    await to.expectNothing();
  }
  await to.leave();
  await from.leave();
}

async function reconnectsByItself(version) {
  const topic = `again/${version}`;
  const to = await connect(`again-${version}`, version, {
    ...kept(version),
    reconnectPeriod: 100,
    resubscribe: false,
  });
  await to.subscribe(topic, { qos: 1 });
  const back = to.connected();
  to.client.stream.destroy();
  await back;
  const from = await connect(`from-${version}`, version);
  await from.publish(topic, 'after', { qos: 1 });
  assert.strictEqual((await to.take(1))[0].payload.toString(), 'after');
  await to.leave();
  await from.leave();
}

async function properties(version) {
  const to = await connect(`to-${version}`, version);
  await to.subscribe('properties/#', { qos: 1, nl: true, properties: { subscriptionIdentifier: 9 } });
  const carried = {
    userProperties: { a: ['1', '2'], b: '3' },
    contentType: 'text/plain',
    responseTopic: 'answers',
    correlationData: Buffer.from([0, 255]),
    payloadFormatIndicator: true,
  };
  await to.publish('properties/own', 'own', { qos: 1 });
  const from = await connect(`from-${version}`, version);
  await from.publish('properties/x', 'x', { qos: 1, properties: carried });
  const [message] = await to.take(1);
  const got = message.packet.properties;
  assert.strictEqual(message.payload.toString(), 'x');
  assert.deepStrictEqual({ ...got.userProperties }, carried.userProperties);
  assert.deepStrictEqual(
    [got.contentType, got.responseTopic, got.payloadFormatIndicator, got.subscriptionIdentifier],
    ['text/plain', 'answers', true, 9],
  );
  assert.deepStrictEqual(Buffer.from(got.correlationData), carried.correlationData);
  await to.leave();
  await from.leave();
}

async function large(version) {
  const to = await connect(`to-${version}`, version);
  const from = await connect(`from-${version}`, version);
  await to.subscribe(`large/${version}`, { qos: 2 });
  const payload = Buffer.alloc(800000, 'abcdefghijk');
  for (const qos of [0, 1, 2]) {
    await from.publish(`large/${version}`, payload, { qos });
    assert.ok((await to.take(1))[0].payload.equals(payload), `altered at QoS ${qos}`);
  }
  await to.leave();
  await from.leave();
}

async function main() {
  let passed = 0;
  let failed = 0;
  for (const version of [3, 4, 5]) {
    const checks = [messagesOfAllQos, pipelined, retained, wills, sessions, reconnectsByItself, large];
    if (version === 5) checks.push(properties);
    for (const check of checks) {
      try {
        await check(version);
        passed += 1;
      } catch (error) {
        failed += 1;
        console.log(`FAILED: ${check.name} of version ${version}: ${error.stack}`);
      }
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

main();
