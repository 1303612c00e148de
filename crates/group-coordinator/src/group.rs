//! One group: its state, its members and what they agree on (`GroupMetadata`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_coordinator_runtime::RequestId;
use ottla_model::{ErrorCode, Timestamp, TopicName};

use crate::consumer_protocol;
use crate::context::{Context, GroupRef, TimerKey};
use crate::member::{Member, millis};
use crate::messages::{GroupDescription, GroupOverview, JoinGroupResponse, JoinedMember, Protocol};
use crate::offsets::GroupOffsets;
use crate::records::{GroupMetadataValue, MemberValue};
use crate::state::GroupState;

/// What ends the join phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum JoinClock {
    /// A formerly empty group waits for more members, and again for each step in which a new one
    /// came, `remaining` at most after this step (`InitialDelayedJoin`). Never early.
    Initial {
        /// The length of the running step.
        delay: Duration,
        /// What may follow it.
        remaining: Duration,
    },
    /// All members and pending members have joined, or the rebalance timeout is over
    /// (`DelayedJoin`).
    AllJoined,
}

/// A group and its members.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) id: Arc<str>,
    pub(crate) incarnation: u64,
    state: GroupState,
    /// When the state began; unknown after reading an old record.
    pub(crate) state_timestamp: Option<Timestamp>,
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol_name: Option<Arc<str>>,
    pub(crate) generation_id: i32,
    pub(crate) leader: Option<Arc<str>>,
    pub(crate) members: BTreeMap<Arc<str>, Member>,
    /// Member ids by instance id.
    pub(crate) static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out with MEMBER_ID_REQUIRED and have not joined yet.
    pub(crate) pending_members: BTreeSet<Arc<str>>,
    /// Members that have not sent SyncGroup for this generation.
    pub(crate) pending_sync: BTreeSet<Arc<str>>,
    /// How many members offer each protocol.
    pub(crate) protocol_support: BTreeMap<Arc<str>, usize>,
    /// How many members have a parked join.
    pub(crate) awaiting_join: usize,
    /// Of a group of consumers whose subscriptions could be read.
    pub(crate) subscribed_topics: Option<BTreeSet<TopicName>>,
    /// A member joined during the running step of the initial delay.
    pub(crate) new_member_added: bool,
    pub(crate) join_clock: Option<JoinClock>,
    pub(crate) offsets: GroupOffsets,
}

impl Group {
    /// A group without members.
    pub(crate) fn new(id: Arc<str>, incarnation: u64, now: Timestamp) -> Self {
        Self {
            id,
            incarnation,
            state: GroupState::Empty,
            state_timestamp: Some(now),
            protocol_type: None,
            protocol_name: None,
            generation_id: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            protocol_support: BTreeMap::new(),
            awaiting_join: 0,
            subscribed_topics: None,
            new_member_added: false,
            join_clock: None,
            offsets: GroupOffsets::default(),
        }
    }

    /// A group as its record tells. Of the members' protocols only the selected one is known.
    pub(crate) fn from_record(
        id: Arc<str>,
        incarnation: u64,
        now: Timestamp,
        record: GroupMetadataValue,
    ) -> Self {
        let mut group = Self::new(id, incarnation, now);
        let text = |text: String| -> Arc<str> { text.into() };
        group.generation_id = record.generation_id;
        group.protocol_type = Some(text(record.protocol_type)).filter(|name| !name.is_empty());
        group.protocol_name = record.protocol.map(text);
        group.leader = record.leader.map(text);
        group.state_timestamp =
            Some(record.current_state_timestamp).filter(|time| *time != Timestamp::NONE);
        if !record.members.is_empty() {
            group.state = GroupState::Stable;
            // Never written so; what follows relies on a Stable group having a protocol.
            group.protocol_name.get_or_insert_with(|| Arc::from(""));
        }
        let protocol = group.protocol_name.clone();
        for member in record.members {
            if group.members.contains_key(member.member_id.as_str()) {
                continue;
            }
            let member = Member {
                id: text(member.member_id),
                group_instance_id: member.group_instance_id.map(text),
                client_id: text(member.client_id),
                client_host: text(member.client_host),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                protocols: protocol
                    .iter()
                    .map(|name| Protocol {
                        name: name.clone(),
                        metadata: member.subscription.clone(),
                    })
                    .collect(),
                assignment: member.assignment,
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            };
            group.insert_member(member);
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    pub(crate) fn state(&self) -> GroupState {
        self.state
    }

    pub(crate) fn is(&self, state: GroupState) -> bool {
        self.state == state
    }

    pub(crate) fn reference(&self) -> GroupRef {
        GroupRef {
            group_id: self.id.clone(),
            incarnation: self.incarnation,
        }
    }

    pub(crate) fn transition_to(&mut self, state: GroupState, now: Timestamp) {
        assert!(
            state.may_follow(self.state),
            "a group goes through its states in order: {} to {state}",
            self.state
        );
        self.state = state;
        self.state_timestamp = Some(now);
    }

    pub(crate) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// The leader's id, empty if there is none.
    pub(crate) fn leader_or_empty(&self) -> Arc<str> {
        self.leader.clone().unwrap_or_else(|| Arc::from(""))
    }

    /// The longest time that a member of now may take to join again.
    pub(crate) fn rebalance_timeout(&self) -> Duration {
        millis(
            self.members
                .values()
                .map(|member| member.rebalance_timeout_ms)
                .max()
                .unwrap_or(0),
        )
    }

    pub(crate) fn awaiting_join_count(&self) -> usize {
        self.awaiting_join
    }

    pub(crate) fn all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_members.is_empty()
    }

    /// Whether somebody who offers these protocols can be a member.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.is(GroupState::Empty) {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|offered| self.is_supported_by_all(&offered.name))
    }

