"""Transactions and large groups on one broker.

Each broker starts on an empty directory, warms up, and meets all the workloads one after the other. CPU is
the broker's own; its ZooKeeper is not counted. The members of the group speak no more than the protocol asks
for, so that it is the broker that is measured.
"""

import asyncio
import math
import re
import shutil
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

from . import wire
from .common import RATIO, rounds, say, table, tool
from .log import create
from .node import Broker

RECORD_SIZE = 1024
RECORDS = 600_000
# Of what is written and of the warm-up alike: markers go to each.
PARTITIONS = 3
COMMITS = 2_000
RECORDS_OF_COMMIT = 10
MEMBERS = 200
JOINS = 10
HEARTBEAT_SECONDS = 0.005
# Nobody leaves while it is measured.
SESSION_SECONDS = 300

# One broker alone cannot have the three replicas that are the default.
SETTINGS = {"transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1}

# name: how long a transaction is, ms
THROUGHPUT = {"transactions of 100 ms, 1 KiB": 100, "transactions of 1 s, 1 KiB": 1_000}
COMMIT = f"commit of {RECORDS_OF_COMMIT} records"
JOIN = f"a group of {MEMBERS} members joins"
REJOIN = f"a group of {MEMBERS} members rebalances"
WORKLOADS = [*THROUGHPUT, COMMIT, JOIN, REJOIN]
MEASURES = {
    **{name: [("throughput", "MB/s", None), ("CPU", "s", (RATIO, 0.4))] for name in THROUGHPUT},
    COMMIT: [
        ("commit p99", "ms", (RATIO, 0.5)),
        ("commit median", "ms", None),
        ("whole transaction p99", "ms", None),
        ("CPU per 1000", "s", None),
    ],
    JOIN: [("time", "ms", (RATIO, 0.5)), ("CPU of each join", "ms", None)],
    REJOIN: [("time", "ms", (RATIO, 0.5)), ("CPU of each join", "ms", None)],
}


def produce(broker, topic, records, transaction_milliseconds):
    arguments = ["--topic", topic, "--num-records", records, "--record-size", RECORD_SIZE, "--throughput", -1]
    arguments += ["--transactional-id", f"{topic}-{records}"]
    arguments += ["--transaction-duration-ms", transaction_milliseconds]
    properties = [f"bootstrap.servers={broker.bootstrap}", "acks=all"]
    out = tool("org.apache.kafka.tools.ProducerPerformance", arguments + ["--producer-props", *properties])
    last = out.strip().splitlines()[-1]
    found = re.search(r"\(([\d.]+) MB/sec\)", last)
    if not found or not last.startswith(f"{records} records sent"):
        sys.exit(f"not understood: {out}")
    return float(found.group(1))


def throughput(broker, name, scale):
    topic = broker.topic(name)
    create(broker, {topic: PARTITIONS})
    cpu = broker.process.cpu_seconds()
    speed = produce(broker, topic, max(int(RECORDS * scale), 1), THROUGHPUT[name])
    return {"throughput": speed, "CPU": broker.process.cpu_seconds() - cpu}


def percentile(values, share):
    return sorted(values)[max(math.ceil(len(values) * share) - 1, 0)]


def commits(broker, topic, count):
    """([time of a commit], [time of a whole transaction]), seconds."""
    from confluent_kafka import Producer

    client = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "transactional.id": topic,
            "linger.ms": 0,
            "log_level": 2,
        }
    )
    client.init_transactions(60)
    value = bytes(100)
    only, whole = [], []
    for _ in range(count):
        begin = time.perf_counter()
        client.begin_transaction()
        for i in range(RECORDS_OF_COMMIT):
            client.produce(topic, value, partition=i % PARTITIONS)
        if client.flush(60):
            sys.exit("records of a transaction were not taken")
        written = time.perf_counter()
        client.commit_transaction(60)
        end = time.perf_counter()
        only.append(end - written)
        whole.append(end - begin)
    return only, whole


