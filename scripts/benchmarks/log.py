"""The log of one broker: many partitions at start and at rest, recovery, compaction.

Each broker meets each workload with fresh data. CPU is the broker's own; its ZooKeeper is not counted. All
amounts scale, that of the partitions too.
"""

import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import wire
from .common import AT_LEAST, AT_MOST, RATIO, rounds, say, table, tool
from .node import Broker

MANY = 10_000
MANY_PER_TOPIC = 1_000
RECOVERED_BYTES = 10_000_000_000
RECOVERED_PARTITIONS = 8
RECORD_SIZE = 1000
COMPACTED_RECORDS = 10_000_000
COMPACTED_KEYS = 1_000_000
OPEN_FILES = 20_000
SETTLE_SECONDS = 5

START = "start with 10,000 partitions after a clean stop"
REST = "10,000 idle partitions"
RECOVERY = "recovery of 10 GB after kill -9"
COMPACTION = "compaction of 10 million records of 100 B, 1 million keys"
WORKLOADS = [START, REST, RECOVERY, COMPACTION]
MEASURES = {
    START: [
        ("until its port is open", "s", None),
        ("until all leaders are known", "s", (RATIO, 0.1)),
        ("until all leaders are known", "s", (AT_MOST, 1)),
        ("CPU", "s", None),
        ("clean stop", "s", None),
    ],
    REST: [
        ("memory of each, created and written", "KiB", (AT_MOST, 4)),
        ("memory of each, after a start", "KiB", (AT_MOST, 4)),
        ("file descriptors of each, created and written", "", (AT_MOST, 1)),
        ("file descriptors of each, after a start", "", (AT_MOST, 1)),
        ("maps of each, created and written", "", (AT_MOST, 2)),
        ("maps of each, after a start", "", (AT_MOST, 2)),
    ],
    RECOVERY: [
        ("time", "s", None),
        ("speed", "MB/s", None),
        ("the same files read by cat", "MB/s", None),
        ("speed of recovery by that of cat", "", (AT_LEAST, 0.9)),
        ("CPU", "s", None),
    ],
    COMPACTION: [("CPU", "s", (RATIO, 0.3)), ("time", "s", None), ("left", "MB", None)],
}


def until(what, condition, broker, deadline, pause=0.002):
    end = time.monotonic() + deadline
    while not condition():
        if broker.process.popen.poll() is not None:
            sys.exit(f"the broker ended with {broker.process.popen.returncode}; see its log")
        if time.monotonic() > end:
            sys.exit(f"not within {deadline} s: {what}")
        time.sleep(pause)


def wait_for_leaders(broker, partitions, deadline=600):
    def are_led():
        led = wire.led_partitions(broker.port)
        return led is not None and led >= partitions

    until(f"leaders of {partitions} partitions", are_led, broker, deadline)


