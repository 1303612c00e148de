//! What must hold of transactions, whatever happens.
//!
//! - A transaction ends in the same way in all of its partitions, and a committed one with every
//!   record that was sent for it, once each.
//! - It is committed only if its producer asked for that, and always if the producer was told so.
//! - An offset that is committed in a transaction counts exactly if the transaction is committed.
//! - A zombie, whose successor was told its epoch, commits nothing that it begins after that.
//!
//! One thing 3.9 cannot promise: a TxnOffsetCommit bears no sequence, and all transactions of one
//! epoch look alike. One that its client has given up and sent again may arrive in a later
//! transaction of the epoch and count for that (KIP-890; only its second part, after 3.9, gives each
//! transaction an epoch of its own). Such an offset tells nothing of its own transaction.
//!
//! What consumers with read_committed are left with is compared with this in
//! [`Checker::consumed_committed`](crate::checker::Checker::consumed_committed).

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use ottla_record::{BatchView, DECOMPRESSED_SIZE_MAX, EndTransactionMarker, TransactionResult};
use ottla_transaction_coordinator::ExpectedProducer;

use crate::checker::Violation;
use crate::client::RecordId;
use crate::settings::Settings;

/// Names a transaction: its client, and the how-manieth of that client it is.
pub(crate) type TransactionName = (u32, u64);

/// How far the producer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    /// It has not said how the transaction is to end.
    None,
    Commit,
    Abort,
}

#[derive(Debug)]
struct Transaction {
    producer: ExpectedProducer,
    sent: BTreeMap<RecordId, TopicPartition>,
    wish: Wish,
    /// It was told that its wish is done.
    is_told: bool,
    /// It began after a successor had been told its epoch.
    is_zombies: bool,
    outcomes: BTreeMap<TopicPartition, TransactionResult>,
    /// As what it was shown before its markers were replicated.
    read: Option<TransactionResult>,
    committed: BTreeSet<RecordId>,
}

#[derive(Default)]
pub(crate) struct Transactions {
    all: BTreeMap<TransactionName, Transaction>,
    of_record: BTreeMap<RecordId, TransactionName>,
    appended: BTreeMap<RecordId, (TopicPartition, Offset)>,
    /// The newest epoch that somebody was told.
    epochs: BTreeMap<ProducerId, ProducerEpoch>,
    /// The newest offset of each client that it was told is committed.
    offsets: BTreeMap<u32, RecordId>,
    /// Offsets whose commit was given up without an answer: it may still be under way.
    given_up: BTreeSet<RecordId>,
}

// What producers do.
impl Transactions {
    /// A producer was told its epoch.
    pub(crate) fn initialized(&mut self, producer: ExpectedProducer) {
        let epoch = self.epochs.entry(producer.producer_id);
        let epoch = epoch.or_insert(producer.producer_epoch);
        *epoch = (*epoch).max(producer.producer_epoch);
    }

    /// A producer begins a transaction.
    pub(crate) fn begun(&mut self, producer: ExpectedProducer, name: TransactionName) {
        let newest = self.epochs.get(&producer.producer_id);
        let transaction = Transaction {
            producer,
            sent: BTreeMap::new(),
            wish: Wish::None,
            is_told: false,
            is_zombies: newest.is_some_and(|newest| *newest > producer.producer_epoch),
            outcomes: BTreeMap::new(),
            read: None,
            committed: BTreeSet::new(),
        };
        self.all.insert(name, transaction);
    }

    /// It is about to send a record.
    pub(crate) fn sends(&mut self, name: TransactionName, tp: &TopicPartition, id: RecordId) {
        self.of_record.insert(id, name);
        if let Some(transaction) = self.all.get_mut(&name) {
            transaction.sent.insert(id, tp.clone());
        }
    }

    /// It sent an offset and heard nothing; it will send it again.
    pub(crate) fn gives_up(&mut self, offset: RecordId) {
        self.given_up.insert(offset);
    }

