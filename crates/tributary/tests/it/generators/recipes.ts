// What a client in TypeScript needs besides the types that openapi-typescript generates: retries, typed errors, lists, the event
// stream and webhooks. Functions to copy: `fetchWithRetries` needs `fetchWithLimit`, and `unwrap` needs `TributaryError`.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { env: Record<string, string> };

type Schemas = components["schemas"];
type Event = Schemas["Event"];

/** Error of the API, with its stable code. */
class TributaryError extends Error {
  constructor(
    readonly status: number,
    readonly detail: Schemas["ErrorDetail"],
  ) {
    super(`${status} ${detail.code}: ${detail.message}`);
  }

  /** Says whether the error has this code. The compiler refuses a misspelt code. */
  is(code: Schemas["ErrorCode"]): boolean {
    return this.detail.code === code;
  }
}

/** Returns the data of an answer, or throws its error. The answer of a proxy has no code, and its error is a plain `Error`. */
function unwrap<T>(answer: { data?: T; error?: Schemas["ErrorAnswer"]; response: Response }): T {
  if (answer.data !== undefined) return answer.data;
  const detail: Partial<Schemas["ErrorDetail"]> | undefined = answer.error?.error;
  if (detail?.code !== undefined) throw new TributaryError(answer.response.status, detail as Schemas["ErrorDetail"]);
  throw new Error(`${answer.response.status}, not an answer of Tributary: ${String(answer.error).slice(0, 200)}`);
}

/** Sends a request. Throws if the head of the answer does not come within 35 seconds; the body may take longer. */
async function fetchWithLimit(request: Request): Promise<Response> {
  // Not `AbortSignal.timeout`: Node 20 collects it as garbage, and it would end streams. The timer holds this controller.
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(new Error("no answer within 35 s")), 35_000);
  try {
    return await fetch(request.clone(), { signal: AbortSignal.any([request.signal, limit.signal]) });
  } finally {
    clearTimeout(timer);
  }
}

const RETRIED = new Set([408, 429, 500, 502, 503, 504]);

/** Sends a request until the outcome is known, at most 10 times. A write is sent again under the same idempotency key. */
async function fetchWithRetries(request: Request): Promise<Response> {
  const repeatable = request.method === "GET" || request.headers.has("Idempotency-Key");
  for (let attempt = 1; ; attempt++) {
    const last = attempt === 10 || !repeatable;
    let seconds = Math.min(0.1 * 2 ** attempt, 5);
    try {
      const response = await fetchWithLimit(request);
      if (last || !RETRIED.has(response.status)) return response;
      seconds = Number(response.headers.get("Retry-After")) || seconds;
      await response.body?.cancel();
    } catch (error) {
      if (last || request.signal.aborted) throw error;
    }
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }
}

/** Yields all items of a list, page by page. */
async function* items<T>(
  page: (after: { starting_after?: string }) => Promise<{ data: T[]; has_more: boolean; next_cursor: string | null }>,
): AsyncGenerator<T> {
  for (let after: { starting_after?: string } = {}; ; ) {
    const { data, has_more, next_cursor } = await page(after);
    yield* data;
    if (!has_more || next_cursor === null) return;
    after = { starting_after: next_cursor };
  }
}

/** Says whether the ledger or the server made the event, and not a program. */
function isLedgerEvent(event: Event): event is Schemas["LedgerEvent"] {
  return !event.type.startsWith("app.");
}

/** Yields events as they happen, after the event `after`. Keep the id of the last event: after a break, continue from it. */
async function* follow(url: string, key: string, after?: string): AsyncGenerator<Event> {
  const headers: Record<string, string> = { Authorization: `Bearer ${key}` };
  if (after !== undefined) headers["Last-Event-ID"] = after;
  const response = await fetch(url, { headers });
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let rest = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line.startsWith("data:")) yield JSON.parse(line.slice(5)) as Event;
      }
    }
  } finally {
    await reader.cancel();
  }
}

/** Returns the event of a webhook, or throws if the signature is wrong or old. `body` is the body as it arrived. */
async function verifyWebhook(secret: string, headers: Headers, body: string): Promise<Event> {
  const [id, time] = [headers.get("webhook-id"), headers.get("webhook-timestamp")];
  if (Math.abs(Date.now() / 1000 - Number(time)) > 300) throw new Error("the webhook is old");
  const bytes = (base64: string) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const use = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", bytes(secret.replace("whsec_", "")), use, false, ["verify"]);
  const signed = new TextEncoder().encode(`${id}.${time}.${body}`);
  for (const signature of headers.get("webhook-signature")?.split(" ") ?? []) {
    const [version, base64 = ""] = signature.split(",");
    if (version === "v1" && (await crypto.subtle.verify("HMAC", key, bytes(base64), signed))) {
      return JSON.parse(body) as Event;
    }
  }
  throw new Error("the signature of the webhook is wrong");
}

