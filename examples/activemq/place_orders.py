#!/usr/bin/env python3
"""Puts payment orders into ActiveMQ, Classic or Artemis, and waits for the result of each.

Sends orders such as {"order_id": "123456", "amount": 100} to the queue `payment_order`, waits until
the broker has accepted each, and prints each result as one line: the id of the order, and the type
of the event that tells it.

It needs nothing but python-qpid-proton. The binding that takes the orders in is in settings.toml
beside it. With --declare-only it makes the queues, which needs a user who may create some.
"""

import argparse
import json
import sys
import time
from collections import deque

from proton import ConnectionException, Data, LinkException, Message, Timeout, symbol
from proton.reactor import LinkOption
from proton.utils import BlockingConnection

QUEUE = "payment_order"
DEAD_LETTERS = "payment_order.tributary.dlq"
REPLIES = "payment_replies"
# Replies that the broker may send before the first of them is taken.
CREDIT = 50


class ToQueue(LinkOption):
    """Says that a name is that of a queue. Artemis would make a topic of it."""

    def apply(self, link):
        terminus = link.source if link.is_receiver else link.target
        terminus.capabilities.put_array(False, Data.SYMBOL)
        terminus.capabilities.enter()
        terminus.capabilities.put_symbol(symbol("queue"))
        terminus.capabilities.exit()


def declare(connection):
    """Makes the queues: both brokers make what is missing when somebody begins to read it."""
    for queue in (DEAD_LETTERS, REPLIES, QUEUE):
        connection.create_receiver(queue, credit=0, options=ToQueue()).close()


def send_all(connection, orders):
    """Sends orders, and takes each off the list when the broker has accepted it."""
    sender = connection.create_sender(QUEUE, options=ToQueue())
    while orders:
        order = orders[0]
        # Raises SendException if the broker does not keep it.
        sender.send(
            Message(
                json.dumps(order).encode(),
                inferred=True,
                durable=True,
                content_type="application/json",
                reply_to=REPLIES,
                correlation_id=order["order_id"],
            )
        )
        orders.popleft()
    sender.close()


def print_results(connection, waiting):
    """Prints one line for each order that is answered, until all are or nothing comes any more."""
    replies = connection.create_receiver(REPLIES, credit=CREDIT, options=ToQueue())
    while waiting:
        try:
            message = replies.receive()
        except Timeout:
            return
        # The result may come twice: what was answered already is passed over.
        if message.correlation_id in waiting:
            waiting.remove(message.correlation_id)
            print(message.correlation_id, json.loads(bytes(message.body))["type"], flush=True)
        replies.accept()


def connected(options, left, work):
    """Does something with a connection, and again with another one if it breaks and something is left.

    Gives up if nothing was done for as long as the options say.
    """
    count, since = len(left), time.monotonic()
    while True:
        try:
            connection = BlockingConnection(
                options.url, timeout=options.wait, allowed_mechs="PLAIN"
            )
            work(connection)
            return connection.close()
        except (ConnectionException, LinkException):
            if len(left) < count:
                count, since = len(left), time.monotonic()
            if time.monotonic() - since > options.wait:
                raise
            time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="amqp://tributary:tributary@127.0.0.1:5672")
    parser.add_argument("--first", type=int, default=123456, help="number of the first order")
    parser.add_argument("--count", type=int, default=1, help="how many orders")
    parser.add_argument("--amount", type=int, default=100, help="of each, in minor units")
    parser.add_argument("--wait", type=float, default=30, help="seconds without a reply to wait")
    parser.add_argument("--declare-only", action="store_true", help="make the queues, send nothing")
    options = parser.parse_args()

    if options.declare_only:
        connected(options, (), declare)
        return
    names = [str(number) for number in range(options.first, options.first + options.count)]
    orders = deque({"order_id": name, "amount": options.amount} for name in names)
    connected(options, orders, lambda connection: send_all(connection, orders))
    waiting = set(names)
    connected(options, waiting, lambda connection: print_results(connection, waiting))
    if waiting:
        sys.exit(f"{len(waiting)} orders were not answered in time: {sorted(waiting)[:5]}")


if __name__ == "__main__":
    main()