    /// Whether an offset that was given up may count for a transaction after its own.
    fn may_be_late(&self, offset: RecordId) -> bool {
        let name = self.of_record.get(&offset).copied();
        let Some((name, own)) = name.and_then(|name| Some((name, self.all.get(&name)?))) else {
            return false;
        };
        let (client, number) = name;
        let offsets = Settings::offsets_partition();
        let takes_it = |later: &Transaction| {
            later.producer == own.producer
                && later.wish == Wish::Commit
                && later.sent.values().any(|tp| *tp == offsets)
        };
        let mut later = self.all.range((client, number + 1)..(client + 1, 0));
        self.given_up.contains(&offset) && later.any(|(_, later)| takes_it(later))
    }

    /// It is about to say how the transaction is to end.
    pub(crate) fn wishes(&mut self, name: TransactionName, commit: bool) {
        if let Some(transaction) = self.all.get_mut(&name) {
            transaction.wish = if commit { Wish::Commit } else { Wish::Abort };
        }
    }

    /// It is told that this is done.
    pub(crate) fn told(&mut self, name: TransactionName) -> Result<(), Violation> {
        let Some(transaction) = self.all.get_mut(&name) else {
            return Ok(());
        };
        transaction.is_told = true;
        if transaction.is_zombies {
            return Err(format!("zombie's {name:?} was ended: {transaction:?}"));
        }
        if transaction.wish == Wish::Commit {
            let offsets = Settings::offsets_partition();
            let mut sent = transaction.sent.iter();
            if let Some((id, _)) = sent.find(|(_, tp)| **tp == offsets) {
                self.offsets.insert(name.0, *id);
            }
            let aborted = |outcome: &TransactionResult| *outcome == TransactionResult::Abort;
            let outcomes = transaction.outcomes.values();
            if outcomes.chain(&transaction.read).any(aborted) {
                return Err(format!(
                    "{name:?} is acknowledged, but aborted: {transaction:?}"
                ));
            }
        }
        Ok(())
    }
}

// What is in the logs.
impl Transactions {
    pub(crate) fn appended(
        &mut self,
        tp: &TopicPartition,
        offset: Offset,
        id: RecordId,
    ) -> Result<(), Violation> {
        let place = (tp.clone(), offset);
        match self.appended.insert(id, place) {
            None => Ok(()),
            Some(before) => Err(format!(
                "{id:?} is at {before:?} and again at {tp} {offset}"
            )),
        }
    }

    /// A marker of the producer of these records.
    pub(crate) fn ended_in(
        &mut self,
        tp: &TopicPartition,
        records: &[(Offset, RecordId)],
        outcome: TransactionResult,
    ) -> Result<(), Violation> {
        for (offset, id) in records {
            let name = self.of_record.get(id).copied();
            let Some((name, transaction)) =
                name.and_then(|name| Some((name, self.all.get_mut(&name)?)))
            else {
                return Err(format!("{tp}: {id:?} at {offset} is of no transaction"));
            };
            // Its own transaction has ended here before.
            let is_late = self.given_up.contains(id) && transaction.outcomes.contains_key(tp);
            if is_late {
                continue;
            }
            let fail = |what: &str, transaction: &Transaction| {
                Err(format!(
                    "{tp}: {name:?} {what} by {outcome:?} after {id:?} at {offset}: {transaction:?}"
                ))
            };
            transaction.outcomes.insert(tp.clone(), outcome);
            let outcomes = transaction.outcomes.values();
            if outcomes.chain(&transaction.read).any(|o| *o != outcome) {
                return fail("is torn", transaction);
            }
            if outcome == TransactionResult::Abort {
                if transaction.wish == Wish::Commit && transaction.is_told {
                    return fail("was committed and is ended", transaction);
                }
                continue;
            }
            transaction.committed.insert(*id);
            if transaction.wish != Wish::Commit {
                return fail("is not to be committed, but is ended", transaction);
            }
            if transaction.is_zombies {
                return fail("is a zombie's and is ended", transaction);
            }
        }
        Ok(())
    }