def create(broker, topics, **config):
    """Topics by name with how many partitions each has."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "socket.timeout.ms": 300_000, "log_level": 2})
    # An administrator who comes before there is a controller waits for minutes.
    wait_for_leaders(broker, 0)
    known = wire.led_partitions(broker.port)
    config = {key.replace("_", "."): str(value) for key, value in config.items()}
    # One after the other: Kafka gives each request only so long.
    for name, partitions in topics.items():
        new = NewTopic(name, partitions, 1, config=config)
        admin.create_topics([new], operation_timeout=300, request_timeout=300)[name].result()
    wait_for_leaders(broker, known + sum(topics.values()))


def configure(broker, topic, **config):
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

    entries = [
        ConfigEntry(key.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET)
        for key, value in config.items()
    ]
    resource_of_topic = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.incremental_alter_configs([resource_of_topic])[resource_of_topic].result()


def producer(broker, **settings):
    from confluent_kafka import Producer

    return Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "acks": "all",
            "log_level": 2,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 512 * 1024,
            **settings,
        }
    )


def flush(client):
    if left := client.flush(300):
        sys.exit(f"{left} records were not taken")


def clean_stop(broker):
    begin = time.monotonic()
    broker.process.popen.terminate()
    # Longer than an end of the measurement waits.
    broker.process.popen.wait(600)
    broker.process.stop()
    return time.monotonic() - begin


class Footprint:
    def __init__(self, broker):
        process = Path(f"/proc/{broker.process.popen.pid}")
        self.kib = broker.process.memory_mib() * 1024
        self.files = len(os.listdir(process / "fd"))
        self.maps = len((process / "maps").read_text().splitlines())


def start_and_rest(broker, scale):
    wait_for_leaders(broker, 0)
    time.sleep(SETTLE_SECONDS)
    few = Footprint(broker)
    partitions = max(int(MANY * scale), 1)
    topics = {
        f"many-{first}": min(MANY_PER_TOPIC, partitions - first) for first in range(0, partitions, MANY_PER_TOPIC)
    }
    create(broker, topics)
    client = producer(broker)
    for topic, count in topics.items():
        for partition in range(count):
            client.produce(topic, bytes(100), partition=partition)
    flush(client)
    del client
    time.sleep(SETTLE_SECONDS)
    created = Footprint(broker)
    stopped = clean_stop(broker)
    broker.start(600)
    wait_for_leaders(broker, partitions)
    answered = time.monotonic() - broker.process.started
    cpu = broker.process.cpu_seconds()
    time.sleep(SETTLE_SECONDS)
    started = Footprint(broker)
    rest = {}
    for when, found in [("created and written", created), ("after a start", started)]:
        rest[f"memory of each, {when}"] = (found.kib - few.kib) / partitions
        rest[f"file descriptors of each, {when}"] = (found.files - few.files) / partitions
        rest[f"maps of each, {when}"] = (found.maps - few.maps) / partitions
    start = {
        "until its port is open": broker.start_seconds,
        "until all leaders are known": answered,
        "CPU": cpu,
        "clean stop": stopped,
    }
    return {START: start, REST: rest}


def log_files(broker, topic):
    return sorted((broker.directory / "logs").glob(f"{topic}-*/*.log"))


def evict(files):
    """Writes files to the disk and forgets them in memory, so that their next reader reads the disk."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def wait_for_expiry(broker):
    """A killed broker is known to ZooKeeper until its session ends; only then may it come back."""
    from kazoo.client import KazooClient

    znodes = KazooClient(broker.zookeeper)
    znodes.start()
    try:
        end = time.monotonic() + 60
        while znodes.get_children("/brokers/ids") or znodes.exists("/controller"):
            if time.monotonic() > end:
                sys.exit("the session of a killed broker does not end")
            time.sleep(0.1)
    finally:
        znodes.stop()
        znodes.close()


def end_offsets(broker, topic):
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "offsets"})
    try:
        return [
            consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=60)[1]
            for partition in range(RECOVERED_PARTITIONS)
        ]
    finally:
        consumer.close()


