//! What only a real cluster can show: lost, frozen and cut-off members.

use std::time::Duration;

use meridian_coordination::etcd::LeaderMove;
use meridian_coordination::store::WATCH_QUEUE;
use meridian_coordination::{Change, Commit, Compare, Etcd, Store as _, Timeouts};
use meridian_telemetry::{Metrics, clock};
use tokio::sync::mpsc::Receiver;

use super::cluster::{Cluster, client, eventually};
use super::proxy::{Mode, Proxy};
use super::suite::{done, next, put, reset, when};

/// A deadline and what a busy machine adds.
fn in_time() -> Duration {
    Timeouts::default().call + Duration::from_millis(500)
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let started = clock::now();
    let answer = work.await;
    (answer, clock::now().since(started))
}

/// The next put; news of the watch itself on the way is fine, beginning anew is not.
async fn next_put(changes: &mut Receiver<Change>) -> String {
    loop {
        match next(changes).await {
            Change::Put(entry) => return entry.key,
            Change::Stale { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn alive(changes: &mut Receiver<Change>) {
    let wait = async { while !matches!(changes.recv().await.unwrap(), Change::Alive { .. }) {} };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

/// Commits until one is done; the first may fail while there is no leader.
async fn put_eventually(etcd: &Etcd, key: &str) {
    let attempt = async || match etcd.commit(put(key, "")).await {
        Ok(Commit::Done { revision }) => Some(revision),
        _ => None,
    };
    eventually(key, attempt).await;
}

/// Calls the leadership to member `n`.
async fn lead(cluster: &Cluster, etcd: &Etcd, n: usize) {
    let call = async || match etcd.move_leader_here(&cluster.endpoint(n)).await {
        Ok(LeaderMove::AlreadyHere) => Some(()),
        _ => None,
    };
    eventually("it leads", call).await;
    assert_eq!(cluster.leader().await, n);
}

#[tokio::test]
async fn a_killed_member_costs_nothing_and_is_preferred_again_when_it_is_back() {
    let mut cluster = Cluster::start(3).await;
    let etcd = cluster.client();
    // Member 1 leads, so that killing member 0 needs no election.
    lead(&cluster, &etcd, 1).await;
    let mut changes = etcd.watch("/");
    reset(&mut changes).await;
    alive(&mut changes).await;
    cluster.kill(0);
    let (answer, took) = timed(etcd.list("/")).await;
    answer.unwrap();
    assert!(took < Timeouts::default().call, "{took:?}");
    assert_eq!(etcd.preferred(), cluster.endpoint(1));
    put_eventually(&etcd, "/a").await;
    assert_eq!(next_put(&mut changes).await, "/a");

    cluster.start_member(0);
    let home = cluster.endpoint(0);
    eventually("the own member is preferred", async || (etcd.preferred() == home).then_some(())).await;
    put_eventually(&etcd, "/b").await;
    assert_eq!(next_put(&mut changes).await, "/b");
}

#[tokio::test]
async fn no_change_is_missed_or_told_twice_when_the_leader_is_killed() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let mut endpoints = cluster.endpoints();
    endpoints.rotate_left(leader);
    let etcd = client(&endpoints);
    let mut changes = etcd.watch("/n/");
    reset(&mut changes).await;
    for n in 0..20 {
        if n == 5 {
            cluster.kill(leader);
        }
        put_eventually(&etcd, &format!("/n/{n:02}")).await;
    }
    // A put whose answer was lost is put again: the same key may come twice, but never late.
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "/n/19") {
        seen.push(next_put(&mut changes).await);
    }
    assert!(seen.is_sorted(), "{seen:?}");
    seen.dedup();
    assert_eq!(seen.len(), 20, "{seen:?}");
}

#[tokio::test]
async fn a_frozen_member_costs_the_first_call_the_hedge_and_later_ones_nothing() {
    let cluster = Cluster::start(3).await;
    let etcd = cluster.client();
    lead(&cluster, &etcd, 1).await;
    let mut changes = etcd.watch("/");
    reset(&mut changes).await;
    alive(&mut changes).await;
    cluster.freeze(0);
    let (answer, took) = timed(etcd.list("/")).await;
    answer.unwrap();
    assert!(took >= Timeouts::default().hedge && took < Timeouts::default().call, "{took:?}");
    let (answer, took) = timed(etcd.commit(put("/a", ""))).await;
    answer.unwrap();
    assert!(took < Timeouts::default().hedge, "{took:?}");
    assert_eq!(next_put(&mut changes).await, "/a");

    cluster.thaw(0);
    let home = cluster.endpoint(0);
    eventually("the own member is preferred", async || (etcd.preferred() == home).then_some(())).await;
}

#[tokio::test]
async fn without_a_majority_calls_end_by_their_deadline_and_the_watch_says_so() {
    let cluster = Cluster::start(3).await;
    let etcd = cluster.client();
    let mut changes = etcd.watch("/");
    reset(&mut changes).await;
    alive(&mut changes).await;
    for n in 0..3 {
        cluster.freeze(n);
    }
    let (answer, took) = timed(etcd.commit(put("/late", "1"))).await;
    let error = answer.unwrap_err().to_string();
    assert!(took < in_time(), "{took:?}");
    assert!(error.contains("unknown") && error.contains("/late"), "{error}");
    for n in 0..3 {
        assert!(error.contains(&cluster.endpoint(n)), "{error}");
    }
    assert!(matches!(next(&mut changes).await, Change::Stale { .. }));
    for n in 0..3 {
        cluster.thaw(n);
    }
    put_eventually(&etcd, "/a").await;
    while next_put(&mut changes).await != "/a" {}
    alive(&mut changes).await;
}

#[tokio::test]
async fn a_lost_compare_is_not_believed_when_an_earlier_attempt_may_have_won() {
    let cluster = Cluster::start(3).await;
    let proxy = Proxy::to(&cluster.endpoint(0)).await;
    let etcd = client(&[proxy.endpoint(), cluster.endpoint(1)]);
    etcd.list("/").await.unwrap();
    proxy.set(Mode::SwallowAnswers);
    // Member 0 applies it and its answer is lost; member 1 is asked too, and sees the key there.
    let claim = || when(Compare::Absent("/record".to_owned()), put("/record", "mine"));
    let error = etcd.commit(claim()).await.unwrap_err().to_string();
    assert!(error.contains("may have applied"), "{error}");
    assert_eq!(etcd.list("/record").await.unwrap().items.len(), 1, "it was applied");
    // Asked alone, the answer is certain.
    assert_eq!(etcd.commit(claim()).await.unwrap(), Commit::Lost);
}

#[tokio::test]
async fn a_partition_that_swallows_is_left_at_once_and_forgotten_when_healed() {
    let cluster = Cluster::start(1).await;
    let proxy = Proxy::to(&cluster.endpoint(0)).await;
    let etcd = client(&[proxy.endpoint()]);
    let mut changes = etcd.watch("/");
    reset(&mut changes).await;
    alive(&mut changes).await;
    proxy.set(Mode::Swallow);
    let (answer, took) = timed(etcd.list("/")).await;
    answer.unwrap_err();
    assert!(took < in_time(), "{took:?}");
    assert!(matches!(next(&mut changes).await, Change::Stale { .. }));
    done(&cluster.client(), put("/a", "")).await;
    // The old connections stay dead, as TCP's would: only new ones can work.
    proxy.set(Mode::Forward);
    let (answer, took) = timed(etcd.list("/")).await;
    assert_eq!(answer.unwrap().items.len(), 1);
    assert!(took < Timeouts::default().hedge, "{took:?}");
    assert_eq!(next_put(&mut changes).await, "/a");
    alive(&mut changes).await;
}

#[tokio::test]
async fn a_watch_that_missed_compacted_history_begins_anew() {
    let cluster = Cluster::start(1).await;
    let (proxy, direct) = (Proxy::to(&cluster.endpoint(0)).await, cluster.client());
    let etcd = client(&[proxy.endpoint()]);
    let mut changes = etcd.watch("/k/");
    reset(&mut changes).await;
    alive(&mut changes).await;
    proxy.set(Mode::Cut);
    assert!(matches!(next(&mut changes).await, Change::Stale { .. }));
    done(&direct, put("/k/a", "1")).await;
    let revision = done(&direct, put("/k/a", "2")).await;
    let mut raw = etcd_client::Client::connect([cluster.endpoint(0)], None).await.unwrap();
    raw.compact(revision, None).await.unwrap();
    proxy.set(Mode::Forward);
    let listing = reset(&mut changes).await;
    assert_eq!((listing.items[0].value.as_slice(), listing.items[0].revision), (&b"2"[..], revision));
}

#[tokio::test]
async fn an_etcd_that_was_set_up_anew_is_noticed() {
    let (old, new) = (Cluster::start(1).await, Cluster::start(1).await);
    let proxy = Proxy::to(&old.endpoint(0)).await;
    for _ in 0..20 {
        done(&old.client(), put("/e/old", "")).await;
    }
    let etcd = client(&[proxy.endpoint()]);
    let mut changes = etcd.watch("/e/");
    assert_eq!(reset(&mut changes).await.items[0].key, "/e/old");
    alive(&mut changes).await;
    done(&new.client(), put("/e/new", "")).await;
    proxy.set(Mode::Cut);
    assert!(matches!(next(&mut changes).await, Change::Stale { .. }));
    proxy.lead_to(&new.endpoint(0));
    proxy.set(Mode::Forward);
    assert_eq!(reset(&mut changes).await.items[0].key, "/e/new");
}

/// A proof that was asked for before changes came, and answered after, is older than they are: that is
/// no sign of an etcd set up anew. (Found by the tests above on a busy machine.)
#[tokio::test]
async fn a_busy_watch_never_begins_anew() {
    let cluster = Cluster::start(1).await;
    let proxy = Proxy::to(&cluster.endpoint(0)).await;
    let fast = Timeouts { check_every: Duration::from_millis(1), ..Timeouts::default() };
    let etcd = Etcd::connect(&[proxy.endpoint()], fast, Metrics::new(None)).unwrap();
    let mut changes = etcd.watch("/b/");
    reset(&mut changes).await;
    let writer = cluster.client();
    for n in 0..300 {
        done(&writer, put("/b/a", &n.to_string())).await;
        assert_eq!(next_put(&mut changes).await, "/b/a");
    }
}

#[tokio::test]
async fn a_slow_receiver_hears_everything_in_order() {
    let cluster = Cluster::start(1).await;
    let etcd = cluster.client();
    let mut changes = etcd.watch("/s/");
    reset(&mut changes).await;
    let total = WATCH_QUEUE * 3;
    for n in 0..total {
        done(&etcd, put(&format!("/s/{n:04}"), "")).await;
    }
    for n in 0..total {
        assert_eq!(next_put(&mut changes).await, format!("/s/{n:04}"));
    }
}

#[tokio::test]
async fn members_tell_how_they_are_and_leadership_comes_when_called() {
    let mut cluster = Cluster::start(3).await;
    let etcd = cluster.client();
    let status = etcd.status().await;
    assert!(status.iter().all(|m| m.state.is_ok()), "{status:?}");
    for n in [0, 1, 2, 0] {
        lead(&cluster, &etcd, n).await;
    }
    assert_eq!(etcd.move_leader_here(&cluster.endpoint(0)).await.unwrap(), LeaderMove::AlreadyHere);
    let error = etcd.move_leader_here("http://127.0.0.1:1").await.unwrap_err().to_string();
    assert!(error.contains("not among the endpoints"), "{error}");
    cluster.kill(2);
    let refused = async || {
        let status = etcd.status().await;
        let dead = status[2].state.as_ref().is_err_and(|problem| problem.contains("refused"));
        dead.then_some(status)
    };
    let status = eventually("the dead one refuses", refused).await;
    assert!(status[0].state.as_ref().unwrap().version.starts_with("3."), "{status:?}");
}

#[tokio::test]
async fn nobody_there_is_told_at_once_with_the_way_out() {
    let etcd = client(&["http://127.0.0.1:1".to_owned(), "http://127.0.0.2:1".to_owned()]);
    let (answer, took) = timed(etcd.list("/")).await;
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("refused") && error.contains("start it"), "{error}");
    assert!(took < Timeouts::default().hedge, "{took:?}");
    let mut changes = etcd.watch("/");
    assert!(matches!(next(&mut changes).await, Change::Stale { reason } if reason.contains("refused")));
}

#[tokio::test]
async fn something_else_than_etcd_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let other = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 200 OK\r\n\r\n").await;
        }
    });
    let etcd = client(&[format!("http://{address}")]);
    let (answer, took) = timed(etcd.list("/")).await;
    let error = answer.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
    assert!(took < in_time(), "{took:?}");
    other.abort();
}

#[test]
fn endpoints_that_cannot_work_are_refused() {
    let connect = |endpoints: &[&str]| {
        let endpoints: Vec<_> = endpoints.iter().map(|e| (*e).to_owned()).collect();
        Etcd::connect(&endpoints, Timeouts::default(), Metrics::new(None)).err().map(|e| e.to_string())
    };
    assert!(connect(&[]).unwrap().contains("own region's first"));
    for bad in ["", "localhost:2379", "https://a:2379", "http://", "http://a", "http://a b:1"] {
        let text = connect(&["http://127.0.0.1:2379", bad]).unwrap();
        assert!(text.contains("http://127.0.0.1:2379") && text.contains(bad), "{text}");
    }
    assert_eq!(connect(&["http://127.0.0.1:2379"]), None);
}
