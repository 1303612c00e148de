//! A follower's half of a fetch session (`FetchSessionHandler`, KIP-227): what of the plan has to be
//! said again. Pure.

use std::collections::BTreeMap;

use kafka_protocol::protocol::StrBytes;
use ottla_model::{ErrorCode, TopicId, TopicPartition};
use ottla_protocol::fetch::{FetchPartition, FetchTopic, ForgottenTopic};

const NO_SESSION: i32 = 0;
const OPENING: i32 = 0;

/// One partition as it is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) partition: TopicPartition,
    /// Zero if the topic has none.
    pub(super) topic_id: TopicId,
    pub(super) fetch: FetchPartition,
}

/// What goes into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionFetch {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    /// Whether topics can be named by their ids, which the first version to do so requires of all.
    pub(super) by_topic_id: bool,
    pub(super) topics: Vec<FetchTopic>,
    pub(super) forgotten: Vec<ForgottenTopic>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    id: i32,
    epoch: i32,
    by_topic_id: bool,
    partitions: BTreeMap<TopicPartition, Wanted>,
}

impl FetchSession {
    /// The next request for these partitions, in this order; `None` if there is nothing to say.
    pub(super) fn next(&mut self, wanted: Vec<Wanted>) -> Option<SessionFetch> {
        if wanted.is_empty() && (self.epoch == OPENING || self.partitions.is_empty()) {
            return None;
        }
        let by_topic_id = wanted.iter().all(|wanted| !wanted.topic_id.is_zero());
        if by_topic_id != self.by_topic_id && !wanted.is_empty() {
            // A session cannot go over from names to ids: another one takes its place.
            self.by_topic_id = by_topic_id;
            self.epoch = OPENING;
        }
        let is_full = self.epoch == OPENING;
        let topic_ids: BTreeMap<&TopicPartition, TopicId> = wanted
            .iter()
            .map(|wanted| (&wanted.partition, wanted.topic_id))
            .collect();
        // Not wanted any more, or of a topic that was made anew.
        let gone = self
            .partitions
            .values()
            .filter(|known| !is_full && topic_ids.get(&known.partition) != Some(&known.topic_id));
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        for known in gone {
            let name = text(&known.partition);
            match forgotten
                .last_mut()
                .filter(|last| last.name == name && last.topic_id == known.topic_id)
            {
                Some(last) => last.partitions.push(known.partition.partition),
                None => forgotten.push(ForgottenTopic {
                    name,
                    topic_id: known.topic_id,
                    partitions: vec![known.partition.partition],
                }),
            }
        }
        let mut topics: Vec<FetchTopic> = Vec::new();
        for wanted in &wanted {
            if !is_full && self.partitions.get(&wanted.partition) == Some(wanted) {
                continue;
            }
            let name = text(&wanted.partition);
            match topics.last_mut().filter(|last| last.name == name) {
                Some(last) => last.partitions.push(wanted.fetch.clone()),
                None => topics.push(FetchTopic {
                    name,
                    topic_id: wanted.topic_id,
                    partitions: vec![wanted.fetch.clone()],
                }),
            }
        }
        self.partitions = wanted
            .into_iter()
            .map(|wanted| (wanted.partition.clone(), wanted))
            .collect();
        Some(SessionFetch {
            session_id: self.id,
            session_epoch: self.epoch,
            by_topic_id: self.by_topic_id,
            topics,
            forgotten,
        })
    }

    /// Takes the head of a response.
    pub(super) fn answered(&mut self, error: ErrorCode, session_id: i32) {
        match error {
            ErrorCode::None if session_id == NO_SESSION => self.reset(),
            ErrorCode::None => {
                self.id = session_id;
                self.epoch = match self.epoch {
                    i32::MAX => 1,
                    epoch => epoch + 1,
                };
            }
            ErrorCode::FetchSessionIdNotFound => self.reset(),
            _ => self.failed(),
        }
    }

    /// No response came, or a refusal: the next request replaces the session.
    pub(super) fn failed(&mut self) {
        self.epoch = OPENING;
    }

    fn reset(&mut self) {
        self.id = NO_SESSION;
        self.epoch = OPENING;
    }
}

fn text(partition: &TopicPartition) -> StrBytes {
    StrBytes::from_string(partition.topic.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partition: i32, fetch_offset: i64) -> Wanted {
        Wanted {
            partition: TopicPartition::new("t", partition),
            topic_id: TopicId([1; 16]),
            fetch: FetchPartition {
                partition,
                current_leader_epoch: 1,
                fetch_offset,
                last_fetched_epoch: 1,
                log_start_offset: 0,
                max_bytes: 100,
            },
        }
    }

    fn said(request: &SessionFetch) -> (i32, i32, Vec<i32>, Vec<i32>) {
        let named = request.topics.iter().flat_map(|t| &t.partitions);
        let gone = request.forgotten.iter().flat_map(|t| &t.partitions);
        (
            request.session_id,
            request.session_epoch,
            named.map(|p| p.partition).collect(),
            gone.copied().collect(),
        )
    }

    #[test]
    fn only_changes_are_said_again() {
        let mut session = FetchSession::default();
        let first = session.next(vec![wanted(0, 0), wanted(1, 0)]).unwrap();
        assert_eq!(said(&first), (0, 0, vec![0, 1], vec![]));
        assert!(first.by_topic_id);
        session.answered(ErrorCode::None, 7);
        let second = session.next(vec![wanted(0, 5), wanted(1, 0)]).unwrap();
        assert_eq!(said(&second), (7, 1, vec![0], vec![]));
        session.answered(ErrorCode::None, 7);
        let third = session.next(vec![wanted(1, 0), wanted(2, 0)]).unwrap();
        assert_eq!(said(&third), (7, 2, vec![2], vec![0]));
        session.answered(ErrorCode::None, 7);
        let empty = session.next(Vec::new()).unwrap();
        assert_eq!(said(&empty), (7, 3, vec![], vec![1, 2]));
        session.answered(ErrorCode::None, 0);
        assert_eq!(session.next(Vec::new()), None);
    }

    #[test]
    fn a_lost_session_begins_anew_with_everything() {
        let mut session = FetchSession::default();
        session.next(vec![wanted(0, 0)]).unwrap();
        session.answered(ErrorCode::None, 7);
        session.next(vec![wanted(0, 0)]).unwrap();
        session.failed();
        let next = session.next(vec![wanted(0, 0)]).unwrap();
        assert_eq!(said(&next), (7, 0, vec![0], vec![]));
        session.answered(ErrorCode::FetchSessionIdNotFound, 0);
        let next = session.next(vec![wanted(0, 0)]).unwrap();
        assert_eq!(said(&next), (0, 0, vec![0], vec![]));
    }

    #[test]
    fn a_topic_without_an_id_replaces_the_session_and_another_id_the_partition() {
        let mut session = FetchSession::default();
        session.next(vec![wanted(0, 0)]).unwrap();
        session.answered(ErrorCode::None, 7);
        let mut recreated = wanted(0, 0);
        recreated.topic_id = TopicId([2; 16]);
        let next = session.next(vec![recreated]).unwrap();
        assert_eq!(said(&next), (7, 1, vec![0], vec![0]));
        session.answered(ErrorCode::None, 7);
        let mut nameless = wanted(1, 0);
        nameless.topic_id = TopicId::ZERO;
        let next = session.next(vec![wanted(0, 0), nameless]).unwrap();
        assert_eq!(said(&next), (7, 0, vec![0, 1], vec![]));
        assert!(!next.by_topic_id);
    }
}
