//! `kafka.controller`, the session with ZooKeeper and the groups.

use ottla_controller::{ControllerState, View};
use ottla_group_coordinator::Gauges as GroupGauges;

use super::ControllerTimes;
use super::page::{MILLISECONDS, Page};
use crate::coordination::SessionCounts;

/// Writes what the controller of this broker shows; all 0 when it is not the active one.
pub(super) fn controller(page: &mut Page, view: &View, times: &ControllerTimes) {
    let mut gauge = |name, help, value: i64| page.gauge(name, help).value(value);
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let gauges = &view.gauges;
    gauge(
        "kafka_controller_kafkacontroller_activecontrollercount",
        "Whether this broker is the active controller.",
        i64::from(view.is_active),
    );
    gauge(
        "kafka_controller_kafkacontroller_controllerstate",
        "What the controller is doing.",
        view.state as i64,
    );
    gauge(
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        "Partitions of the cluster without a leader.",
        gauges.offline_partitions_count,
    );
    gauge(
        "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
        "Partitions of the cluster whose preferred replica does not lead.",
        gauges.preferred_replica_imbalance_count,
    );
    gauge(
        "kafka_controller_kafkacontroller_globaltopiccount",
        "Topics of the cluster.",
        count(gauges.global_topic_count),
    );
    gauge(
        "kafka_controller_kafkacontroller_globalpartitioncount",
        "Partitions of the cluster.",
        count(gauges.global_partition_count),
    );
    gauge(
        "kafka_controller_kafkacontroller_topicstodeletecount",
        "Topics that are being deleted.",
        count(gauges.topics_to_delete_count),
    );
    gauge(
        "kafka_controller_kafkacontroller_replicastodeletecount",
        "Replicas that are being deleted.",
        count(gauges.replicas_to_delete_count),
    );
    gauge(
        "kafka_controller_kafkacontroller_topicsineligibletodeletecount",
        "Topics whose deletion waits.",
        count(gauges.topics_ineligible_to_delete_count),
    );
    gauge(
        "kafka_controller_kafkacontroller_replicasineligibletodeletecount",
        "Replicas whose deletion waits.",
        count(gauges.replicas_ineligible_to_delete_count),
    );
    gauge(
        "kafka_controller_kafkacontroller_activebrokercount",
        "Brokers that are registered.",
        count(gauges.active_broker_count),
    );
    gauge(
        "kafka_controller_kafkacontroller_fencedbrokercount",
        "Brokers that are fenced: none ever is with ZooKeeper.",
        0,
    );
    gauge(
        "kafka_controller_controllereventmanager_eventqueuesize",
        "Events that wait for the controller.",
        count(view.event_queue_size),
    );
    page.counter(
        "kafka_controller_controllerstats_uncleanleaderelections_total",
        "Leaders elected that were not in sync.",
    )
    .value(view.unclean_leader_elections);
    for state in ControllerState::ALL {
        if let Some(names) = timer_of(state) {
            let series = [(Vec::new(), vec![times.of(state)])];
            let help = "Milliseconds that the controller's events of this kind took.";
            page.histogram(names, help, MILLISECONDS, &series);
        }
    }
}

macro_rules! timer {
    ($name:literal) => {
        Some((
            concat!("kafka_controller_controllerstats_", $name, "rateandtimems"),
            concat!(
                "kafka_controller_controllerstats_",
                $name,
                "rateandtimems_count"
            ),
        ))
    };
}

/// `ControllerState::rate_and_time_metric` as the exporter's rules write it.
fn timer_of(state: ControllerState) -> Option<(&'static str, &'static str)> {
    match state {
        ControllerState::Idle | ControllerState::UpdateMetadataResponseReceived => None,
        ControllerState::ControllerChange => timer!("controllerchange"),
        ControllerState::BrokerChange => timer!("leaderelection"),
        ControllerState::TopicChange => timer!("topicchange"),
        ControllerState::TopicDeletion => timer!("topicdeletion"),
        ControllerState::AlterPartitionReassignment => timer!("partitionreassignment"),
        ControllerState::AutoLeaderBalance => timer!("autoleaderbalance"),
        ControllerState::ManualLeaderBalance => timer!("manualleaderbalance"),
        ControllerState::ControlledShutdown => timer!("controlledshutdown"),
        ControllerState::IsrChange => timer!("isrchange"),
        ControllerState::LeaderAndIsrResponseReceived => timer!("leaderandisrresponsereceived"),
        ControllerState::LogDirChange => timer!("logdirchange"),
        ControllerState::ControllerShutdown => timer!("controllershutdown"),
        ControllerState::UncleanLeaderElectionEnable => timer!("uncleanleaderelectionenable"),
        ControllerState::TopicUncleanLeaderElectionEnable => {
            timer!("topicuncleanleaderelectionenable")
        }
        ControllerState::ListPartitionReassignment => timer!("listpartitionreassignment"),
        ControllerState::UpdateFeatures => timer!("updatefeatures"),
    }
}

/// Writes what is counted of sessions with ZooKeeper, or with the tree in its place.
pub(super) fn session(page: &mut Page, counts: &SessionCounts) {
    page.counter(
        "kafka_server_sessionexpirelistener_zookeepersyncconnects_total",
        "Connections made.",
    )
    .value(counts.connects.get());
    page.counter(
        "kafka_server_sessionexpirelistener_zookeeperdisconnects_total",
        "Connections lost.",
    )
    .value(counts.disconnects.get());
    page.counter(
        "kafka_server_sessionexpirelistener_zookeeperexpires_total",
        "Sessions lost.",
    )
    .value(counts.expires.get());
    let series = [(Vec::new(), vec![&counts.request_latency])];
    page.histogram(
        (
            "kafka_server_zookeeperclientmetrics_zookeeperrequestlatencyms",
            "kafka_server_zookeeperclientmetrics_zookeeperrequestlatencyms_count",
        ),
        "Milliseconds from a request to its answer.",
        MILLISECONDS,
        &series,
    );
}

/// Writes how many groups there are.
pub(super) fn groups(page: &mut Page, gauges: &GroupGauges) {
    let mut gauge = |name, help, value: usize| page.gauge(name, help).value(value);
    gauge(
        "kafka_coordinator_group_groupmetadatamanager_numgroups",
        "Groups that this broker coordinates.",
        gauges.groups,
    );
    gauge(
        "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance",
        "Groups whose members are joining.",
        gauges.preparing_rebalance,
    );
    gauge(
        "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
        "Groups whose leader is assigning.",
        gauges.completing_rebalance,
    );
    gauge(
        "kafka_coordinator_group_groupmetadatamanager_numgroupsstable",
        "Groups with an assignment.",
        gauges.stable,
    );
    gauge(
        "kafka_coordinator_group_groupmetadatamanager_numgroupsempty",
        "Groups without members.",
        gauges.empty,
    );
    gauge(
        "kafka_coordinator_group_groupmetadatamanager_numoffsets",
        "Committed offsets.",
        gauges.offsets,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_named_after_kafkas() {
        for state in ControllerState::ALL {
            let kafkas = state.rate_and_time_metric().map(str::to_lowercase);
            let ours = timer_of(state).map(|(name, count)| {
                assert_eq!(count, format!("{name}_count"));
                name.trim_start_matches("kafka_controller_controllerstats_")
                    .to_owned()
            });
            assert_eq!(ours, kafkas);
        }
    }
}