    fn is_supported_by_all(&self, protocol: &str) -> bool {
        self.protocol_support.get(protocol).copied().unwrap_or(0) == self.members.len()
    }

    /// The protocol of the next generation: each member votes for the first of its protocols that
    /// all support; most votes win, and of equals the first by name (Java: any).
    pub(crate) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member
                .protocols
                .iter()
                .find(|offered| self.is_supported_by_all(&offered.name));
            if let Some(choice) = choice {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| name.clone())
    }

    /// Begins the next generation with the members of now.
    pub(crate) fn begin_generation(&mut self, now: Timestamp) {
        self.generation_id = self.generation_id.wrapping_add(1);
        self.protocol_name = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        self.pending_sync.clear();
        let next = if self.members.is_empty() {
            GroupState::Empty
        } else {
            GroupState::CompletingRebalance
        };
        self.transition_to(next, now);
    }

    /// Whether the group consumes a topic; yes if that cannot be told.
    pub(crate) fn is_subscribed_to(&self, topic: &TopicName) -> bool {
        self.subscribed_topics
            .as_ref()
            .is_none_or(|topics| topics.contains(topic))
    }

    pub(crate) fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_deref() == Some(consumer_protocol::PROTOCOL_TYPE)
    }

    fn compute_subscribed_topics(&self) -> Option<BTreeSet<TopicName>> {
        if !self.is_consumer_group() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol_name.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            match consumer_protocol::subscribed_topics(&member.metadata(protocol)) {
                Ok(subscribed) => topics.extend(subscribed),
                Err(error) => {
                    tracing::warn!(
                        group = %self.id, protocol, %error,
                        "a member's subscription cannot be read, so all topics count as subscribed"
                    );
                    return None;
                }
            }
        }
        Some(topics)
    }

    /// Adds a member that is not in the group; the first one settles the type and leads.
    pub(crate) fn add_member(&mut self, protocol_type: &Arc<str>, member: Member) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        self.insert_member(member);
    }

    fn insert_member(&mut self, member: Member) {
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members
                .insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_members.remove(&member.id);
        if member.awaiting_join.is_some() {
            self.awaiting_join += 1;
        }
        self.count_protocols(&member.protocols, 1);
        let previous = self.members.insert(member.id.clone(), member);
        assert!(previous.is_none(), "a member id is given out once");
    }

    fn count_protocols(&mut self, protocols: &[Protocol], change: isize) {
        // Once per name, so that a member that offers one twice does not count as two.
        let names: BTreeSet<&Arc<str>> = protocols.iter().map(|protocol| &protocol.name).collect();
        for name in names {
            let count = self.protocol_support.entry(name.clone()).or_default();
            *count = count.saturating_add_signed(change);
            if *count == 0 {
                self.protocol_support.remove(name);
            }
        }
    }

    /// Removes a member or pending member, its deadline, and answers what it had parked.
    pub(crate) fn remove_member(&mut self, ctx: &mut Context<'_>, member_id: &str) {
        if let Some(mut member) = self.members.remove(member_id) {
            self.count_protocols(&member.protocols, -1);
            if let Some(instance_id) = &member.group_instance_id {
                self.static_members.remove(instance_id);
            }
            if let Some(request) = member.awaiting_join.take() {
                self.awaiting_join -= 1;
                let response = JoinGroupResponse::error("", ErrorCode::UnknownMemberId);
                ctx.reply_join(request, response);
            }
            if let Some(request) = member.awaiting_sync.take() {
                // Java forgets this one and leaves the client to its timeout.
                ctx.reply_sync_error(request, ErrorCode::UnknownMemberId);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_members.remove(member_id);
        self.pending_sync.remove(member_id);
        ctx.cancel(&self.session_timer(member_id));
    }

    /// Parks a member's join. One that was parked before is sent back to join again: its client
    /// gave up on it (Java never answers it).
    pub(crate) fn park_join(&mut self, ctx: &mut Context<'_>, member_id: &str, request: RequestId) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        match member.awaiting_join.replace(request) {
            None => self.awaiting_join += 1,
            Some(superseded) => ctx.reply_join(
                superseded,
                JoinGroupResponse::error(member_id, ErrorCode::RebalanceInProgress),
            ),
        }
    }

    /// Takes a member's parked join to answer it.
    pub(crate) fn take_join(&mut self, member_id: &str) -> Option<RequestId> {
        let request = self.members.get_mut(member_id)?.awaiting_join.take()?;
        self.awaiting_join -= 1;
        Some(request)
    }

    /// Replaces what a member offers.
    pub(crate) fn update_member(
        &mut self,
        member_id: &str,
        protocols: Vec<Protocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
    ) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        member.session_timeout_ms = session_timeout_ms;
        let replaced = std::mem::replace(&mut member.protocols, protocols.clone());
        self.count_protocols(&replaced, -1);
        self.count_protocols(&protocols, 1);
    }

    /// Gives a static member a new id; whoever waits under the old one is fenced. Whether the
    /// member exists. `pending_sync` keeps the old id, as in Java.
    pub(crate) fn replace_static_member(
        &mut self,
        ctx: &mut Context<'_>,
        group_instance_id: &Arc<str>,
        old_member_id: &str,
        new_member_id: &Arc<str>,
    ) -> bool {
        let Some(mut member) = self.members.remove(old_member_id) else {
            return false;
        };
        if let Some(request) = member.awaiting_join.take() {
            self.awaiting_join -= 1;
            let response = JoinGroupResponse::error(old_member_id, ErrorCode::FencedInstanceId);
            ctx.reply_join(request, response);
        }
        if let Some(request) = member.awaiting_sync.take() {
            ctx.reply_sync_error(request, ErrorCode::FencedInstanceId);
        }
        ctx.cancel(&self.session_timer(old_member_id));
        member.id = new_member_id.clone();
        self.members.insert(new_member_id.clone(), member);
        if self.is_leader(old_member_id) {
            self.leader = Some(new_member_id.clone());
        }
        self.static_members
            .insert(group_instance_id.clone(), new_member_id.clone());
        true
    }

    /// Whether a request speaks for a member: NONE, or the error to answer.
    pub(crate) fn validate_member(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = group_instance_id {
            match self.static_members.get(instance_id) {
                Some(current) if &**current != member_id => {
                    return Err(ErrorCode::FencedInstanceId);
                }
                Some(_) => {}
                None => return Err(ErrorCode::UnknownMemberId),
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    pub(crate) fn session_timer(&self, member_id: &str) -> TimerKey {
        TimerKey::Session {
            group_id: self.id.clone(),
            member_id: Arc::from(member_id),
        }
    }

    /// Starts a member's session anew.
    pub(crate) fn restart_session(&self, ctx: &mut Context<'_>, member_id: &str) {
        if let Some(member) = self.members.get(member_id) {
            ctx.schedule(self.session_timer(member_id), member.session_timeout());
        }
    }

    /// All members with their metadata of the selected protocol.
    pub(crate) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or("");
        self.members
            .values()
            .map(|member| member.joined(protocol))
            .collect()
    }

    /// The group's record with the given assignments.
    pub(crate) fn to_record(&self, assignments: &BTreeMap<Arc<str>, Bytes>) -> GroupMetadataValue {
        let text = |text: &Arc<str>| text.as_ref().to_owned();
        let protocol = self.protocol_name.as_deref();
        GroupMetadataValue {
            protocol_type: self.protocol_type.as_ref().map(text).unwrap_or_default(),
            generation_id: self.generation_id,
            protocol: self.protocol_name.as_ref().map(text),
            leader: self.leader.as_ref().map(text),
            current_state_timestamp: self.state_timestamp.unwrap_or(Timestamp::NONE),
            members: self
                .members
                .values()
                .map(|member| MemberValue {
                    member_id: text(&member.id),
                    group_instance_id: member.group_instance_id.as_ref().map(text),
                    client_id: text(&member.client_id),
                    client_host: text(&member.client_host),
                    rebalance_timeout_ms: member.rebalance_timeout_ms,
                    session_timeout_ms: member.session_timeout_ms,
                    subscription: member.metadata(protocol.unwrap_or("")),
                    assignment: assignments.get(&member.id).cloned().unwrap_or_default(),
                })
                .collect(),
        }
    }

    pub(crate) fn overview(&self) -> GroupOverview {
        GroupOverview {
            group_id: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            state: self.state,
        }
    }

    pub(crate) fn description(&self) -> GroupDescription {
        let settled = if self.is(GroupState::Stable) {
            self.protocol_name.clone()
        } else {
            None
        };
        GroupDescription {
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            members: self
                .members
                .values()
                .map(|member| member.description(settled.as_deref()))
                .collect(),
            protocol: settled.unwrap_or_else(|| Arc::from("")),
        }
    }
}
