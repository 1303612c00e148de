//! What must hold of a shard between events.

use std::sync::Arc;

use ottla_coordinator_runtime::RequestId;

use crate::context::{InFlight, TimerKey};
use crate::group::Group;
use crate::member::Member;
use crate::shard::GroupCoordinatorShard;
use crate::state::GroupState;

impl GroupCoordinatorShard {
    /// Asserts what must hold between events; the parked requests.
    pub(crate) fn check_invariants(&self) -> Vec<RequestId> {
        let mut parked = Vec::new();
        for (id, group) in &self.groups {
            group.check_invariants();
            let state = group.state();
            let join = TimerKey::Join {
                group_id: id.clone(),
            };
            let sync = TimerKey::Sync {
                group_id: id.clone(),
            };
            let joining = state == GroupState::PreparingRebalance;
            assert_eq!(
                self.deadlines.deadline_of(&join).is_some(),
                joining,
                "{id} {state}"
            );
            let syncing = matches!(state, GroupState::CompletingRebalance | GroupState::Stable)
                && !group.pending_sync.is_empty();
            assert_eq!(
                self.deadlines.deadline_of(&sync).is_some(),
                syncing,
                "{id} {state}"
            );
            for member in group.members.values() {
                let requests = member.awaiting_join.iter().chain(&member.awaiting_sync);
                parked.extend(requests);
                let timed = self
                    .deadlines
                    .deadline_of(&group.session_timer(&member.id))
                    .is_some();
                assert!(
                    timed || !member.fails_when_silent(),
                    "{} has a deadline",
                    member.id
                );
            }
            for pending in &group.pending_members {
                assert!(
                    self.deadlines
                        .deadline_of(&group.session_timer(pending))
                        .is_some()
                );
            }
        }
        for key in self.deadlines.keys() {
            let (TimerKey::Join { group_id }
            | TimerKey::Sync { group_id }
            | TimerKey::Session { group_id, .. }) = key;
            let group = self
                .groups
                .get(group_id)
                .expect("a deadline belongs to a group");
            if let TimerKey::Session { member_id, .. } = key {
                let known = group.members.contains_key(member_id)
                    || group.pending_members.contains(member_id);
                assert!(known, "the deadline of {member_id} outlived it");
            }
        }
        for (_, in_flight) in self.appends.in_flight.values() {
            if let InFlight::Offsets(write) = in_flight {
                parked.push(write.request);
            }
        }
        parked
    }

    pub(crate) fn generations(&self) -> Vec<(Arc<str>, u64, i32)> {
        self.groups
            .values()
            .map(|g| (g.id.clone(), g.incarnation, g.generation_id))
            .collect()
    }
}

impl Group {
    pub(crate) fn check_invariants(&self) {
        let awaiting = self
            .members
            .values()
            .filter(|m| m.awaiting_join.is_some())
            .count();
        assert_eq!(awaiting, self.awaiting_join);
        match self.state() {
            GroupState::Empty => assert!(self.members.is_empty()),
            GroupState::CompletingRebalance | GroupState::Stable => {
                assert!(!self.members.is_empty());
                let protocol = self.protocol_name.as_deref().expect("a settled protocol");
                for member in self.members.values() {
                    assert!(member.protocols.iter().any(|p| &*p.name == protocol));
                }
            }
            GroupState::PreparingRebalance => assert!(self.join_clock.is_some()),
            GroupState::Dead => panic!("a dead group is not kept"),
        }
        match &self.leader {
            Some(leader) => assert!(self.members.contains_key(leader), "the leader is a member"),
            None => assert!(self.members.is_empty(), "members have a leader"),
        }
        for (instance_id, member_id) in &self.static_members {
            let member = self
                .members
                .get(member_id)
                .expect("a static member is a member");
            assert_eq!(member.group_instance_id.as_ref(), Some(instance_id));
        }
        for (name, count) in &self.protocol_support {
            let offering = |m: &&Member| m.protocols.iter().any(|p| p.name == *name);
            assert_eq!(self.members.values().filter(offering).count(), *count);
        }
        for pending in &self.pending_members {
            assert!(!self.members.contains_key(pending));
        }
        for member in self.members.values() {
            assert!(member.awaiting_sync.is_none() || self.is(GroupState::CompletingRebalance));
        }
    }
}
