// The dashboard in a real browser, in front of a real broker: node browser.mjs PACKAGES BROKER
//
// PACKAGES is the folder with node_modules, BROKER the program. Each check is a test of its own, in this
// order, in one page.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { join } from "node:path";
import { Broker, PASSWORD, USER } from "./broker.mjs";

const [packages, program] = process.argv.slice(2);
const require = createRequire(join(packages, "package.json"));
const { chromium } = require("playwright-core");
const mqtt = require("mqtt");

const ARGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
];
const PATIENCE_MS = 20_000;

let broker;
let browser;
let page;
const requests = [];
const problems = [];

before(async () => {
  broker = await Broker.start(program);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGS });
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  context.on("request", (request) => requests.push(request.url()));
  page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("websocket", (socket) => requests.push(socket.url()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    // The browser itself writes a line for each answer that is an error, such as a wrong password.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) problems.push(message.text());
  });
}, { timeout: 90_000 });

after(async () => {
  await browser?.close();
  assert.ok(await broker?.stop(), "the broker ends in order");
});

/** A client of the broker, connected. */
async function client(clientId, options = {}) {
  return mqtt.connectAsync(`mqtt://${broker.tcp}`, { clientId, protocolVersion: 5, reconnectPeriod: 0, ...options });
}

async function logIn(password) {
  await page.getByLabel("User name").fill(USER);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
}

async function open(name) {
  await page.getByRole("navigation", { name: "Pages" }).first().getByRole("link", { name, exact: true }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
}

async function until(what, check) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await check())) {
    assert.ok(Date.now() < deadline, `in time: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

test("a wrong password is refused, plainly", async () => {
  await page.goto(`${broker.origin}/`);
  await logIn("wrong password");
  await page.getByRole("alert").filter({ hasText: "wrong" }).waitFor();
  assert.equal(await page.getByRole("heading", { name: "Overview" }).count(), 0);
});

test("the right one opens the overview, with live figures", async () => {
  const first = await client("first");
  await logIn(PASSWORD);
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  await page.locator(".tile", { hasText: "Connected clients" }).locator(".tile-value", { hasText: /^1$/ }).waitFor();
  await page.locator(".chart canvas").nth(3).waitFor();
  const second = await client("second");
  await page.locator(".tile", { hasText: "Connected clients" }).locator(".tile-value", { hasText: /^2$/ }).waitFor();
  await first.endAsync();
  await second.endAsync();
});

test("the overview asks once in two seconds, and not at all when nobody sees it", async () => {
  const asked = () => requests.filter((url) => url.endsWith("/api/v5/overview")).length;
  let count = asked();
  await until("it asks again", () => asked() > count);
  // Whether a tab is seen is nothing a headless browser changes by itself.
  const seen = (hidden) => page.evaluate((now) => {
    Object.defineProperty(document, "hidden", { value: now, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await seen(true);
  count = asked();
  await page.waitForTimeout(5000);
  assert.ok(asked() <= count + 1, "at most the question that was under way");
  await seen(false);
  await until("it goes on", () => asked() > count + 1);
});

test("all pages open without a fault", async () => {
  const names = await page.locator(".side nav a > span:first-of-type").allTextContents();
  assert.ok(names.length >= 16, names.join());
  for (const name of names) {
    await open(name);
    await page.waitForLoadState("networkidle");
  }
  assert.deepEqual(problems, []);
});

test("a client that is kicked is gone from the broker", async () => {
  const id = "to be kicked/\u6c34";
  const victim = await client(id);
  const closed = new Promise((done) => victim.once("close", done));
  await open("Clients");
  await page.getByLabel("Client id").fill("to be");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByRole("link", { name: id }).click();
  await page.getByRole("button", { name: "Kick" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Kick" }).click();
  await closed;
  await page.getByRole("heading", { level: 1, name: "Clients" }).waitFor();
  assert.equal((await broker.api("GET", `/clients/${encodeURIComponent(id)}`)).status, 404);
});

test("a message arrives in the test client, and one goes out", async () => {
  const peer = await client("peer");
  await peer.subscribeAsync("from/page");
  await open("WebSocket client");
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  await page.getByText("connected", { exact: true }).waitFor();
  await page.getByLabel("Filter").fill("to/page");
  await page.getByRole("button", { name: "Subscribe" }).click();
  await page.locator(".chips", { hasText: "to/page" }).waitFor();
  await peer.publishAsync("to/page", '{"said":"hello"}');
  await page.locator(".message", { hasText: '"said": "hello"' }).waitFor();
  const got = new Promise((done) => peer.once("message", (_, payload) => done(payload.toString())));
  await page.getByLabel("Topic").fill("from/page");
  await page.getByLabel("Payload").fill("answer");
  await page.getByRole("button", { name: "Publish" }).click();
  assert.equal(await got, "answer");
  await page.getByRole("button", { name: "Disconnect" }).click();
  await page.getByText("not connected", { exact: true }).waitFor();
  await peer.endAsync();
});

test("a retained message is looked at and deleted", async () => {
  const peer = await client("peer");
  await peer.publishAsync("kept/here", "the payload", { retain: true, qos: 1 });
  await peer.endAsync();
  await open("Retained messages");
  await page.getByRole("button", { name: "Payload of kept/here" }).click();
  await page.getByRole("dialog").getByText("the payload").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page.getByRole("button", { name: "Delete kept/here" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByText("There are no retained messages.").waitFor();
  assert.equal((await broker.api("GET", "/mqtt/retainer/message/kept%2Fhere")).status, 404);
});

test("who is banned is refused until the ban is over", async () => {
  await open("Bans");
  await page.getByRole("button", { name: "Add a ban" }).click();
  await page.getByLabel("Who").fill("banned");
  await page.getByLabel("Reason").fill("for a test");
  await page.getByRole("button", { name: "Ban", exact: true }).click();
  await page.locator("tr", { hasText: "for a test" }).waitFor();
  await assert.rejects(client("banned"));
  await page.getByRole("button", { name: "End the ban of banned" }).click();
  await page.getByRole("button", { name: "End the ban", exact: true }).click();
  await page.getByText("Nobody is banned.").waitFor();
  await (await client("banned")).endAsync();
});

test("a trace tells what a client does", async () => {
  await open("Trace");
  await page.getByRole("button", { name: "Begin a trace" }).click();
  await page.getByLabel("Name").fill("one");
  await page.getByLabel("Which client id").fill("traced");
  await page.getByRole("button", { name: "Begin", exact: true }).click();
  await page.getByRole("link", { name: "one" }).click();
  const traced = await client("traced");
  await traced.publishAsync("from/the/traced", "x", { qos: 1 });
  await traced.endAsync();
  await page.locator(".log", { hasText: "from/the/traced" }).waitFor();
});

test("a topic is counted on its own", async () => {
  await open("Topic metrics");
  await page.getByRole("button", { name: "Count a topic" }).click();
  await page.getByRole("dialog").getByLabel("Topic").fill("counted");
  await page.getByRole("button", { name: "Count", exact: true }).click();
  const row = page.locator("tbody tr", { hasText: "counted" });
  await row.waitFor();
  const peer = await client("peer");
  await peer.publishAsync("counted", "x", { qos: 1 });
  await peer.endAsync();
  await row.locator("td[data-head=In]", { hasText: /^1 / }).waitFor();
});

test("slow subscriptions are switched on", async () => {
  await open("Slow subscriptions");
  const main = page.getByRole("main");
  await main.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Keep the list").check();
  await page.getByLabel("Threshold").fill("700ms");
  await page.getByRole("button", { name: "Save" }).click();
  await main.getByText("700ms").waitFor();
  assert.equal((await broker.api("GET", "/slow_subscriptions/settings")).body.enable, true);
});

test("the theme is that of the system until the reader chooses", async () => {
  await open("Bans");
  const back = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  const light = await back();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await back();
  assert.notEqual(light, dark);
  await page.getByRole("button", { name: "Light theme" }).click();
  assert.equal(await back(), light);
  await page.reload();
  await page.getByRole("heading", { level: 1, name: "Bans" }).waitFor();
  assert.equal(await back(), light, "the choice is kept, and so is the login");
  await page.getByRole("button", { name: "Theme of the system" }).click();
  assert.equal(await back(), dark);
});

test("on a narrow screen nothing is wider than the screen", async () => {
  const wide = page.viewportSize();
  const long = await client(`${"very-long-client-id-".repeat(8)}end`);
  await page.setViewportSize({ width: 390, height: 844 });
  for (const at of ["overview", "clients", "subscriptions", "listeners", "metrics", "tester", "bans", "users", "keys", "settings"]) {
    await page.goto(`${broker.origin}/#/${at}`);
    await page.waitForLoadState("networkidle");
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 390, `${at} is ${width} wide`);
  }
  await page.getByRole("button", { name: "Open the menu" }).click();
  await open("Clients");
  await long.endAsync();
  await page.setViewportSize(wide);
});

