//! Three brokers on a real ZooKeeper: what is acknowledged is kept while brokers come and go.

use ottla_integration::{Cluster, Load, Operator};

#[test]
fn a_cluster_of_three_forms_and_survives_the_loss_of_its_controller() {
    let mut cluster = Cluster::start(
        3,
        &[
            ("default.replication.factor", "3"),
            ("num.partitions", "3"),
            ("min.insync.replicas", "2"),
        ],
    )
    .expect("a cluster");
    let load = Load::start(&cluster.bootstrap(), "load").expect("a load");
    load.wait_for_progress()
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    cluster
        .wait_for_isr("load", 0, &[1, 2, 3])
        .expect("all in sync");

    // Every follower is handed from one set of fetchers to another, and goes on.
    let mut operator = Operator::new(&cluster.bootstrap()).expect("java");
    operator
        .configure(
            &["--entity-type", "brokers", "--entity-default"],
            &["--add-config", "num.replica.fetchers=2"],
        )
        .expect("more fetchers");
    load.wait_for_progress()
        .unwrap_or_else(|error| panic!("more fetchers: {error:#}\n{}", cluster.logs()));

    let controller = cluster.controller().expect("a controller");
    cluster.broker(controller).kill().expect("a kill");
    let next = cluster.controller_other_than(controller).expect("the next");
    load.wait_for_progress().unwrap_or_else(|error| {
        panic!("after {controller}, {next}: {error:#}\n{}", cluster.logs())
    });
    cluster.broker(controller).restart().expect("a restart");
    cluster
        .wait_for_isr("load", 0, &[1, 2, 3])
        .expect("all in sync again");
    for id in cluster.ids() {
        let log = cluster.broker(id).log();
        assert!(
            id == controller || log.contains("fetchers per leader"),
            "broker {id}:\n{log}"
        );
    }
    let records = load
        .finish()
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    eprintln!("{records} records");
    for id in cluster.ids() {
        cluster.broker(id).stop().expect("a clean stop");
    }
}
