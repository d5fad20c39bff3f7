//! The members of etcd themselves: how they are, and who leads.

use std::time::Duration;

use etcd_client::Client;
use futures_util::future::join_all;
use meridian_telemetry::clock;
use meridian_telemetry::events::LeaderMoved;
use tokio::time::timeout;

use super::Etcd;
use super::call::{advice, describe};
use super::member::Member;
use crate::store::{Attempt, Operation, StoreError};

/// One member as `meridian status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its client URL, as given.
    pub endpoint: String,
    /// What it says of itself, or why it says nothing.
    pub state: Result<MemberState, String>,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// Its number.
    pub id: u64,
    /// The number of the leader that it follows; 0: none.
    pub leader: u64,
    /// Its version, such as `3.4.23`.
    pub version: String,
    /// The size of its database on disk, in bytes.
    pub db_size: i64,
    /// The term of the raft.
    pub raft_term: u64,
    /// Its place in the raft's log.
    pub raft_index: u64,
    /// Troubles that it knows of, such as `NOSPACE`.
    pub errors: Vec<String>,
}

impl MemberState {
    /// It leads.
    #[must_use]
    pub const fn leads(&self) -> bool {
        self.leader == self.id
    }
}

/// What became of [`Etcd::move_leader_here`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderMove {
    /// Our member led already.
    AlreadyHere,
    /// It leads now.
    Moved,
    /// There is no leader at the moment, or it cannot be reached from here: try again later.
    NotNow,
}

impl Etcd {
    /// Asks every member how it is, all at once, within the deadline of a call.
    pub async fn status(&self) -> Vec<MemberStatus> {
        let limit = self.inner.timeouts.call;
        join_all(self.inner.members.iter().map(|member| async move {
            let state = ask(member, limit).await;
            MemberStatus { endpoint: member.endpoint().to_owned(), state }
        }))
        .await
    }

    /// Makes the member at `own` (one of the endpoints) the leader of the raft, if it is not.
    ///
    /// The writer's node calls this now and then: renewals then take one round trip instead of two,
    /// and losing a standby's region never costs an election.
    ///
    /// # Errors
    /// [`StoreError`] when our own member does not answer, or the leader refuses.
    pub async fn move_leader_here(&self, own: &str) -> Result<LeaderMove, StoreError> {
        let started = clock::now();
        let failed = |endpoint: &str, outcome: String| {
            let attempts = vec![Attempt { endpoint: endpoint.to_owned(), outcome }];
            let took = clock::now().since(started);
            let advice = advice(&attempts);
            let subject = "the raft leadership".to_owned();
            StoreError { operation: Operation::Maintain, subject, attempts, took, advice }
        };
        let all = self.status().await;
        let here = all.iter().find(|m| m.endpoint == own);
        let mine = match here.map(|m| &m.state) {
            Some(Ok(state)) => state,
            Some(Err(problem)) => return Err(failed(own, problem.clone())),
            None => return Err(failed(own, "that it is not among the endpoints of the spec".to_owned())),
        };
        if mine.leads() {
            return Ok(LeaderMove::AlreadyHere);
        }
        let leads = |m: &&MemberStatus| m.state.as_ref().is_ok_and(MemberState::leads);
        let leader = all.iter().find(leads).map(|m| m.endpoint.as_str());
        let Some(leader) = self.inner.members.iter().find(|m| Some(m.endpoint()) == leader) else {
            return Ok(LeaderMove::NotNow);
        };
        match timeout(self.inner.timeouts.call, hand_over(leader, mine.id)).await {
            Ok(Ok(())) => {
                LeaderMoved { endpoint: own }.emit(&self.inner.metrics);
                Ok(LeaderMove::Moved)
            }
            Ok(Err(error)) => Err(failed(leader.endpoint(), describe(&error))),
            Err(_) => Err(failed(leader.endpoint(), "nothing in time".to_owned())),
        }
    }
}

async fn hand_over(leader: &Member, to: u64) -> Result<(), etcd_client::Error> {
    leader.client().await?.maintenance_client().move_leader(to).await.map(drop)
}

async fn ask(member: &Member, limit: Duration) -> Result<MemberState, String> {
    let work = async { state_of(&member.client().await?).await };
    match timeout(limit, work).await {
        Ok(Ok(state)) => Ok(state),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => {
            member.forget();
            Err(format!("nothing within {limit:?}"))
        }
    }
}

async fn state_of(client: &Client) -> Result<MemberState, etcd_client::Error> {
    let status = client.maintenance_client().status().await?;
    Ok(MemberState {
        id: status.header().map_or(0, etcd_client::ResponseHeader::member_id),
        leader: status.leader(),
        version: status.version().to_owned(),
        db_size: status.db_size(),
        raft_term: status.raft_term(),
        raft_index: status.raft_index(),
        errors: status.errors().to_vec(),
    })
}
