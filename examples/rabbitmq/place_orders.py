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
import time
from collections import deque

import pika
from pika.exceptions import AMQPError

EXCHANGE = "payment"
QUEUE = "payment_order"
DEAD_LETTERS = "payment_order.tributary.dlq"
REPLIES = "payment_replies"
ROUTING_KEY = "order.created"
# Replies that RabbitMQ may send before the first of them is taken.
AT_ONCE = 64


def declare(channel):
    """Makes what is missing. Declaring again what is there changes nothing."""
    durable = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
    channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    channel.queue_declare(QUEUE, **durable)
    channel.queue_declare(DEAD_LETTERS, **durable)
    channel.queue_declare(REPLIES, **durable)
    channel.queue_bind(QUEUE, EXCHANGE, routing_key="order.#")


def publish_all(channel, orders):
    """Publishes orders, and takes each off the list when RabbitMQ has confirmed it."""
    channel.confirm_delivery()
    while orders:
        order = orders[0]
        # Raises an AMQPError if RabbitMQ does not keep it.
        channel.basic_publish(
            exchange=EXCHANGE,
            routing_key=ROUTING_KEY,
            body=json.dumps(order),
            mandatory=True,
            properties=pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                reply_to=REPLIES,
                correlation_id=order["order_id"],
            ),
        )
        orders.popleft()


def print_results(channel, waiting, seconds):
    """Prints one line for each order that is answered, until all are or nothing comes any more."""
    channel.basic_qos(prefetch_count=AT_ONCE)
    replies = channel.consume(REPLIES, inactivity_timeout=seconds)
    nothing = (None, None, None)
    while waiting:
        method, properties, body = next(replies, nothing)
        if method is None:
            return
        # The result may come twice: what was answered already is passed over.
        if properties.correlation_id in waiting:
            waiting.remove(properties.correlation_id)
            print(properties.correlation_id, json.loads(body)["type"], flush=True)
        channel.basic_ack(method.delivery_tag)
    channel.cancel()


def connected(options, left, work):
    """Does something with a channel, and again with another one if it breaks and something is left.

    Gives up if nothing was done for as long as the options say.
    """
    count, since = len(left), time.monotonic()
    while True:
        try:
            connection = pika.BlockingConnection(pika.URLParameters(options.url))
            work(connection.channel())
            return connection.close()
        # A ValueError if the connection breaks while pika makes it.
        except (AMQPError, ValueError):
            if len(left) < count:
                count, since = len(left), time.monotonic()
            if time.monotonic() - since > options.wait:
                raise
            time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="amqp://guest:guest@127.0.0.1:5672/%2F")
    parser.add_argument("--first", type=int, default=123456, help="number of the first order")
    parser.add_argument("--count", type=int, default=1, help="how many orders")
    parser.add_argument("--amount", type=int, default=100, help="of each, in minor units")
    parser.add_argument("--wait", type=float, default=30, help="seconds without a reply to wait")
    parser.add_argument("--declare-only", action="store_true", help="publish nothing")
    options = parser.parse_args()

    connected(options, (), declare)
    if options.declare_only:
        return
    names = [str(number) for number in range(options.first, options.first + options.count)]
    orders = deque({"order_id": name, "amount": options.amount} for name in names)
    # An order that is sent twice is paid once.
    connected(options, orders, lambda channel: publish_all(channel, orders))
    waiting = set(names)
    connected(options, waiting, lambda channel: print_results(channel, waiting, options.wait))
    if waiting:
        sys.exit(f"{len(waiting)} orders were not answered in time: {sorted(waiting)[:5]}")


if __name__ == "__main__":
    main()
