"""Transactional producers that write down what became of each transaction, and readers of what is committed.

usage: transaction_history.py write BOOTSTRAP TOPIC PRODUCERS OUT
           until SIGTERM; appends to OUT, once the fate of a transaction is known:
           "committed PRODUCER NUMBER PARTITION:COUNT…" or "aborted PRODUCER NUMBER PARTITION:COUNT…"
       transaction_history.py follow BOOTSTRAP TOPIC OUT
           until SIGTERM; appends to OUT, while it goes on: "PARTITION OFFSET PRODUCER NUMBER INDEX" of every record
       transaction_history.py read BOOTSTRAP TOPIC
           waits until no transaction is open and prints the same
"""

import faulthandler
import random
import signal
import sys
import threading
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

DEADLINE = 240.0
# Seconds, after which a transaction may be ended by its coordinator.
SHORT = 1
# What a reader gets over by itself: among others a broker that has just started and does not know the topic yet.
PASSING = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}
# Lost connections are part of the test.
QUIET = {"log_level": 2, "reconnect.backoff.max.ms": 500, "retry.backoff.ms": 50}

stopping = threading.Event()


def until_done(call):
    """Repeats what a lost coordinator has interrupted."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return call()
        except KafkaException as e:
            if not e.args[0].retriable() or time.monotonic() > end:
                raise


class Writer(threading.Thread):
    """One transactional id; now and then it is taken over by a successor in the midst of a transaction, or the
    transaction outlives its time."""

    def __init__(self, bootstrap, topic, partitions, name, out, lock):
        super().__init__()
        self.bootstrap, self.topic, self.partitions = bootstrap, topic, partitions
        self.called, self.out, self.lock = name, out, lock
        self.failure = None

    def successor(self, timeout=240000):
        producer = Producer(
            QUIET
            | {
                "bootstrap.servers": self.bootstrap,
                "transactional.id": f"writer-{self.called}",
                "transaction.timeout.ms": timeout,
                "message.timeout.ms": timeout,
                "linger.ms": random.choice([0, 5]),
            }
        )
        until_done(lambda: producer.init_transactions(DEADLINE))
        return producer

    def run(self):
        try:
            producer, number = self.successor(), 0
            while not stopping.is_set():
                producer = self.transaction(producer, number)
                number += 1
                time.sleep(random.uniform(0, 0.06))
        except Exception as e:
            self.failure = f"writer {self.called}: {e!r}"
            stopping.set()

    def transaction(self, producer, number):
        counts = {p: random.randint(1, 4) for p in random.sample(self.partitions, random.randint(1, len(self.partitions)))}
        fate = random.choice(["commit", "commit", "abort", "abandon"])
        if random.random() < 0.05:
            fate = self.overdue(number, counts)
            producer = self.successor()
        else:
            producer.begin_transaction()
            try:
                self.produce(producer, number, counts)
            except KafkaException:
                # What was sent before has failed; then nothing more may be, and nothing is committed.
                fate = "abort"
        if fate == "abandon":
            producer.flush(DEADLINE)
            zombie, producer = producer, self.successor()
            self.must_be_fenced(zombie)
        if fate == "commit":
            try:
                until_done(lambda: producer.commit_transaction(DEADLINE))
            except KafkaException as e:
                if not e.args[0].txn_requires_abort():
                    raise
                fate = "abort"
        if fate == "abort":
            until_done(lambda: producer.abort_transaction(DEADLINE))
        written = " ".join(f"{partition}:{count}" for partition, count in counts.items())
        is_committed = fate in ("commit", "committed late")
        with self.lock:
            print("committed" if is_committed else "aborted", self.called, number, written, file=self.out, flush=True)
        return producer

    def produce(self, producer, number, counts):
        for partition, count in counts.items():
            for index in range(count):
                producer.produce(self.topic, value=f"{self.called} {number} {index}", partition=partition)
            if random.random() < 0.3:
                producer.flush(DEADLINE)

    def overdue(self, number, counts):
        """A transaction that may be ended by its coordinator before it is committed."""
        producer = self.successor(timeout=SHORT * 1000)
        try:
            producer.begin_transaction()
            self.produce(producer, number, counts)
            producer.flush(SHORT)
            time.sleep(SHORT * random.uniform(0, 2))
            until_done(lambda: producer.commit_transaction(DEADLINE))
            return "committed late"
        except KafkaException:
            return "aborted by time"

    def must_be_fenced(self, zombie):
        try:
            until_done(lambda: zombie.commit_transaction(DEADLINE))
        except KafkaException as e:
            # Its records may have failed before it was told that it is fenced.
            if e.args[0].fatal() or e.args[0].txn_requires_abort():
                return
            raise
        raise AssertionError("a zombie has committed")


def partitions_of(client, topic):
    end = time.monotonic() + DEADLINE
    while True:
        try:
            found = client.list_topics(topic, timeout=10).topics[topic].partitions
            if found:
                return sorted(found)
        except KafkaException:
            pass
        if time.monotonic() > end:
            sys.exit(f"no metadata of {topic}")


def write(bootstrap, topic, producers, out):
    partitions = partitions_of(AdminClient(QUIET | {"bootstrap.servers": bootstrap}), topic)
    with open(out, "a") as file:
        lock = threading.Lock()
        writers = [Writer(bootstrap, topic, partitions, n, file, lock) for n in range(int(producers))]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    failures = [writer.failure for writer in writers if writer.failure]
    if failures:
        sys.exit("\n".join(failures))


def reader(bootstrap, topic):
    consumer = Consumer(
        QUIET
        | {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            # A position is never lost: to begin again elsewhere would hide it.
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 100,
        }
    )
    partitions = partitions_of(consumer, topic)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    return consumer, partitions


def records(consumer):
    for message in consumer.consume(1000, 0.2):
        error = message.error()
        if error is None:
            yield f"{message.partition()} {message.offset()} {message.value().decode()}"
        elif error.fatal() or error.code() not in PASSING:
            sys.exit(f"{message.topic()} {message.partition()}: {error}")


def follow(bootstrap, topic, out):
    consumer, _ = reader(bootstrap, topic)
    with open(out, "a") as file:
        while not stopping.is_set():
            for record in records(consumer):
                print(record, file=file)
    consumer.close()


def ends(admin, topic, partitions, isolation):
    asked = {TopicPartition(topic, p): OffsetSpec.latest() for p in partitions}
    answers = admin.list_offsets(asked, isolation_level=isolation, request_timeout=10)
    return {asked.partition: answer.result().offset for asked, answer in answers.items()}


def read(bootstrap, topic):
    consumer, partitions = reader(bootstrap, topic)
    admin = AdminClient(QUIET | {"bootstrap.servers": bootstrap})
    end = time.monotonic() + DEADLINE
    high = stable = None
    while high is None or high != stable:
        if time.monotonic() > end:
            sys.exit(f"transactions stay open: ends {high}, last stable {stable}")
        try:
            high = ends(admin, topic, partitions, IsolationLevel.READ_UNCOMMITTED)
            stable = ends(admin, topic, partitions, IsolationLevel.READ_COMMITTED)
        except KafkaException:
            time.sleep(0.1)
    places = [TopicPartition(topic, p) for p in partitions]
    while any(place.offset < high[place.partition] for place in consumer.position(places)):
        if time.monotonic() > end:
            sys.exit(f"not all is read: {consumer.position(places)} of {high}")
        for record in records(consumer):
            print(record)
    consumer.close()


def stop(*_):
    stopping.set()
    # Who waits longer than that is shown where.
    faulthandler.dump_traceback_later(DEADLINE / 2)


signal.signal(signal.SIGTERM, stop)
{"write": write, "follow": follow, "read": read}[sys.argv[1]](*sys.argv[2:])
