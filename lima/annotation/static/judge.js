// The page on which a person judges items.

import { get, post, Refused } from "./api.js";
import { answerCase, setUpCheck, showCheck } from "./check.js";
import { seconds, startClock } from "./clock.js";
import { byId, element, identifier, notice, openComment, openSkip, rendered, saved, toggle } from "./dom.js";

const root = byId("judge");
const { api } = root.dataset;
const pair = root.dataset.pair === "yes";
const choices = [...document.querySelectorAll(".choice")];
const RETRY_MS = [500, 1000, 2000, 4000, 8000];
const PENDING = `pending:${api}`;

let item = null; // shown now
let open = null; // the state to return to after a revision
let checking = false; // the comprehension check is shown
let busy = false;

function showClock() {
  const total = Math.floor(seconds());
  byId("clock").textContent = item ? `${Math.floor(total / 60)}:${String(total % 60).padStart(2, "0")}` : "";
}

setInterval(showClock, 1000);

// --- what is shown ---

function section(name) {
  for (const id of ["check", "finished", "item"]) byId(id).hidden = id !== name;
  byId("bar").hidden = name !== "item";
}

function show(state) {
  open = state;
  checking = state.status === "check";
  item = null;
  const { judged, available } = state.progress;
  byId("progress").max = Math.max(available, 1);
  byId("progress").value = judged;
  byId("count").textContent = available ? `${judged} of ${available}` : "";
  if (checking) {
    section("check");
    showCheck(state.cases);
  } else if (state.status === "finished") {
    section("finished");
    byId("finished-home").focus();
  } else showItem(state.item);
  showClock();
}

function showItem(next) {
  item = next;
  const prompt = byId("prompt");
  prompt.replaceChildren();
  const several = item.prompt.length > 1;
  for (const turn of item.prompt) {
    const block = element("div", several ? `turn ${turn.role}` : "turn");
    if (several) block.append(element("h3", "role", turn.role));
    block.append(rendered(turn.html));
    prompt.append(block);
  }
  const answers = byId("answers");
  answers.replaceChildren();
  item.answers.forEach((answer, index) => {
    const card = element("section", "answer card");
    const title = element("h2", "", pair ? `Answer ${index + 1}` : "Answer");
    title.id = `answer-${index + 1}`;
    card.setAttribute("aria-labelledby", title.id);
    card.append(title, answer.empty ? element("p", "hint", "(The answer is empty.)") : rendered(answer.html));
    answers.append(card);
  });
  byId("revising").hidden = !item.saved;
  byId("comment").value = item.saved?.comment ?? "";
  for (const box of ["comment", "skip", "help"]) toggle(box, false);
  mark(item.saved?.value ?? null);
  section("item");
  document.activeElement?.blur();
  window.scrollTo(0, 0);
  startClock();
  showClock();
}

function mark(value) {
  for (const button of choices) button.setAttribute("aria-pressed", String(button.dataset.value === value));
}

function setBusy(value) {
  busy = value;
  for (const button of document.querySelectorAll(".bar button")) button.disabled = value;
}

// --- judgments ---

async function submit(value, reason) {
  if (busy || !item) return;
  mark(value);
  await deliver({
    assignment: item.assignment,
    version: item.version,
    request: identifier(),
    value,
    reason,
    comment: byId("comment").value,
    seconds: Math.round(seconds() * 100) / 100,
  });
}

// A submission is kept in the tab until the server confirms it. Repetitions have the same `request`, so that the server
// stores it once.
async function deliver(submission) {
  setBusy(true);
  sessionStorage.setItem(PENDING, JSON.stringify(submission));
  saved("Saving …", "busy");
  for (let attempt = 0; ; attempt += 1) {
    try {
      const reply = await post(`${api}/judgments`, submission);
      sessionStorage.removeItem(PENDING);
      setBusy(false);
      notice("");
      show(reply.next);
      saved("Saved", "done");
      return;
    } catch (error) {
      if (error instanceof Refused && error.status < 500) {
        sessionStorage.removeItem(PENDING);
        setBusy(false);
        if (error.status !== 409) {
          saved("");
          notice(error.message);
          mark(null);
          return;
        }
        await load();
        notice("This item was already judged, for example in another tab. That judgment is unchanged.");
        saved("");
        return;
      }
      saved("Not saved: no connection. Trying again …", "failed");
      if (!item) notice("Your last judgment is not saved yet: no connection. Trying again …");
      const wait = RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)];
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

async function load() {
  try {
    show(await get(api));
  } catch (error) {
    notice(error instanceof Refused ? error.message : "No connection. Reload the page to try again.");
  }
}

async function undo() {
  if (busy) return;
  setBusy(true);
  try {
    const reply = await get(`${api}/items/${item ? item.assignment : "end"}/previous`);
    if (reply.item) showItem(reply.item);
    else saved("This is the first item");
  } catch (error) {
    notice(error.message);
  } finally {
    setBusy(false);
  }
}

setUpCheck(api, choices, show);
for (const button of choices) button.addEventListener("click", () => submit(button.dataset.value, ""));
for (const button of document.querySelectorAll(".reason")) {
  button.addEventListener("click", () => submit(null, button.dataset.reason));
}
byId("undo").addEventListener("click", undo);
byId("finished-undo").addEventListener("click", undo);
byId("comment-button").addEventListener("click", openComment);
byId("skip").addEventListener("click", openSkip);
byId("help").addEventListener("click", () => toggle("help"));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target instanceof HTMLTextAreaElement) {
    if (event.key === "Escape") {
      event.target.blur();
      byId("comment-button").focus();
    }
    return;
  }
  if (checking) {
    if (/^\d$/.test(event.key)) {
      event.preventDefault();
      answerCase(event.key);
    }
    return;
  }
  if (!item) {
    if (event.key.toLowerCase() === "u" && !byId("finished").hidden) undo();
    return;
  }
  if (!byId("skip-box").hidden) {
    const reason = document.querySelectorAll(".reason")[Number(event.key) - 1];
    if (/^\d$/.test(event.key) && reason) reason.click();
    else if (event.key === "Escape" || event.key.toLowerCase() === "s") toggle("skip", false);
    return;
  }
  const choice = choices.find((button) => button.dataset.key === event.key);
  const actions = {
    u: undo,
    c: openComment,
    s: openSkip,
    "?": () => toggle("help"),
    n: () => item.saved && show(open),
    j: () => window.scrollBy({ top: window.innerHeight * 0.6 }),
    k: () => window.scrollBy({ top: -window.innerHeight * 0.6 }),
  };
  const action = choice ? () => submit(choice.dataset.value, "") : actions[event.key.toLowerCase()];
  if (action) {
    event.preventDefault();
    action();
  }
});

// a page restored by the back button may show an item that was judged meanwhile
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

const pending = sessionStorage.getItem(PENDING);
if (pending) await deliver(JSON.parse(pending));
else await load();
