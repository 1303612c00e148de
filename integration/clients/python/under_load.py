"""Load for a broker that is killed meanwhile, and the reading back.

usage: under_load.py produce BOOTSTRAP TOPIC FILE [RATE]   until SIGTERM; writes "partition offset number" as records are acknowledged; RATE in records per second
       under_load.py consume BOOTSTRAP TOPIC FILE          until SIGTERM; a group member; writes "partition offset" as commits are acknowledged; fails if what it reads has gaps
       under_load.py read BOOTSTRAP TOPIC                  prints "partition offset number" of every record
       under_load.py committed BOOTSTRAP TOPIC             prints "partition offset" of the group
"""

import signal
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

DEADLINE = 240.0
stopped = False


def stop(*_):
    global stopped
    stopped = True


def produce(bootstrap, topic, out, rate=None):
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 2,
            "compression.type": "lz4",
            "message.timeout.ms": int(DEADLINE * 1000),
            "reconnect.backoff.max.ms": 500,
            "retry.backoff.ms": 50,
            "debug": "eos",
        }
    )

    def delivered(error, message):
        if error is not None:
            out.write(f"error {error}\n")
        else:
            number = message.value().split(b" ")[0].decode()
            out.write(f"{message.partition()} {message.offset()} {number}\n")

    number = 0
    started = time.monotonic()
    while not stopped:
        if rate and number > (time.monotonic() - started) * rate:
            producer.poll(0.005)
            continue
        value = f"{number} ".encode() + b"x" * (number * 37 % 1500)
        try:
            producer.produce(topic, key=str(number), value=value, on_delivery=delivered)
            number += 1
        except BufferError:
            producer.poll(0.05)
        producer.poll(0)
        if number % 200 == 0:
            producer.poll(0.005)
    left = producer.flush(DEADLINE)
    if left:
        sys.exit(f"{left} records were neither acknowledged nor refused")


def member(bootstrap, topic):
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"load-{topic}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "reconnect.backoff.max.ms": 500,
            "session.timeout.ms": 10000,
        }
    )


def until_answered(ask):
    """What is asked until the answer is something: a broker that has just started may not know it yet."""
    end = time.monotonic() + DEADLINE
    last = None
    while time.monotonic() < end:
        try:
            answer = ask()
            if answer:
                return answer
        except KafkaException as e:
            last = e
        time.sleep(0.1)
    sys.exit(f"not answered: {last}")


def partitions_of(consumer, topic):
    def ask():
        found = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return sorted(found) if all(p.leader >= 0 for p in found.values()) else None

    return until_answered(ask)


def consume(bootstrap, topic, out):
    consumer = member(bootstrap, topic)
    # Of each assigned partition the next offset, once one was read; of all the highest that this
    # member has committed.
    following = {}
    promised = {}
    wrong = []

    def assigned(_, partitions):
        following.clear()

    def check(message):
        partition, offset = message.partition(), message.offset()
        expected = following.get(partition)
        if expected is None and offset < promised.get(partition, 0):
            wrong.append(f"partition {partition} was committed up to {promised[partition]} and goes on from {offset}")
        elif expected is not None and offset != expected:
            wrong.append(f"in partition {partition} comes {offset} where {expected} should")
        following[partition] = offset + 1

    consumer.subscribe([topic], on_assign=assigned)
    while not stopped:
        messages = [m for m in consumer.consume(500, 0.2) if m.error() is None]
        for message in messages:
            check(message)
        if not messages:
            continue
        try:
            for at in consumer.commit(asynchronous=False):
                if at.error is None and at.offset >= 0:
                    promised[at.partition] = max(at.offset, promised.get(at.partition, 0))
                    out.write(f"{at.partition} {at.offset}\n")
        except KafkaException:
            # Not acknowledged, so nothing is promised.
            pass
    consumer.close()
    if wrong:
        sys.exit("\n".join(wrong[:20]))


def read(bootstrap, topic):
    consumer = member(bootstrap, topic)
    partitions = partitions_of(consumer, topic)

    def end_of(partition):
        return until_answered(lambda: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10))[1]

    ends = {p: end_of(p) for p in partitions}
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    open_partitions = {p for p, end in ends.items() if end > 0}
    end = time.monotonic() + DEADLINE
    last = None
    while open_partitions:
        messages = consumer.consume(5000, 0.1)
        if time.monotonic() > end:
            sys.exit(f"partitions {open_partitions} of {ends} do not come to their ends: {last}")
        for message in messages:
            if message.error() is not None:
                # The client goes on by itself.
                last = message.error()
                continue
            number = message.value().split(b" ")[0].decode()
            print(message.partition(), message.offset(), number)
            if message.offset() + 1 >= ends[message.partition()]:
                open_partitions.discard(message.partition())
    consumer.close()


def committed(bootstrap, topic):
    consumer = member(bootstrap, topic)
    partitions = partitions_of(consumer, topic)

    def ask():
        found = consumer.committed([TopicPartition(topic, p) for p in partitions], timeout=10)
        return found if all(at.error is None for at in found) else None

    for at in until_answered(ask):
        print(at.partition, at.offset)
    consumer.close()


def main():
    signal.signal(signal.SIGTERM, stop)
    what, bootstrap, topic = sys.argv[1:4]
    if what in ("produce", "consume"):
        with open(sys.argv[4], "w", buffering=1) as out:
            if what == "produce":
                produce(bootstrap, topic, out, *map(float, sys.argv[5:6]))
            else:
                consume(bootstrap, topic, out)
    else:
        {"read": read, "committed": committed}[what](bootstrap, topic)


main()
