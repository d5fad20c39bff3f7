//! What every store promises, checked in the same words on each rig.

use std::sync::Arc;
use std::time::Duration;

use meridian_coordination::store::VALUE_MAX;
use meridian_coordination::{Change, Commit, Compare, Listing, Memory, Store, Txn, Versioned};
use tokio::sync::mpsc::Receiver;

use super::cluster::Cluster;

#[tokio::test(start_paused = true)]
async fn memory_keeps_the_promises() {
    all(Arc::new(Memory::new())).await;
}

#[tokio::test]
async fn etcd_keeps_the_promises() {
    let cluster = Cluster::start(1).await;
    all(Arc::new(cluster.client())).await;
}

async fn all(store: Arc<dyn Store>) {
    compares(&*store).await;
    transactions_are_whole(&*store).await;
    prefixes(&*store).await;
    limits(&*store).await;
    watches(&*store).await;
    only_one_wins(&store).await;
}

pub(crate) fn put(key: &str, value: &str) -> Txn {
    Txn { put: vec![(key.to_owned(), value.as_bytes().to_vec())], ..Txn::default() }
}

pub(crate) fn delete(key: &str) -> Txn {
    Txn { delete: vec![key.to_owned()], ..Txn::default() }
}

pub(crate) fn when(compare: Compare, txn: Txn) -> Txn {
    Txn { compare: vec![compare], ..txn }
}

pub(crate) async fn done(store: &dyn Store, txn: Txn) -> i64 {
    match store.commit(txn).await.unwrap() {
        Commit::Done { revision } => revision,
        Commit::Lost => panic!("lost"),
    }
}

async fn lost(store: &dyn Store, txn: Txn) {
    assert_eq!(store.commit(txn).await.unwrap(), Commit::Lost);
}

/// The next message that is not a sign of life.
pub(crate) async fn next(changes: &mut Receiver<Change>) -> Change {
    let wait = async {
        loop {
            match changes.recv().await.expect("the watch goes on") {
                Change::Alive { .. } => {}
                change => return change,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("a change")
}

pub(crate) async fn reset(changes: &mut Receiver<Change>) -> Listing {
    match next(changes).await {
        Change::Reset(listing) => listing,
        other => panic!("{other:?} instead of a reset"),
    }
}

fn entry(key: &str, value: &str, revision: i64) -> Versioned {
    Versioned { key: key.to_owned(), value: value.as_bytes().to_vec(), revision }
}

async fn compares(store: &dyn Store) {
    let key = "/c/a".to_owned();
    let absent = || Compare::Absent(key.clone());
    lost(store, when(Compare::Revision(key.clone(), 1), put("/c/a", "0"))).await;
    lost(store, when(Compare::Value(key.clone(), Vec::new()), put("/c/a", "0"))).await;
    let first = done(store, when(absent(), put("/c/a", "1"))).await;
    lost(store, when(absent(), put("/c/a", "2"))).await;
    assert_eq!(store.list("/c/").await.unwrap().items, vec![entry("/c/a", "1", first)]);

    let second = done(store, when(Compare::Revision(key.clone(), first), put("/c/a", "2"))).await;
    assert!(second > first);
    lost(store, when(Compare::Revision(key.clone(), first), put("/c/a", "3"))).await;
    lost(store, when(Compare::Value(key.clone(), b"1".to_vec()), put("/c/a", "3"))).await;
    let third = done(store, when(Compare::Value(key.clone(), b"2".to_vec()), put("/c/a", "3"))).await;
    done(store, when(Compare::Revision(key.clone(), third), delete("/c/a"))).await;
    done(store, when(absent(), put("/c/a", "4"))).await;
}

async fn transactions_are_whole(store: &dyn Store) {
    let old = done(store, put("/t/old", "x")).await;
    let txn = |compare| Txn {
        compare,
        put: vec![("/t/a".to_owned(), b"1".to_vec()), ("/t/b".to_owned(), b"2".to_vec())],
        delete: vec!["/t/old".to_owned(), "/t/never".to_owned()],
    };
    let (holds, fails) = (Compare::Revision("/t/old".to_owned(), old), Compare::Absent("/t/old".to_owned()));
    lost(store, txn(vec![holds.clone(), fails])).await;
    assert_eq!(store.list("/t/").await.unwrap().items, vec![entry("/t/old", "x", old)]);
    let revision = done(store, txn(vec![holds])).await;
    let listing = store.list("/t/").await.unwrap();
    assert_eq!(listing.items, vec![entry("/t/a", "1", revision), entry("/t/b", "2", revision)]);
    assert!(listing.revision >= revision);
}

async fn prefixes(store: &dyn Store) {
    for key in ["/p/a", "/p/b/c", "/p", "/pp/a", "/o/a", "/q/a"] {
        done(store, put(key, "")).await;
    }
    let keys = |listing: Listing| listing.items.into_iter().map(|e| e.key).collect::<Vec<_>>();
    assert_eq!(keys(store.list("/p/").await.unwrap()), ["/p/a", "/p/b/c"]);
    assert_eq!(keys(store.list("/p/b/c").await.unwrap()), ["/p/b/c"]);
    assert!(store.list("/nothing/").await.unwrap().items.is_empty());
}

async fn limits(store: &dyn Store) {
    let fits = "x".repeat(VALUE_MAX);
    done(store, put("/l/a", &fits)).await;
    let error = store.commit(put("/l/a", &format!("{fits}x"))).await.unwrap_err().to_string();
    assert!(error.contains("/l/a") && error.contains("256 KiB"), "{error}");
    let twice = Txn { delete: vec!["/l/a".to_owned()], ..put("/l/a", "1") };
    let error = store.commit(twice).await.unwrap_err().to_string();
    assert!(error.contains("written twice"), "{error}");
    assert_eq!(store.list("/l/").await.unwrap().items.len(), 1);
}

async fn watches(store: &dyn Store) {
    let before = done(store, put("/w/a", "1")).await;
    let mut changes = store.watch("/w/");
    let listing = reset(&mut changes).await;
    assert_eq!(listing.items, vec![entry("/w/a", "1", before)]);

    done(store, put("/elsewhere", "")).await;
    let second = done(store, put("/w/b", "2")).await;
    let third = done(store, Txn { delete: vec!["/w/a".to_owned()], ..put("/w/c", "3") }).await;
    assert_eq!(next(&mut changes).await, Change::Put(entry("/w/b", "2", second)));
    let both = [next(&mut changes).await, next(&mut changes).await];
    assert!(both.contains(&Change::Put(entry("/w/c", "3", third))), "{both:?}");
    assert!(both.contains(&Change::Delete { key: "/w/a".to_owned(), revision: third }), "{both:?}");

    // Without changes it says that it lives.
    let alive = async {
        while !matches!(changes.recv().await.unwrap(), Change::Alive { revision } if revision >= third) {}
    };
    tokio::time::timeout(Duration::from_secs(10), alive).await.unwrap();
}

/// Eight claimants at once: the compare lets exactly one through.
async fn only_one_wins(store: &Arc<dyn Store>) {
    let claims = (0..8).map(|n| {
        let store = Arc::clone(store);
        let claim = when(Compare::Absent("/r/record".to_owned()), put("/r/record", &n.to_string()));
        tokio::spawn(async move { store.commit(claim).await.unwrap() })
    });
    let claims: Vec<_> = claims.collect();
    let mut won = 0;
    for claim in claims {
        won += usize::from(matches!(claim.await.unwrap(), Commit::Done { .. }));
    }
    assert_eq!(won, 1);
}
