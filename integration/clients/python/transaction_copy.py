"""Consume, transform, produce: a member of a group copies records from topic to topic, in transactions that hold
its position too.

usage: transaction_copy.py fill BOOTSTRAP TOPIC FIRST END
           writes the numbers from FIRST on, without END
       transaction_copy.py copy BOOTSTRAP FROM TO COUNT TRANSACTIONAL_ID
           copies N as "N PARTITION OFFSET" until the group has read COUNT records; prints a line for each transaction
"""

import os
import sys
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

DEADLINE = 240.0
BATCH = 50
# Longer than any broker is away, and than the timeout that the call is given.
STUCK = 35.0
# What the client gets over by itself: among others a broker that has just started and does not know the topic yet.
PASSING = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}
QUIET = {"log_level": 2, "reconnect.backoff.max.ms": 500, "retry.backoff.ms": 50}


def until_done(call):
    """Repeats what a lost coordinator has interrupted."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return call()
        except KafkaException as e:
            if not e.args[0].retriable() or time.monotonic() > end:
                raise


def send_offsets(producer, places, group):
    """librdkafka 2.16 waits forever, whatever its timeout, if the group's coordinator has left the metadata before the
    offsets are sent. Then this process begins anew, as who runs one would have it, and fences the transaction."""

    def begin_anew():
        print("send_offsets_to_transaction is stuck", file=sys.stderr, flush=True)
        os.execv(sys.executable, [sys.executable, *sys.argv])

    watch = threading.Timer(STUCK, begin_anew)
    watch.daemon = True
    watch.start()
    try:
        until_done(lambda: producer.send_offsets_to_transaction(places, group, 30))
    finally:
        watch.cancel()


def fill(bootstrap, topic, first, end):
    producer = Producer(QUIET | {"bootstrap.servers": bootstrap, "enable.idempotence": True})
    failed = []
    for number in range(int(first), int(end)):
        producer.produce(topic, value=str(number), on_delivery=lambda error, _: error and failed.append(error))
        producer.poll(0)
    left = producer.flush(DEADLINE)
    if left or failed:
        sys.exit(f"{left} left, {failed[:3]}")


def start_producer(bootstrap, transactional_id):
    producer = Producer(
        QUIET
        | {
            "bootstrap.servers": bootstrap,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": 600000,
            "message.timeout.ms": 240000,
        }
    )
    until_done(lambda: producer.init_transactions(DEADLINE))
    return producer


def back_to_committed(consumer):
    assigned = consumer.assignment()
    if not assigned:
        return
    for place in until_done(lambda: consumer.committed(assigned, 30)):
        if place.offset < 0:
            place.offset = OFFSET_BEGINNING
        consumer.seek(place)


def copy(bootstrap, source, target, count, transactional_id):
    consumer = Consumer(
        QUIET
        | {
            "bootstrap.servers": bootstrap,
            "group.id": f"copies-{target}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "session.timeout.ms": 10000,
        }
    )
    consumer.subscribe([source])
    producer = start_producer(bootstrap, transactional_id)
    while True:
        messages = []
        for message in consumer.consume(BATCH, 0.5):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.fatal() or error.code() not in PASSING:
                sys.exit(str(error))
        if not messages:
            if all_read(consumer, source, int(count)):
                break
            continue
        producer.begin_transaction()
        try:
            for message in messages:
                value = f"{message.value().decode()} {message.partition()} {message.offset()}"
                producer.produce(target, value=value, partition=message.partition())
                producer.poll(0)
            places = consumer.position(consumer.assignment())
            group = consumer.consumer_group_metadata()
            send_offsets(producer, places, group)
            until_done(lambda: producer.commit_transaction(DEADLINE))
            print("committed", len(messages), flush=True)
        except KafkaException as e:
            print("failed", e, flush=True)
            if not e.args[0].txn_requires_abort():
                raise
            until_done(lambda: producer.abort_transaction(DEADLINE))
            back_to_committed(consumer)
    consumer.close()


def all_read(consumer, topic, count):
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        places = consumer.committed([TopicPartition(topic, p) for p in partitions], 10)
    except KafkaException:
        return False
    return sum(max(place.offset, 0) for place in places) >= count


{"fill": fill, "copy": copy}[sys.argv[1]](*sys.argv[2:])
