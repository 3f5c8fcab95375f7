// The average of a column over all organizations, for generation 4 of vantage6, without its wrapper.

import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const ROWS_MIN = 10;
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** A variable that the node has set: base32, with "!" in the place of "=". */
function variable(name) {
  const digits = [...process.env[name]].filter((digit) => digit !== "!");
  const bits = digits.map((digit) => DIGITS.indexOf(digit).toString(2).padStart(5, "0")).join("");
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => parseInt(byte, 2))).toString();
}

// --- The node, over HTTP ----------------------------------------------------------------------

const token = readFileSync(variable("TOKEN_FILE"), "utf8");
const claims = JSON.parse(Buffer.from(token.split(".")[1], "base64url")).sub;

async function ask(method, path, body) {
  const address = `${variable("HOST")}:${variable("PORT")}${variable("API_PATH")}`;
  const response = await fetch(address + path, {
    method,
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${await response.text()}`);
  return response.json();
}

/** Run a function at organizations, and wait for what they return. */
async function subtask(method, kwargs, organizations) {
  const input = Buffer.from(JSON.stringify({ method, kwargs })).toString("base64");
  const task = await ask("POST", "/task", {
    name: method,
    image: claims.image,
    collaboration_id: claims.collaboration_id,
    databases: claims.databases,
    organizations: organizations.map((id) => ({ id, input })),
  });
  const waiting = ["initializing", "pending", "active"];
  while (waiting.includes((await ask("GET", `/task/${task.id}/status`)).status)) {
    await sleep(1000); // The node answers when the task has ended, so that this is for slow ones.
  }
  const { data } = await ask("GET", `/result?task_id=${task.id}`);
  // An organization that failed has no result, and nothing else says so.
  const answered = data.filter((each) => each.result !== null);
  if (answered.length < organizations.length) throw new Error("not every organization answered");
  return answered.map((each) => JSON.parse(Buffer.from(each.result, "base64")));
}

// --- What may be called -----------------------------------------------------------------------

const total = (parts, key) => parts.reduce((sum, part) => sum + part[key], 0);

const functions = {
  async average({ column }) {
    const { data } = await ask("GET", `/organization?collaboration_id=${claims.collaboration_id}`);
    const parts = await subtask("sums", { column }, data.map((organization) => organization.id));
    const n = total(parts, "n");
    return { n, average: total(parts, "sum") / n };
  },

  sums({ column }) {
    const [label] = variable("USER_REQUESTED_DATABASE_LABELS").split(",");
    const text = readFileSync(variable(`${label.toUpperCase()}_DATABASE_URI`), "utf8");
    const [header, ...rows] = text.trim().split(/\r?\n/).map((line) => line.split(","));
    const place = header.indexOf(column);
    if (place < 0) throw new Error("there is no such column");
    const values = rows.map((row) => row[place]).filter((cell) => cell && cell !== "NA").map(Number);
    if (values.length < ROWS_MIN) throw new Error(`fewer than ${ROWS_MIN} values`);
    return { n: values.length, sum: values.reduce((sum, value) => sum + value, 0) };
  },
};

const { method, kwargs } = JSON.parse(readFileSync(variable("INPUT_FILE"), "utf8"));
const result = await functions[method](kwargs);
writeFileSync(variable("OUTPUT_FILE"), JSON.stringify(result));
