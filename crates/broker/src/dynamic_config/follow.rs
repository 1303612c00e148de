//! Following announced changes (`ZkNodeChangeNotificationListener`).

use std::sync::Arc;

use ottla_coordination::payloads::{ConfigChange, DecodeError};
use ottla_coordination::{ANY_VERSION, Error, SessionEvent, paths};
use ottla_model::Timestamp;
use tracing::{debug, error, warn};

use super::DynamicConfig;
use crate::coordination::Notice;

/// Announcements older than this are deleted by whoever sees them; every broker has read them, or
/// reads the configs themselves when it starts.
const EXPIRATION_MS: i64 = 15 * 60 * 1000;

impl DynamicConfig {
    /// Applies every announced change, those before the start included, until the broker's session
    /// is closed for good. `now` tells the wall clock's time.
    pub async fn follow(self: Arc<Self>, now: impl Fn() -> Timestamp + Send) {
        let mut notices = self
            .coordination
            .subscribe(|event| event.path == paths::CONFIG_CHANGES);
        let mut last_number = -1;
        loop {
            if let Err(error) = self.process_announcements(&mut last_number, now()).await {
                // The watch or the next session brings the next attempt.
                warn!(%error, "cannot read announced configuration changes");
            }
            loop {
                match notices.recv().await {
                    None => return,
                    Some(Notice::Watch(_) | Notice::Session(SessionEvent::Connected)) => break,
                    Some(Notice::Session(_)) => {}
                }
            }
        }
    }

    /// One round: everything announced that is newer than `last_number`, in order.
    pub(super) async fn process_announcements(
        &self,
        last_number: &mut i64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let names = self
            .coordination
            .get_children(paths::CONFIG_CHANGES, true)
            .await?;
        let mut announced: Vec<(i64, String)> = names
            .iter()
            .filter_map(|name| {
                let number = paths::sequence_number(name, paths::CONFIG_CHANGE_PREFIX)?;
                Some((number, paths::child(paths::CONFIG_CHANGES, name)))
            })
            .collect();
        announced.sort_unstable();
        for (number, path) in &announced {
            if number > last_number {
                self.process_announcement(path).await?;
                *last_number = *number;
            }
        }
        for (_, path) in announced {
            let Some(stat) = self.coordination.exists(path.clone(), false).await? else {
                continue;
            };
            if now.0.saturating_sub(stat.ctime) <= EXPIRATION_MS {
                // Later ones are younger.
                break;
            }
            match self.coordination.delete(path, ANY_VERSION).await {
                Ok(()) | Err(Error::NoNode) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn process_announcement(&self, path: &str) -> Result<(), Error> {
        let Some((data, _)) = self.coordination.find_data(path, false).await? else {
            return Ok(());
        };
        let change = match ConfigChange::decode(data.as_deref().unwrap_or_default()) {
            Ok(change) => change,
            Err(DecodeError::NotJson(_)) => return Ok(()),
            Err(error) => {
                error!(path, %error, "an announced configuration change cannot be read");
                return Ok(());
            }
        };
        let Some(entity) = change.entity() else {
            debug!(
                path,
                entity = change.entity_path,
                "a change of an unknown kind is ignored"
            );
            return Ok(());
        };
        if let Err(error) = self.apply(&entity).await {
            error!(path, %error, "cannot apply an announced configuration change");
        }
        Ok(())
    }
}
