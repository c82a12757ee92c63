//! A deployment: a config that is to run, and how far that has come. Pure.
//!
//! Invariants:
//! - A status changes only as [`may_become`] allows, and only through [`Lifecycle`].
//! - The history is in step with the status: empty until the first change, and then its last entry is
//!   the present state. Entries side by side differ. It is bounded.
//! - A version that is DELETED stays so.

use proto_shared::WorkspaceName;
use proto_shared::names::EntityName;
use serde::{Deserialize, Serialize};

use super::provider::STATUS_MESSAGE_CHARS_MAX;
use super::{EntityId, Timestamp};

/// The platform has one set of states for deployments and providers. A failed deployment is ERROR.
pub use super::provider::ProviderStatus as DeploymentStatus;

/// Most entries of a history; the oldest go first.
pub const HISTORY_MAX: usize = 100;
/// How the history of a version begins to tell that a newer one took its place: such a version is kept for reading.
pub const REPLACED_BY: &str = "Replaced by version";

/// One version of a deployment.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Order of creation; never used again.
    pub seq: i64,
    pub id: EntityId,
    pub workspace: WorkspaceName,
    pub name: EntityName,
    pub version: i64,
    pub project: Option<String>,
    /// Of the same workspace.
    pub config: String,
    pub config_version: i64,
    /// How many are to run; absent: as many as its config says.
    pub replicas: Option<u32>,
    /// How many take requests; absent while nobody here has looked.
    pub ready_replicas: Option<u32>,
    pub lifecycle: Lifecycle,
    /// `workspace/name` of the provider that routes to it.
    pub model_provider_id: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// Status, message and history, always in step.
#[derive(Debug, Clone, PartialEq)]
pub struct Lifecycle {
    status: DeploymentStatus,
    message: String,
    since: Timestamp,
    history: Vec<StatusEntry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusEntry {
    pub at: Timestamp,
    pub status: DeploymentStatus,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    #[error("Deployment is marked for deletion (DELETING). Only transition to DELETED is allowed.")]
    Deleting,
    #[error("Deployment is {}; it can't become {}", .from.as_str(), .to.as_str())]
    Forbidden { from: DeploymentStatus, to: DeploymentStatus },
}

/// The whole state machine. A state may also stay what it is, with another message.
///
/// Controllers may skip states, for what they report they have seen; what is never possible is to be
/// new again, and to come back from deletion.
pub fn may_become(from: DeploymentStatus, to: DeploymentStatus) -> bool {
    use DeploymentStatus as S;
    match (from, to) {
        (S::Deleted, to) => to == S::Deleted,
        (S::Deleting, to) => matches!(to, S::Deleting | S::Deleted),
        (from, S::Created) => from == S::Created,
        (_, S::Unknown | S::Pending | S::Ready | S::Error | S::Lost | S::Deleting | S::Deleted) => true,
    }
}

impl Lifecycle {
    /// Of a new deployment.
    pub fn created(now: Timestamp) -> Self {
        Self::starting(DeploymentStatus::Created, "Deployment created", now)
    }

    /// Of a new version of a deployment.
    pub fn updated(now: Timestamp) -> Self {
        Self::starting(DeploymentStatus::Pending, "Deployment update pending", now)
    }

    fn starting(status: DeploymentStatus, message: &str, since: Timestamp) -> Self {
        Self { status, message: message.into(), since, history: Vec::new() }
    }

    /// As it was when it was stored.
    pub fn stored(
        status: DeploymentStatus,
        message: String,
        since: Timestamp,
        history: Vec<StatusEntry>,
    ) -> Self {
        Self { status, message, since, history }
    }

    pub fn status(&self) -> DeploymentStatus {
        self.status
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// When this state began.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    pub fn history(&self) -> &[StatusEntry] {
        &self.history
    }

    /// A step that we take. Says whether anything changed; the same state and message change nothing.
    pub fn advance(
        &mut self,
        to: DeploymentStatus,
        message: &str,
        now: Timestamp,
    ) -> Result<bool, TransitionError> {
        if !may_become(self.status, to) {
            return Err(TransitionError::Forbidden { from: self.status, to });
        }
        let message: String = message.chars().take(STATUS_MESSAGE_CHARS_MAX).collect();
        if (to, &message) == (self.status, &self.message) {
            return Ok(false);
        }
        if self.history.is_empty() {
            self.history.push(self.entry());
        }
        (self.status, self.message, self.since) = (to, message, now);
        self.history.push(self.entry());
        self.history.drain(..self.history.len().saturating_sub(HISTORY_MAX));
        Ok(true)
    }

    /// The same state, and further on: `message` takes the place of the one before, which is no entry of its own.
    pub fn progress(&mut self, message: &str, now: Timestamp) -> Result<bool, TransitionError> {
        let status = self.status;
        let before = self.history.len();
        if !self.advance(status, message, now)? {
            return Ok(false);
        }
        // The entry that was the present before the change, unless it was not there before it.
        if before > 1 && self.history.len() > 1 {
            self.history.remove(self.history.len() - 2);
        }
        Ok(true)
    }