def recovery(broker, scale):
    topic = "recovered"
    create(broker, {topic: RECOVERED_PARTITIONS})
    records = max(int(RECOVERED_BYTES * scale) // RECORD_SIZE, 1)
    settings = ["batch.size=65536", "linger.ms=5", "acks=all", f"bootstrap.servers={broker.bootstrap}"]
    arguments = ["--topic", topic, "--num-records", records, "--record-size", RECORD_SIZE]
    tool(
        "org.apache.kafka.tools.ProducerPerformance",
        arguments + ["--throughput", -1, "--producer-props", *settings],
    )
    broker.process.kill()
    files = log_files(broker, topic)
    size = sum(file.stat().st_size for file in files)
    evict(files)
    begin = time.monotonic()
    with open(os.devnull, "wb") as nowhere:
        subprocess.run(["cat", *map(str, files)], stdout=nowhere, check=True)
    disk = size / 1e6 / (time.monotonic() - begin)
    evict(files)
    if broker.zookeeper:
        wait_for_expiry(broker)
    broker.start(900)
    wait_for_leaders(broker, RECOVERED_PARTITIONS)
    took = time.monotonic() - broker.process.started
    cpu = broker.process.cpu_seconds()
    recovered = sum(end_offsets(broker, topic))
    if recovered != records:
        sys.exit(f"{recovered} of {records} records were recovered")
    speed = size / 1e6 / took
    return {
        RECOVERY: {
            "time": took,
            "speed": speed,
            "the same files read by cat": disk,
            "speed of recovery by that of cat": speed / disk,
            "CPU": cpu,
        }
    }


def cleaned_until(broker, topic):
    """Of the cleaner's checkpoint."""
    file = broker.directory / "logs/cleaner-offset-checkpoint"
    if file.exists():
        for line in file.read_text().splitlines():
            words = line.split()
            if words[:2] == [topic, "0"]:
                return int(words[2])
    return 0


def write_keyed(broker, topic, records, keys):
    """As many records of 100 bytes, their keys drawn by lot; answers how many keys were drawn."""
    value = bytes(90)
    messages = [{"key": b"%010d" % key, "value": value, "partition": 0} for key in range(keys)]
    drawn = bytearray(keys)
    draw = random.Random(1).random
    client = producer(broker, **{"linger.ms": 20})
    left = records
    while left:
        count = min(left, 10_000)
        numbers = [int(draw() * keys) for _ in range(count)]
        for key in numbers:
            drawn[key] = 1
        batch = [messages[key] for key in numbers]
        while len(client) > 500_000:
            client.poll(0.01)
        if client.produce_batch(topic, batch) != count:
            sys.exit("the producer's queue is full")
        left -= count
    flush(client)
    return sum(drawn)


def read_keys(broker, topic, last):
    """(records, different keys) from the beginning until that offset."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "check", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    count, keys = 0, set()
    end = time.monotonic() + 120
    try:
        while time.monotonic() < end:
            for message in consumer.consume(10_000, 1):
                if message.error():
                    sys.exit(f"not read: {message.error()}")
                if message.offset() >= last:
                    return count, len(keys)
                count += 1
                keys.add(message.key())
    finally:
        consumer.close()
    sys.exit("the compacted topic could not be read to its end")


def compaction(broker, scale):
    topic = "compacted"
    records, keys = max(int(COMPACTED_RECORDS * scale), 1), max(int(COMPACTED_KEYS * scale), 1)
    create(broker, {topic: 1}, cleanup_policy="delete", segment_bytes=256 * 1024 * 1024)
    drawn = write_keyed(broker, topic, records, keys)
    # The cleaner leaves the active segment alone: one that is old gives way to a new one.
    configure(broker, topic, segment_ms=100)
    time.sleep(1)
    client = producer(broker)
    client.produce(topic, b"", b"last", 0)
    flush(client)
    time.sleep(1)
    cpu = broker.process.cpu_seconds()
    begin = time.monotonic()
    configure(broker, topic, cleanup_policy="compact")
    until("the end of the cleaning", lambda: cleaned_until(broker, topic) >= records, broker, 900, 0.05)
    result = {"CPU": broker.process.cpu_seconds() - cpu, "time": time.monotonic() - begin}
    result["left"] = sum(file.stat().st_size for file in log_files(broker, topic)) / 1e6
    found, different = read_keys(broker, topic, records)
    if found != drawn or different != drawn:
        sys.exit(f"{found} records of {different} keys are left, not one of each of {drawn}")
    return {COMPACTION: result}


# What is measured on the same broker, by what, and what that broker is told.
GROUPS = [
    ([START, REST], start_and_rest, {}),
    # No checkpoint while it is written, or there would be less to recover. A killed broker's session is short.
    (
        [RECOVERY],
        recovery,
        {"log.flush.offset.checkpoint.interval.ms": 3_600_000, "zookeeper.session.timeout.ms": 6_000},
    ),
    ([COMPACTION], compaction, {"log.cleaner.backoff.ms": 1_000}),
]


def one_round(kind, names, scale, base):
    results = {}
    for group, measure, settings in GROUPS:
        if not any(name in names for name in group):
            continue
        directory = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=base))
        broker = Broker(kind, directory, settings)
        try:
            found = measure(broker, scale)
            for name in group:
                if name in names:
                    results[name] = found[name]
                    say(f"  {kind}: {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in found[name].items()))
        finally:
            for process in [broker.process, *broker.others]:
                process.kill()
            shutil.rmtree(directory)
    return results


def main(arguments):
    names = [n for n in WORKLOADS if not arguments.workload or any(w in n for w in arguments.workload)]
    if not names:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))
    found = rounds(arguments.rounds, lambda kind, base: one_round(kind, names, arguments.scale, base))
    if found["ottla"]:
        table("the log of one broker", names, MEASURES, found)
