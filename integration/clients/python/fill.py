"""Fills a partition record by record, and reads it.

usage: fill.py produce BOOTSTRAP TOPIC PARTITION RECORDS   10 KB each; prints the numbers that were acknowledged, until
                                                        some are refused
       fill.py append BOOTSTRAP TOPIC PARTITION RECORDS    the same, patiently: none is refused as long as there is room
       fill.py read BOOTSTRAP TOPIC PARTITION              prints the numbers of all records
"""

import sys

import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

DEADLINE = 150.0


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
    # The first waits for a leader.
    append(bootstrap, topic, partition, 1)
    # No retries: what a broker refuses stays refused.
    strict = {"retries": 0, "message.timeout.ms": 5000}
    write(bootstrap, topic, partition, range(1, records), strict)


def append(bootstrap, topic, partition, records):
    write(bootstrap, topic, partition, range(records), {"message.timeout.ms": int(DEADLINE * 1000)})


def write(bootstrap, topic, partition, numbers, settings):
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 1} | settings)
    refused = 0

    def delivered(error, message):
        nonlocal refused
        if error is None:
            print(message.value().split(b" ")[0].decode())
        else:
            refused += 1
            print(error, file=sys.stderr)

    for number in numbers:
        producer.produce(topic, f"{number} ".encode() + b"x" * 10_000, partition=partition, on_delivery=delivered)
        producer.poll(0)
        if number % 50 == 49:
            producer.flush(DEADLINE)
        if refused > 200:
            break
    producer.flush(DEADLINE)


def read(bootstrap, topic, partition):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "fill", "enable.auto.commit": False})
    low, high = ends(consumer, TopicPartition(topic, partition))
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    end = time.monotonic() + DEADLINE
    while low < high:
        message = consumer.poll(1)
        if message is None or message.error() is not None:
            if time.monotonic() > end:
                sys.exit(f"no record at {low} of {high}: {message and message.error()}")
            continue
        print(message.value().split(b" ")[0].decode())
        low = message.offset() + 1
    consumer.close()


{"produce": produce, "append": append, "read": read}[sys.argv[1]](sys.argv[2], sys.argv[3], *map(int, sys.argv[4:]))
