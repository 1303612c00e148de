//! Malformed and hostile input is answered or the connection closed, as Kafka does; the broker goes
//! on, and its memory stays within the limits of requests.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use ottla_integration::{Broker, command, tools};

const DEADLINE: Duration = Duration::from_secs(180);

/// A request's bytes, in protocol order.
#[derive(Default, Clone)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn i8(mut self, value: i8) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn i16(mut self, value: i16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn i32(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn i64(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn string(self, value: &str) -> Self {
        let length = i16::try_from(value.len()).expect("a short string");
        self.i16(length).raw(value.as_bytes())
    }
    fn bytes(self, value: &[u8]) -> Self {
        let length = i32::try_from(value.len()).expect("not too long");
        self.i32(length).raw(value)
    }
    fn raw(mut self, value: &[u8]) -> Self {
        self.0.extend(value);
        self
    }
    fn varint(mut self, value: i64) -> Self {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }
}

fn new() -> Bytes {
    Bytes::default()
}

/// A header of version 1: key, version, correlation id 7, client id.
fn header(key: i16, version: i16) -> Bytes {
    new().i16(key).i16(version).i32(7).string("malformed")
}

fn connect(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.address()).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

/// The answer to a frame without its correlation id, or `None` if the connection was closed.
fn ask(stream: &mut TcpStream, frame: &Bytes) -> Option<Vec<u8>> {
    send(stream, &new().bytes(&frame.0).0);
    answer(stream)
}

/// Sends what the other side may well not read to its end.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

fn answer(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("neither an answer nor a close")
        }
        Err(_) => return None,
    }
    let mut body = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
    stream.read_exact(&mut body).expect("a whole answer");
    assert_eq!(body[..4], 7i32.to_be_bytes(), "the correlation id");
    Some(body.split_off(4))
}

/// A batch of format 2 with these attributes, record count and record bytes.
fn batch(attributes: i16, count: i32, records: &[u8]) -> Vec<u8> {
    let after_crc = new()
        .i16(attributes)
        .i32(count.saturating_sub(1)) // last offset delta
        .i64(1_700_000_000_000)
        .i64(1_700_000_000_000)
        .i64(-1) // producer id
        .i16(-1)
        .i32(-1)
        .i32(count)
        .raw(records);
    let crc = crc32c::crc32c(&after_crc.0).cast_signed();
    let length = i32::try_from(after_crc.0.len() + 9).expect("not too long");
    new()
        .i64(0)
        .i32(length)
        .i32(-1) // leader epoch
        .i8(2)
        .i32(crc)
        .raw(&after_crc.0)
        .0
}

/// One record without a key, with deltas of zero.
fn record(value: &[u8]) -> Vec<u8> {
    let length = i64::try_from(value.len()).expect("not too long");
    let body = new().i8(0).varint(0).varint(0).varint(-1);
    let body = body.varint(length).raw(value).varint(0);
    let size = i64::try_from(body.0.len()).expect("not too long");
    new().varint(size).raw(&body.0).0
}

/// Produce version 7 with acks 1 to partition 0.
fn produce(topic: &str, records: &[u8]) -> Bytes {
    header(0, 7)
        .i16(-1) // no transactional id
        .i16(1)
        .i32(10_000)
        .i32(1)
        .string(topic)
        .i32(1)
        .i32(0)
        .bytes(records)
}

