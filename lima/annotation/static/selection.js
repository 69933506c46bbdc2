// Hand selection: a list with filters, one candidate at a time, decisions by keyboard.

import { get, post } from "./api.js";
import { seconds, startClock } from "./clock.js";
import { difference } from "./difference.js";
import { byId, element, notice, rendered, saved } from "./dom.js";
import { findWords, mark } from "./passage.js";

const TYPING = 300; // milliseconds without a key after which the rules read an edited text
const UNREAD = 250; // milliseconds in which nobody can have read a text: a second press of a key

let rows = [];
let total = 0; // candidates of the filter, the open one included
let current = null;
let shownAt = 0;
let history = [];
let busy = false;
let listing = 0; // the latest request for a list
let checking = 0; // the timer of the next request about an edited text
let broken = null; // the rule that the edited text breaks
let ahead = new Map(); // number → promise of a candidate that comes next

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
  const before = select.value;
  select.replaceChildren();
  if (all) select.append(new Option(all, ""));
  for (const [value, label] of options) select.append(new Option(label, value));
  if (options.some(([value]) => value === before)) select.value = before;
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
  const { status, site, meanings, audits } = await get(api());
  fill("status", status.map(([name, count]) => [name, outcome(name, count, audits[name])]));
  for (const option of byId("status").options) option.title = meanings[option.value] ?? "";
  fill("site", site.map(([name, count]) => [name, `${name} (${count})`]), "all");
}

function outcome(name, count, audit) {
  if (name === "kept") return `kept (${count})`;
  const seen = audit ? `; ${audit[0]} audited, ${audit[1]} accepted` : "";
  return `dropped: ${name} (${count}${seen})`;
}

// Show the candidates of the filter. A later change of the filter wins; until then nothing can be decided.
async function loadList() {
  listing += 1;
  const request = listing;
  current = null;
  const query = new URLSearchParams({ status: byId("status").value, site: byId("site").value, text: byId("text").value });
  if (byId("min-score").value) query.set("min_score", byId("min-score").value);
  if (byId("min-length").value) query.set("min_length", byId("min-length").value);
  if (byId("reviewed").checked) query.set("reviewed", "true");
  byId("item").setAttribute("aria-busy", "true");
  const reply = await get(`${api()}/candidates?${query}`);
  if (request !== listing) return;
  ({ candidates: rows, total } = reply);
  ahead = new Map();
  pace(reply);
  notice("");
  showList();
  await open(rows[0]?.number ?? null);
}

async function changeFilter(load) {
  try {
    await load();
  } catch (error) {
    notice(error.message);
  }
}

function showList() {
  const list = byId("list");
  const isOneSite = byId("site").options.length === 2; // all, and the site
  list.replaceChildren();
  for (const row of rows) {
    const button = element("button", "row-button");
    button.type = "button";
    button.dataset.number = row.number;
    button.append(element("b", "", row.title || row.excerpt));
    const facts = [isOneSite ? null : row.site, row.score === null ? null : `${row.score} votes`, `${row.length.toLocaleString("en")} characters`, row.decision];
    button.append(element("span", "hint", facts.filter(Boolean).join(" · ")));
    button.addEventListener("click", () => attempt(() => open(row.number)));
    const line = element("li");
    line.append(button);
    list.append(line);
  }
  byId("empty").hidden = rows.length > 0;
  byId("left").textContent = rows.length ? `${total.toLocaleString("en")} candidates` : "";
}

function fetched(number) {
  if (!ahead.has(number)) {
    const reply = get(`${api()}/candidates/${number}`);
    reply.catch(() => ahead.delete(number)); // whoever waits for it shows the error; the next attempt asks again
    ahead.set(number, reply);
  }
  return ahead.get(number);
}

async function open(number) {
  closeEditor();
  toggleReasons(false);
  const request = listing;
  const candidate = number === null ? null : await fetched(number);
  if (request !== listing) return;
  current = candidate;
  byId("item").removeAttribute("aria-busy");
  byId("item").hidden = byId("bar").hidden = current === null;
  for (const button of document.querySelectorAll(".row-button")) {
    button.setAttribute("aria-current", String(Number(button.dataset.number) === number));
  }
  if (!current) return;
  show();
  shownAt = performance.now();
  startClock();
  const following = rows[rows.findIndex((row) => row.number === number) + 1];
  if (following) fetched(following.number);
}

function show() {
  byId("item-title").textContent = current.title;
  byId("item-title").hidden = current.title.trim() === current.prompt.trim();
  const facts = [current.id, current.score === null ? null : `${current.score} votes`, `${current.length.toLocaleString("en")} characters`];
  byId("facts").textContent = facts.filter(Boolean).join(" · ");
  const { review, status, detail } = current;
  const why = [];
  if (status !== "kept") why.push(`The rules dropped it: ${status} (${detail}).`);
  if (review) why.push(`Decided by ${review.person}: ${review.decision}${review.reason ? `, ${review.reason}` : ""}.`);
  byId("why").textContent = why.join(" ");
  byId("why").hidden = !why.length;
  byId("rule").hidden = status === "kept";
  byId("prompt").replaceChildren(rendered(current.prompt_html));
  byId("response").replaceChildren(rendered(current.response_html));
  if (status !== "kept") mark(byId("response"), detail) || mark(byId("prompt"), detail);
  // the text begins below the header: the filter, which is above it, is read once and the texts a hundred times
  if (history.length) byId("item").scrollIntoView();
  else window.scrollTo(0, 0);
}

