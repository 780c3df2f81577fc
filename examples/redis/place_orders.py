#!/usr/bin/env python3
"""Puts payment orders into a stream of Redis and waits for the result of each.

Makes the stream of orders with its group, one for dead letters and one for replies; adds orders such
as {"order_id": "123456", "amount": 100}; and prints each result as one line: the id of the order,
and the type of the event that tells it.

It needs nothing but redis-py. The binding that takes the orders in is in settings.toml beside it.
"""

import argparse
import json
import sys
import time

import redis

ORDERS = "payment_orders"
DEAD_LETTERS = "payment_orders.tributary.dlq"
REPLIES = "payment_replies"
AT_ONCE = 64


def until(seconds, do):
    """Does something, again and again until Redis has answered."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            return do()
        except (redis.ConnectionError, redis.TimeoutError):
            # Redis is away. It may have done it all the same.
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)


def declare(client):
    """Makes what is missing. What is there is left as it is."""
    for stream, group in [(ORDERS, "tributary"), (DEAD_LETTERS, "operators"), (REPLIES, "readers")]:
        try:
            client.xgroup_create(stream, group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


def publish(client, numbers, amount, seconds):
    """Adds orders. An order that Redis did not confirm is added again: Tributary knows its order_id."""

    def add(numbers):
        batch = client.pipeline(transaction=False)
        for number in numbers:
            order = {"order_id": str(number), "amount": amount}
            fields = {
                "body": json.dumps(order),
                "content_type": "application/json",
                "reply_to": REPLIES,
                "correlation_id": str(number),
            }
            batch.xadd(ORDERS, fields)
        batch.execute()

    for begin in range(0, len(numbers), AT_ONCE):
        until(seconds, lambda: add(numbers[begin : begin + AT_ONCE]))


def print_results(client, numbers, seconds, begin):
    """Prints one line for each order that is answered. Returns the orders without an answer."""
    waiting = {str(number) for number in numbers}
    heard = time.monotonic()
    while waiting and time.monotonic() - heard < seconds:
        read = until(seconds, lambda: client.xread({REPLIES: begin}, AT_ONCE, block=500))
        for _stream, entries in read or []:
            heard = time.monotonic()
            for begin, fields in entries:
                order = fields.get("correlation_id")
                # The result may come twice: what was answered already is passed over.
                if order in waiting:
                    waiting.remove(order)
                    print(order, json.loads(fields["body"])["type"], flush=True)
    return waiting


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="redis://127.0.0.1:6379")
    parser.add_argument("--first", type=int, default=123456, help="number of the first order")
    parser.add_argument("--count", type=int, default=1, help="how many orders")
    parser.add_argument("--amount", type=int, default=100, help="of each, in minor units")
    parser.add_argument("--wait", type=float, default=30, help="seconds without a reply to wait")
    parser.add_argument("--declare-only", action="store_true", help="publish nothing")
    options = parser.parse_args()

    client = redis.Redis.from_url(options.url, decode_responses=True, protocol=2)
    declare(client)
    if options.declare_only:
        return
    # Replies that come from now on.
    begin = client.xinfo_stream(REPLIES)["last-generated-id"]
    numbers = range(options.first, options.first + options.count)
    publish(client, numbers, options.amount, options.wait)
    missing = print_results(client, numbers, options.wait, begin)
    if missing:
        sys.exit(f"{len(missing)} orders were not answered in time: {sorted(missing)[:5]}")


if __name__ == "__main__":
    main()
