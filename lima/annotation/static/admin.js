// Administration: agreement, invitations and the end of the pilot.

import { get, post } from "./api.js";

const byId = (id) => document.getElementById(id);

function show(error) {
  const box = document.querySelector(".error");
  box.textContent = error.message;
  box.hidden = false;
}

byId("invite")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const { tokens } = await post("/api/admin/invitations", { number: Number(byId("number").value) });
    const place = byId("links");
    place.replaceChildren(
      Object.assign(document.createElement("p"), {
        textContent: "Send one link to each person. The links are shown only now.",
      }),
    );
    const list = Object.assign(document.createElement("textarea"), {
      value: tokens.map((token) => `${location.origin}/join#${token}`).join("\n"),
      rows: Math.min(tokens.length, 10) + 1,
      readOnly: true,
    });
    list.setAttribute("aria-label", "Invitation links");
    place.append(list);
    list.select();
  } catch (error) {
    show(error);
  }
});

byId("end-pilot")?.addEventListener("click", async () => {
  try {
    await post("/api/admin/end-pilot", { confirm: true });
    location.reload();
  } catch (error) {
    show(error);
  }
});

function cell(tag, text, className) {
  return Object.assign(document.createElement(tag), { textContent: text, className: className ?? "" });
}

function number(value) {
  return value === null ? "–" : value.toFixed(2).replace("-", "−");
}

for (const details of document.querySelectorAll(".agreement")) {
  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    const place = details.querySelector(".rows");
    try {
      const { rows, confidence } = await get(`/api/admin/agreement/${details.dataset.slug}`);
      if (!rows.length) {
        place.replaceChildren(cell("p", "Two people, or a person and a judge, need common items first.", "hint"));
        return;
      }
      const table = document.createElement("table");
      const head = table.createTHead().insertRow();
      const interval = `${Math.round(100 * confidence)} % interval`;
      for (const [index, title] of ["annotators", "measure", "value", interval, "items"].entries()) {
        head.append(Object.assign(cell("th", title, index > 1 ? "number" : ""), { scope: "col" }));
      }
      const body = table.createTBody();
      for (const row of rows) {
        const line = body.insertRow();
        line.append(
          Object.assign(cell("th", row.names), { scope: "row" }),
          cell("td", row.measure),
          cell("td", row.value === null ? row.note : number(row.value), "number"),
          cell("td", row.value === null ? "–" : `${number(row.low)} to ${number(row.high)}`, "number"),
          cell("td", row.count, "number"),
        );
      }
      const frame = cell("div", "", "scroll");
      frame.tabIndex = 0;
      frame.append(table);
      place.replaceChildren(frame);
    } catch (error) {
      show(error);
    }
  });
}
