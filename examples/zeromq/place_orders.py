#!/usr/bin/env python3
"""Sends payment orders to Tributary by ZeroMQ, and prints the result of each. It needs nothing but pyzmq."""

import argparse
import itertools
import json
import math
import time

import zmq

WINDOW = 64  # orders that wait for their results at once
AGAIN_AFTER = 5.0  # seconds without a result, after which an order is sent again


def place_orders(url, key, orders):
    """Sends orders, a dictionary of bodies by their ids, until each has its result. Yields id and event."""
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)  # finds out that the server has gone
    socket.connect(url)
    sent = {}
    while orders:
        for id in itertools.islice(orders, WINDOW):
            if time.monotonic() - sent.get(id, -math.inf) >= AGAIN_AFTER:
                socket.send_multipart([b"tributary/1", b"payment_order", id.encode(), key, b"", orders[id]])
                sent[id] = time.monotonic()
        if not socket.poll(100):
            continue
        _, verb, id, *rest = socket.recv_multipart()
        id = id.decode()
        if verb == b"REPLY" and orders.pop(id, None):  # it may come twice
            yield id, json.loads(rest[1])
        elif verb == b"LATER":
            sent[id] = time.monotonic() - AGAIN_AFTER + 0.5
        elif verb == b"REFUSED":
            raise SystemExit(f"{id}: {rest[0].decode()}: {rest[1].decode()}")
    socket.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="tcp://127.0.0.1:5555")
    parser.add_argument("--key-file", required=True, help="holds the API key that the binding acts as")
    parser.add_argument("--first", type=int, default=123456, help="number of the first order")
    parser.add_argument("--count", type=int, default=1, help="how many orders")
    options = parser.parse_args()
    with open(options.key_file, "rb") as file:
        key = file.read().strip()
    numbers = range(options.first, options.first + options.count)
    orders = {str(number): json.dumps({"order_id": str(number), "amount": 100}).encode() for number in numbers}
    for id, event in place_orders(options.url, key, orders):
        print(id, event["type"], flush=True)
