"""Fills a partition record by record, and reads it.

usage: fill.py produce BOOTSTRAP TOPIC PARTITION RECORDS   10 KB each; prints the numbers that were acknowledged
       fill.py read BOOTSTRAP TOPIC PARTITION              prints the numbers of all records
"""

import sys

import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

DEADLINE = 60.0


def ends(consumer, at):
    """The first and last offset; a broker that has just started may not lead the partition yet."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return consumer.get_watermark_offsets(at, timeout=DEADLINE)
        except KafkaException:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def produce(bootstrap, topic, partition, records):
    # No retries: what a broker refuses stays refused.
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "retries": 0, "message.timeout.ms": 5000, "linger.ms": 1}
    )
    refused = 0

    def delivered(error, message):
        nonlocal refused
        if error is None:
            print(message.value().split(b" ")[0].decode())
        else:
            refused += 1
            print(error, file=sys.stderr)

    for number in range(records):
        producer.produce(topic, f"{number} ".encode() + b"x" * 10_000, partition=partition, on_delivery=delivered)
        producer.poll(0)
        if number % 50 == 49:
            producer.flush(20)
        if refused > 200:
            break
    producer.flush(20)


def read(bootstrap, topic, partition):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "fill", "enable.auto.commit": False})
    low, high = ends(consumer, TopicPartition(topic, partition))
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    while low < high:
        message = consumer.poll(30)
        if message is None or message.error() is not None:
            sys.exit(f"no record at {low} of {high}: {message and message.error()}")
        print(message.value().split(b" ")[0].decode())
        low = message.offset() + 1
    consumer.close()


if sys.argv[1] == "produce":
    produce(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
else:
    read(sys.argv[2], sys.argv[3], int(sys.argv[4]))
