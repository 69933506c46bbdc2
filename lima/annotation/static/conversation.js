// The page on which a person talks with a model and grades each answer.

import { get, lines, post, Refused } from "./api.js";
import { answerCase, setUpCheck, showCheck } from "./check.js";
import { seconds, startClock } from "./clock.js";
import { byId, element, identifier, notice, openComment, openSkip, rendered, saved, toggle } from "./dom.js";

const { api } = byId("talk").dataset;
const grades = [...document.querySelectorAll(".grade")];
const preferences = [...document.querySelectorAll(".preference")];
const RETRY_MS = [500, 1000, 2000, 4000, 8000];
const PENDING = `pending:${api}`;
const DRAFT = `draft:${api}`;

let state = null; // as the server sent it
let revised = null; // turn of an earlier answer whose grade is being changed
let ending = false; // the person is asked whether to end the conversation
let busy = false;
let timed = ""; // what the clock measures
let following = ""; // the conversation whose answer is being streamed

// --- what is shown ---

function visible(id, shown) {
  byId(id).hidden = !shown;
}

function show(next) {
  state = next;
  revised = null;
  ending = false;
  for (const id of ["check", "finished", "conversation", "pair"]) visible(id, id === next.status);
  visible("bar", ["conversation", "pair"].includes(next.status));
  const { judged, available } = next.progress;
  byId("progress").max = Math.max(available, 1);
  byId("progress").value = judged;
  byId("count").textContent = available ? `${judged} of ${available} conversations` : "";
  if (next.status === "check") showCheck(next.cases);
  if (next.status === "finished") byId("finished-home").focus();
  if (next.status === "pair") showPair(next.pair);
  if (next.status === "conversation") showConversation();
}

function bubble(role, html, name) {
  const box = element("section", `bubble ${role}`);
  box.append(element("h2", "role", name), html === null ? element("p", "hint", "(The answer is empty.)") : rendered(html));
  return box;
}

function badge(exchange) {
  const choice = grades.find((button) => button.dataset.value === exchange.value);
  const text = choice.querySelector("span").textContent + (exchange.off_subject ? " · leaves the subject" : "");
  return element("p", `badge ${exchange.value}`, text);
}

function showConversation() {
  const { conversation } = state;
  const log = byId("log");
  log.replaceChildren();
  if (!conversation.exchanges.length) log.append(bubble("user", conversation.opening, "Your first message"));
  for (const exchange of conversation.exchanges) {
    log.append(bubble("user", exchange.asked, "You"));
    if (exchange.response === undefined) continue;
    const answer = bubble("assistant", exchange.empty ? null : exchange.response, "Model");
    answer.dataset.turn = exchange.turn;
    if (exchange.value) answer.append(badge(exchange));
    log.append(answer);
  }
  if (conversation.running) log.append(bubble("assistant writing", "", "Model"));
  showBar();
  window.scrollTo({ top: document.body.scrollHeight });
  if (conversation.running) follow(conversation.id);
}

// The exchange whose answer the number keys grade: an earlier one, or the last one without a grade.
function graded() {
  const { exchanges } = state.conversation;
  if (revised !== null) return exchanges[revised];
  const last = exchanges.at(-1);
  return last && last.response !== undefined && !last.value ? last : null;
}

function showBar() {
  const { conversation } = state;
  const { exchanges, running, failure, most } = conversation;
  const exchange = graded();
  const answered = exchanges.filter((each) => each.value);
  const complete = answered.length >= most;
  const waiting = running || failure;
  const proceeding = !waiting && !exchange && (ending || complete || !exchanges.length);
  visible("failed", failure && revised === null);
  byId("failed-text").textContent = failure;
  visible("writing", running);
  visible("grading", exchange);
  byId("question").textContent =
    revised === null
      ? "Does the answer meet the requirements of the conversation so far?"
      : `Change the grade of answer ${revised + 1}. Esc returns.`;
  visible("proceeding", proceeding || (ending && failure));
  byId("proceed-text").textContent = complete ? "The conversation is complete." : ending ? "End this conversation?" : "";
  byId("proceed-label").textContent = complete || ending ? "End it" : "Send the first message";
  visible("cancel", ending && !complete);
  visible("composer", !waiting && !exchange && !proceeding);
  visible("preferring", false);
  visible("skip", false);
  visible("off-subject", exchange);
  visible("comment-button", exchange);
  visible("undo", earlier().length && !running);
  visible("end", answered.length && !running && !complete && !ending);
  for (const box of ["comment", "skip", "help"]) toggle(box, false);
  for (const answer of document.querySelectorAll(".bubble.assistant")) {
    answer.classList.toggle("current", exchange !== null && answer.dataset.turn === String(exchange?.turn));
  }
  if (exchange) {
    for (const button of grades) button.setAttribute("aria-pressed", String(button.dataset.value === exchange.value));
    byId("off-subject").setAttribute("aria-pressed", String(exchange.off_subject));
    byId("comment").value = exchange.comment;
    measure(`${conversation.id}/${exchange.turn}`);
    document.activeElement?.blur();
  }
  if (!byId("composer").hidden) {
    byId("message").value = sessionStorage.getItem(DRAFT) ?? "";
    byId("message").focus({ preventScroll: true });
  }
}

