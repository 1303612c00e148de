"""Three brokers on one ZooKeeper: replicated throughput, many partitions, failover, shutdown, idling.

CPU is that of the three brokers together. ZooKeeper is the same for both and not counted.
"""

import json
import re
import shutil
import socket
import tempfile
import threading
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
    median,
    number,
    ratio,
    rounds,
    say,
    tool,
    wait_port,
)

BROKERS = 3
RECORD_SIZE = 1024
RECORDS = 600_000
MANY = 10_000
MANY_PER_TOPIC = 1_000
# Each broker has a replica of each.
SHUTDOWN_PARTITIONS = 1_000
IDLE_PARTITIONS = 100

THROUGHPUT = "produce 1 KiB, RF 3, acks all"
CREATE = f"create {MANY} partitions, RF 3"
FAILOVER = f"controller failover, {MANY} partitions"
SHUTDOWN = f"controlled shutdown, {SHUTDOWN_PARTITIONS} partitions per broker"
IDLE = f"idle, {IDLE_PARTITIONS} RF 3 partitions, {IDLE_SECONDS} s"
WORKLOADS = [THROUGHPUT, IDLE, SHUTDOWN, CREATE, FAILOVER]
# workload: (what is compared, its unit, the aim)
MEASURES = {
    THROUGHPUT: [("throughput", "MB/s", None), ("CPU per GB", "s", 0.4)],
    IDLE: [("CPU", "s", None)],
    SHUTDOWN: [("time", "s", None)],
    CREATE: [("time", "s", 0.25)],
    FAILOVER: [("time", "s", 0.3)],
}
# Smaller than the start script's: three of them share the machine.
HEAP = ["-Xmx1G", "-Xms256M"]


class Cluster:
    """Brokers with fresh data; znodes are reached as an operator reaches them."""

    def __init__(self, kind, directory):
        from kazoo.client import KazooClient

        self.directory = directory
        self.zookeeper_port = free_port()
        config = directory / "zookeeper.properties"
        config.write_text(
            f"dataDir={directory}/zookeeper\nclientPort={self.zookeeper_port}\nclientPortAddress=127.0.0.1\n"
            "maxClientCnxns=0\nadmin.enableServer=false\n"
        )
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        self.zookeeper = Process(
            ["java", "-Xmx512M", SERVER_LOGGING, "-cp", JARS, main, str(config)], directory / "zookeeper.log"
        )
        wait_port(self.zookeeper_port, self.zookeeper.popen)
        until("a ZooKeeper that serves", self.zookeeper_serves)
        self.ports = [free_port() for _ in range(BROKERS)]
        self.brokers = [self.start(kind, id) for id in range(BROKERS)]
        for port, broker in zip(self.ports, self.brokers):
            wait_port(port, broker.popen)
        self.znodes = KazooClient(f"127.0.0.1:{self.zookeeper_port}")
        self.znodes.start()
        until("all brokers", lambda: len(self.znodes.get_children("/brokers/ids")) == BROKERS)
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self, kind, id):
        properties = {
            "broker.id": id,
            "listeners": f"PLAINTEXT://127.0.0.1:{self.ports[id]}",
            "log.dirs": self.directory / f"logs-{id}",
            "zookeeper.connect": f"127.0.0.1:{self.zookeeper_port}",
            "offsets.topic.replication.factor": BROKERS,
            "group.initial.rebalance.delay.ms": 0,
            "auto.leader.rebalance.enable": "false",
        }
        config = self.directory / f"server-{id}.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        if kind == "kafka":
            flags = [flag for flag in SERVER_FLAGS if not flag.startswith("-Xm")]
            arguments = ["java", *HEAP, *flags, SERVER_LOGGING, "-cp", JARS, "kafka.Kafka", str(config)]
        else:
            arguments = [str(ROOT / "target/release/ottla"), "server", str(config)]
        return Process(arguments, self.directory / f"broker-{id}.log")

    def zookeeper_serves(self):
        """Its port opens earlier; who comes then is left hanging."""
        with socket.create_connection(("127.0.0.1", self.zookeeper_port), timeout=2) as connection:
            connection.sendall(b"srvr")
            return b"Mode: " in connection.recv(4096)

    def cpu_seconds(self):
        return sum(broker.cpu_seconds() for broker in self.brokers)

    def stop(self):
        self.znodes.stop()
        self.znodes.close()
        for broker in self.brokers:
            broker.kill()
        self.zookeeper.kill()

    def create(self, topic, partitions):
        tool(
            "org.apache.kafka.tools.TopicCommand",
            ["--bootstrap-server", self.bootstrap, "--create", "--topic", topic, "--partitions", partitions]
            + ["--replication-factor", BROKERS],
        )

    def wait_for_isr(self, topic, partitions):
        """Until every replica of every partition is in sync."""

        def is_in_sync(partition):
            found, _ = self.znodes.get(f"/brokers/topics/{topic}/partitions/{partition}/state")
            return len(json.loads(found)["isr"]) == BROKERS

        for partition in range(partitions):
            until("in-sync replicas", lambda: is_in_sync(partition))


def until(what, condition, deadline=600.0):
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not within {deadline} s: {what}")
        time.sleep(0.005)


