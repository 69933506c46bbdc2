// Log-in, invitation and the list of tasks.

import { post } from "./api.js";

const byId = (id) => document.getElementById(id);

function show(error, place) {
  const box = place.querySelector(".error");
  box.textContent = error.message;
  box.hidden = false;
}

const form = byId("log-in");
byId("pseudonym")?.select(); // typing replaces the proposed one
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await post("/api/session", { pseudonym: byId("pseudonym").value.trim() });
    location.reload();
  } catch (error) {
    show(error, form);
  }
});

const join = byId("join");
if (join) {
  // the token is in the fragment, which browsers do not send to servers
  const token = location.hash.slice(1);
  history.replaceState(null, "", "/join");
  try {
    if (!token) throw new Error("the link has no token; open the invitation link unchanged");
    await post("/api/session", { token });
    location.replace("/");
  } catch (error) {
    join.querySelector("p").hidden = true;
    show(error, join);
  }
}

const withdraw = byId("withdraw");
if (withdraw) {
  const place = withdraw.closest("details");
  const confirm = byId("withdraw-confirm");
  withdraw.addEventListener("click", () => {
    confirm.hidden = false;
    byId("withdraw-no").focus();
  });
  byId("withdraw-no").addEventListener("click", () => {
    confirm.hidden = true;
    withdraw.focus();
  });
  byId("withdraw-yes").addEventListener("click", () => leave("/api/withdraw", { confirm: true }));
  byId("log-out").addEventListener("click", () => leave("/api/log-out", {}));

  async function leave(address, body) {
    try {
      await post(address, body);
      location.replace("/");
    } catch (error) {
      show(error, place);
    }
  }
}
