"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const list = byId("list");
  const items = Array.from(list.children);
  const controls = byId("controls");
  const fields = ["evaluation", "annotator", "value", "kind", "order", "differ", "search"];
  const texts = new Map();
  const text = (item) => {
    if (!texts.has(item)) texts.set(item, item.textContent.toLowerCase());
    return texts.get(item);
  };
  const orders = {
    file: (a, b) => a.dataset.n - b.dataset.n,
    differ: (a, b) => b.dataset.d - a.dataset.d || a.dataset.n - b.dataset.n,
    worst: (a, b) => a.dataset.w - b.dataset.w || a.dataset.n - b.dataset.n,
    best: (a, b) => b.dataset.w - a.dataset.w || a.dataset.n - b.dataset.n,
  };
  const matches = (item) => {
    const { evaluation, annotator, value, kind, differ, search } = state();
    if (differ && item.dataset.d === "0") return false;
    if (kind && !item.dataset.k.split(";").includes(kind)) return false;
    if (evaluation || annotator || value) {
      const one = (token) => {
        const parts = token.split("|");
        return (!evaluation || parts[0] === evaluation) && (!annotator || parts[1] === annotator)
          && (!value || parts[2] === value);
      };
      if (!item.dataset.o.split(";").some(one)) return false;
    }
    return !search || text(item).includes(search.toLowerCase());
  };
  const state = () => Object.fromEntries(fields.map((name) => {
    const field = byId(name);
    return [name, field.type === "checkbox" ? (field.checked ? "1" : "") : field.value.trim()];
  }));
  const apply = () => {
    let shown = 0;
    for (const item of items) {
      item.hidden = !matches(item);
      shown += !item.hidden;
    }
    list.append(...items.sort(orders[state().order] || orders.file));
    byId("count").textContent = `${shown} of ${items.length} prompts`;
    const used = Object.entries(state()).filter(([name, value]) => value && !(name === "order" && value === "file"));
    history.replaceState(null, "", used.length ? "#" + new URLSearchParams(used) : location.pathname);
  };
  const linked = () => {
    const item = /^#p-\d+$/.test(location.hash) ? byId(location.hash.slice(1)) : null;
    if (item) {
      item.open = true;
      requestAnimationFrame(() => item.scrollIntoView());
    }
    return item;
  };
  const restore = () => {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      const field = fields.includes(name) ? byId(name) : null;
      if (!field) continue;
      if (field.type === "checkbox") field.checked = value === "1";
      else if (field.tagName !== "SELECT" || Array.from(field.options).some((option) => option.value === value)) {
        field.value = value;
      }
    }
  };
  let waiting;
  controls.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 150);
  });
  byId("expand").addEventListener("click", () => {
    const visible = items.filter((item) => !item.hidden);
    const open = visible.some((item) => !item.open);
    for (const item of visible) item.open = open;
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", () => setTimeout(apply));
  controls.hidden = false;
  if (!linked()) restore();
  apply();
})();