test("a viewer is offered nothing that changes something", async () => {
  const viewer = { username: "looker", password: "looks at all", role: "viewer" };
  assert.equal((await broker.api("POST", "/users", viewer)).status, 200);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("button", { name: "Log in" }).waitFor();
  await page.waitForLoadState("networkidle");
  await page.getByLabel("User name").fill(viewer.username);
  await page.getByLabel("Password").fill(viewer.password);
  await page.getByRole("button", { name: "Log in" }).click();
  await open("Bans");
  assert.equal(await page.getByRole("button", { name: "Add a ban" }).count(), 0);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("button", { name: "Log in" }).waitFor();
});

test("a changed password is the one that counts", async () => {
  await logIn(PASSWORD);
  await page.getByRole("button", { name: "Change my password" }).click();
  await page.getByLabel("Present password").fill(PASSWORD);
  await page.locator("input[name=next]").fill("another horse");
  await page.locator("input[name=again]").fill("another horse");
  await page.getByRole("button", { name: "Change", exact: true }).click();
  await page.getByText("Log in with the new one").waitFor();
  await logIn("another horse");
  await page.getByRole("button", { name: "Log out" }).waitFor();
});

test("nothing was asked of anybody but the broker", () => {
  const own = (url) => url.startsWith(`${broker.origin}/`) || url.startsWith(`ws://${broker.ws}/`);
  assert.ok(requests.length > 50);
  assert.deepEqual(requests.filter((url) => !own(url)), []);
  assert.deepEqual(problems, []);
});