function measure(what) {
  if (timed !== what) startClock();
  timed = what;
}

function showPair(pair) {
  const place = byId("pair-conversations");
  place.replaceChildren();
  pair.conversations.forEach((turns, index) => {
    const card = element("section", "answer card");
    const title = element("h2", "", index ? "Second conversation" : "First conversation");
    title.id = `pair-${index + 1}`;
    card.setAttribute("aria-labelledby", title.id);
    card.append(title);
    for (const turn of turns) {
      const block = element("div", `turn ${turn.role}`);
      block.append(element("h3", "role", turn.role === "user" ? "You" : "Model"), rendered(turn.html));
      card.append(block);
    }
    place.append(card);
  });
  const hidden = ["failed", "writing", "grading", "proceeding", "composer", "off-subject", "undo", "end"];
  for (const id of hidden) visible(id, false);
  for (const id of ["preferring", "skip", "comment-button"]) visible(id, true);
  for (const box of ["comment", "skip", "help"]) toggle(box, false);
  byId("comment").value = "";
  measure(pair.assignment);
  document.activeElement?.blur();
  window.scrollTo(0, 0);
}

// --- the answer that is being written ---

async function follow(id) {
  if (following === id) return;
  following = id;
  const began = performance.now();
  const place = () => document.querySelector(".bubble.writing");
  const clock = setInterval(() => {
    const waited = Math.floor((performance.now() - began) / 1000);
    const begun = place()?.querySelector(".text")?.textContent;
    byId("writing-text").textContent = begun ? `The model is writing … ${waited} s` : `Waiting for the model … ${waited} s`;
  }, 250);
  byId("writing-text").textContent = "Waiting for the model …";
  try {
    for (let attempt = 0; ; attempt += 1) {
      try {
        for await (const line of lines(`${api}/replies/${id}`)) {
          if (line.next) {
            following = "";
            show(line.next);
            announce();
            return;
          }
          const atEnd = window.innerHeight + window.scrollY >= document.body.scrollHeight - 120;
          place()?.querySelector(".text").replaceWith(rendered(line.html));
          if (atEnd) window.scrollTo({ top: document.body.scrollHeight });
        }
      } catch (error) {
        if (error instanceof Refused && error.status < 500) throw error;
      }
      byId("writing-text").textContent = "No connection. Trying again …";
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]));
    }
  } catch (error) {
    notice(error.message);
  } finally {
    following = "";
    clearInterval(clock);
  }
}

function announce() {
  const answer = [...document.querySelectorAll(".bubble.assistant .text")].at(-1);
  byId("announcement").textContent = state.conversation?.failure || `Answer: ${answer?.textContent ?? ""}`;
}

// --- what is sent ---

// A request is kept in the tab until the server confirms it. Repetitions have the same `request`, so that the server
// stores it once.
async function deliver(path, body) {
  if (busy) return;
  setBusy(true);
  sessionStorage.setItem(PENDING, JSON.stringify([path, body]));
  saved("Saving …", "busy");
  for (let attempt = 0; ; attempt += 1) {
    try {
      const reply = await post(`${api}/${path}`, body);
      sessionStorage.removeItem(PENDING);
      if (path === "messages") sessionStorage.removeItem(DRAFT);
      setBusy(false);
      notice("");
      show(reply.next);
      saved(reply.saved ? "Saved" : "", "done");
      return;
    } catch (error) {
      if (error instanceof Refused && error.status < 500) {
        sessionStorage.removeItem(PENDING);
        setBusy(false);
        saved("");
        await load();
        notice(error.message);
        return;
      }
      saved("Not saved: no connection. Trying again …", "failed");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]));
    }
  }
}

function setBusy(value) {
  busy = value;
  for (const button of document.querySelectorAll(".bar button")) button.disabled = value;
}

function send() {
  const { conversation } = state;
  const text = byId("message").value;
  if (conversation.exchanges.length && !text.trim()) return;
  deliver("messages", {
    conversation: conversation.id,
    turn: conversation.exchanges.length,
    request: identifier(),
    text,
  });
}

