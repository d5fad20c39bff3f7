//! Where requests, writes and reads go from a region, and in which order.

use std::sync::Arc;

use meridian_model::order::Word;
use meridian_model::traffic::{Turn, TurnedDial};
use meridian_model::{Snapshot, System, Timestamp};

use super::*;
use crate::fixture::{self, AP, EU, US};

fn view_from(here: &str, system: System, snapshot: Snapshot) -> Arc<View> {
    View::new(Arc::new(system), fixture::name(here), Arc::new(snapshot))
}

fn backends(here: &str, change: impl FnOnce(&mut System, &mut Snapshot)) -> Vec<String> {
    let mut system = fixture::system();
    let mut snapshot = fixture::snapshot(&system, &[]);
    change(&mut system, &mut snapshot);
    let view = view_from(here, system, snapshot);
    let show = |c: &BackendChoice| match &c.via {
        Via::Local(endpoints) => format!("{} {} local {}", c.region, c.rank, endpoints.len()),
        Via::Edge(edge) => format!("{} {} edge {edge}", c.region, c.rank),
    };
    view.backends(&view.system.services[0]).iter().map(show).collect()
}

#[test]
fn the_own_region_first_then_the_edges_of_others_by_distance() {
    assert_eq!(
        backends(EU, |_, _| ()),
        [
            "eu-central-1 serving local 2",
            "us-east-1 serving edge 127.250.1.1:8080",
            "ap-southeast-1 serving edge 127.250.3.1:8080",
        ]
    );
}

#[test]
fn a_sick_own_application_gives_way_to_a_healthy_one_elsewhere() {
    let list = backends(EU, |_, s| fixture::set_part(s, EU, Part::App, Health::Down));
    assert_eq!(list[0], "us-east-1 serving edge 127.250.1.1:8080");
    assert_eq!(list[2], "eu-central-1 down local 2", "kept as the last resort");
}

#[test]
fn another_region_needs_its_edge_and_its_application() {
    let list = backends(EU, |_, s| {
        fixture::set_part(s, US, Part::Edge, Health::Down);
        fixture::set_part(s, AP, Part::App, Health::Unknown);
    });
    assert_eq!(list[1], "ap-southeast-1 unknown edge 127.250.3.1:8080");
    assert_eq!(list[2], "us-east-1 down edge 127.250.1.1:8080");
}

#[test]
fn everything_unknown_at_the_start_serves_at_home() {
    let list = backends(AP, |system, s| {
        *s = Snapshot::unknown(fixture::name(AP), system.region_names().cloned().collect::<Vec<_>>());
    });
    assert_eq!(list[0], "ap-southeast-1 unknown local 2");
}

#[test]
fn drained_is_last_before_down_and_forbidden_is_nowhere() {
    let list = backends(EU, |system, _| {
        system.topology.regions[0].dial = Dial::Forbid;
        system.topology.regions[1].dial = Dial::Drain;
    });
    assert_eq!(list, ["ap-southeast-1 serving edge 127.250.3.1:8080", "eu-central-1 drained local 2"]);
}

#[test]
fn a_region_that_was_drained_passes_requests_on_to_the_others() {
    let list = backends(EU, |_, s| {
        let word = Word { by: "ana".to_owned(), at: Timestamp(0), reason: String::new() };
        s.dials = vec![TurnedDial { region: fixture::name(EU), turn: Turn::Drain, run: None, word }];
    });
    assert_eq!(list[0], "us-east-1 serving edge 127.250.1.1:8080");
    assert_eq!(list[2], "eu-central-1 drained local 2", "kept for an emergency");
}

fn writer(here: &str, change: impl FnOnce(&mut Snapshot)) -> WriterChoice {
    let system = fixture::system();
    let mut snapshot = fixture::snapshot(&system, &[]);
    change(&mut snapshot);
    view_from(here, system, snapshot).writer(&fixture::name("shop"))
}

#[test]
fn the_writer_is_local_remote_or_nobody() {
    assert!(matches!(writer(US, |_| ()), WriterChoice::Local { epoch: Epoch(3), .. }));
    let WriterChoice::Remote { region, gateway, epoch, .. } = writer(EU, |_| ()) else { panic!("remote") };
    assert_eq!((region.as_str(), gateway.port(), epoch), (US, 6432, Epoch(3)));
    let nobody = writer(US, |s| {
        s.groups[0].writer = None;
        s.groups[0].reason = "fenced: epoch 4 is being claimed".to_owned();
    });
    let reason = "fenced: epoch 4 is being claimed".to_owned();
    assert_eq!(nobody, WriterChoice::Nobody { epoch: Epoch(3), reason });
    assert!(matches!(writer(US, |s| s.groups.clear()), WriterChoice::Nobody { epoch: Epoch::NONE, .. }));
}

#[test]
fn a_writer_that_looks_unwell_is_still_the_writer() {
    let sick = writer(EU, |s| s.regions[0].health = Health::Down);
    assert!(matches!(sick, WriterChoice::Remote { .. }));
}

#[test]
fn readers_from_near_to_far_the_unwell_last() {
    let regions = |here, change: fn(&mut Snapshot)| {
        let system = fixture::system();
        let mut snapshot = fixture::snapshot(&system, &[]);
        change(&mut snapshot);
        let readers = view_from(here, system, snapshot).readers(&fixture::name("shop"));
        readers.iter().map(|r| r.region.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(regions(EU, |_| ()), [EU, US, AP]);
    assert_eq!(regions(AP, |s| fixture::set_part(s, AP, Part::Database, Health::Down)), [EU, US, AP]);
    assert_eq!(regions(EU, |s| s.regions[0].health = Health::Down), [EU, AP, US]);
    assert_eq!(regions(EU, |s| s.groups[0].readers.truncate(1)), [US]);
    assert_eq!(regions(EU, |s| s.groups.clear()), Vec::<String>::new());
}
