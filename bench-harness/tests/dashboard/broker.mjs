// A broker for the tests of the dashboard: started on ports that the system chose, ended with the test.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const USER = "admin";
export const PASSWORD = "correct horse";
const START_MS = 30_000;

export class Broker {
  /** Starts `program` and waits until it is ready. */
  static async start(program, further = []) {
    const broker = new Broker();
    broker.scratch = mkdtempSync(join(tmpdir(), "millrace-dashboard-"));
    broker.log = "";
    const args = [
      "--cores", "2", "--data-dir", join(broker.scratch, "data"),
      "--listen", "tcp://127.0.0.1:0", "--listen", "ws://127.0.0.1:0",
      "--set", "http.listen=127.0.0.1:0", "--set", `dashboard.default_password=${PASSWORD}`, ...further,
    ];
    broker.child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    broker.ended = new Promise((done) => broker.child.on("exit", done));
    broker.child.stderr.on("data", (text) => (broker.log += text));
    const lines = createInterface({ input: broker.child.stdout });
    await new Promise((ready, failed) => {
      const timer = setTimeout(() => failed(new Error(`not ready in time:\n${broker.log}`)), START_MS);
      void broker.ended.then((code) => failed(new Error(`ended with ${code}:\n${broker.log}`)));
      lines.on("line", (line) => {
        const [word, name, address] = line.split(" ");
        if (word === "listening") broker[name.split(":")[0]] = address;
        if (word !== "ready") return;
        clearTimeout(timer);
        ready();
      });
    });
    return broker;
  }

  /** Where the dashboard is. */
  get origin() {
    return `http://${this.http}`;
  }

  /** Asks the API as the first user. */
  async api(method, path, body) {
    const json = { "content-type": "application/json" };
    if (!this.token) {
      const login = JSON.stringify({ username: USER, password: PASSWORD });
      const answer = await fetch(`${this.origin}/api/v5/login`, { method: "POST", headers: json, body: login });
      this.token = (await answer.json()).token;
    }
    const headers = { ...json, authorization: `Bearer ${this.token}` };
    const answer = await fetch(`${this.origin}/api/v5${path}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    return { status: answer.status, body: text ? JSON.parse(text) : undefined };
  }

  /** Ends it in order; true if that went well. */
  async stop() {
    this.child.kill("SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), START_MS);
    const code = await this.ended;
    clearTimeout(timer);
    rmSync(this.scratch, { recursive: true, force: true });
    return code === 0;
  }
}
