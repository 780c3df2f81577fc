#!/usr/bin/env python3
"""Puts payment orders into NATS JetStream and waits for the result of each.

Makes a stream for orders, one for their dead letters and one for replies; publishes orders such as
{"order_id": "123456", "amount": 100}, each confirmed by its stream; and prints each result as one
line: the id of the order, and the type of the event that tells it.

It needs nothing but nats-py. The binding that takes the orders in is in settings.toml beside it.
"""

import argparse
import asyncio
import json
import sys
import time

import nats
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig

ORDERS = "payment_orders"
DEAD_LETTERS = "payment_orders.tributary.dlq"
REPLIES = "payment_replies"
AT_ONCE = 64


async def declare(jetstream):
    """Makes what is missing. What is there is left as it is."""
    known = {info.config.name for info in await jetstream.streams_info()}
    for subject in (ORDERS, DEAD_LETTERS, REPLIES):
        name = subject.replace(".", "_")
        if name not in known:
            await jetstream.add_stream(
                StreamConfig(
                    name=name,
                    subjects=[subject],
                    retention=RetentionPolicy.WORK_QUEUE,
                    discard=DiscardPolicy.NEW,
                )
            )


async def publish(jetstream, number, amount, seconds):
    """Publishes an order, again and again until its stream has confirmed it."""
    give_up = time.monotonic() + seconds
    order = json.dumps({"order_id": str(number), "amount": amount}).encode()
    headers = {
        "Content-Type": "application/json",
        "reply-to": REPLIES,
        "correlation-id": str(number),
    }
    while True:
        try:
            return await jetstream.publish(ORDERS, order, timeout=5, headers=headers)
        except (NatsError, OSError):
            # It may have arrived all the same: Tributary knows it by its order_id.
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.2)


async def publish_all(jetstream, first, count, amount, seconds):
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number):
        async with room:
            await publish(jetstream, number, amount, seconds)

    await asyncio.gather(*(one(number) for number in range(first, first + count)))


async def print_results(jetstream, first, count, seconds):
    """Prints one line for each order that is answered. Returns the orders without an answer."""
    waiting = {str(number) for number in range(first, first + count)}
    replies = None
    heard = time.monotonic()
    while waiting and time.monotonic() - heard < seconds:
        try:
            replies = replies or await jetstream.pull_subscribe(REPLIES, "place_orders")
            messages = await replies.fetch(AT_ONCE, timeout=1)
        except (NatsError, OSError, asyncio.TimeoutError):
            await asyncio.sleep(0.1)
            continue
        heard = time.monotonic()
        for message in messages:
            order = (message.headers or {}).get("correlation-id")
            # The result may come twice: what was answered already is passed over.
            if order in waiting:
                waiting.remove(order)
                print(order, json.loads(message.data)["type"], flush=True)
            await message.ack()
    return waiting


async def run(options):
    connection = await nats.connect(
        options.url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=no_noise
    )
    jetstream = connection.jetstream()
    await declare(jetstream)
    missing = set()
    if not options.declare_only:
        first, count = options.first, options.count
        await publish_all(jetstream, first, count, options.amount, options.wait)
        missing = await print_results(jetstream, first, count, options.wait)
    await connection.close()
    return missing


async def no_noise(_error):
    """The client connects again by itself, and what was not confirmed is sent again."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="nats://127.0.0.1:4222")
    parser.add_argument("--first", type=int, default=123456, help="number of the first order")
    parser.add_argument("--count", type=int, default=1, help="how many orders")
    parser.add_argument("--amount", type=int, default=100, help="of each, in minor units")
    parser.add_argument("--wait", type=float, default=30, help="seconds without a reply to wait")
    parser.add_argument("--declare-only", action="store_true", help="publish nothing")
    options = parser.parse_args()
    missing = asyncio.run(run(options))
    if missing:
        sys.exit(f"{len(missing)} orders were not answered in time: {sorted(missing)[:5]}")


if __name__ == "__main__":
    main()
