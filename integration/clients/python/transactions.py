"""A transactional producer that does what it is told, and a reader.

usage: transactions.py produce BOOTSTRAP TRANSACTIONAL_ID
           commands on standard input, each answered by a line: "begin", "send TOPIC PARTITION VALUE…" (waits until all
           are acknowledged), "commit", "abort"
       transactions.py read BOOTSTRAP TOPIC ISOLATION
           prints "partition value" of every record that the isolation level shows
"""

import sys
import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

DEADLINE = 150.0


def until_done(call):
    """Repeats what the coordinator's move has interrupted."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return call()
        except KafkaException as e:
            if not e.args[0].retriable() or time.monotonic() > end:
                raise


def produce(bootstrap, transactional_id):
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": transactional_id,
            # Lost connections are part of the test.
            "log_level": 2,
            "transaction.timeout.ms": 600000,
            "message.timeout.ms": int(DEADLINE * 1000),
            "reconnect.backoff.max.ms": 500,
            "retry.backoff.ms": 50,
        }
    )
    until_done(lambda: producer.init_transactions(DEADLINE))
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "begin":
            producer.begin_transaction()
        elif words[0] == "send":
            errors = []

            def delivered(error, _):
                if error is not None:
                    errors.append(error)

            for value in words[3:]:
                producer.produce(words[1], value=value, partition=int(words[2]), on_delivery=delivered)
            left = producer.flush(DEADLINE)
            if left or errors:
                sys.exit(f"{left} left, {errors}")
        elif words[0] == "commit":
            until_done(lambda: producer.commit_transaction(DEADLINE))
        elif words[0] == "abort":
            until_done(lambda: producer.abort_transaction(DEADLINE))
        else:
            sys.exit(f"what is {line}?")
        print("done", flush=True)


def ends(bootstrap, topic, isolation):
    """Where a reader comes to the end of each partition, by its leader. A fetch may tell less: a new leader gives what it
    knows to be replicated, until its followers have asked it. A broker that has just started knows of no topic yet."""
    level = IsolationLevel.READ_COMMITTED if isolation == "read_committed" else IsolationLevel.READ_UNCOMMITTED
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    end = time.monotonic() + DEADLINE
    while True:
        last = "no partitions"
        try:
            partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions
            asked = {TopicPartition(topic, p): OffsetSpec.latest() for p in partitions}
            answers = admin.list_offsets(asked, isolation_level=level, request_timeout=10) if asked else {}
            if answers:
                return {asked.partition: answer.result().offset for asked, answer in answers.items()}
        except KafkaException as e:
            last = e
        if time.monotonic() > end:
            sys.exit(f"the ends of {topic} are not told: {last}")
        time.sleep(0.1)


def read(bootstrap, topic, isolation):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "log_level": 2,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "fetch.wait.max.ms": 100,
        }
    )
    left = ends(bootstrap, topic, isolation)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in left])
    end = time.monotonic() + DEADLINE
    last = None
    while left:
        if time.monotonic() > end:
            sys.exit(f"partitions do not come to their ends {left}: {last}")
        for message in consumer.consume(1000, 0.2):
            if message.error() is None:
                print(message.partition(), message.value().decode())
            elif message.error().code() != KafkaError._PARTITION_EOF:
                # The client goes on by itself.
                last = message.error()
            elif message.offset() >= left.get(message.partition(), message.offset()):
                left.pop(message.partition(), None)
    consumer.close()


{"produce": produce, "read": read}[sys.argv[1]](*sys.argv[2:])
