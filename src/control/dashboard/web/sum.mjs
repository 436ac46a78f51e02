// Writes the sum of all sources into the built files, from which a test of the broker sees whether they
// are fresh. node sum.mjs SOURCES OUT
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";

const [, , sources, out] = process.argv;
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const names = readdirSync(sources, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(sources, join(entry.parentPath, entry.name)).split(sep).join("/"))
  .filter((name) => !name.includes("node_modules/"))
  .sort((a, b) => (a < b ? -1 : 1));
const lines = names.map((name) => `${sha256(readFileSync(join(sources, name)))}  ${name}\n`);
writeFileSync(join(out, "sources.sha256"), `${sha256(lines.join(""))}\n`);
