// Makes a payment with the types that openapi-typescript generates, and reads its events.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { env: Record<string, string> };

type Schemas = components["schemas"];

const client = createClient<paths>({
  baseUrl: process.env.SERVER ?? "",
  headers: { Authorization: `Bearer ${process.env.KEY}` },
});

function check(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

async function openAccount(key: string, body: Schemas["AccountCreate"]): Promise<string> {
  const { data, error } = await client.POST("/v1/accounts", {
    params: { header: { "Idempotency-Key": key } },
    body,
  });
  check(data !== undefined, error);
  return data.id;
}

// The type of an event tells which form its data has.
function amountOf(event: Schemas["LedgerEvent"]): number {
  switch (event.type) {
    case "payment.captured":
      return event.data.object.amount;
    case "payment.refunded":
      return event.data.object.amount;
    case "account.opened":
      return event.data.object.posted;
    case "payment.refund_refused":
      return event.data.failure.code.length;
    case "subscription.dead_letter":
      return event.data.new;
    default:
      return 0;
  }
}

const bank = await openAccount("typescript-bank", {
  owner: "platform",
  kind: "external",
  currency: "EUR",
  overdraft: "unlimited",
});
const ada = await openAccount("typescript-ada", { owner: "ada", kind: "wallet", currency: "EUR" });
const shop = await openAccount("typescript-shop", { owner: "shop", kind: "merchant", currency: "EUR" });

const topUp = await client.POST("/v1/top_ups", {
  params: { header: { "Idempotency-Key": "typescript-top-up" } },
  body: { amount: 5000, currency: "EUR", source: bank, destination: ada },
});
check(topUp.data !== undefined, topUp.error);

const order: Schemas["PaymentCreate"] = {
  amount: 1999,
  currency: "EUR",
  source: ada,
  destination: shop,
  reference: "typescript-order",
};
const pay = () =>
  client.POST("/v1/payments", { params: { header: { "Idempotency-Key": "typescript-order" } }, body: order });
const [first, again] = [await pay(), await pay()];
check(first.data !== undefined && first.data.id === again.data?.id, first.error);
check(again.response.headers.get("idempotent-replayed") === "true", "a repetition");

const account = await client.GET("/v1/accounts/{id}", { params: { path: { id: shop } } });
check(account.data?.posted === 1999, account);

const events = await client.GET("/v1/events", { params: { query: { limit: 1 } } });
const newest = events.data?.data[0];
check(newest !== undefined && newest.type === "payment.captured", events);
check(amountOf(newest as Schemas["LedgerEvent"]) === 1999, newest);
console.log("paid", first.data.id);
