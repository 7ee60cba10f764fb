// The models at hand, and which of them are loaded.

import { ask, size, trouble } from "./main.js";

function cell(text) {
  const at = document.createElement("td");
  at.textContent = text;
  return at;
}

async function show() {
  const [tags, ps] = await Promise.all(["api/tags", "api/ps"].map(async (path) => (await ask(path)).json()));
  const loaded = new Map(ps.models.map((m) => [m.name, m]));
  const rows = tags.models.map((m) => {
    const row = document.createElement("tr");
    const now = loaded.get(m.name);
    row.append(...[m.name, m.details.family, m.details.parameter_size, m.details.quantization_level, size(m.size)].map(cell));
    row.append(cell(now ? `${size(now.size)}, context ${now.context_length}` : ""));
    const last = cell("");
    if (now) {
      const button = document.createElement("button");
      button.textContent = "Unload";
      button.addEventListener("click", async () => {
        await ask("api/generate", { model: m.name, keep_alive: 0 }).catch(trouble);
        await show().catch(trouble);
      });
      last.append(button);
    }
    row.append(last);
    return row;
  });
  document.querySelector("#models tbody").replaceChildren(...rows);
}

export const models = { show };