def commit(broker, _name, scale):
    create(broker, {"commits": PARTITIONS})
    count = max(int(COMMITS * scale), 1)
    commits(broker, "commits", max(count // 4, 1))
    cpu = broker.process.cpu_seconds()
    only, whole = commits(broker, "commits", count)
    cpu = broker.process.cpu_seconds() - cpu
    return {
        "commit p99": percentile(only, 0.99) * 1e3,
        "commit median": statistics.median(only) * 1e3,
        "whole transaction p99": percentile(whole, 0.99) * 1e3,
        "CPU per 1000": cpu / count * 1e3,
    }


NONE, REBALANCE_IN_PROGRESS, MEMBER_ID_REQUIRED = 0, 27, 79
# What a consumer of one topic says of itself, and what it is told: version, topics, user data.
SUBSCRIPTION = struct.pack(">hi", 0, 1) + wire.string("topic-of-the-group") + struct.pack(">i", -1)
ASSIGNMENT = (
    struct.pack(">hi", 0, 1) + wire.string("topic-of-the-group") + struct.pack(">ii", 1, 0) + struct.pack(">i", -1)
)


class Group:
    """Of members that join at once; each on its own connection."""

    def __init__(self, broker, name):
        self.port = broker.port
        self.name = name
        self.whole = None
        self.members = [Member(self) for _ in range(MEMBERS)]

    async def connect(self):
        for member in self.members:
            member.reader, member.writer = await asyncio.open_connection("127.0.0.1", self.port)
        for _ in range(600):
            if wire.error_of(await self.members[0].ask(wire.FIND_COORDINATOR, wire.find_coordinator(self.name))) == NONE:
                return
            await asyncio.sleep(0.1)
        sys.exit("the group has no coordinator")

    async def join(self):
        """Until all are members of one generation and know what they are assigned; in seconds."""
        self.whole = None
        begin = time.perf_counter()
        await asyncio.gather(*(member.join() for member in self.members))
        took = time.perf_counter() - begin
        if {member.generation for member in self.members} != {self.whole}:
            sys.exit("the members are not of one generation")
        return took

    def close(self):
        for member in self.members:
            member.writer.close()


class Member:
    def __init__(self, group):
        self.group = group
        self.id = ""
        self.generation = None

    async def ask(self, api, body):
        self.writer.write(wire.frame(api, body))
        length = struct.unpack(">i", await self.reader.readexactly(4))[0]
        return wire.Reader((await self.reader.readexactly(length))[4:])

    async def join(self):
        group = self.group
        while not await self.join_once():
            pass
        while group.whole != self.generation:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if group.whole == self.generation:
                break
            beat = wire.heartbeat(group.name, self.generation, self.id)
            error = wire.error_of(await self.ask(wire.HEARTBEAT, beat))
            if error == REBALANCE_IN_PROGRESS:
                while not await self.join_once():
                    pass
            elif error != NONE:
                sys.exit(f"a heartbeat was answered with error {error}")

    async def join_once(self):
        """Whether a rebalance was gone through to its end."""
        name = self.group.name
        request = wire.join_group(name, self.id, SUBSCRIPTION, SESSION_SECONDS)
        error, generation, leader, self.id, members = wire.joined(await self.ask(wire.JOIN_GROUP, request))
        if error == MEMBER_ID_REQUIRED:
            return False
        if error != NONE:
            sys.exit(f"a join was answered with error {error}")
        self.generation = generation
        assignments = []
        if leader == self.id:
            assignments = [(member, ASSIGNMENT) for member in members]
            if len(members) == MEMBERS:
                self.group.whole = generation
        request = wire.sync_group(name, generation, self.id, assignments)
        error, assignment = wire.synced(await self.ask(wire.SYNC_GROUP, request))
        if error == REBALANCE_IN_PROGRESS:
            return False
        if error != NONE or assignment != ASSIGNMENT:
            sys.exit(f"a sync was answered with error {error}")
        return True


async def measure_join(broker, name, again):
    group = Group(broker, name)
    await group.connect()
    try:
        if again:
            await group.join()
        cpu = broker.process.cpu_seconds()
        took = await group.join()
        return took, broker.process.cpu_seconds() - cpu
    finally:
        group.close()


def join(broker, name, scale):
    again = name == REJOIN
    kind = "again" if again else "first"
    joins = max(int(JOINS * scale), 1)
    asyncio.run(measure_join(broker, f"{kind}-warm-up", again))
    found = [asyncio.run(measure_join(broker, f"{kind}-{i}", again)) for i in range(joins)]
    return {
        "time": statistics.median(took for took, _ in found) * 1e3,
        "CPU of each join": statistics.mean(cpu for _, cpu in found) * 1e3,
    }


def one_round(kind, names, scale, base):
    directory = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=base))
    broker = Broker(kind, directory, SETTINGS)
    results = {}
    try:
        if any(name in THROUGHPUT or name == COMMIT for name in names):
            # Java compiles what is hot; nobody measures a cold broker.
            create(broker, {"warm-up": PARTITIONS})
            produce(broker, "warm-up", max(int(RECORDS * scale) // 2, 1), 100)
        for name in names:
            run = throughput if name in THROUGHPUT else commit if name == COMMIT else join
            results[name] = run(broker, name, scale)
            say(f"  {kind}: {name}: " + ", ".join(f"{k} {v:.2f}" for k, v in results[name].items()))
    finally:
        for process in [broker.process, *broker.others]:
            process.kill()
        shutil.rmtree(directory)
    return results


def main(arguments):
    names = [n for n in WORKLOADS if not arguments.workload or any(w in n for w in arguments.workload)]
    if not names:
        return
    found = rounds(arguments.rounds, lambda kind, base: one_round(kind, names, arguments.scale, base))
    if found["ottla"]:
        table("transactions and groups", names, MEASURES, found)
