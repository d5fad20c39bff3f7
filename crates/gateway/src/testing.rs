//! A small spec and its snapshots, for the unit tests of this crate.

use meridian_model::snapshot::{GroupState, ReaderState};
use meridian_model::{Epoch, GroupName, RegionName, Snapshot, System};

pub(crate) fn group() -> GroupName {
    GroupName::new("orders").unwrap()
}

pub(crate) fn here() -> RegionName {
    RegionName::new("us-east-1").unwrap()
}

pub(crate) fn there() -> RegionName {
    RegionName::new("eu-central-1").unwrap()
}

pub(crate) fn system() -> System {
    let address = |port| format!("127.0.0.1:{port}").parse().unwrap();
    let region = |name: RegionName, gateway| shared::Place {
        name,
        database: address(5432),
        gateway_write: address(gateway),
        gateway_read: address(gateway + 1),
    };
    shared::system(
        &[region(here(), 6432), region(there(), 6432)],
        meridian_model::database::GatewayLimits::default(),
    )
}

pub(crate) fn snapshot(epoch: u64, writer: Option<RegionName>, readers: &[RegionName]) -> Snapshot {
    let mut snapshot = Snapshot::unknown(here(), [here(), there()]);
    snapshot.groups = vec![GroupState {
        group: group(),
        epoch: Epoch(epoch),
        writer,
        reason: "nobody has claimed it".to_owned(),
        readers: readers.iter().map(|r| ReaderState { region: r.clone(), lag_s: 0 }).collect(),
    }];
    snapshot
}

/// The same file serves the integration tests.
#[path = "../tests/it/system.rs"]
mod shared;
