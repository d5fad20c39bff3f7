//! Which routes a view gives, and which sessions it ends.

use std::time::Duration;

use super::*;
use crate::fence::Fence;
use crate::testing::{group, here, snapshot, system, there};

fn routes(view: &View, gate: &Gate, before: &Routes) -> Routes {
    Routes::new(view, &group(), gate, before)
}

fn open() -> Arc<Fence> {
    let fence = Fence::new();
    fence.allow_until(&group(), clock::now() + Duration::from_secs(3_600));
    fence
}

fn view(epoch: u64, writer: Option<RegionName>, readers: &[RegionName]) -> Arc<View> {
    View::new(Arc::new(system()), here(), Arc::new(snapshot(epoch, writer, readers)))
}

#[test]
fn the_local_writer_is_reached_directly_and_only_through_an_open_fence() {
    let view = view(1, Some(here()), &[here()]);
    let fence = open();
    let now = routes(&view, &fence.gate(&group()), &Routes::none());
    let target = now.write.clone().unwrap();
    assert!(target.local && !target.hop && now.fenced_here);
    assert_eq!(target.address.port(), 5432);
    fence.close(&group(), "the lease is gone");
    let later = routes(&view, &fence.gate(&group()), &now);
    assert_eq!(later.write, Err("the lease is gone".to_owned()));
    assert!(later.read.is_empty(), "reads could be made writes");
    let Stance::Leaves(why) = later.stance(Port::Write, &target) else { panic!("it stays") };
    assert!(why.contains("epoch 1") && why.contains("the lease is gone"), "{why}");
}

#[test]
fn a_session_stays_with_its_writer_under_a_higher_epoch_while_the_fence_lets_it() {
    let fence = open();
    let gate = fence.gate(&group());
    let now = routes(&view(1, Some(here()), &[]), &gate, &Routes::none());
    let target = now.write.clone().unwrap();
    let claimed = routes(&view(2, None, &[]), &gate, &now);
    assert_eq!(claimed.stance(Port::Write, &target), Stance::Stays(Epoch(1)), "only unknown");
    let raised = routes(&view(2, Some(here()), &[]), &gate, &claimed);
    assert_eq!(raised.stance(Port::Write, &target), Stance::Stays(Epoch(2)));
    fence.close(&group(), "closed");
    for (epoch, writer) in [(2, None), (2, Some(here()))] {
        let shut = routes(&view(epoch, writer, &[]), &gate, &claimed);
        assert!(matches!(shut.stance(Port::Write, &target), Stance::Leaves(_)), "{shut:?}");
    }
}

#[test]
fn a_remote_writer_is_reached_through_its_gateway() {
    let now = routes(&view(3, Some(there()), &[]), &Fence::new().gate(&group()), &Routes::none());
    let target = now.write.clone().unwrap();
    assert!(target.hop && !target.local && !now.fenced_here);
    assert_eq!(target.address.port(), 6432);
    assert_eq!(now.targets(Port::Write, false).len(), 1);
    assert_eq!(now.targets(Port::Write, true), [], "what another gateway sent stays in this region");
    assert!(now.why_nowhere(Port::Write).contains("not in this region"));
}

#[test]
fn a_remote_session_stays_until_another_region_writes() {
    let gate = Fence::new().gate(&group());
    let now = routes(&view(3, Some(there()), &[]), &gate, &Routes::none());
    let target = now.write.clone().unwrap();
    let stance = |epoch, writer| routes(&view(epoch, writer, &[]), &gate, &now).stance(Port::Write, &target);
    let stays = |epoch| Stance::Stays(Epoch(epoch));
    assert_eq!(stance(3, Some(there())), stays(3));
    assert_eq!(stance(3, None), stays(3), "only unknown");
    assert_eq!(stance(4, None), stays(3), "claimed, perhaps by the same");
    assert_eq!(stance(4, Some(there())), stays(4), "raised");
    let moved = Stance::Leaves("epoch 3 has ended; `us-east-1` writes in epoch 4".to_owned());
    let open = open().gate(&group());
    let here = routes(&view(4, Some(here()), &[]), &open, &now);
    assert_eq!(here.stance(Port::Write, &target), moved);
}

#[test]
fn the_fence_stays_in_front_of_a_writer_that_was_last_known() {
    let gate = Fence::new().gate(&group());
    let writer = routes(&view(1, Some(here()), &[]), &gate, &Routes::none());
    let nobody = routes(&view(1, None, &[]), &gate, &writer);
    assert!(nobody.fenced_here, "its PostgreSQL may still run");
    assert!(!routes(&view(2, Some(there()), &[]), &gate, &nobody).fenced_here);
}

#[test]
fn a_reader_stays_while_it_is_listed() {
    let gate = Fence::new().gate(&group());
    let now = routes(&view(1, Some(there()), &[here(), there()]), &gate, &Routes::none());
    let regions: Vec<_> = now.read.iter().map(|t| t.region.clone()).collect();
    assert_eq!(regions, [here(), there()], "the nearest first");
    let local = now.read.first().cloned().unwrap();
    assert_eq!(now.stance(Port::Read, &local), Stance::Stays(Epoch(1)));
    let later = routes(&view(1, Some(there()), &[there()]), &gate, &now);
    assert!(matches!(later.stance(Port::Read, &local), Stance::Leaves(_)));
}