def throughput(cluster, scale):
    records = int(RECORDS * scale)
    settings = ["batch.size=65536", "linger.ms=5", "acks=all", f"bootstrap.servers={cluster.bootstrap}"]

    def produce(count):
        arguments = ["--topic", "replicated", "--num-records", count, "--record-size", RECORD_SIZE]
        arguments += ["--throughput", -1, "--producer-props", *settings]
        out = tool("org.apache.kafka.tools.ProducerPerformance", arguments)
        return float(re.search(r"\(([\d.]+) MB/sec\)", out.strip().splitlines()[-1]).group(1))

    cluster.create("replicated", 6)
    cluster.wait_for_isr("replicated", 6)
    # Java compiles what is hot; nobody measures a cold broker.
    produce(max(records // 3, 1))
    cpu = cluster.cpu_seconds()
    speed = produce(records)
    cpu = cluster.cpu_seconds() - cpu
    return {"throughput": speed, "CPU per GB": cpu / (records * RECORD_SIZE / 1e9)}


def idle(cluster, _scale):
    cluster.create("idle", IDLE_PARTITIONS)
    cluster.wait_for_isr("idle", IDLE_PARTITIONS)
    time.sleep(5)
    cpu = cluster.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    return {"CPU": cluster.cpu_seconds() - cpu}


def shutdown(cluster, _scale):
    cluster.create("shutdown", SHUTDOWN_PARTITIONS)
    cluster.wait_for_isr("shutdown", SHUTDOWN_PARTITIONS)
    controller = json.loads(cluster.znodes.get("/controller")[0])["brokerid"]
    # The controller stays, so that only the shutdown is measured.
    victim = cluster.brokers[(controller + 1) % BROKERS]
    begin = time.monotonic()
    victim.popen.terminate()
    victim.popen.wait(300)
    return {"time": time.monotonic() - begin}


def create(cluster, _scale):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "socket.timeout.ms": 300_000, "log_level": 2})
    topics = [f"many-{i}" for i in range(MANY // MANY_PER_TOPIC)]
    begin = time.monotonic()
    created = admin.create_topics(
        [NewTopic(topic, MANY_PER_TOPIC, BROKERS) for topic in topics],
        operation_timeout=300,
        request_timeout=300,
    )
    for future in created.values():
        future.result()

    def all_have_leaders():
        # Asked of each broker, for a client may come to any of them.
        for port in cluster.ports:
            one = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
            found = one.list_topics(timeout=60).topics
            for topic in topics:
                partitions = found[topic].partitions if topic in found else {}
                if len(partitions) < MANY_PER_TOPIC or any(p.leader < 0 for p in partitions.values()):
                    return False
        return True

    until("leaders of all partitions", all_have_leaders)
    return {"time": time.monotonic() - begin}


def failover(cluster, _scale):
    for i in range(MANY // MANY_PER_TOPIC):
        cluster.wait_for_isr(f"many-{i}", MANY_PER_TOPIC)
    times = []
    for i in range(3):
        topic = f"/brokers/topics/after-failover-{i}"
        assignment = {"version": 1, "partitions": {"0": list(range(BROKERS))}}
        appeared = threading.Event()
        state = f"{topic}/partitions/0/state"
        cluster.znodes.exists(state, watch=lambda _: appeared.set())
        transaction = cluster.znodes.transaction()
        transaction.delete("/controller")
        transaction.create(topic, json.dumps(assignment, separators=(",", ":")).encode())
        begin = time.monotonic()
        results = transaction.commit()
        if any(isinstance(result, Exception) for result in results):
            raise SystemExit(f"the controller could not be deposed: {results}")
        if not appeared.wait(300):
            raise SystemExit("no state of the new topic")
        times.append(time.monotonic() - begin)
        # The next one meets a cluster at rest.
        time.sleep(5)
    return {"time": sorted(times)[1]}


RUNS = {THROUGHPUT: throughput, IDLE: idle, SHUTDOWN: shutdown, CREATE: create, FAILOVER: failover}
# What needs the state that another leaves, or must not see it, shares a cluster or has its own.
GROUPS = [[THROUGHPUT], [IDLE], [SHUTDOWN], [CREATE, FAILOVER]]


def one_round(kind, names, scale, base):
    results = {}
    for group in GROUPS:
        if not any(name in names for name in group):
            continue
        directory = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=base))
        cluster = Cluster(kind, directory)
        try:
            for name in group:
                results[name] = RUNS[name](cluster, scale)
                say(f"  {kind}: {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in results[name].items()))
        finally:
            cluster.stop()
            shutil.rmtree(directory)
    return results


def report(names, results):
    print("| three brokers | measure | ottla | Kafka | ratio | aim | |")
    print("|---|---|--:|--:|--:|---|---|")
    for name in names:
        for measure, unit, aim in MEASURES[name]:
            ours, theirs = (
                median([r[name] for r in results[kind] if name in r], measure) for kind in ["ottla", "kafka"]
            )
            share = ratio(ours, theirs)
            verdict = "" if aim is None or share is None else "met" if share <= aim else "**missed**"
            cells = [name, f"{measure}, {unit}", number(ours), number(theirs), number(share)]
            print("| " + " | ".join([*cells, "" if aim is None else f"≤ {aim}", verdict]) + " |")


def main(arguments):
    names = [n for n in WORKLOADS if not arguments.workload or any(w in n for w in arguments.workload)]
    if not names:
        return
    found = rounds(arguments.rounds, lambda kind, base: one_round(kind, names, arguments.scale, base))
    if found["ottla"]:
        report(names, found)
