// Hand selection: a list with filters, one candidate at a time, decisions by keyboard.

import { get, post } from "./api.js";
import { byId, element, notice, rendered, saved } from "./dom.js";

let rows = [];
let current = null;
let history = [];
let since = 0;
let busy = false;

function pace(reply) {
  const speed = reply.pace ? ` · ${Math.round(reply.pace)} per hour` : "";
  byId("pace").textContent = reply.decided ? `${reply.decided} decided${speed}` : "";
}

async function attempt(action) {
  if (busy) return;
  busy = true;
  try {
    await action();
  } catch (error) {
    saved("");
    notice(error.message);
  } finally {
    busy = false;
  }
}

const api = () => `/api/selection/${encodeURIComponent(byId("source").value)}`;

function fill(id, options, all) {
  const select = byId(id);
  select.replaceChildren();
  if (all) select.append(new Option(all, ""));
  for (const [value, label] of options) select.append(new Option(label, value));
}

async function loadSource() {
  // the first request after a run of the stages builds the index of the candidates
  const slow = setTimeout(() => notice("Preparing the candidates of this source …"), 400);
  try {
    await loadFacets();
  } finally {
    clearTimeout(slow);
  }
  await loadList();
}

async function loadFacets() {
  const { status, site, meanings } = await get(api());
  fill("status", status.map(([name, count]) => [name, `${name === "kept" ? "kept" : `dropped: ${name}`} (${count})`]));
  for (const option of byId("status").options) option.title = meanings[option.value] ?? "";
  fill("site", site.map(([name, count]) => [name, `${name} (${count})`]), "all");
}

async function loadList() {
  const query = new URLSearchParams({ status: byId("status").value, site: byId("site").value, text: byId("text").value });
  if (byId("min-score").value) query.set("min_score", byId("min-score").value);
  if (byId("min-length").value) query.set("min_length", byId("min-length").value);
  if (byId("reviewed").checked) query.set("reviewed", "true");
  const reply = await get(`${api()}/candidates?${query}`);
  rows = reply.candidates;
  pace(reply);
  notice("");
  showList();
  await open(rows[0]?.number ?? null);
}

function showList() {
  const list = byId("list");
  list.replaceChildren();
  for (const row of rows) {
    const button = element("button", "row-button");
    button.type = "button";
    button.dataset.number = row.number;
    button.append(element("b", "", row.title || row.excerpt));
    const facts = [row.site, row.score === null ? null : `${row.score} votes`, `${row.length.toLocaleString("en")} characters`, row.decision];
    button.append(element("span", "hint", facts.filter(Boolean).join(" · ")));
    button.addEventListener("click", () => attempt(() => open(row.number)));
    const line = element("li");
    line.append(button);
    list.append(line);
  }
  byId("empty").hidden = rows.length > 0;
}

async function open(number) {
  closeEditor();
  toggleReasons(false);
  current = number === null ? null : await get(`${api()}/candidates/${number}`);
  byId("item").hidden = byId("bar").hidden = current === null;
  for (const button of document.querySelectorAll(".row-button")) {
    button.setAttribute("aria-current", String(Number(button.dataset.number) === number));
  }
  if (!current) return;
  const facts = [current.id, current.score === null ? null : `${current.score} votes`, `${current.length.toLocaleString("en")} characters`];
  byId("facts").textContent = facts.filter(Boolean).join(" · ");
  const { review, status, detail } = current;
  const why = [];
  if (status !== "kept") why.push(`The rules dropped it: ${status} (${detail}).`);
  if (review) why.push(`Decided by ${review.person}: ${review.decision}${review.reason ? `, ${review.reason}` : ""}.`);
  byId("why").textContent = why.join(" ");
  byId("why").hidden = !why.length;
  byId("prompt").replaceChildren(rendered(current.prompt_html));
  byId("response").replaceChildren(rendered(current.response_html));
  // the text begins below the header: the filter, which is above it, is read once and the texts a hundred times
  if (history.length) byId("item").scrollIntoView();
  else window.scrollTo(0, 0);
  since = performance.now();
}

async function decide(decision, values = {}) {
  await attempt(async () => {
    saved("Saving …", "busy");
    const seconds = Math.round((performance.now() - since) / 100) / 10;
    const { number } = current;
    const reply = await post(`${api()}/candidates/${number}`, { decision, seconds, ...values });
    saved("Saved", "done");
    pace(reply);
    if (!history.length) byId("filter-box").open = false;
    history.push(number);
    await next(number);
  });
}