// The rest of this file uses these functions.

function check(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

const { SERVER = "", KEY = "" } = process.env;
const client = createClient<paths>({
  baseUrl: SERVER,
  headers: { Authorization: `Bearer ${KEY}` },
  fetch: fetchWithRetries,
});

// The answer to the first request under each idempotency key is lost on its way.
const realFetch = globalThis.fetch;
const lost = new Set<string>();
globalThis.fetch = async (input, init) => {
  const response = await realFetch(input, init);
  const key = input instanceof Request ? input.headers.get("Idempotency-Key") : null;
  if (key === null || lost.has(key)) return response;
  lost.add(key);
  throw new TypeError("the connection is lost");
};

const once = (key: string) => ({ params: { header: { "Idempotency-Key": key } } });
const open = async (key: string, body: Schemas["AccountCreate"]) =>
  unwrap(await client.POST("/v1/accounts", { ...once(key), body })).id;
const bank = await open("recipes-bank", {
  owner: "platform",
  kind: "external",
  currency: "EUR",
  overdraft: "unlimited",
});
const grace = await open("recipes-grace", { owner: "grace", kind: "wallet", currency: "EUR" });
for (const amount of [100, 200, 300]) {
  const body: Schemas["TransferCreate"] = { amount, currency: "EUR", source: bank, destination: grace };
  const answer = await client.POST("/v1/top_ups", { ...once(`recipes-${amount}`), body });
  check(answer.response.headers.get("Idempotent-Replayed") === "true", answer);
}
check(lost.size === 5, lost.size);

let sum = 0;
const statement = items(async (after) => {
  const params = { path: { id: grace }, query: { limit: 2, ...after } };
  return unwrap(await client.GET("/v1/accounts/{id}/entries", { params }));
});
for await (const entry of statement) sum += entry.amount;
check(sum === 600, sum);

const refused: unknown = await client
  .POST("/v1/payments", {
    ...once("recipes-too-much"),
    body: { amount: 601, currency: "EUR", source: grace, destination: bank },
  })
  .then(unwrap)
  .catch((error: unknown) => error);
check(refused instanceof TributaryError && refused.is("insufficient_funds"), refused);

// A proxy answers in its own words, or without any.
for (const text of ["<h1>Bad Gateway</h1>", '{"error":"bad gateway"}', ""]) {
  const proxy = createClient<paths>({ baseUrl: SERVER, fetch: async () => new Response(text, { status: 502 }) });
  const error: unknown = await proxy.GET("/v1/clock").then(unwrap).catch((error: unknown) => error);
  check(String(error).startsWith("Error: 502, not an answer of Tributary"), String(error));
}

// Each connection takes one event, and the next one continues after it.
const stream = `${SERVER}/v1/events/stream?events=payment.captured&owner=grace&start=beginning`;
const amounts: number[] = [];
for (let after: string | undefined; amounts.length < 3; ) {
  for await (const event of follow(stream, KEY, after)) {
    if (isLedgerEvent(event) && event.type === "payment.captured") amounts.push(event.data.object.amount);
    after = event.id;
    break;
  }
}
check(String(amounts) === "100,200,300", amounts);

// Nothing listens at the URL, but the history has the headers of the attempt, and the body is the event as it is shown.
const subscription = unwrap(
  await client.POST("/v1/subscriptions", {
    ...once("recipes-hook"),
    body: { url: "http://127.0.0.1:1/hooks", events: ["app.recipes"] },
  }),
);
const published = unwrap(
  await client.POST("/v1/events", { ...once("recipes-event"), body: { type: "app.recipes", data: { digits: 1.5 } } }),
);
let attempt: Schemas["DeliveryAttempt"] | undefined;
while (attempt === undefined) {
  const params = { path: { id: subscription.id } };
  attempt = unwrap(await client.GET("/v1/subscriptions/{id}/attempts", { params })).data[0];
  await new Promise((done) => setTimeout(done, 50));
}
const headers = new Headers(attempt.request?.headers.map(({ name, value }): [string, string] => [name, value]));
const shown = await client.GET("/v1/events/{id}", { params: { path: { id: published.id } }, parseAs: "text" });
const body = shown.data as unknown as string;
const secret = subscription.secret ?? "";
check((await verifyWebhook(secret, headers, body)).id === published.id, body);
const forged: unknown = await verifyWebhook(secret, headers, `${body} `).catch((error: unknown) => error);
check(forged instanceof Error, forged);
console.log("followed", amounts.length);