    /// A consumer was shown a record of a transaction, or told to skip it, before a marker was
    /// replicated: that is how the transaction must end everywhere.
    pub(crate) fn read_as(
        &mut self,
        tp: &TopicPartition,
        (offset, id): (Offset, RecordId),
        outcome: TransactionResult,
    ) -> Result<(), Violation> {
        let name = self.of_record.get(&id).copied();
        let Some((name, transaction)) =
            name.and_then(|name| Some((name, self.all.get_mut(&name)?)))
        else {
            return Err(format!("{tp}: {id:?} at {offset} is of no transaction"));
        };
        let outcomes = transaction.outcomes.values();
        let is_torn = outcomes.chain(&transaction.read).any(|o| *o != outcome);
        let is_wished = match outcome {
            TransactionResult::Commit => {
                transaction.wish == Wish::Commit && !transaction.is_zombies
            }
            TransactionResult::Abort => transaction.wish != Wish::Commit || !transaction.is_told,
        };
        if is_torn || !is_wished {
            return Err(format!(
                "{tp}: {name:?} is read as {outcome:?} at {offset}: {transaction:?}"
            ));
        }
        transaction.read = Some(outcome);
        Ok(())
    }

    /// A client was told, by a coordinator that is still the one if so said, that this is the
    /// stable offset that is committed for it.
    pub(crate) fn fetched_offset(
        &mut self,
        client: u32,
        offset: Offset,
        by_the_coordinator: bool,
    ) -> Result<(), Violation> {
        let known = self.offsets.get(&client).copied();
        let fetched = (offset >= 0).then(|| RecordId::of_offset(offset));
        if fetched.is_some_and(|id| self.may_be_late(id)) {
            return Ok(());
        }
        if by_the_coordinator && fetched < known {
            return Err(format!(
                "{fetched:?} is the offset of client {client}, after {known:?} was committed"
            ));
        }
        match fetched {
            Some(id) => {
                let tp = Settings::offsets_partition();
                self.read_as(&tp, (offset, id), TransactionResult::Commit)
            }
            None => Ok(()),
        }
    }

    /// How many were committed and how many aborted.
    pub(crate) fn ended(&self) -> (u64, u64) {
        let count = |outcome| {
            let ended = |transaction: &&Transaction| {
                transaction.outcomes.values().any(|found| *found == outcome)
            };
            self.all.values().filter(ended).count() as u64
        };
        (
            count(TransactionResult::Commit),
            count(TransactionResult::Abort),
        )
    }

    /// At the end: what is committed is whole, and what was acknowledged is committed.
    pub(crate) fn check_whole(&self) -> Result<(), Violation> {
        for (name, transaction) in &self.all {
            let acknowledged = transaction.wish == Wish::Commit && transaction.is_told;
            let committed = acknowledged || !transaction.committed.is_empty();
            if committed && transaction.committed.len() != transaction.sent.len() {
                return Err(format!("{name:?} is not whole: {transaction:?}"));
            }
        }
        Ok(())
    }
}

/// How a marker ends its transaction.
pub(crate) fn read_marker(batch: &BatchView<'_>) -> Result<TransactionResult, Violation> {
    let text = |error: ottla_record::InvalidRecords| error.to_string();
    let records = batch.records(DECOMPRESSED_SIZE_MAX).map_err(text)?;
    for record in records.iter().map_err(text)? {
        let marker = EndTransactionMarker::parse(&record.map_err(text)?).map_err(text)?;
        if let Some(marker) = marker {
            return Ok(marker.result);
        }
    }
    Err(format!("no marker in the batch at {}", batch.base_offset()))
}

#[cfg(test)]
mod tests {
    use TransactionResult::{Abort, Commit};

    use super::*;

    const NAME: TransactionName = (1, 1);

