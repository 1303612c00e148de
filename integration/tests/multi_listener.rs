//! Each listener tells clients its own address.

use std::process::Command;
use std::time::Duration;

use ottla_integration::free_port::free_port;
use ottla_integration::{Broker, command};

#[test]
fn metadata_names_the_address_of_the_listener_that_was_asked() {
    let (inside, outside) = (free_port().expect("a port"), free_port().expect("a port"));
    let broker = Broker::start_on(
        inside,
        &[
            (
                "listeners",
                &format!("INSIDE://127.0.0.1:{inside},OUTSIDE://127.0.0.1:{outside}"),
            ),
            (
                "advertised.listeners",
                &format!("INSIDE://127.0.0.1:{inside},OUTSIDE://localhost:{outside}"),
            ),
            (
                "listener.security.protocol.map",
                "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
            ),
            ("inter.broker.listener.name", "INSIDE"),
        ],
    )
    .expect("a broker");
    for (port, advertised) in [
        (inside, format!("127.0.0.1:{inside}")),
        (outside, format!("localhost:{outside}")),
    ] {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &format!("127.0.0.1:{port}"), "-L"]);
        let out = command::run(&mut kcat, b"", Duration::from_secs(180)).expect("kcat -L");
        let out = String::from_utf8_lossy(&out);
        assert!(
            out.contains(&format!("broker 0 at {advertised}")),
            "asked on {port}: {out}\n{}",
            broker.log()
        );
    }
    // The second listener carries records too.
    let outside = format!("127.0.0.1:{outside}");
    let mut produce = Command::new("kcat");
    produce.args(["-b", &outside, "-P", "-t", "t"]);
    command::run(&mut produce, b"one\n", Duration::from_secs(180)).expect("kcat -P");
    let mut consume = Command::new("kcat");
    consume.args(["-b", &outside, "-C", "-t", "t", "-e", "-q"]);
    let out = command::run(&mut consume, b"", Duration::from_secs(180)).expect("kcat -C");
    assert_eq!(out, b"one\n");
}
