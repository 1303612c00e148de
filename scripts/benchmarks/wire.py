"""The few requests that must cost the client next to nothing, for the broker is what is measured."""

import socket
import struct

FETCH_METADATA, HEARTBEAT, JOIN_GROUP, SYNC_GROUP, FIND_COORDINATOR = 3, 12, 11, 14, 10
# The newest versions without tagged fields.
VERSIONS = {FETCH_METADATA: 1, HEARTBEAT: 3, JOIN_GROUP: 5, SYNC_GROUP: 3, FIND_COORDINATOR: 1}


def string(value):
    encoded = value.encode()
    return struct.pack(">h", len(encoded)) + encoded


def blob(value):
    return struct.pack(">i", len(value)) + value


NULL_STRING = struct.pack(">h", -1)


class Reader:
    """Of an answer's body, front to back."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, format):
        values = struct.unpack_from(format, self.data, self.at)
        self.at += struct.calcsize(format)
        return values[0] if len(values) == 1 else values

    def bytes(self, length):
        self.at += max(length, 0)
        return self.data[self.at - max(length, 0) : self.at]

    def string(self):
        return self.bytes(self.take(">h")).decode()

    def blob(self):
        return self.bytes(self.take(">i"))


def frame(api, body, correlation=0):
    header = struct.pack(">hhi", api, VERSIONS[api], correlation) + string("bench")
    return blob(header + body)


def call(connection, api, body):
    """One request and its answer on a blocking socket."""
    connection.sendall(frame(api, body))
    with connection.makefile("rb") as file:
        length = struct.unpack(">i", exactly(file, 4))[0]
        return Reader(exactly(file, length)[4:])


def exactly(file, length):
    found = file.read(length)
    if len(found) < length:
        raise ConnectionError("the broker closed a connection")
    return found


def led_partitions(port):
    """How many partitions the broker says have a leader; None while it does not answer or knows no controller."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            answer = call(connection, FETCH_METADATA, struct.pack(">i", -1))
    except OSError:
        return None
    for _ in range(answer.take(">i")):
        answer.take(">i"), answer.string(), answer.take(">i"), answer.string()
    if answer.take(">i") < 0:
        return None
    led = 0
    for _ in range(answer.take(">i")):
        answer.take(">h"), answer.string(), answer.take(">b")
        for _ in range(answer.take(">i")):
            _, _, leader, replicas = answer.take(">hiii")
            answer.bytes(4 * replicas)
            answer.bytes(4 * answer.take(">i"))
            led += leader >= 0
    return led


def join_group(group, member, metadata, session_seconds):
    return (
        string(group)
        + struct.pack(">ii", session_seconds * 1000, session_seconds * 1000)
        + string(member)
        + NULL_STRING
        + string("consumer")
        + struct.pack(">i", 1)
        + string("range")
        + blob(metadata)
    )


def joined(answer):
    """(error, generation, leader, member, members) of an answer to join_group."""
    _, error, generation = answer.take(">ihi")
    answer.string()
    leader, member = answer.string(), answer.string()
    members = []
    for _ in range(answer.take(">i")):
        members.append(answer.string())
        answer.bytes(answer.take(">h"))
        answer.blob()
    return error, generation, leader, member, members


def sync_group(group, generation, member, assignments):
    """assignments: [(member, what it is assigned)], of a leader; empty of others."""
    body = string(group) + struct.pack(">i", generation) + string(member) + NULL_STRING
    return body + struct.pack(">i", len(assignments)) + b"".join(string(m) + blob(a) for m, a in assignments)


def synced(answer):
    """(error, assignment) of an answer to sync_group."""
    _, error = answer.take(">ih")
    return error, answer.blob()


def heartbeat(group, generation, member):
    return string(group) + struct.pack(">i", generation) + string(member) + NULL_STRING


def error_of(answer):
    """Of an answer that begins with a throttle time and an error."""
    return answer.take(">ih")[1]


def find_coordinator(group):
    return string(group) + b"\0"
