#!/usr/bin/env python3
"""Reads events of payments from RabbitMQ, and prints each as one line of JSON.

Declares the topic exchange `payments` and a queue of its own that takes the events with some
routing keys, such as payment.EUR.payment.captured. A binding with `direction = "out"` sends them
there; it is in settings.toml beside this program, with the subscription that fills it.

Events of one payment come in order. An event may come twice, under the same id: `again` says so.
When the connection is lost, the program connects again: what it had not acknowledged comes again.

It needs nothing but pika.
"""

import argparse
import json
import sys
import time

import pika
from pika.exceptions import AMQPError

EXCHANGE = "payments"


def declare(channel, queue, routing_key):
    """Makes what is missing. Declaring again what is there changes nothing."""
    channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(queue, EXCHANGE, routing_key=routing_key)


def show(method, properties, body, again):
    """Prints an event: what its routing key, its headers and its body say."""
    event = json.loads(body)
    line = {
        "id": properties.message_id,
        "type": event["type"],
        "object": event["data"]["object"]["id"],
        "routing_key": method.routing_key,
        "content_type": properties.content_type,
        "headers": properties.headers,
        "again": again,
    }
    print(json.dumps(line), flush=True)


def read(channel, queue, seen, count, seconds):
    """Reads until `count` different events were seen, or none came for so many seconds."""
    channel.basic_qos(prefetch_count=100)
    for method, properties, body in channel.consume(queue, inactivity_timeout=seconds):
        if method is None:
            return
        show(method, properties, body, properties.message_id in seen)
        seen.add(properties.message_id)
        channel.basic_ack(method.delivery_tag)
        if len(seen) >= count:
            channel.cancel()
            return


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="amqp://guest:guest@127.0.0.1:5672/%2F")
    parser.add_argument("--queue", default="payment_events")
    parser.add_argument("--routing-key", default="payment.#", help="which events")
    parser.add_argument("--count", type=int, default=1, help="how many different events")
    parser.add_argument("--wait", type=float, default=30, help="seconds without an event to wait")
    parser.add_argument("--declare-only", action="store_true", help="read nothing")
    options = parser.parse_args()

    seen = set()
    patience = time.monotonic() + options.wait
    while True:
        before = len(seen)
        try:
            connection = pika.BlockingConnection(pika.URLParameters(options.url))
            channel = connection.channel()
            declare(channel, options.queue, options.routing_key)
            if not options.declare_only:
                read(channel, options.queue, seen, options.count, options.wait)
            connection.close()
            break
        # A ValueError if the connection breaks while pika makes it.
        except (AMQPError, ValueError) as error:
            # Silence for too long ends the program, whatever the reason.
            if len(seen) > before:
                patience = time.monotonic() + options.wait
            if time.monotonic() > patience:
                sys.exit(f"RabbitMQ can't be reached: {error!r}")
            time.sleep(0.5)
    if not options.declare_only and len(seen) < options.count:
        sys.exit(f"{len(seen)} of {options.count} events came in time")


if __name__ == "__main__":
    main()
