//! Kafka Connect: lines of a file come out of a file, and a source is exactly once though its
//! worker and brokers are killed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ottla_integration::free_port::free_port;
use ottla_integration::real_text::real_text;
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Operator, Process, command, tools};

const DEADLINE: Duration = Duration::from_secs(400);
const SIZE: usize = 200_000;
const PARTS: usize = 6;
/// One run of a client that is made again if it does not end.
const RUN_DEADLINE: Duration = Duration::from_secs(90);
const PROPERTIES: &[(&str, &str)] = &[
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("transaction.state.log.min.isr", "2"),
    ("transaction.state.log.num.partitions", "4"),
    ("offsets.topic.num.partitions", "4"),
    ("replica.lag.time.max.ms", "4000"),
];
const WORKER: &str = "key.converter=org.apache.kafka.connect.storage.StringConverter\n\
     value.converter=org.apache.kafka.connect.storage.StringConverter\n\
     offset.flush.interval.ms=500\n";

#[test]
fn connect_moves_files_standalone_and_exactly_once_in_distributed_mode() {
    let mut cluster = Cluster::start(3, PROPERTIES).expect("a cluster");
    let started = Instant::now();
    for show in [show_standalone, show_exactly_once] {
        match show(&mut cluster) {
            Ok(told) => eprintln!("{:6.1} s: {told}", started.elapsed().as_secs_f64()),
            Err(error) => panic!("{error:#}\n{}", cluster.logs()),
        }
    }
    for id in cluster.ids() {
        cluster.broker(id).stop().expect("a clean stop");
    }
}

/// A file source and a file sink in one worker: the file that comes out is the one that goes in.
fn show_standalone(cluster: &mut Cluster) -> anyhow::Result<String> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let text = real_text(SIZE);
    std::fs::write(path("in.txt"), &text)?;
    let worker = format!(
        "{WORKER}bootstrap.servers={}\nlisteners=http://127.0.0.1:{}\n\
         offset.storage.file.filename={}\n",
        cluster.bootstrap(),
        free_port()?,
        path("offsets").display()
    );
    // What is asked again is not written twice.
    let worker = worker + "producer.enable.idempotence=true\n";
    let connector = |kind: &str, topic: &str, file: &str| {
        format!(
            "name={kind}\nconnector.class=FileStream{kind}\ntasks.max=1\n{topic}=moved\nfile={}\n",
            path(file).display()
        )
    };
    std::fs::write(path("source"), connector("Source", "topic", "in.txt"))?;
    std::fs::write(path("sink"), connector("Sink", "topics", "out.txt"))?;
    let mut worker = start(
        "Standalone",
        &worker,
        &[path("source"), path("sink")],
        directory.path(),
    )?;
    let mut out = Vec::new();
    let moved = wait_for("the whole file", DEADLINE, || {
        out = std::fs::read(path("out.txt")).unwrap_or_default();
        (out.len() >= text.len() || !worker.is_running()).then_some(())
    });
    moved.with_context(|| tail(directory.path()))?;
    worker.signal("TERM")?;
    worker.wait(DEADLINE)?;
    let out = std::fs::read(path("out.txt"))?;
    anyhow::ensure!(
        out == text,
        "{} bytes of {}\n{}",
        out.len(),
        text.len(),
        tail(directory.path())
    );
    Ok(format!("{} bytes from file to file", text.len()))
}

