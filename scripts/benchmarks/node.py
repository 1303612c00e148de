"""One broker: produce, fetch, latency, idling, start.

Each broker starts on an empty directory, warms up, and meets all the workloads one after the other. CPU is
the broker's own, user and system, all threads. Kafka runs with the JVM flags of its start script; its
ZooKeeper is not counted.
"""

import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from .common import (
    IDLE_SECONDS,
    JARS,
    ROOT,
    SERVER_FLAGS,
    SERVER_LOGGING,
    Process,
    free_port,
    number,
    ratio,
    rounds,
    say,
    tool,
    wait_port,
)

DEFAULT = ()
LARGE = ("batch.size=262144", "linger.ms=10", "buffer.memory=67108864")
# name: (size, records, acks, producer settings)
PRODUCE = {
    "produce 100 B, acks 1": (100, 3_000_000, "1", DEFAULT),
    "produce 100 B, acks all": (100, 3_000_000, "all", DEFAULT),
    "produce 100 B, acks 1, large batches": (100, 5_000_000, "1", LARGE),
    "produce 100 B, acks all, large batches": (100, 5_000_000, "all", LARGE),
    "produce 1 KiB, acks 1": (1024, 600_000, "1", DEFAULT),
    "produce 1 KiB, acks all": (1024, 600_000, "all", DEFAULT),
    "produce 1 KiB, acks 1, large batches": (1024, 1_000_000, "1", LARGE),
    "produce 1 KiB, acks all, large batches": (1024, 1_000_000, "all", LARGE),
    "produce 1 KiB, acks all, large batches, lz4": (1024, 1_000_000, "all", LARGE + ("compression.type=lz4",)),
}
# name: (the workload whose records are read, how many times)
FETCH = {
    "catch-up read, 100 B": ("produce 100 B, acks all, large batches", 2),
    "catch-up read, 1 KiB": ("produce 1 KiB, acks all, large batches", 2),
    "catch-up read, 1 KiB, lz4": ("produce 1 KiB, acks all, large batches, lz4", 2),
}
E2E = "end to end, 100 B, acks all"
E2E_RECORDS = 10_000
IDLE = f"idle, {IDLE_SECONDS} s"
WORKLOADS = [*PRODUCE, *FETCH, E2E, IDLE]

AIM_PRODUCE_CPU = 0.25
AIM_FETCH_CPU = 0.5
AIM_MEMORY = 0.08
AIM_START_SECONDS = 0.1
AIM_E2E_P99 = 0.5


class Broker:
    """A broker with fresh data."""

    def __init__(self, kind, directory, settings=()):
        self.port = free_port()
        self.others = []
        self.topics = {}
        properties = {
            "broker.id": 0,
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "log.dirs": directory / "logs",
            "offsets.topic.replication.factor": 1,
            "group.initial.rebalance.delay.ms": 0,
            **dict(settings),
        }
        if kind == "kafka":
            zookeeper = free_port()
            properties["zookeeper.connect"] = f"127.0.0.1:{zookeeper}"
            properties["transaction.state.log.replication.factor"] = 1
            properties["transaction.state.log.min.isr"] = 1
            config = directory / "zookeeper.properties"
            config.write_text(
                f"dataDir={directory}/zookeeper\nclientPort={zookeeper}\nclientPortAddress=127.0.0.1\n"
                "maxClientCnxns=0\nadmin.enableServer=false\n"
            )
            main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
            server = Process(
                ["java", "-Xmx256M", SERVER_LOGGING, "-cp", JARS, main, str(config)], directory / "zookeeper.log"
            )
            self.others.append(server)
            wait_port(zookeeper, server.popen)
        config = directory / "server.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        if kind == "kafka":
            self.arguments = ["java", *SERVER_FLAGS, SERVER_LOGGING, "-cp", JARS, "kafka.Kafka", str(config)]
        else:
            self.arguments = [str(ROOT / "target/release/ottla"), "server", str(config)]
        self.directory = directory
        # None where there is no ZooKeeper.
        self.zookeeper = properties.get("zookeeper.connect")
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.start()

    def start(self, deadline=60):
        """Again, after it was stopped, on what it left."""
        self.process = Process(self.arguments, self.directory / "broker.log")
        wait_port(self.port, self.process.popen, deadline)
        self.start_seconds = time.monotonic() - self.process.started

    def stop(self):
        self.process.stop()
        for other in self.others:
            other.stop()

    def topic(self, name):
        return re.sub(r"[^a-z0-9]+", "-", name.lower())


def produce(broker, topic, size, records, acks, settings):
    arguments = ["--topic", topic, "--num-records", records, "--record-size", size, "--throughput", -1]
    properties = [f"bootstrap.servers={broker.bootstrap}", f"acks={acks}", *settings]
    out = tool("org.apache.kafka.tools.ProducerPerformance", arguments + ["--producer-props", *properties])
    last = out.strip().splitlines()[-1]
    found = re.search(r"([\d.]+) records/sec \(([\d.]+) MB/sec\).* ([\d.]+) ms 99th", last)
    if not found or not last.startswith(f"{records} records sent"):
        sys.exit(f"not understood: {out}")
    return {"MB/s": float(found.group(2)), "p99 ms": float(found.group(3))}


