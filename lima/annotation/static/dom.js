// Elements of the pages.

export const byId = (id) => document.getElementById(id);

export function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// The server renders all texts: it escapes HTML in them, and the content policy forbids inline scripts.
export function rendered(html) {
  const node = element("div", "text");
  node.innerHTML = html;
  for (const table of node.querySelectorAll("table")) {
    const frame = element("div", "scroll");
    frame.tabIndex = 0;
    table.replaceWith(frame);
    frame.append(table);
  }
  return node;
}

export function identifier() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// --- parts that several pages have ---

export function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

export function saved(text, state = "") {
  byId("saved").textContent = text;
  byId("saved").dataset.state = state;
}

const OPENERS = { comment: "comment-button", skip: "skip", help: "help" };

// Open or close the box NAME-box of the bar. Returns whether it is open.
export function toggle(name, shown) {
  const box = byId(`${name}-box`);
  box.hidden = shown === undefined ? !box.hidden : !shown;
  byId(OPENERS[name]).setAttribute("aria-expanded", String(!box.hidden));
  return !box.hidden;
}

export function openComment() {
  if (toggle("comment")) byId("comment").focus();
}

export function openSkip() {
  if (toggle("skip")) byId("skip-box").querySelector("button").focus();
}