/// The error code of the one partition that a Produce answers.
fn produce_error(answer: &[u8]) -> i16 {
    let topic = usize::from(u16::from_be_bytes([answer[4], answer[5]]));
    let at = 4 + 2 + topic + 4 + 4;
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

/// `VmHWM`: the most memory that a process ever had, in MiB.
fn memory_peak(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a status");
    let line = status.lines().find(|l| l.starts_with("VmHWM"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("VmHWM") / 1024
}

fn kcat(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    command::run(Command::new("kcat").args(arguments), input, DEADLINE).expect("kcat")
}

#[test]
fn malformed_frames_are_closed_and_the_broker_goes_on() {
    let mut broker = Broker::start(&[]).expect("a broker");
    let metadata = header(3, 1).i32(0);
    // What comes instead of a frame.
    let mut streams: Vec<(&str, Vec<u8>)> = vec![
        ("a negative size", new().i32(-1).0),
        ("the smallest size", new().i32(i32::MIN).0),
        ("a size beyond the limit", new().i32(104_857_601).0),
        ("the largest size", new().i32(i32::MAX).0),
        ("an empty frame", new().i32(0).0),
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
    ];
    let frames: Vec<(&str, Bytes)> = vec![
        ("a header cut short", new().i16(3).i16(1)),
        (
            "a client id beyond the frame",
            new().i16(3).i16(1).i32(7).i16(32_000),
        ),
        ("an unknown API", header(999, 0)),
        ("a negative API", header(-1, 0)),
        ("an API of controllers", header(52, 0)),
        ("a version too new", header(3, 99).i32(0)),
        ("a negative version", header(3, -1).i32(0)),
        ("a body cut short", header(3, 1)),
        ("an array beyond the frame", header(3, 1).i32(i32::MAX)),
        ("a null array where none may be", header(3, 0).i32(-1)),
        ("strings beyond the frame", header(3, 1).i32(1).i16(32_767)),
        (
            "a flexible array of four billion",
            header(3, 12).i8(0).raw(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ),
        (
            "a variable number without an end",
            header(3, 12).i8(0).raw(&[0xff; 12]),
        ),
        (
            "records beyond the frame",
            header(0, 7)
                .i16(-1)
                .i16(1)
                .i32(1000)
                .i32(1)
                .string("t")
                .i32(1)
                .i32(0)
                .i32(i32::MAX),
        ),
        (
            "a fetch of two billion topics",
            header(1, 4)
                .i32(-1)
                .i32(0)
                .i32(1)
                .i32(1)
                .i8(0)
                .i32(i32::MAX),
        ),
    ];
    for (name, frame) in frames {
        streams.push((name, new().bytes(&frame.0).0));
    }
    let mut answered = Vec::new();
    for (name, bytes) in streams {
        let mut stream = connect(&broker);
        // Something healthy first: the connection is a good one until the bad bytes.
        assert!(ask(&mut stream, &metadata).is_some(), "{name}");
        send(&mut stream, &bytes);
        answered.extend(answer(&mut stream).map(|answer| (name, answer)));
        let log = broker.log();
        assert!(!log.contains("panicked"), "{name}:\n{log}");
    }
    assert!(answered.is_empty(), "{answered:?}");
    let mut stream = connect(&broker);
    assert!(ask(&mut stream, &metadata).is_some(), "the broker goes on");
    let process = broker.process().expect("a process");
    assert!(process.is_running());
    broker.stop().expect("a clean stop");
}

#[test]
fn what_can_be_answered_is_answered() {
    let broker = Broker::start(&[]).expect("a broker");
    let mut stream = connect(&broker);
    // An unknown version of ApiVersions: version 0 with UNSUPPORTED_VERSION and what is served.
    let answer = ask(&mut stream, &header(18, 99).i8(0)).expect("an answer");
    assert_eq!(answer[..2], 35i16.to_be_bytes());
    assert_eq!(answer[2..6], 1i32.to_be_bytes(), "only ApiVersions itself");
    assert_eq!(answer[6..8], 18i16.to_be_bytes());
    // Bytes after a request are ignored.
    let trailing = header(3, 1).i32(0).raw(&[1, 2, 3]);
    assert!(ask(&mut stream, &trailing).is_some());
    // A null client id is one.
    for length in [-1, -5] {
        let null = new().i16(3).i16(1).i32(7).i16(length).i32(0);
        assert!(ask(&mut stream, &null).is_some(), "a length of {length}");
    }
}

#[test]
fn bad_batches_are_refused_and_hostile_ones_cost_no_memory() {
    let mut broker = Broker::start(&[]).expect("a broker");
    let address = broker.address();
    kcat(&["-b", &address, "-P", "-t", "bad"], b"first\n");
    let good = batch(0, 1, &record(b"good"));
    let mut stream = connect(&broker);
    let mut error = |name: &str, records: &[u8]| {
        let answer = ask(&mut stream, &produce("bad", records));
        produce_error(&answer.unwrap_or_else(|| panic!("{name}: closed")))
    };
    let damaged = |at: usize, with: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    const CORRUPT_MESSAGE: i16 = 2;
    const MESSAGE_TOO_LARGE: i16 = 10;
    const INVALID_RECORD: i16 = 87;
    assert_eq!(error("a good batch", &good), 0);
    assert_eq!(
        error("a wrong CRC", &damaged(17, &[1, 2, 3, 4])),
        CORRUPT_MESSAGE
    );
    assert_eq!(
        error(
            "a payload that its CRC does not cover",
            &damaged(good.len() - 2, b"!")
        ),
        CORRUPT_MESSAGE
    );
    assert_eq!(
        error("a size too small", &damaged(8, &10i32.to_be_bytes())),
        CORRUPT_MESSAGE
    );
    for (name, records) in [
        ("fewer records than said", batch(0, 5, &record(b"one"))),
        (
            "more records than said",
            batch(0, 1, &[record(b"one"), record(b"two")].concat()),
        ),
        ("two billion records", batch(0, i32::MAX, &record(b"one"))),
        (
            "a record beyond the batch",
            batch(0, 1, &new().varint(1_000_000).raw(&[0; 10]).0),
        ),
        (
            "a negative record",
            batch(0, 1, &new().varint(-5).raw(&[0; 10]).0),
        ),
    ] {
        let code = error(name, &records);
        assert!(
            [CORRUPT_MESSAGE, INVALID_RECORD].contains(&code),
            "{name}: {code}"
        );
    }
    let large = batch(0, 1, &record(&vec![b'x'; 1_100_000]));
    assert_eq!(error("an oversized batch", &large), MESSAGE_TOO_LARGE);
    // Zeros, a thousand times more than their compressed form.
    let zeros = vec![0; 500 << 20];
    let bomb = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).expect("compression");
        gzip.finish().expect("compression")
    };
    // Records whose compressed form lies: a length that never comes, and no records at all.
    let unending = [new().varint(i64::from(i32::MAX)).0, zeros].concat();
    let compressed = bomb(&unending);
    drop(unending);
    if compressed.len() < 1_000_000 {
        let code = error("a bomb of gzip", &batch(1, 1, &compressed));
        assert_ne!(code, 0, "a bomb of gzip");
    } else {
        let answer = error("a bomb of gzip", &batch(1, 1, &compressed[..900_000]));
        assert_ne!(answer, 0, "half a bomb of gzip");
    }
    for (name, codec) in [("snappy", 2), ("lz4", 3), ("zstd", 4)] {
        let garbage: Vec<u8> = (0..1000u32).map(|i| ((i * 7919) >> 3) as u8).collect();
        let code = error(name, &batch(codec, 1, &garbage));
        assert!(
            [CORRUPT_MESSAGE, INVALID_RECORD, -1].contains(&code),
            "garbage as {name}: {code}"
        );
    }
    // A block of snappy that says it holds four gigabytes.
    let code = error(
        "snappy",
        &batch(2, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]),
    );
    assert_ne!(code, 0, "a lying block of snappy");

    // Many that announce much and send little.
    let mut waiting = Vec::new();
    // Kafka sets aside at once what is announced, more than a small heap holds.
    let connections = if tools::is_reference() { 1 } else { 100 };
    for _ in 0..connections {
        let mut stream = connect(&broker);
        send(&mut stream, &new().i32(100_000_000).raw(&[0; 100]).0);
        waiting.push(stream);
    }
    let out = kcat(&["-b", &address, "-C", "-t", "bad", "-e", "-q"], b"");
    assert_eq!(String::from_utf8_lossy(&out), "first\ngood\n");
    assert!(!broker.log().contains("panicked"), "{}", broker.log());
    let peak = memory_peak(broker.process().expect("a process").id());
    eprintln!("the most memory: {peak} MiB");
    assert!(peak < 200 || tools::is_reference(), "{peak} MiB");
    drop(waiting);
    broker.stop().expect("a clean stop");
}
