// Requests to the server. A failed request raises an Error with the server's message.

const csrf = document.querySelector('meta[name="csrf"]').content;

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function get(address) {
  return await send(address, { headers: { accept: "application/json" } });
}

export async function post(address, body) {
  return await send(address, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": csrf },
    body: JSON.stringify(body),
  });
}

async function send(address, options) {
  const response = await fetch(address, { credentials: "same-origin", ...options });
  const reply = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw new Refused(reply.error, response.status);
  return reply;
}

export function csrfToken() {
  return csrf;
}
