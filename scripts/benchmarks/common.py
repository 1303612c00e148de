"""What all measurements share: servers as child processes, Kafka's own tools, ratios."""

import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
JARS = f"{ROOT}/target/tools/kafka-3.9/*"
CLIENT_LOGGING = f"-Dlog4j.configuration=file:{ROOT}/integration/java/log4j.properties"
SERVER_LOGGING = f"-Dlog4j.configuration=file:{ROOT}/integration/java/log4j-server.properties"
# kafka-run-class.sh and kafka-server-start.sh of the release.
SERVER_FLAGS = (
    "-Xmx1G -Xms1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
    "-XX:+ExplicitGCInvokesConcurrent -XX:MaxInlineLevel=15 -Djava.awt.headless=true"
).split()
TICKS = os.sysconf("SC_CLK_TCK")
IDLE_SECONDS = 20


def say(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, process, deadline=60):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                sys.exit(f"a broker ended at its start with {process.returncode}; see its log")
            time.sleep(0.002)
    sys.exit(f"port {port} did not open")


class Process:
    """A server in its own session, with its log in a file; ends with this program."""

    running = []

    def __init__(self, arguments, log):
        self.log = open(log, "ab")
        self.started = time.monotonic()
        self.popen = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True
        )
        Process.running.append(self)

    def stop(self):
        if self in Process.running:
            Process.running.remove(self)
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(60)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self.log.close()

    def kill(self):
        """At once: for what has been measured and is thrown away."""
        if self in Process.running:
            Process.running.remove(self)
        self.popen.kill()
        self.popen.wait()
        self.log.close()

    def cpu_seconds(self):
        stat = Path(f"/proc/{self.popen.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / TICKS

    def memory_mib(self):
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+)", status, re.M).group(1)) / 1024


def tool(main, arguments):
    command = ["java", "-Xmx512M", CLIENT_LOGGING, "-cp", JARS, main, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if result.returncode:
        sys.exit(f"{main}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result.stdout


def number(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(a, b):
    return None if a is None or not b else a / b


def median(results, key):
    """Of what several rounds gave; none if none measured it."""
    values = [r[key] for r in results if key in r]
    return statistics.median(values) if values else None


AT_MOST, AT_LEAST, RATIO = "≤", "≥", "ratio ≤"


def table(title, names, measures, results):
    """measures: {workload: [(what, its unit, (kind of aim, bound) or None)]}; an aim that is no ratio is
    of this broker alone."""
    print(f"| {title} | measure | ottla | Kafka | ratio | aim | |")
    print("|---|---|--:|--:|--:|---|---|")
    for name in names:
        for measure, unit, aim in measures[name]:
            ours, theirs = (
                median([r[name] for r in results[kind] if name in r], measure) for kind in ["ottla", "kafka"]
            )
            share = ratio(ours, theirs)
            wanted, verdict = "", ""
            if aim:
                kind, bound = aim
                value = share if kind == RATIO else ours
                wanted = f"{kind} {bound}"
                if value is not None:
                    met = value >= bound if kind == AT_LEAST else value <= bound
                    verdict = "met" if met else "**missed**"
            cells = [name, f"{measure}, {unit}", number(ours), number(theirs), number(share), wanted, verdict]
            print("| " + " | ".join(cells) + " |")


def rounds(count, one_round):
    """Both brokers in turn, and each first in turn: {kind: [result]}, of complete rounds only."""
    base = ROOT / "target/bench"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    results = {"ottla": [], "kafka": []}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    complete = 0
    try:
        for number_of_round in range(count):
            say(f"round {number_of_round + 1} of {count}")
            kinds = ["ottla", "kafka"] if number_of_round % 2 == 0 else ["kafka", "ottla"]
            for kind in kinds:
                results[kind].append(one_round(kind, base))
            complete += 1
    except KeyboardInterrupt:
        say("interrupted: what follows is of the complete rounds")
    finally:
        for process in list(Process.running):
            process.stop()
    for kind in results:
        del results[kind][complete:]
    return results


def build():
    """What is measured and what it is measured with."""
    subprocess.run([ROOT / "scripts/install-tools"], check=True, stdout=sys.stderr)
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "ottla"], check=True, cwd=ROOT)
