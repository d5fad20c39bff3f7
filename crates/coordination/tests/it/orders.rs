//! Orders: one at a time, and what became of one stays.

use std::sync::Arc;

use meridian_coordination::asks::{AskError, Asks, Taken};
use meridian_coordination::{Memory, Store, Txn, decode, encode};
use meridian_model::order::{Order, OrderState, Wish, Word};
use meridian_model::run::RunKind;
use meridian_model::{Epoch, Timestamp};

use super::cluster::Cluster;
use super::dials::{claim, keys, name, run};

#[tokio::test(start_paused = true)]
async fn memory_keeps_orders() {
    all(Arc::new(Memory::new())).await;
}

#[tokio::test]
async fn etcd_keeps_orders() {
    let cluster = Cluster::start(1).await;
    all(Arc::new(cluster.client())).await;
}

async fn there(store: &dyn Store) -> Order {
    let key = keys().order(&name("orders"));
    decode(&store.list(&key).await.unwrap().items[0]).unwrap()
}

async fn all(store: Arc<dyn Store>) {
    let asks = Asks::new(Arc::clone(&store), keys());
    claim(&*store, None, &run(RunKind::Start, 1)).await;
    let ask = async |at: i64| {
        let (wish, word) = (Wish::Switchover { to: name("us") }, word(at));
        asks.order(&name("orders"), wish, word, 60_000).await
    };
    let order = ask(0).await.unwrap().order;
    let still =
        "of ana (switchover to us) still stands: it ends when it was carried out or refused, or in 1 s";
    assert!(matches!(ask(59_999).await, Err(AskError::Refused(why)) if why.contains(still)));
    // Whoever carries it out prolongs it.
    let longer = Order { expires_at: Timestamp(200_000), ..order.clone() };
    asks.mark(&longer).await.unwrap();
    assert!(matches!(ask(199_999).await, Err(AskError::Refused(_))));
    // What has ended is not opened again by a word that comes late.
    let ended = Order { state: OrderState::Done { ended_at: Timestamp(8) }, ..longer.clone() };
    asks.mark(&ended).await.unwrap();
    asks.mark(&Order { expires_at: Timestamp(300_000), ..longer }).await.unwrap();
    assert_eq!(there(&*store).await, ended);
    // Of two who end it the first is heard.
    let reason = "void".to_owned();
    asks.mark(&Order { state: OrderState::Refused { ended_at: Timestamp(9), reason }, ..ended.clone() })
        .await
        .unwrap();
    assert_eq!(there(&*store).await, ended);
    // The record is read, and then the reign ends: nobody would look at an order of it any more.
    let next = vec![(keys().epoch(&name("orders")), encode(&Epoch(2)))];
    store.commit(Txn { put: next, ..Txn::default() }).await.unwrap();
    assert!(matches!(ask(9).await, Err(AskError::Raced)));
    assert_eq!(there(&*store).await, ended);
}

#[tokio::test(start_paused = true)]
async fn a_failover_takes_the_place_of_one_that_asks_no_more() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let asks = Asks::new(Arc::clone(&store), keys());
    claim(&*store, None, &run(RunKind::Start, 1)).await;
    let ask = async |at: i64, wish: Wish| asks.order(&name("orders"), wish, word(at), 60_000).await;
    let failover = |accept_data_loss| Wish::Failover { accept_data_loss };
    let first = ask(0, failover(false)).await.unwrap();
    assert_eq!(first.instead_of, None);
    assert!(matches!(ask(0, failover(true)).await, Err(AskError::Raced)), "two orders never share a name");
    let second = ask(1, failover(true)).await.unwrap();
    assert_eq!(
        (second.instead_of.as_ref(), there(&*store).await),
        (Some(&first.order), second.order.clone())
    );
    let told: Taken = serde_json::from_str(&serde_json::to_string(&second).unwrap()).unwrap();
    assert_eq!(told, second, "as a node tells it");
    // What comes late of the order that stood there before says nothing of the new one.
    let reason = "late".to_owned();
    let late = Order { state: OrderState::Refused { ended_at: Timestamp(2), reason }, ..first.order };
    asks.mark(&late).await.unwrap();
    assert_eq!(there(&*store).await, second.order);
    // Whoever acts on a consent never loses it half-way, and a switchover may have been begun.
    let refused = async |at, wish| match ask(at, wish).await {
        Err(AskError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(2, failover(false)).await;
    assert!(why.contains("(failover --accept-data-loss) still stands"), "{why}");
    refused(2, Wish::Switchover { to: name("us") }).await;
    ask(3, failover(true)).await.unwrap();
    let switchover = ask(70_000, Wish::Switchover { to: name("us") }).await.unwrap();
    assert_eq!(switchover.instead_of, None, "the one before had expired");
    refused(70_001, failover(true)).await;
}

fn word(at: i64) -> Word {
    Word { by: "ana".to_owned(), at: Timestamp(at), reason: String::new() }
}
