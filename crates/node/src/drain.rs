//! The end of a node, in order: first traffic, then what decides and the databases, then what is left.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How long the data planes may take to drain when the node ends: a little more than each allows its own
/// requests and sessions (10 s).
const PLANES_WITHIN: Duration = Duration::from_secs(12);
/// How long the groups may take after that to stop their databases.
const GROUPS_WITHIN: Duration = Duration::from_secs(10);
/// How long the last snapshot may take to be written.
const KEPT_WITHIN: Duration = Duration::from_secs(2);

/// What ends in order when the node does.
pub(crate) struct Running {
    pub(crate) planes: JoinSet<()>,
    pub(crate) groups: JoinSet<()>,
    pub(crate) others: JoinSet<()>,
    /// Ends after the publisher, which is one of the others.
    pub(crate) keeper: JoinHandle<()>,
    /// Ends all but the planes.
    pub(crate) last: watch::Sender<bool>,
}

impl Running {
    /// Ends everything; the planes have been told to end already.
    pub(crate) async fn drain(mut self) {
        in_time("the data planes", PLANES_WITHIN, joined(&mut self.planes)).await;
        self.last.send_replace(true);
        in_time("the data groups", GROUPS_WITHIN, joined(&mut self.groups)).await;
        let kept = async {
            self.others.shutdown().await;
            // It ends badly only when it was interrupted, and then there is nothing left to do.
            let _ = self.keeper.await;
        };
        in_time("the last snapshot", KEPT_WITHIN, kept).await;
    }
}

async fn joined(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

async fn in_time(what: &str, within: Duration, end: impl Future<Output = ()>) {
    if tokio::time::timeout(within, end).await.is_err() {
        tracing::warn!(?within, "{what} had not ended in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_groups_are_told_to_end_when_the_planes_have() {
        let (mut planes, mut groups) = (JoinSet::new(), JoinSet::new());
        let (last, mut told) = watch::channel(false);
        let (tell_plane, plane_ends) = tokio::sync::oneshot::channel::<()>();
        planes.spawn(async { drop(plane_ends.await) });
        groups.spawn({
            let mut told = told.clone();
            async move { crate::stopped(&mut told).await }
        });
        let keeper = tokio::spawn(async {});
        let running = Running { planes, groups, others: JoinSet::new(), keeper, last };
        let mut drained = std::pin::pin!(running.drain());
        // As often as nothing else is left to do: it waits for the plane, and for it alone.
        for _ in 0..100 {
            tokio::select! {
                biased;
                () = &mut drained => panic!("the plane has not ended"),
                () = tokio::task::yield_now() => assert!(!*told.borrow_and_update()),
            }
        }
        tell_plane.send(()).unwrap();
        drained.await;
        assert!(*told.borrow());
    }
}
