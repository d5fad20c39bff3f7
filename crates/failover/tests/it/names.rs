//! Shorthands.

use std::time::Duration;

use meridian_failover::{Config, Plan};
use meridian_model::database::{OnRpoBreach, Replication, SwitchoverLimits};
use meridian_model::name::RegionName;
use meridian_model::order::{Order, OrderState, Wish};
use meridian_model::plan::{OnFailure, Task, Work};
use meridian_model::{Epoch, Name, Timers, Timestamp};

pub(crate) fn region(i: usize) -> RegionName {
    Name::new(["alpha", "beta", "gamma", "delta", "epsilon"][i]).unwrap()
}

pub(crate) fn config(me: usize, members: usize, replication: Replication) -> Config {
    Config {
        group: Name::new("shop").unwrap(),
        me: region(me),
        members: (0..members).map(region).collect(),
        initial_primary: region(0),
        replication,
        rpo: Duration::from_secs(5),
        max_read_lag: Duration::from_secs(10),
        candidate_gone: Duration::from_secs(30),
        on_rpo_breach: OnRpoBreach::Warn,
        timers: Timers::default(),
        gateways: (0..members).map(region).collect(),
        switchover: SwitchoverLimits {
            drain: Duration::from_secs(2),
            catch_up: Duration::from_secs(2),
            max_lag: Duration::from_secs(1),
        },
        plan: plan(),
    }
}

/// The plan that is derived where nobody wrote one.
pub(crate) fn plan() -> Plan {
    let scale = Task::Scale { service: None, instances: None };
    let steps: Vec<(&str, Task, &[&str])> = vec![
        ("demote", Task::Demote, &[]),
        ("fence", Task::Fence, &["demote"]),
        ("promote", Task::Promote, &["fence"]),
        ("repoint", Task::Repoint, &["promote"]),
        ("scale", scale, &["promote"]),
        ("shift", Task::Shift { dial: None, drain: false }, &["scale"]),
        ("dns", Task::Dns, &["shift"]),
        ("verify", Task::Verify { checks: Vec::new() }, &["shift", "dns"]),
        ("protect", Task::Protect, &["repoint", "verify"]),
    ];
    let works = |graceful: bool| {
        let kept = steps.iter().filter(|(name, ..)| graceful || *name != "demote");
        let names = |after: &[&str]| {
            after.iter().filter(|n| graceful || **n != "demote").map(|n| Name::new(n).unwrap()).collect()
        };
        let work = |(name, task, after): &(&str, Task, &[&str])| Work {
            name: Name::new(name).unwrap(),
            task: task.clone(),
            after: names(after),
            timeout_ms: 5_000,
            retries: None,
            before: Vec::new(),
            afterwards: Vec::new(),
            on_failure: OnFailure::Pause,
        };
        kept.map(work).collect::<Vec<_>>()
    };
    let (graceful, ungraceful) = (works(true), works(false));
    Plan { name: Name::new("derived").unwrap(), graceful, ungraceful, automatic: true, approval: false }
}

/// What a person orders of a group in that epoch.
pub(crate) fn order(wish: Wish, epoch: Epoch) -> Order {
    Order {
        id: Name::new(&format!("order-{epoch}")).unwrap(),
        group: Name::new("shop").unwrap(),
        wish,
        epoch,
        by: "ada".to_owned(),
        at: Timestamp(0),
        expires_at: Timestamp(i64::MAX),
        state: OrderState::Open,
    }
}
