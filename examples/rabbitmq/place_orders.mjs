// Puts payment orders into RabbitMQ and waits for the result of each, as place_orders.py does.
//
//   node place_orders.mjs amqp://guest:guest@127.0.0.1:5672 FIRST COUNT
//
// It needs nothing but amqplib. The binding that takes the orders in is in settings.toml beside it.

import amqp from "amqplib";

const EXCHANGE = "payment";
const QUEUE = "payment_order";
const DEAD_LETTERS = "payment_order.tributary.dlq";
const REPLIES = "payment_replies";

const [url = "amqp://guest:guest@127.0.0.1:5672", first = "123456", count = "1"] =
    process.argv.slice(2);
const orders = Array.from({ length: Number(count) }, (_, index) => String(Number(first) + index));

const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();
const durable = { durable: true, arguments: { "x-queue-type": "quorum" } };
await channel.assertExchange(EXCHANGE, "topic", { durable: true });
for (const queue of [QUEUE, DEAD_LETTERS, REPLIES]) {
    await channel.assertQueue(queue, durable);
}
await channel.bindQueue(QUEUE, EXCHANGE, "order.#");

// Before anything is sent, so that no reply waits for its reader.
const waiting = new Set(orders);
const answered = new Promise((resolve) => {
    channel.consume(REPLIES, (message) => {
        const order = message.properties.correlationId;
        // The result may come twice: what was answered already is passed over.
        if (waiting.delete(order)) {
            console.log(order, JSON.parse(message.content.toString()).type);
        }
        channel.ack(message);
        if (waiting.size === 0) resolve();
    });
});

for (const order of orders) {
    const body = Buffer.from(JSON.stringify({ order_id: order, amount: 100 }));
    channel.publish(EXCHANGE, "order.created", body, {
        contentType: "application/json",
        persistent: true,
        mandatory: true,
        replyTo: REPLIES,
        correlationId: order,
    });
}
await channel.waitForConfirms();
await answered;
await connection.close();
