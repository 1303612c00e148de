"""A round trip with a Python client: produces with each codec, consumes in a group whose second
member joins half way, and checks that every record comes back.

usage: round_trip.py {confluent|kafka-python} BOOTSTRAP TOPIC RECORDS
"""

import sys
import threading
import time

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
DEADLINE = 180.0


def values(records):
    return {f"{codec}-{i}".encode() for codec in CODECS for i in range(records)}


def produce_confluent(bootstrap, topic, records):
    from confluent_kafka import Producer

    failures = []
    for codec in CODECS:
        producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True})
        for i in range(records):
            value = f"{codec}-{i}".encode()
            producer.produce(topic, key=value, value=value, on_delivery=lambda e, _: e and failures.append(e))
        left = producer.flush(DEADLINE)
        if left or failures:
            sys.exit(f"{codec}: {left} not delivered, {failures[:3]}")


def member_confluent(bootstrap, topic, on_value, stop):
    from confluent_kafka import Consumer

    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"confluent-{topic}", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            on_value(message.value())
    consumer.close()


def produce_kafka_python(bootstrap, topic, records):
    from kafka import KafkaProducer

    for codec in CODECS:
        producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            compression_type=None if codec == "none" else codec,
            acks="all",
            max_block_ms=180000,
            bootstrap_timeout_ms=180000,
        )
        sent = [
            producer.send(topic, key=f"{codec}-{i}".encode(), value=f"{codec}-{i}".encode()) for i in range(records)
        ]
        for future in sent:
            future.get(timeout=DEADLINE)
        producer.close()


def member_kafka_python(bootstrap, topic, on_value, stop):
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"kafka-python-{topic}",
        auto_offset_reset="earliest",
        bootstrap_timeout_ms=180000,
    )
    while not stop.is_set():
        for batch in consumer.poll(timeout_ms=200).values():
            for record in batch:
                on_value(record.value)
    consumer.close()


CLIENTS = {
    "confluent": (produce_confluent, member_confluent),
    "kafka-python": (produce_kafka_python, member_kafka_python),
}


def main():
    name, bootstrap, topic, records = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    produce, member = CLIENTS[name]
    produce(bootstrap, topic, records)
    expected = values(records)
    seen = set()
    stop = threading.Event()

    def on_value(value):
        if value not in expected:
            sys.exit(f"a record that nobody sent: {value!r}")
        seen.add(value)

    members = []

    def join():
        thread = threading.Thread(target=member, args=(bootstrap, topic, on_value, stop))
        thread.start()
        members.append(thread)

    join()
    end = time.monotonic() + DEADLINE
    while seen != expected and time.monotonic() < end:
        if seen and len(members) == 1:
            join()
        time.sleep(0.05)
    stop.set()
    for thread in members:
        thread.join()
    if seen != expected:
        sys.exit(f"{len(seen)} of {len(expected)} records came back")
    print(f"{len(seen)} records")


main()