async function decide(decision, values = {}) {
  if (!current) return;
  if (byId("editor").hidden && performance.now() - shownAt < UNREAD) {
    saved("This text was shown only now; press again", "busy");
    return;
  }
  await attempt(async () => {
    saved("Saving …", "busy");
    const { number } = current;
    const body = { decision, seconds: Math.round(10 * seconds()) / 10, ...values };
    const reply = await post(`${api()}/candidates/${number}`, body);
    saved("Saved", "done");
    pace(reply);
    if (!history.length) byId("filter-box").open = false;
    history.push(number);
    await next(number);
  });
}

async function next(number) {
  ahead.delete(number);
  const position = rows.findIndex((row) => row.number === number);
  if (position >= 0) {
    rows.splice(position, 1);
    total -= 1;
  }
  if (!rows.length) {
    await loadList();
    return;
  }
  showList();
  await open(rows[Math.min(Math.max(position, 0), rows.length - 1)].number);
}

async function later() {
  await attempt(async () => {
    const position = rows.findIndex((row) => row.number === current.number);
    if (position >= 0) rows.push(rows.splice(position, 1)[0]);
    showList();
    await open(rows[Math.min(Math.max(position, 0), rows.length - 1)].number);
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
  if (shown) byId("reasons").querySelector("button:not([hidden])").focus();
}

// Scroll by a screen without two lines of text, which mark the place.
function scroll(screens) {
  const visible = byId("bar").getBoundingClientRect().top - document.querySelector(".top").getBoundingClientRect().bottom;
  window.scrollBy({ top: screens * (visible - 56) });
}

// --- editing ---

function edit() {
  if (!current) return;
  byId("edit-prompt").value = current.edited.prompt;
  byId("edit-response").value = current.edited.response;
  byId("use-title").hidden = !current.title;
  byId("item").hidden = byId("bar").hidden = true;
  byId("editor").hidden = false;
  showDiff();
  const area = byId("edit-response");
  const passage = current.status === "kept" ? null : findWords(area.value, current.detail);
  select(area, ...(passage ?? [0, 0]));
  area.focus();
  byId("editor").scrollIntoView();
}

// Show what the rules say about the edited texts, once no key was pressed for a moment.
function checkRules() {
  clearTimeout(checking);
  const timer = setTimeout(() => attemptCheck(timer), TYPING);
  checking = timer;
}

async function attemptCheck(timer) {
  if (byId("editor").hidden) return;
  const texts = { prompt: byId("edit-prompt").value, response: byId("edit-response").value };
  try {
    const reply = await post(`${api()}/candidates/${current.number}/check`, texts);
    if (timer === checking) showVerdict(reply);
  } catch (error) {
    notice(error.message);
  }
}

function showVerdict(reply) {
  broken = reply.reason ? reply : null;
  byId("verdict").textContent = broken ? `Rules: ${broken.reason} (${broken.detail})` : "The response keeps the rules.";
  byId("show-passage").hidden = !broken || !findWords(byId("edit-response").value, broken.detail);
}

function selectPassage() {
  const area = byId("edit-response");
  const passage = broken && findWords(area.value, broken.detail);
  if (!passage) return;
  select(area, ...passage);
  area.focus();
}

function closeEditor() {
  if (byId("editor").hidden) return;
  byId("editor").hidden = true;
  clearTimeout(checking);
  byId("verdict").textContent = "";
  byId("show-passage").hidden = true;
  byId("item").hidden = byId("bar").hidden = current === null;
  if (current) byId("item").scrollIntoView();
}

// Select a part of a text area and scroll to it: the height of the text before it is measured.
function select(area, start, end) {
  const { value } = area;
  area.value = value.slice(0, end);
  const height = area.scrollHeight;
  area.value = value;
  area.setSelectionRange(start, end);
  area.scrollTop = Math.max(0, height - area.clientHeight / 2);
}

// Replace a part of a text area so that the browser's undo can restore it.
function replace(area, start, end, text) {
  area.focus();
  area.setSelectionRange(start, end);
  document.execCommand(text ? "insertText" : "delete", false, text);
  showDiff();
}

function useTitle() {
  const area = byId("edit-prompt");
  replace(area, 0, area.value.length, current.title);
}

// Delete the paragraph with the cursor, together with the blank lines after it or, at the end, before it.
function deleteParagraph(area) {
  const { value } = area;
  let start = value.lastIndexOf("\n\n", Math.max(area.selectionStart - 1, 0));
  start = start < 0 ? 0 : start + 2;
  let end = value.indexOf("\n\n", area.selectionEnd);
  if (end < 0) end = value.length;
  while (value[end] === "\n") end += 1;
  if (end === value.length) while (start > 0 && value[start - 1] === "\n") start -= 1;
  if (start < end) replace(area, start, end, "");
}

// Delete the sentence with the cursor or with the end of the selection, and the space after or, at a line's end, before.
// The words for which a rule dropped a text may begin in the sentence before.
function deleteSentence(area) {
  const { value } = area;
  const place = Math.max(area.selectionStart, area.selectionEnd - 1);
  let start = 0;
  let end = value.length;
  for (const { index, 0: text } of value.matchAll(/[.!?]["'”’)\]]*[ \t]+|\n+/g)) {
    const after = index + text.length;
    if (after > place) {
      end = text.startsWith("\n") ? index : after;
      break;
    }
    start = after;
  }
  if (value[end] === "\n" || end === value.length) while (start > 0 && value[start - 1] === " ") start -= 1;
  if (start < end) replace(area, start, end, "");
}

function showDiff() {
  checkRules();
  const places = [
    ...difference(current.prompt, byId("edit-prompt").value),
    ...difference(current.response, byId("edit-response").value),
  ];
  const diff = byId("diff");
  diff.replaceChildren();
  if (!places.length) diff.textContent = "no change";
  for (const place of places) {
    const line = element("div", "place");
    for (const [kind, text] of place) {
      line.append(kind === "equal" ? text : element(kind === "added" ? "ins" : "del", kind, text));
    }
    diff.append(line);
  }
}

function saveEdit() {
  decide("accept", { prompt: byId("edit-prompt").value, response: byId("edit-response").value });
}

function editorKey(event) {
  const accelerator = event.ctrlKey || event.metaKey;
  if (event.key === "Escape") closeEditor();
  else if (event.key === "Enter" && accelerator) saveEdit();
  else if (event.altKey && event.code === "KeyX" && event.target instanceof HTMLTextAreaElement) deleteParagraph(event.target);
  else if (event.altKey && event.code === "KeyS" && event.target instanceof HTMLTextAreaElement) deleteSentence(event.target);
  else if (event.altKey && event.code === "KeyT" && current.title) useTitle();
  else if (event.altKey && event.code === "KeyN") selectPassage();
  else return;
  event.preventDefault();
}

// --- events ---

function openFilter(field) {
  if (byId("filter-box").open) changeFilter(loadFacets); // the numbers of audited candidates; opening loads them too
  byId("filter-box").open = true;
  byId(field).focus();
}

function typingKey(event) {
  if (event.key !== "Escape" && event.key !== "Enter") return;
  event.preventDefault(); // Escape would clear a search, and so list other candidates
  event.target.blur();
}

const ACTIONS = {
  a: () => decide("accept"),
  r: () => toggleReasons(true),
  e: edit,
  n: () => current && later(),
  u: undo,
  "/": () => openFilter("text"),
  f: () => openFilter("status"),
  j: () => scroll(1),
  k: () => scroll(-1),
  m: () => document.querySelector("#item mark")?.scrollIntoView({ block: "center" }),
};

function key(event) {
  if (!byId("editor").hidden) {
    editorKey(event);
    return;
  }
  if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) {
    typingKey(event);
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (!byId("reasons").hidden) {
    const reason = document.querySelector(`.reason[data-key="${CSS.escape(event.key)}"]:not([hidden])`);
    if (reason) reason.click();
    else if (event.key === "Escape" || event.key.toLowerCase() === "r") toggleReasons(false);
    return;
  }
  const action = ACTIONS[event.key.toLowerCase()];
  if (action) {
    event.preventDefault();
    action();
  }
}

if (byId("filters")) {
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("source").addEventListener("change", () => changeFilter(loadSource));
  for (const id of ["status", "site", "min-score", "min-length", "reviewed", "text"]) {
    byId(id).addEventListener("change", () => changeFilter(loadList));
  }
  byId("filter-box").addEventListener("toggle", () => byId("filter-box").open && changeFilter(loadFacets));
  byId("accept").addEventListener("click", () => decide("accept"));
  byId("reject").addEventListener("click", () => toggleReasons(byId("reasons").hidden));
  byId("edit").addEventListener("click", edit);
  byId("later").addEventListener("click", later);
  byId("undo").addEventListener("click", undo);
  byId("save-edit").addEventListener("click", saveEdit);
  byId("cancel-edit").addEventListener("click", closeEditor);
  byId("use-title").addEventListener("click", useTitle);
  byId("show-passage").addEventListener("click", selectPassage);
  byId("delete-sentence").addEventListener("click", () => deleteSentence(byId("edit-response")));
  byId("delete-paragraph").addEventListener("click", () => deleteParagraph(byId("edit-response")));
  for (const id of ["edit-prompt", "edit-response"]) byId(id).addEventListener("input", showDiff);
  for (const button of document.querySelectorAll(".reason")) {
    button.addEventListener("click", () => decide("reject", { reason: button.dataset.reason }));
  }
  document.addEventListener("keydown", key);
  byId("filter-box").open = window.innerWidth > 640;
  await attempt(loadSource);
}
