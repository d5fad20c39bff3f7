//! Who decides how many instances run: the role of the region, or a step of its reign.

use std::sync::atomic::{AtomicU32, Ordering};

use meridian_actuators::{ActuatorError, BoxFuture};
use meridian_model::Timestamp;
use meridian_model::run::RunKind;
use meridian_model::snapshot::GroupState;

use super::*;
use crate::testing::{here, name, system};

/// Runs what it is told, at once.
#[derive(Default)]
struct Twin(AtomicU32);

impl ComputeActuator for Twin {
    fn scale(&self, instances: u32) -> BoxFuture<'_, Result<(), ActuatorError>> {
        self.0.store(instances, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn running(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

fn compute() -> Compute {
    let service = |text, primary| Instances {
        service: name(text),
        actuator: Arc::new(Twin::default()),
        standby: 1,
        primary,
    };
    Compute::new(here(), vec![service("shop", 2), service("mail", 3)])
}

fn run(epoch: u64) -> Run {
    Run::begin(name("orders-run"), name("orders"), RunKind::Failover, Epoch(epoch), here(), Timestamp(0))
}

fn view(epoch: u64, writer: Option<&str>) -> Arc<View> {
    let system = Arc::new(system());
    let mut snapshot = Snapshot::unknown(here(), system.region_names().cloned());
    snapshot.groups = vec![GroupState {
        group: name("orders"),
        epoch: Epoch(epoch),
        writer: writer.map(name),
        reason: String::new(),
        readers: Vec::new(),
    }];
    View::new(system, here(), Arc::new(snapshot))
}

fn running(compute: &Compute) -> [u32; 2] {
    [0, 1].map(|n| compute.services[n].actuator.running())
}

/// What runs once this is the view.
async fn seen(compute: &Arc<Compute>, view: Arc<View>) -> [u32; 2] {
    let (views, watched) = watch::channel(view);
    drop(views);
    Arc::clone(compute).follow(watched, vec![name("orders")]).await;
    running(compute)
}

#[tokio::test]
async fn a_step_scales_one_service_or_all_to_its_number_or_to_the_writers() {
    let compute = compute();
    assert_eq!(compute.scale(&run(7), Some(&name("shop")), None).await.unwrap(), "shop: 2 of 2 running");
    assert_eq!(running(&compute), [2, 0]);
    assert_eq!(compute.scale(&run(7), Some(&name("mail")), Some(5)).await.unwrap(), "mail: 5 of 5 running");
    assert_eq!(running(&compute), [2, 5]);
    compute.scale(&run(7), None, None).await.unwrap();
    assert_eq!(running(&compute), [2, 3]);
    let said = compute.scale(&run(7), Some(&name("search")), Some(1)).await.unwrap();
    assert_eq!(said, "this region runs no instances of search of its own");
    assert_eq!(running(&compute), [2, 3]);
}

#[tokio::test]
async fn the_number_of_a_step_holds_for_its_reign() {
    let compute = Arc::new(compute());
    assert_eq!(seen(&compute, view(6, Some("eu-central-1"))).await, [1, 1]);
    compute.scale(&run(7), Some(&name("shop")), Some(4)).await.unwrap();
    assert_eq!(seen(&compute, view(6, Some("eu-central-1"))).await, [4, 1], "not yet known everywhere");
    assert_eq!(seen(&compute, view(7, Some(here().as_str()))).await, [4, 3], "our reign");
    assert_eq!(seen(&compute, view(7, None)).await, [4, 3], "no writer for a while");
    assert_eq!(seen(&compute, view(8, Some("eu-central-1"))).await, [1, 1], "the writer has moved on");
    assert_eq!(seen(&compute, view(9, Some(here().as_str()))).await, [2, 3], "another reign of ours");
}
