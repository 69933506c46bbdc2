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

// Yield the JSON lines of a streamed reply as they arrive.
export async function* lines(address) {
  const response = await fetch(address, { credentials: "same-origin" });
  if (!response.ok) throw new Refused(`the server answered ${response.status}`, response.status);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

export function csrfToken() {
  return csrf;
}
