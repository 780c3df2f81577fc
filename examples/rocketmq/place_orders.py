#!/usr/bin/env python3
"""Puts payment orders into RocketMQ and waits for the result of each.

Sends orders such as {"order_id": "123456", "amount": 100} to the topic `payment_order`, each confirmed
by the broker; and prints each result as one line: the id of the order, and the type of the event that
tells it. The topics must be there: docs/brokers/rocketmq.md has the commands that make them.

It needs nothing but rocketmq-python-client. The binding that takes the orders in is in settings.toml
beside it.
"""

import argparse
import json
import sys
import time
import urllib.parse

from rocketmq import ClientConfiguration, Credentials, FilterExpression, Message, Producer, SimpleConsumer

ORDERS = "payment_order"
REPLIES = "payment_replies"
GROUP = "order_desk"
# Seconds that the broker hides a result while it is looked at.
HIDDEN = 30


def order(number, amount):
    """Returns an order as a message. Its group makes the broker keep the order of what concerns it."""
    message = Message()
    message.topic = ORDERS
    message.body = json.dumps({"order_id": str(number), "amount": amount}).encode()
    message.keys = str(number)
    message.message_group = str(number)
    message.add_property("content-type", "application/json")
    message.add_property("reply-to", REPLIES)
    message.add_property("correlation-id", str(number))
    return message


def patiently(seconds, action):
    """Does something that may fail while the broker starts, until it succeeds."""
    end = time.monotonic() + seconds
    while True:
        try:
            return action()
        except Exception as error:
            if time.monotonic() > end:
                raise
            print(f"once more: {error}", file=sys.stderr)
            time.sleep(1)


def open_client(seconds, make):
    """Makes a client and starts it."""

    def start():
        client = make()
        client.startup()
        return client

    return patiently(seconds, start)


def print_results(open_consumer, first, count, seconds):
    """Prints one line for each order that is answered. Returns the orders without an answer."""
    waiting = {str(number) for number in range(first, first + count)}
    consumer = open_consumer()
    last = time.monotonic()
    while waiting and time.monotonic() - last < seconds:
        try:
            for message in consumer.receive(32, HIDDEN) or []:
                last = time.monotonic()
                number = message.properties.get("correlation-id")
                # The result may come twice: what was answered already is passed over.
                if number in waiting:
                    waiting.remove(number)
                    print(number, json.loads(message.body)["type"], flush=True)
                consumer.ack(message)
        except Exception as error:
            # A broker that was started again has forgotten this client, which does not notice. What was not acknowledged
            # comes again.
            print(f"once more: {error}", file=sys.stderr)
            consumer.shutdown()
            time.sleep(1)
            consumer = open_consumer()
    consumer.shutdown()
    return waiting


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8081", help="http://user:password@host:port")
    parser.add_argument("--first", type=int, default=123456, help="number of the first order")
    parser.add_argument("--count", type=int, default=1, help="how many orders")
    parser.add_argument("--amount", type=int, default=100, help="of each, in minor units")
    parser.add_argument("--wait", type=float, default=30, help="seconds without a reply to wait")
    options = parser.parse_args()

    url = urllib.parse.urlsplit(options.url)
    user = Credentials(url.username or "", url.password or "")
    proxy = ClientConfiguration(f"{url.hostname}:{url.port}", user, request_timeout=10)
    everything = {REPLIES: FilterExpression()}

    def open_consumer():
        return open_client(
            options.wait, lambda: SimpleConsumer(proxy, GROUP, everything, await_duration=5)
        )

    producer = open_client(options.wait, lambda: Producer(proxy, (ORDERS,)))
    for number in range(options.first, options.first + options.count):
        # An order that is sent twice is paid once.
        patiently(options.wait, lambda: producer.send(order(number, options.amount)))
    missing = print_results(open_consumer, options.first, options.count, options.wait)
    producer.shutdown()
    if missing:
        sys.exit(f"{len(missing)} orders were not answered in time: {sorted(missing)[:5]}")


if __name__ == "__main__":
    main()
