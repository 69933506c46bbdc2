// Administration: invitations and the end of the pilot.

import { post } from "./api.js";

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
