//! Shorthands.

use std::time::Duration;

use meridian_failover::Config;
use meridian_model::database::Replication;
use meridian_model::name::RegionName;
use meridian_model::{Name, Timers};

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
        timers: Timers::default(),
    }
}
