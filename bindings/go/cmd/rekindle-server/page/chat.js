// A conversation that streams, can be stopped, and tells its speed.

import { ask, model, trouble } from "./main.js";

const $ = (selector) => document.querySelector(selector);
let messages = [];
let going = null;

/** Adds a message to the picture. Texts of models are never HTML. */
function add(role, text) {
  const at = document.createElement("div");
  at.className = `said ${role}`;
  at.textContent = text;
  $("#talk").append(at);
  at.scrollIntoView({ block: "end" });
  return at;
}

/** Gives the events of a stream. */
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      if (block.startsWith(": ")) yield { comment: block.slice(2) };
      else if (block !== "data: [DONE]") yield JSON.parse(block.slice("data: ".length));
    }
  }
}

async function talk(text) {
  messages.push({ role: "user", content: text });
  add("user", text);
  const said = add("assistant", "");
  const thought = document.createElement("div");
  thought.className = "thought";
  const content = document.createTextNode("");
  said.append(thought, content);
  const began = performance.now();
  let tokens = 0, reply = "", reasoning = "", first = 0;
  going = new AbortController();
  $("#send").textContent = "Stop";
  try {
    const answer = await ask("v1/chat/completions", {
      model: model(), messages, stream: true, stream_options: { include_usage: true },
      temperature: Number($("#temperature").value), max_tokens: Number($("#limit").value),
    }, { signal: going.signal });
    for await (const event of events(answer)) {
      if (event.error) throw new Error(event.error.message);
      if (event.comment) {
        $("#speed").textContent = event.comment;
        continue;
      }
      const delta = event.choices?.[0]?.delta ?? {};
      const piece = (delta.content ?? "") + (delta.reasoning_content ?? "");
      reply += delta.content ?? "";
      reasoning += delta.reasoning_content ?? "";
      content.data = reply;
      thought.textContent = reasoning;
      if (piece) {
        first ||= performance.now();
        tokens++;
        const seconds = (performance.now() - first) / 1000;
        if (seconds > 0) $("#speed").textContent = `${(tokens / seconds).toFixed(1)} pieces/s`;
      }
      if (event.timings) {
        const t = event.timings;
        $("#speed").textContent = `${t.predicted_n} tokens, ${t.predicted_per_second.toFixed(1)} tokens/s; ` +
          `prompt ${t.prompt_n} read, ${t.cache_n} known; first piece after ${((first - began) / 1000).toFixed(2)} s`;
      }
      said.scrollIntoView({ block: "end" });
    }
    trouble();
  } catch (error) {
    trouble(error);
  } finally {
    messages.push({ role: "assistant", content: reply });
    going = null;
    $("#send").textContent = "Send";
  }
}

function send() {
  const box = $("#ask textarea");
  if (going) return going.abort();
  const text = box.value.trim();
  if (!text) return;
  box.value = "";
  talk(text);
}

$("#ask").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("#ask textarea").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!going) send();
  }
});
$("#clear").addEventListener("click", () => {
  going?.abort();
  messages = [];
  $("#talk").replaceChildren();
  $("#speed").textContent = "";
});

export const chat = { async show() {} };
