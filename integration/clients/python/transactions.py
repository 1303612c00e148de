"""A transactional producer that does what it is told, and a reader.

usage: transactions.py produce BOOTSTRAP TRANSACTIONAL_ID
           commands on standard input, each answered by a line: "begin", "send TOPIC PARTITION VALUE…" (waits until all
           are acknowledged), "commit", "abort"
       transactions.py read BOOTSTRAP TOPIC ISOLATION
           prints "partition value" of every record that the isolation level shows
"""

import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

DEADLINE = 60.0


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
            "transaction.timeout.ms": 120000,
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


def read(bootstrap, topic, isolation):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
        }
    )
    partitions = consumer.list_topics(topic, timeout=DEADLINE).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    left = set(partitions)
    end = time.monotonic() + DEADLINE
    while left:
        if time.monotonic() > end:
            sys.exit(f"partitions {left} do not come to their ends")
        for message in consumer.consume(1000, 0.2):
            if message.error() is None:
                print(message.partition(), message.value().decode())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
            elif not message.error().retriable():
                sys.exit(str(message.error()))
    consumer.close()


{"produce": produce, "read": read}[sys.argv[1]](*sys.argv[2:])
