//! `/brokers/topics`, and the topic configurations that elections read.

use std::collections::{BTreeMap, BTreeSet};

use ottla_coordination::payloads::{EntityConfig, TopicAssignment};
use ottla_coordination::{ANY_VERSION, Error, Op, Request, paths};
use ottla_model::{TopicId, TopicName};

use super::{Fence, data_or_none};
use crate::exchange::Exchange;
use crate::failure::Failure;

/// Key of the topic configuration that elections look at.
const UNCLEAN_LEADER_ELECTION_ENABLE: &str = "unclean.leader.election.enable";

impl Exchange {
    /// The names of all topics.
    pub(crate) async fn topics(&self) -> Result<BTreeSet<TopicName>, Failure> {
        let names = self.children(paths::TOPICS).await?;
        Ok(names.into_iter().map(TopicName::from).collect())
    }

    /// Ids and assignments of those of the topics that are there and readable.
    pub(crate) async fn topic_assignments(
        &self,
        topics: &BTreeSet<TopicName>,
    ) -> Result<BTreeMap<TopicName, TopicAssignment>, Failure> {
        let reads = topics
            .iter()
            .map(|topic| self.get_data(paths::topic(topic.as_str())));
        let outcomes = self.batch(reads.collect()).await;
        let mut assignments = BTreeMap::new();
        for (topic, outcome) in topics.iter().zip(outcomes) {
            let Some((data, _)) = data_or_none(outcome)? else {
                continue;
            };
            match TopicAssignment::decode(&data.unwrap_or_default()) {
                Ok(assignment) => {
                    assignments.insert(topic.clone(), assignment);
                }
                Err(error) => tracing::warn!(%topic, %error, "topic znode is unreadable, ignored"),
            }
        }
        Ok(assignments)
    }

    /// Replaces a topic's znode. The topic being gone is [`Error::NoNode`].
    pub(crate) async fn set_topic_assignment(
        &self,
        fence: Fence,
        topic: &TopicName,
        assignment: &TopicAssignment,
    ) -> Result<(), Failure> {
        self.fenced_one(fence, set_topic(topic, assignment))
            .await
            .map(drop)
    }

    /// Gives random ids to topics without one and writes them back. As in Kafka the outcome of the
    /// single writes is not looked at.
    pub(crate) async fn give_topic_ids(
        &self,
        fence: Fence,
        assignments: &mut BTreeMap<TopicName, TopicAssignment>,
    ) -> Result<(), Failure> {
        let mut writes = Vec::new();
        for (topic, assignment) in assignments.iter_mut().filter(|(_, a)| a.topic_id.is_none()) {
            assignment.topic_id = Some(self.random_topic_id());
            writes.push(set_topic(topic, assignment));
        }
        self.fenced(fence, writes).await?;
        Ok(())
    }

    fn random_topic_id(&self) -> TopicId {
        loop {
            let bits = (u128::from(self.random()) << 64) | u128::from(self.random());
            if let Some(id) = TopicId::from_random(bits.to_be_bytes()) {
                return id;
            }
        }
    }

    /// For each topic whether an out-of-sync replica may become leader, read at this moment, or why
    /// that cannot be told.
    pub(crate) async fn unclean_election_enabled(
        &self,
        topics: &BTreeSet<TopicName>,
        default: bool,
    ) -> BTreeMap<TopicName, Result<bool, Failure>> {
        let reads = topics
            .iter()
            .map(|t| Request::get_data(paths::topic_config(t.as_str())));
        let outcomes = self.batch(reads.collect()).await;
        topics
            .iter()
            .zip(outcomes)
            .map(|(topic, outcome)| {
                let enabled = data_or_none(outcome).and_then(|found| match found {
                    Some((Some(data), _)) => decode_unclean(&data, default),
                    Some((None, _)) | None => Ok(default),
                });
                (topic.clone(), enabled)
            })
            .collect()
    }

    /// Names of the partitions that have znodes below the topic.
    pub(crate) async fn partitions_with_znodes(
        &self,
        topic: &TopicName,
    ) -> Result<BTreeSet<String>, Failure> {
        Ok(self
            .children(&paths::topic_partitions(topic.as_str()))
            .await?
            .into_iter()
            .collect())
    }

    /// Removes all of a topic that is deleted: its znodes, its configuration, and the order.
    pub(crate) async fn delete_topic(
        &self,
        fence: Fence,
        topic: &TopicName,
    ) -> Result<(), Failure> {
        self.delete_recursively(fence, paths::topic(topic.as_str()))
            .await?;
        // Kafka ignores the outcome of these two but for the fence.
        let delete = |path| Op::Delete {
            path,
            version: ANY_VERSION,
        };
        self.fenced(fence, vec![delete(paths::topic_config(topic.as_str()))])
            .await?;
        self.fenced(fence, vec![delete(paths::delete_topic(topic.as_str()))])
            .await?;
        Ok(())
    }
}

fn set_topic(topic: &TopicName, assignment: &TopicAssignment) -> Op {
    Op::SetData {
        path: paths::topic(topic.as_str()),
        data: Some(assignment.encode()),
        version: ANY_VERSION,
    }
}

fn decode_unclean(data: &[u8], default: bool) -> Result<bool, Failure> {
    let config =
        EntityConfig::decode(data).map_err(|error| Failure::Malformed(error.to_string()))?;
    match config
        .0
        .get(UNCLEAN_LEADER_ELECTION_ENABLE)
        .map(|value| value.trim())
    {
        None => Ok(default),
        Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
        Some(value) => Err(Failure::Coordination(Error::BadArguments)).inspect_err(|_| {
            tracing::warn!(
                value,
                "{UNCLEAN_LEADER_ELECTION_ENABLE} is neither true nor false"
            );
        }),
    }
}