#[test]
fn each_further_database_is_two_ports_higher() {
    let first: SocketAddr = "127.0.0.1:6432".parse().unwrap();
    assert_eq!(nth(first, 0).port(), 6432);
    assert_eq!(nth(first, 2).port(), 6436);
    assert_eq!(nth("127.0.0.1:0".parse().unwrap(), 2).port(), 0, "any free port");
}

#[test]
fn the_same_again_is_no_news() {
    let fence = open();
    let (routes_out, mut routes) = watch::channel(Arc::new(Routes::none()));
    publish(&group(), &view(1, Some(here()), &[]), &fence.gate(&group()), &routes_out);
    assert!(routes.borrow_and_update().write.is_ok());
    publish(&group(), &view(1, Some(here()), &[]), &fence.gate(&group()), &routes_out);
    assert!(!routes.has_changed().unwrap());
}

/// Each session that had moved called on the new writer once more, and kept that connection for the rest of the hold.
#[test]
fn nobody_calls_on_a_successor_that_writes() {
    let fence = Fence::new();
    let hold = meridian_model::group::HoldId { epoch: Epoch(1), attempt: 1 };
    let (routes_out, routes) = watch::channel(Arc::new(Routes::none()));
    let next = |epoch, writer| {
        publish(&group(), &view(epoch, writer, &[]), &fence.gate(&group()), &routes_out);
        routes.borrow().next.as_ref().map(|target| target.region.clone())
    };
    assert_eq!(next(1, Some(here())), None);
    assert!(fence.hold(&group(), hold, clock::now() + Duration::from_secs(3_600), "it is moved"));
    fence.expect(&group(), hold, there());
    assert_eq!(next(1, Some(here())), Some(there()));
    assert_eq!(next(2, None), Some(there()), "it has claimed, and does not write yet");
    assert_eq!(next(2, Some(there())), None);
    assert_eq!(next(2, None), None, "it was lost, and it is not the next");
    fence.expect(&group(), hold, there());
    assert_eq!(next(3, Some(here())), None, "the name came late");
    assert!(fence.gate(&group()).hold().holds(Epoch(1)), "what was held goes on waiting");
    let again = meridian_model::group::HoldId { epoch: Epoch(3), attempt: 1 };
    assert!(fence.hold(&group(), again, clock::now() + Duration::from_secs(3_600), "it is moved"));
    fence.expect(&group(), again, there());
    assert_eq!(next(3, Some(here())), Some(there()), "the next move");
}

#[tokio::test]
async fn the_keeper_tells_of_holds_and_of_their_end() {
    let (_views_in, views) = watch::channel(view(1, Some(here()), &[]));
    let fence = open();
    let (routes_out, mut routes) = watch::channel(Arc::new(Routes::none()));
    let keeper = tokio::spawn(keep(group(), views, fence.gate(&group()), routes_out));
    let before = routes.wait_for(|r| r.write.is_ok()).await.unwrap().orders;
    let hold = meridian_model::group::HoldId { epoch: Epoch(1), attempt: 1 };
    fence.hold(&group(), hold, clock::now() + Duration::from_millis(200), "it is moved");
    let held = routes.wait_for(|r| r.orders != before).await.unwrap().orders;
    let ended = routes.wait_for(|r| r.orders != held).await.unwrap().orders;
    assert!(!fence.gate(&group()).hold().holds(Epoch(1)), "by itself");
    fence.cut(&group());
    assert!(routes.wait_for(|r| r.orders.cuts > ended.cuts).await.is_ok());
    drop(routes);
    keeper.await.unwrap();
}

#[tokio::test]
async fn the_keeper_follows_views_and_fence_and_goes_on_without_views() {
    let (views_in, views) = watch::channel(view(1, Some(here()), &[]));
    let fence = open();
    let (routes_out, mut routes) = watch::channel(Arc::new(Routes::none()));
    let keeper = tokio::spawn(keep(group(), views, fence.gate(&group()), routes_out));
    assert!(routes.wait_for(|r| r.write.is_ok()).await.is_ok());
    fence.close(&group(), "closed");
    assert!(routes.wait_for(|r| r.write.is_err()).await.is_ok());
    views_in.send_replace(view(2, Some(here()), &[]));
    assert!(routes.wait_for(|r| r.epoch == Epoch(2)).await.is_ok());
    drop(views_in);
    fence.allow_until(&group(), clock::now() + Duration::from_millis(300));
    assert!(routes.wait_for(|r| r.write.is_ok()).await.is_ok(), "the fence still counts");
    assert!(routes.wait_for(|r| r.write.is_err()).await.is_ok(), "and shuts by itself");
    drop(routes);
    keeper.await.unwrap();
}
