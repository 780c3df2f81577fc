#!/usr/bin/env python3
"""Puts payment orders into RabbitMQ and waits for the result of each.

Declares the exchange `payment`, the queue `payment_order` with its dead letters, and a queue for
replies; publishes orders such as {"order_id": "123456", "amount": 100} with publisher confirms; and
prints each result as one line: the id of the order, and the type of the event that tells it.

It needs nothing but pika. The binding that takes the orders in is in settings.toml beside it.
"""

import argparse
import json
import sys

import pika

EXCHANGE = "payment"
QUEUE = "payment_order"
DEAD_LETTERS = "payment_order.tributary.dlq"
REPLIES = "payment_replies"
ROUTING_KEY = "order.created"


def declare(channel):
    """Makes what is missing. Declaring again what is there changes nothing."""
    durable = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
    channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    channel.queue_declare(QUEUE, **durable)
    channel.queue_declare(DEAD_LETTERS, **durable)
    channel.queue_declare(REPLIES, **durable)
    channel.queue_bind(QUEUE, EXCHANGE, routing_key="order.#")


def publish(channel, first, count, amount):
    """Publishes orders. Returns when RabbitMQ has confirmed every one."""
    channel.confirm_delivery()
    for number in range(first, first + count):
        order = {"order_id": str(number), "amount": amount}
        channel.basic_publish(
            exchange=EXCHANGE,
            routing_key=ROUTING_KEY,
            body=json.dumps(order),
            mandatory=True,
            properties=pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                reply_to=REPLIES,
                correlation_id=str(number),
            ),
        )


def print_results(channel, first, count, seconds):
    """Prints one line for each order that is answered. Returns the orders without an answer."""
    waiting = {str(number) for number in range(first, first + count)}
    replies = channel.consume(REPLIES, inactivity_timeout=seconds)
    for method, properties, body in replies:
        if method is None:
            break
        # The result may come twice: what was answered already is passed over.
        if properties.correlation_id in waiting:
            waiting.remove(properties.correlation_id)
            print(properties.correlation_id, json.loads(body)["type"], flush=True)
        channel.basic_ack(method.delivery_tag)
        if not waiting:
            break
    channel.cancel()
    return waiting


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="amqp://guest:guest@127.0.0.1:5672/%2F")
    parser.add_argument("--first", type=int, default=123456, help="number of the first order")
    parser.add_argument("--count", type=int, default=1, help="how many orders")
    parser.add_argument("--amount", type=int, default=100, help="of each, in minor units")
    parser.add_argument("--wait", type=float, default=30, help="seconds without a reply to wait")
    parser.add_argument("--declare-only", action="store_true", help="publish nothing")
    options = parser.parse_args()

    connection = pika.BlockingConnection(pika.URLParameters(options.url))
    channel = connection.channel()
    declare(channel)
    missing = set()
    if not options.declare_only:
        publish(channel, options.first, options.count, options.amount)
        missing = print_results(channel, options.first, options.count, options.wait)
    connection.close()
    if missing:
        sys.exit(f"{len(missing)} orders were not answered in time: {sorted(missing)[:5]}")


if __name__ == "__main__":
    main()
