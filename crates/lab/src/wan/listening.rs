//! Which of the real addresses are listened on now, from the head of `/proc/net/tcp`.
//!
//! The emulator listens for a target only while the target itself listens. So the death of one process
//! in a living region is seen by the others as it would be in reality: `connection refused`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::owner::TcpTable;

/// How often the kernel is asked.
const EVERY: Duration = Duration::from_millis(25);

/// The targets that are listened on, as it changes.
pub(super) type Listening = watch::Receiver<Arc<HashSet<SocketAddr>>>;

/// Starts to watch `targets`.
pub(super) fn watch(targets: HashSet<SocketAddr>, tasks: &mut JoinSet<()>) -> Listening {
    let (sender, receiver) = watch::channel(Arc::new(now(&targets)));
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !sender.is_closed() {
            ticks.tick().await;
            let seen = now(&targets);
            sender.send_if_modified(|old| {
                let changed = **old != seen;
                if changed {
                    *old = Arc::new(seen);
                }
                changed
            });
        }
    });
    receiver
}

fn now(targets: &HashSet<SocketAddr>) -> HashSet<SocketAddr> {
    TcpTable::listeners().map(|entry| entry.local).filter(|address| targets.contains(address)).collect()
}
