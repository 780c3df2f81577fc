#!/usr/bin/env python3
"""Puts payment orders into Kafka and waits for the result of each.

Makes the topic `payment_order` with that of its dead letters, and a topic for replies; sends orders
such as {"order_id": "123456", "amount": 100}, each confirmed by all brokers that keep it; and prints
each result as one line: the id of the order, and the type of the event that tells it.

It needs nothing but kafka-python. The binding that takes the orders in is in settings.toml beside it.
"""

import argparse
import json
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError

ORDERS = "payment_order"
DEAD_LETTERS = "error.payment_order.tributary"
REPLIES = "payment_replies"


def make_topics(servers):
    """Makes what is missing. Orders keep their order by key within a partition."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    for name, partitions in [(ORDERS, 3), (DEAD_LETTERS, 1), (REPLIES, 1)]:
        try:
            admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=-1)])
        except TopicAlreadyExistsError:
            pass
    admin.close()


def open_replies(servers, seconds):
    """Returns a consumer that sees what is sent to the topic of replies from now on."""
    consumer = KafkaConsumer(bootstrap_servers=servers, consumer_timeout_ms=int(seconds * 1000))
    partitions = [TopicPartition(REPLIES, one) for one in consumer.partitions_for_topic(REPLIES)]
    consumer.assign(partitions)
    consumer.seek_to_end(*partitions)
    for partition in partitions:
        consumer.position(partition)  # Now, and not when the first message is asked for.
    return consumer


def send(servers, first, count, amount):
    """Sends orders. Returns when Kafka has confirmed every one."""
    producer = KafkaProducer(bootstrap_servers=servers, acks="all")
    sent = []
    for number in range(first, first + count):
        order = {"order_id": str(number), "amount": amount}
        headers = [
            ("content-type", b"application/json"),
            ("reply_to", REPLIES.encode()),
            ("correlation_id", str(number).encode()),
        ]
        value = json.dumps(order).encode()
        sent.append(producer.send(ORDERS, key=str(number).encode(), value=value, headers=headers))
    for one in sent:
        one.get(timeout=120)
    producer.close()


def print_results(replies, first, count):
    """Prints one line for each order that is answered. Returns the orders without an answer."""
    waiting = {str(number) for number in range(first, first + count)}
    for reply in replies:
        order = dict(reply.headers)["correlation_id"].decode()
        # The result may come twice: what was answered already is passed over.
        if order in waiting:
            waiting.remove(order)
            print(order, json.loads(reply.value)["type"], flush=True)
        if not waiting:
            break
    return waiting


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="kafka://127.0.0.1:9092")
    parser.add_argument("--first", type=int, default=123456, help="number of the first order")
    parser.add_argument("--count", type=int, default=1, help="how many orders")
    parser.add_argument("--amount", type=int, default=100, help="of each, in minor units")
    parser.add_argument("--wait", type=float, default=30, help="seconds without a reply to wait")
    parser.add_argument("--declare-only", action="store_true", help="send nothing")
    options = parser.parse_args()

    servers = options.url.removeprefix("kafka://")
    make_topics(servers)
    if options.declare_only:
        return
    # Before anything is sent, so that no reply is missed.
    replies = open_replies(servers, options.wait)
    send(servers, options.first, options.count, options.amount)
    missing = print_results(replies, options.first, options.count)
    replies.close()
    if missing:
        sys.exit(f"{len(missing)} orders were not answered in time: {sorted(missing)[:5]}")


if __name__ == "__main__":
    main()