/// The lines are in the topic once and in order: the source writes its position in the same
/// transaction, and its successor fences it.
fn show_exactly_once(cluster: &mut Cluster) -> anyhow::Result<String> {
    let started = Instant::now();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("in.txt");
    let bootstrap = cluster.bootstrap();
    let mut operator = Operator::new(&bootstrap)?;
    operator.create_topic("once", "1:2:3", &["min.insync.replicas=2"])?;
    drop(operator);
    let port = free_port()?;
    let worker = format!(
        "{WORKER}bootstrap.servers={bootstrap}\nlisteners=http://127.0.0.1:{port}\n\
         group.id=connect\nexactly.once.source.support=enabled\n\
         config.storage.topic=connect-configs\noffset.storage.topic=connect-offsets\n\
         status.storage.topic=connect-status\noffset.storage.partitions=2\n\
         status.storage.partitions=1\nsession.timeout.ms=6000\nheartbeat.interval.ms=1000\n\
         scheduled.rebalance.max.delay.ms=0\n"
    );
    let text = String::from_utf8(real_text(SIZE))?;
    let lines: Vec<&str> = text.lines().collect();
    let mut parts = lines.chunks(lines.len().div_ceil(PARTS));
    let mut written = 0;
    let mut append = || -> anyhow::Result<usize> {
        let part = parts.next().context("a part")?;
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&file)?;
        file.write_all((part.join("\n") + "\n").as_bytes())?;
        written += part.len();
        Ok(written)
    };
    append()?;
    let mut process = start("Distributed", &worker, &[], directory.path())?;
    // More than there are lines: the connector leaves lines that it has read beyond a full batch
    // in its buffer until the file grows again.
    let connector = format!(
        r#"{{"connector.class":"FileStreamSource","tasks.max":"1","topic":"once","file":"{}",
            "exactly.once.support":"required","transaction.boundary":"poll","batch.size":"5000"}}"#,
        file.display()
    );
    wait_for("the connector", DEADLINE, || {
        let answer = put(port, "/connectors/source/config", &connector).ok()?;
        (answer.starts_with("HTTP/1.1 201") || answer.starts_with("HTTP/1.1 200")).then_some(())
    })
    .with_context(|| tail(directory.path()))?;

    for id in cluster.ids() {
        wait_for_lines(
            &bootstrap,
            append()? - lines.len() / PARTS,
            directory.path(),
        )?;
        cluster.broker(id).kill()?;
        if id == 2 {
            process.kill()?;
            process = start("Distributed", &worker, &[], directory.path())?;
        }
        // Dead before anybody knows, and then known to be.
        sleep(Duration::from_secs(1));
        cluster.end_session(id)?;
        sleep(Duration::from_secs(1));
        cluster.broker(id).restart()?;
        let at = started.elapsed().as_secs_f64();
        eprintln!("{at:6.1} s: broker {id} was killed and is back");
    }
    while append().is_ok() {}
    wait_for_lines(&bootstrap, lines.len(), directory.path())?;
    process.signal("TERM")?;
    process.wait(DEADLINE)?;
    let mut last = anyhow::Ok(String::new());
    let read = wait_for("the whole topic", DEADLINE, || {
        last = read(&bootstrap);
        last.as_ref().ok().cloned()
    })
    .with_context(|| format!("{last:?}"))?;
    let different = read.lines().zip(&lines).position(|(one, two)| one != *two);
    anyhow::ensure!(
        read == text,
        "{} lines of {}, the first that differs: {different:?}\n{}",
        read.lines().count(),
        lines.len(),
        tail(directory.path())
    );
    Ok(format!(
        "{} lines from file to topic exactly once, three brokers and the worker killed",
        lines.len()
    ))
}

fn wait_for_lines(bootstrap: &str, count: usize, directory: &Path) -> anyhow::Result<()> {
    let mut found = 0;
    wait_for("lines in the topic", DEADLINE, || {
        found = read(bootstrap).ok()?.lines().count();
        (found >= count).then_some(())
    })
    .with_context(|| format!("{found} of {count}\n{}", tail(directory)))
}

fn read(bootstrap: &str) -> anyhow::Result<String> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", bootstrap, "-C", "-t", "once", "-e", "-q"]);
    kcat.args(["-o", "beginning", "-X", "isolation.level=read_committed"]);
    Ok(String::from_utf8(command::run(
        &mut kcat,
        b"",
        RUN_DEADLINE,
    )?)?)
}

/// Starts `Connect{mode}` with the properties of its worker and the files of its connectors.
fn start(
    mode: &str,
    worker: &str,
    connectors: &[PathBuf],
    directory: &Path,
) -> anyhow::Result<Process> {
    let properties = directory.join("worker.properties");
    std::fs::write(&properties, worker)?;
    let logging = tools::root().join("integration/java/log4j.properties");
    let mut java = Command::new("java");
    java.args(["-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!("-Dlog4j.configuration=file:{}", logging.display()))
        .args(["-cp", &tools::class_path("connect")])
        .arg(format!("org.apache.kafka.connect.cli.Connect{mode}"))
        .arg(properties)
        .args(connectors);
    Process::start(java, directory, "connect")
}

fn put(port: u16, path: &str, json: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let length = json.len();
    write!(
        stream,
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{json}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn tail(directory: &Path) -> String {
    let text = std::fs::read_to_string(directory.join("connect.err")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
