// The comprehension check before the first item of a task: example cases that a person decides.

import { post } from "./api.js";
import { byId, element } from "./dom.js";

let choices = [];
let cases = null; // while the check is shown

// `passed` is called with the next state.
export function setUpCheck(api, buttons, passed) {
  choices = buttons;
  byId("check-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = (index) => document.querySelector(`input[name="case-${index}"]:checked`)?.value ?? "";
    try {
      const reply = await post(`${api}/check`, { answers: cases.map((_, index) => chosen(index)) });
      const fields = [...document.querySelectorAll(".case")];
      fields.forEach((field, index) => field.classList.toggle("wrong", reply.wrong.includes(index)));
      byId("check-error").hidden = !reply.wrong.length;
      byId("check-error").textContent = "The marked cases do not fit the definitions above. Read these and try again.";
      if (reply.wrong.length) fields[reply.wrong[0]].querySelector("input").focus();
      if (reply.next) passed(reply.next);
    } catch (error) {
      byId("check-error").hidden = false;
      byId("check-error").textContent = error.message;
    }
  });
}

export function showCheck(texts) {
  cases = texts;
  const place = byId("cases");
  place.replaceChildren();
  texts.forEach((text, index) => {
    const field = element("fieldset", "case");
    field.append(element("legend", "", text));
    for (const choice of choices) {
      const label = element("label", "option");
      const radio = element("input");
      radio.type = "radio";
      radio.name = `case-${index}`;
      radio.value = choice.dataset.value;
      label.append(radio, element("kbd", "", choice.dataset.key), choice.querySelector("span").textContent);
      field.append(label);
    }
    place.append(field);
  });
  place.querySelector("input").focus();
}

export function answerCase(key) {
  const choice = choices.find((button) => button.dataset.key === key);
  if (!choice) return;
  const fields = [...document.querySelectorAll(".case")];
  const current = fields.find((field) => field.contains(document.activeElement));
  const field = current ?? fields.find((other) => !other.querySelector(":checked")) ?? fields[0];
  const radio = field.querySelector(`input[value="${choice.dataset.value}"]`);
  radio.checked = true;
  const next = fields[fields.indexOf(field) + 1];
  (next ? next.querySelector("input") : byId("check-form").querySelector("button")).focus();
}
