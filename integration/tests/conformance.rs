//! A real ZooKeeper keeps the promises of the coordination contract, by the same suite as the
//! embedded tree: where they differ, ZooKeeper is right.

use std::process::Command;

use ottla_integration::{Zookeeper, tools};

#[test]
fn a_real_zookeeper_passes_the_conformance_suite() {
    let zookeeper = Zookeeper::start().expect("a ZooKeeper");
    // The suite lives beside the provider, as do the tests of lost connections; this only lends
    // them a server.
    let output = Command::new(env!("CARGO"))
        .args(["test", "-p", "ottla-coordination-zookeeper"])
        .args(["--test", "zookeeper", "--test", "connection_loss"])
        .args(["--", "--nocapture"])
        .current_dir(tools::root())
        .env("OTTLA_TEST_ZOOKEEPER", zookeeper.address())
        .output()
        .expect("cargo");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("SKIPPED"), "{text}");
    assert!(text.contains("a_real_zookeeper_conforms ... ok"), "{text}");
    assert!(
        text.contains("ten_thousand_watches_survive_a_reconnection ... ok"),
        "{text}"
    );
}