async function next(number) {
  const position = rows.findIndex((row) => row.number === number);
  rows.splice(position, 1);
  if (!rows.length) {
    await loadList();
    return;
  }
  showList();
  await open(rows[Math.min(position, rows.length - 1)].number);
}

async function later() {
  await attempt(async () => {
    rows.push(rows.splice(rows.findIndex((row) => row.number === current.number), 1)[0]);
    showList();
    await open(rows[0].number);
  });
}

async function undo() {
  await attempt(async () => {
    const number = history.pop() ?? (current?.review ? current.number : undefined);
    if (number === undefined) {
      saved("There is nothing to undo");
      return;
    }
    await post(`${api()}/candidates/${number}/undo`, {});
    await loadList();
    await open(number);
    saved("Undone");
  });
}

function toggleReasons(shown) {
  byId("reasons").hidden = !shown;
  byId("reject").setAttribute("aria-expanded", String(shown));
  if (shown) byId("reasons").querySelector("button").focus();
}

// --- editing ---

function edit() {
  byId("edit-prompt").value = current.edited.prompt;
  byId("edit-response").value = current.edited.response;
  byId("item").hidden = byId("bar").hidden = true;
  byId("editor").hidden = false;
  showDiff();
  byId("edit-response").focus();
  byId("edit-response").setSelectionRange(0, 0);
  byId("editor").scrollIntoView();
}

function closeEditor() {
  if (byId("editor").hidden) return;
  byId("editor").hidden = true;
  byId("item").hidden = byId("bar").hidden = current === null;
}

// Longest common subsequence of lines; equal lines at both ends are cut off first.
function difference(before, after) {
  const a = before.split("\n");
  const b = after.split("\n");
  const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  const lines = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && table[i + 1][j] >= table[i][j + 1])) {
      lines.push(["removed", a[i]]);
      i += 1;
    } else {
      lines.push(["added", b[j]]);
      j += 1;
    }
  }
  return lines;
}

function showDiff() {
  const lines = [
    ...difference(current.prompt, byId("edit-prompt").value),
    ...difference(current.response, byId("edit-response").value),
  ];
  const diff = byId("diff");
  diff.replaceChildren();
  if (!lines.length) diff.textContent = "no change";
  for (const [kind, text] of lines) diff.append(element("span", kind, `${kind === "added" ? "+" : "−"} ${text}\n`));
}

function saveEdit() {
  decide("accept", { prompt: byId("edit-prompt").value, response: byId("edit-response").value });
}

// --- events ---

if (byId("filters")) {
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("source").addEventListener("change", () => attempt(loadSource));
  for (const id of ["status", "site", "min-score", "min-length", "reviewed"]) {
    byId(id).addEventListener("change", () => attempt(loadList));
  }
  byId("text").addEventListener("change", () => attempt(loadList));
  byId("accept").addEventListener("click", () => decide("accept"));
  byId("reject").addEventListener("click", () => toggleReasons(byId("reasons").hidden));
  byId("edit").addEventListener("click", edit);
  byId("later").addEventListener("click", later);
  byId("undo").addEventListener("click", undo);
  byId("save-edit").addEventListener("click", saveEdit);
  byId("cancel-edit").addEventListener("click", closeEditor);
  for (const id of ["edit-prompt", "edit-response"]) byId(id).addEventListener("input", showDiff);
  for (const button of document.querySelectorAll(".reason")) {
    button.addEventListener("click", () => decide("reject", { reason: button.dataset.reason }));
  }

  document.addEventListener("keydown", (event) => {
    if (!byId("editor").hidden) {
      if (event.key === "Escape") closeEditor();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saveEdit();
      return;
    }
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (typing && event.key === "Escape") event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !current) {
      return;
    }
    if (!byId("reasons").hidden) {
      const reason = document.querySelectorAll(".reason")[Number(event.key) - 1];
      if (/^\d$/.test(event.key) && reason) reason.click();
      else if (event.key === "Escape" || event.key.toLowerCase() === "r") toggleReasons(false);
      return;
    }
    const actions = {
      a: () => decide("accept"),
      r: () => toggleReasons(true),
      e: edit,
      n: later,
      u: undo,
      "/": () => {
        byId("filter-box").open = true;
        byId("text").focus();
      },
      j: () => window.scrollBy({ top: window.innerHeight * 0.6 }),
      k: () => window.scrollBy({ top: -window.innerHeight * 0.6 }),
    };
    const action = actions[event.key.toLowerCase()];
    if (action) {
      event.preventDefault();
      action();
    }
  });

  byId("filter-box").open = window.innerWidth > 640;
  await attempt(loadSource);
}