def fetch(broker, topic, records, times):
    speeds = []
    for i in range(times):
        arguments = ["--bootstrap-server", broker.bootstrap, "--topic", topic, "--messages", records]
        arguments += ["--group", f"{topic}-{i}", "--hide-header", "--timeout", 30000]
        out = tool("org.apache.kafka.tools.ConsumerPerformance", arguments)
        words = out.strip().splitlines()[-1].split(", ")
        if int(words[4]) < records:
            sys.exit(f"{words[4]} of {records} records came: {out}")
        speeds.append(float(words[8]))
    return {"MB/s": statistics.mean(speeds)}


def end_to_end(broker, topic, records):
    out = tool("org.apache.kafka.tools.EndToEndLatency", [broker.bootstrap, topic, records, "all", 100])
    average = float(re.search(r"Avg latency: ([\d.]+) ms", out).group(1))
    p99 = float(re.search(r"99th = ([\d.]+)", out).group(1))
    return {"p99 ms": p99, "avg ms": average}


def run(broker, name, scale):
    topic = broker.topic(name)
    cpu = broker.process.cpu_seconds()
    if name in PRODUCE:
        size, records, acks, settings = PRODUCE[name]
        result = produce(broker, topic, size, int(records * scale), acks, settings)
        broker.topics[name] = topic
    elif name in FETCH:
        source, times = FETCH[name]
        size, records, acks, settings = PRODUCE[source]
        records = int(records * scale)
        if source not in broker.topics:
            produce(broker, broker.topic(source), size, records, acks, settings)
            broker.topics[source] = broker.topic(source)
            cpu = broker.process.cpu_seconds()
        result = fetch(broker, broker.topic(source), records, times)
    elif name == E2E:
        result = end_to_end(broker, topic, int(E2E_RECORDS * scale))
    else:
        time.sleep(IDLE_SECONDS)
        result = {}
    result["CPU s"] = broker.process.cpu_seconds() - cpu
    result["MiB"] = broker.process.memory_mib()
    return result


def one_round(kind, names, scale, base):
    directory = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=base))
    broker = Broker(kind, directory)
    results = {}
    try:
        # Java compiles what is hot; nobody measures a cold broker.
        produce(broker, "warm-up", 100, 1_000_000, "all", LARGE)
        produce(broker, "warm-up", 1024, 100_000, "1", DEFAULT)
        fetch(broker, "warm-up", 1_000_000, 1)
        for name in names:
            results[name] = run(broker, name, scale)
            say(f"  {kind}: {name}: " + ", ".join(f"{k} {v:.2f}" for k, v in results[name].items()))
    finally:
        broker.stop()
        shutil.rmtree(directory)
    return broker.start_seconds, results


def aim_of(name):
    if name in PRODUCE:
        return ("CPU s", AIM_PRODUCE_CPU, "CPU")
    if name in FETCH:
        return ("CPU s", AIM_FETCH_CPU, "CPU")
    if name == E2E:
        return ("p99 ms", AIM_E2E_P99, "p99")
    return None


def report(names, starts, results):
    def median(kind, name, key):
        values = [r[name][key] for r in results[kind] if key in r[name]]
        return statistics.median(values) if values else None

    columns = ["CPU s", "MB/s", "p99 ms", "memory MiB"]
    print("| workload | " + " | ".join(f"{c}: ottla | Kafka | ratio" for c in columns) + " | aim | |")
    print("|---" + "|--:" * 3 * len(columns) + "|---|---|")
    for name in names:
        cells = [name]
        ratios = {}
        for key in ["CPU s", "MB/s", "p99 ms", "MiB"]:
            ours, theirs = median("ottla", name, key), median("kafka", name, key)
            ratios[key] = ratio(ours, theirs)
            cells += [number(ours), number(theirs), number(ratios[key])]
        aims = []
        aim = aim_of(name)
        if aim:
            aims.append((f"{aim[2]} ≤ {aim[1]}", ratios[aim[0]] is not None and ratios[aim[0]] <= aim[1]))
        aims.append((f"memory ≤ {AIM_MEMORY}", ratios["MiB"] is not None and ratios["MiB"] <= AIM_MEMORY))
        cells += ["; ".join(a for a, _ in aims), "; ".join("met" if met else "**missed**" for _, met in aims)]
        print("| " + " | ".join(cells) + " |")
    ours, theirs = (statistics.median(starts[kind]) for kind in ["ottla", "kafka"])
    met = "met" if ours <= AIM_START_SECONDS else "**missed**"
    print()
    print(f"Start to open port: ottla {ours:.3f} s, Kafka {theirs:.2f} s (aim: ≤ {AIM_START_SECONDS} s, {met}).", end=" ")
    if E2E in names:
        ours, theirs = (median(kind, E2E, "avg ms") for kind in ["ottla", "kafka"])
        print(f"End to end on average: ottla {ours:.2f} ms, Kafka {theirs:.2f} ms.", end=" ")
    print(f"Median of {len(starts['ottla'])} rounds on {os.cpu_count()} cores shared with the client.")


def main(arguments):
    names = [n for n in WORKLOADS if not arguments.workload or any(w in n for w in arguments.workload)]
    if not names:
        sys.exit("no such workload; see --list")
    found = rounds(arguments.rounds, lambda kind, base: one_round(kind, names, arguments.scale, base))
    if found["ottla"]:
        starts = {kind: [start for start, _ in results] for kind, results in found.items()}
        report(names, starts, {kind: [result for _, result in results] for kind, results in found.items()})