    fn t(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn producer(epoch: i16) -> ExpectedProducer {
        ExpectedProducer {
            producer_id: ProducerId(5),
            producer_epoch: ProducerEpoch(epoch),
        }
    }

    fn record(number: u64) -> RecordId {
        RecordId::transactional(1, number)
    }

    /// A transaction with one record in each of two partitions, both appended.
    fn begun() -> Transactions {
        let mut transactions = Transactions::default();
        transactions.initialized(producer(0));
        transactions.begun(producer(0), NAME);
        for number in 0..2 {
            let (tp, id) = (t(number as i32), record(number));
            transactions.sends(NAME, &tp, id);
            transactions.appended(&tp, 7, id).unwrap();
        }
        transactions
    }

    fn ends(
        transactions: &mut Transactions,
        partition: i32,
        outcome: TransactionResult,
    ) -> Result<(), Violation> {
        let records = [(7, record(partition as u64))];
        transactions.ended_in(&t(partition), &records, outcome)
    }

    #[test]
    fn a_whole_transaction_is_fine() {
        let mut transactions = begun();
        transactions.wishes(NAME, true);
        ends(&mut transactions, 0, Commit).unwrap();
        transactions.check_whole().unwrap_err();
        ends(&mut transactions, 1, Commit).unwrap();
        transactions.told(NAME).unwrap();
        transactions.check_whole().unwrap();
        assert_eq!(transactions.ended(), (1, 0));
    }

    #[test]
    fn torn_transactions_are_seen() {
        let mut transactions = begun();
        transactions.wishes(NAME, true);
        ends(&mut transactions, 0, Commit).unwrap();
        ends(&mut transactions, 1, Abort).unwrap_err();
    }

    #[test]
    fn ends_that_nobody_asked_for_are_seen() {
        ends(&mut begun(), 0, Commit).unwrap_err();
        ends(&mut begun(), 0, Abort).unwrap();
        let mut transactions = begun();
        transactions.wishes(NAME, true);
        transactions.told(NAME).unwrap();
        ends(&mut transactions, 0, Abort).unwrap_err();
        let mut transactions = begun();
        transactions.wishes(NAME, true);
        ends(&mut transactions, 0, Abort).unwrap();
        transactions.told(NAME).unwrap_err();
    }

    #[test]
    fn what_was_read_before_its_marker_must_stay_so() {
        let mut transactions = begun();
        let read = |transactions: &mut Transactions, outcome| {
            transactions.read_as(&t(0), (0, record(0)), outcome)
        };
        read(&mut transactions, Commit).unwrap_err();
        transactions.wishes(NAME, true);
        read(&mut transactions, Commit).unwrap();
        read(&mut transactions, Abort).unwrap_err();
        ends(&mut transactions, 0, Abort).unwrap_err();
        let mut transactions = begun();
        read(&mut transactions, Abort).unwrap();
        transactions.wishes(NAME, true);
        transactions.told(NAME).unwrap_err();
    }

    #[test]
    fn zombies_and_duplicates_are_seen() {
        let mut transactions = begun();
        transactions.appended(&t(0), 9, record(0)).unwrap_err();
        transactions.initialized(producer(1));
        transactions.begun(producer(0), (1, 2));
        transactions.wishes((1, 2), true);
        transactions.told((1, 2)).unwrap_err();
    }

    /// Two transactions of one client that commit an offset each, the first one ended and told.
    fn with_offsets(second: ExpectedProducer, outcome: TransactionResult) -> Transactions {
        let offsets = Settings::offsets_partition();
        let mut transactions = Transactions::default();
        transactions.begun(producer(0), (1, 1));
        transactions.sends((1, 1), &offsets, record(1));
        transactions.wishes((1, 1), outcome == Commit);
        let records = [(7, record(1))];
        transactions.ended_in(&offsets, &records, outcome).unwrap();
        transactions.told((1, 1)).unwrap();
        transactions.begun(second, (1, 2));
        transactions.sends((1, 2), &offsets, record(2));
        transactions.wishes((1, 2), true);
        transactions
    }

    #[test]
    fn only_an_offset_that_was_given_up_may_count_for_a_later_transaction_of_its_epoch() {
        let offsets = Settings::offsets_partition();
        let late = [(9, record(2)), (10, record(1))];
        let fetch = |transactions: &mut Transactions, number| {
            transactions.fetched_offset(1, record(number).to_offset(), true)
        };
        for outcome in [Commit, Abort] {
            let mut transactions = with_offsets(producer(0), outcome);
            transactions.gives_up(record(1));
            transactions.ended_in(&offsets, &late, Commit).unwrap();
            transactions.told((1, 2)).unwrap();
            fetch(&mut transactions, 1).unwrap();
            fetch(&mut transactions, 2).unwrap();
            transactions.check_whole().unwrap();
            transactions.fetched_offset(1, -1, true).unwrap_err();

            let mut transactions = with_offsets(producer(1), outcome);
            transactions.gives_up(record(1));
            transactions.told((1, 2)).unwrap();
            fetch(&mut transactions, 1).unwrap_err();

            let mut transactions = with_offsets(producer(0), outcome);
            transactions.told((1, 2)).unwrap();
            fetch(&mut transactions, 1).unwrap_err();
        }
        let mut transactions = with_offsets(producer(0), Abort);
        transactions.ended_in(&offsets, &late, Commit).unwrap_err();
    }
}