    /// A state that a controller reports. Once deletion was asked for, only its end can be reported.
    pub fn report(
        &mut self,
        to: DeploymentStatus,
        message: &str,
        now: Timestamp,
    ) -> Result<bool, TransitionError> {
        if self.status == DeploymentStatus::Deleting && to != DeploymentStatus::Deleted {
            return Err(TransitionError::Deleting);
        }
        self.advance(to, message, now)
    }

    /// Deletion is asked for; asking again changes nothing.
    pub fn request_deletion(&mut self, why: &str, now: Timestamp) -> Result<bool, TransitionError> {
        if self.status == DeploymentStatus::Deleting {
            return Ok(false);
        }
        self.advance(DeploymentStatus::Deleting, why, now)
    }

    fn entry(&self) -> StatusEntry {
        StatusEntry { at: self.since, status: self.status, message: self.message.clone() }
    }
}

#[cfg(test)]
mod tests {
    use DeploymentStatus as S;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn in_state(status: S) -> Lifecycle {
        Lifecycle::stored(status, "here".into(), at(1), Vec::new())
    }

    /// One line for each state: what it may become, in the order of `ALL`.
    #[test]
    fn the_table_of_all_transitions() {
        let table: Vec<String> = S::ALL
            .into_iter()
            .map(|from| {
                let to: Vec<_> =
                    S::ALL.into_iter().filter(|to| may_become(from, *to)).map(S::as_str).collect();
                format!("{} -> {}", from.as_str(), to.join(" "))
            })
            .collect();
        let alive = "PENDING READY ERROR DELETING DELETED LOST";
        assert_eq!(
            table,
            [
                format!("UNKNOWN -> UNKNOWN {alive}"),
                format!("CREATED -> UNKNOWN CREATED {alive}"),
                format!("PENDING -> UNKNOWN {alive}"),
                format!("READY -> UNKNOWN {alive}"),
                format!("ERROR -> UNKNOWN {alive}"),
                "DELETING -> DELETING DELETED".into(),
                "DELETED -> DELETED".into(),
                format!("LOST -> UNKNOWN {alive}"),
            ]
        );
    }

    #[test]
    fn every_change_is_in_the_history_and_the_last_entry_is_the_present() {
        let mut life = Lifecycle::created(at(1));
        assert!(life.history().is_empty());
        for (second, status, message) in
            [(2, S::Pending, "pulling"), (3, S::Pending, "starting"), (4, S::Ready, "ready")]
        {
            assert_eq!(life.advance(status, message, at(second)), Ok(true));
            let last = life.history().last().unwrap();
            assert_eq!((last.status, last.message.as_str(), last.at), (status, message, at(second)));
            assert_eq!((life.status(), life.message(), life.since()), (status, message, at(second)));
        }
        let seen: Vec<_> = life.history().iter().map(|e| (e.at, e.status)).collect();
        assert_eq!(seen, [(at(1), S::Created), (at(2), S::Pending), (at(3), S::Pending), (at(4), S::Ready)]);
    }

    #[test]
    fn saying_the_same_again_changes_nothing() {
        let mut life = in_state(S::Ready);
        assert_eq!(life.advance(S::Ready, "here", at(9)), Ok(false));
        assert!(life.history().is_empty());
        assert_eq!(life.since(), at(1));
        assert_eq!(life.request_deletion("asked", at(2)), Ok(true));
        assert_eq!(life.request_deletion("asked again", at(3)), Ok(false));
        assert_eq!(life.message(), "asked");
    }

    #[test]
    fn a_refused_step_leaves_everything_as_it_was() {
        let mut life = in_state(S::Deleting);
        let before = life.clone();
        assert_eq!(life.report(S::Ready, "", at(2)), Err(TransitionError::Deleting));
        assert_eq!(life.report(S::Deleting, "", at(2)), Err(TransitionError::Deleting));
        assert_eq!(
            life.advance(S::Ready, "", at(2)),
            Err(TransitionError::Forbidden { from: S::Deleting, to: S::Ready })
        );
        assert_eq!(life, before);
        assert_eq!(life.report(S::Deleted, "", at(2)), Ok(true));
    }

    #[test]
    fn the_history_is_bounded_and_keeps_the_newest() {
        let mut life = Lifecycle::created(at(0));
        for number in 1..=250 {
            life.advance(S::Pending, &number.to_string(), at(number)).unwrap();
        }
        assert_eq!(life.history().len(), HISTORY_MAX);
        assert_eq!(life.history().last().unwrap().message, "250");
        assert_eq!(life.history()[0].message, "151");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut life = in_state(S::Pending);
        life.advance(S::Error, &"é".repeat(1500), at(2)).unwrap();
        assert_eq!(life.message(), "é".repeat(STATUS_MESSAGE_CHARS_MAX));
    }
}