function grade(value) {
  const exchange = graded();
  if (!exchange) return;
  deliver("grades", {
    conversation: state.conversation.id,
    turn: exchange.turn,
    version: exchange.version,
    request: identifier(),
    value,
    off_subject: byId("off-subject").getAttribute("aria-pressed") === "true",
    comment: byId("comment").value,
    seconds: Math.round(seconds() * 100) / 100,
  });
}

function prefer(value, reason) {
  deliver("preferences", {
    assignment: state.pair.assignment,
    version: 0,
    request: identifier(),
    value,
    reason,
    comment: byId("comment").value,
    seconds: Math.round(seconds() * 100) / 100,
  });
}

function retry() {
  const { conversation } = state;
  deliver("attempts", { conversation: conversation.id, turn: conversation.exchanges.at(-1).turn });
}

function proceed() {
  const { conversation } = state;
  if (conversation.exchanges.length) deliver("endings", { conversation: conversation.id });
  else send();
}

function askEnd() {
  ending = true;
  showBar();
  byId("proceed").focus();
}

function cancel() {
  ending = false;
  revised = null;
  showBar();
}

// The exchanges with a grade before the one that is being graded.
function earlier() {
  return state.conversation.exchanges.filter((each) => each.value && (revised === null || each.turn < revised));
}

function undo() {
  revised = earlier().at(-1).turn;
  showBar();
  document.querySelector(".bubble.current")?.scrollIntoView({ block: "nearest" });
}

function offSubject() {
  const button = byId("off-subject");
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
}

async function load() {
  try {
    show(await get(api));
  } catch (error) {
    notice(error instanceof Refused ? error.message : "No connection. Reload the page to try again.");
  }
}

// --- events ---

setUpCheck(api, grades, show);
for (const button of grades) button.addEventListener("click", () => grade(button.dataset.value));
for (const button of preferences) button.addEventListener("click", () => prefer(button.dataset.value, ""));
for (const button of document.querySelectorAll(".reason")) {
  button.addEventListener("click", () => prefer(null, button.dataset.reason));
}
byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
byId("message").addEventListener("input", () => sessionStorage.setItem(DRAFT, byId("message").value));
const actions = {
  proceed,
  cancel,
  retry,
  undo,
  skip: openSkip,
  "off-subject": offSubject,
  end: askEnd,
  "comment-button": openComment,
  help: () => toggle("help"),
};
for (const [id, action] of Object.entries(actions)) byId(id).addEventListener("click", action);

const scroll = (share) => window.scrollBy({ top: share * window.innerHeight });
const keys = {
  o: "off-subject",
  u: "undo",
  c: "comment-button",
  s: "skip",
  e: "end",
  r: "retry",
  "?": "help",
};

function press(key) {
  if (!byId("skip-box").hidden) {
    const reason = document.querySelectorAll(".reason")[Number(key) - 1];
    if (/^\d$/.test(key) && reason) reason.click();
    else if (key === "Escape" || key === "s") toggle("skip", false);
    return true;
  }
  const buttons = state.status === "pair" ? preferences : graded() ? grades : [];
  const choice = buttons.find((button) => button.dataset.key === key);
  if (choice) choice.click();
  else if (keys[key] && !byId(keys[key]).hidden) byId(keys[key]).click();
  else if (key === "j" || key === "k") scroll(key === "j" ? 0.6 : -0.6);
  else if (key === "m" && !byId("composer").hidden) byId("message").focus();
  else if (key === "Escape" && (ending || revised !== null)) cancel();
  else if (key === "Enter" && !byId("proceeding").hidden) proceed();
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing || !state) return;
  if (event.target instanceof HTMLTextAreaElement) {
    if (event.key === "Escape") event.target.blur();
    if (event.key === "Enter" && !event.shiftKey && event.target.id === "message") {
      event.preventDefault();
      send();
    }
    return;
  }
  if (state.status === "check") {
    if (/^\d$/.test(event.key)) {
      event.preventDefault();
      answerCase(event.key);
    }
    return;
  }
  if (!["conversation", "pair"].includes(state.status)) return;
  if (event.key === "Enter" && event.target instanceof HTMLButtonElement) return; // the button is pressed
  if (press(event.key.length === 1 ? event.key.toLowerCase() : event.key)) event.preventDefault();
});

// a page restored by the back button may show an old state
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

const pending = sessionStorage.getItem(PENDING);
await load();
if (pending) await deliver(...JSON.parse(pending));
