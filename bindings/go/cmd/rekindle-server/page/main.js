// The page's frame: which part is shown, which model is chosen, and how the server is asked.

import { chat } from "./chat.js";
import { models } from "./models.js";
import { plan } from "./plan.js";

const $ = (selector) => document.querySelector(selector);
const parts = { chat, models, plan };

/** Asks the server. The key is kept while the browser's tab is open. */
export async function ask(path, body, options = {}) {
  const headers = { "Content-Type": "application/json" };
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  const method = body === undefined ? "GET" : "POST";
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), ...options });
  if (answer.ok) return answer;
  $("#key").hidden = answer.status !== 401;
  const text = await answer.text();
  let said = text;
  try {
    const { error } = JSON.parse(text);
    said = error.message ?? error;
  } catch {
    // It was no JSON, so the text itself is shown.
  }
  throw new Error(said);
}

/** Shows what went wrong, or nothing. */
export function trouble(error) {
  const at = $("#trouble");
  at.hidden = !error || error.name === "AbortError";
  at.textContent = error ? error.message : "";
}

export const model = () => $("#model").value;

/** Bytes for people. */
export function size(bytes) {
  for (const [unit, n] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (bytes >= n) return `${(bytes / n).toFixed(bytes >= 10 * n ? 1 : 2)} ${unit}`;
  }
  return `${bytes} B`;
}

function show() {
  const name = location.hash.slice(1) in parts ? location.hash.slice(1) : "chat";
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  for (const link of document.querySelectorAll("nav a")) link.classList.toggle("here", link.hash === `#${name}`);
  parts[name].show().catch(trouble);
}

async function begin() {
  const { data } = await (await ask("v1/models")).json();
  $("#model").replaceChildren(...data.map((m) => new Option(m.id, m.id)));
  $("#model").meta = Object.fromEntries(data.map((m) => [m.id, m.meta ?? {}]));
  show();
}

$("#key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", $("#key input").value);
  $("#key").hidden = true;
  trouble();
  begin().catch(trouble);
});
$("#model").addEventListener("change", show);
addEventListener("hashchange", show);
begin().catch(trouble);
