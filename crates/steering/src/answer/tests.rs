//! The order of regions case by case, then its laws and the width of scopes as properties.

use std::net::Ipv4Addr;
use std::sync::Arc;

use meridian_model::health::{Health, Part};
use meridian_model::order::Word;
use meridian_model::topology::{Dial, Role};
use meridian_model::traffic::{Turn, TurnedDial};
use meridian_model::{Share, Snapshot, System, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::fixture::{self, AP, EU, US};

fn view(system: System, snapshot: Snapshot) -> Arc<View> {
    View::new(Arc::new(system), fixture::name(US), Arc::new(snapshot))
}

fn with_health(healths: &[(&str, Health)]) -> Arc<View> {
    let system = fixture::system();
    let snapshot = fixture::snapshot(&system, healths);
    view(system, snapshot)
}

fn with_dials(dials: &[(&str, Dial)], healths: &[(&str, Health)]) -> Arc<View> {
    let mut system = fixture::system();
    for region in &mut system.topology.regions {
        if let Some((_, dial)) = dials.iter().find(|(name, _)| *name == region.name.as_str()) {
            region.dial = *dial;
        }
    }
    let snapshot = fixture::snapshot(&system, healths);
    view(system, snapshot)
}

fn turned(region: &str, turn: Turn) -> TurnedDial {
    let word = Word { by: "ana".to_owned(), at: Timestamp(0), reason: String::new() };
    TurnedDial { region: fixture::name(region), turn, run: None, word }
}

fn with_turned(system: System, dials: Vec<TurnedDial>) -> Arc<View> {
    let snapshot = Snapshot { dials, ..fixture::snapshot(&system, &[]) };
    view(system, snapshot)
}

fn client(text: &str) -> Client {
    let net: ipnet::IpNet = text.parse().unwrap();
    Client { address: net.addr(), prefix: net.prefix_len() }
}

/// The order of the candidates, as text: `region rank` for each.
fn order(view: &View, from: &str) -> Vec<String> {
    let answer = view.answer(&view.system.services[0], client(from));
    answer.candidates.iter().map(|c| format!("{} {}", c.region, c.rank)).collect()
}

fn offered(view: &View, from: &str) -> Vec<String> {
    let answer = view.answer(&view.system.services[0], client(from));
    answer.offered().map(|c| c.region.to_string()).collect()
}

const SHARE_HALF: fn() -> Dial = || Dial::Share(Share::from_percent(50.0).unwrap());

#[test]
fn each_population_goes_to_its_nearest_region_first() {
    let view = with_health(&[]);
    assert_eq!(offered(&view, "10.1.5.0/24"), [US, EU]);
    assert_eq!(offered(&view, "10.2.5.0/24"), [EU, US]);
    assert_eq!(offered(&view, "10.3.5.0/24"), [AP, EU]);
    assert_eq!(offered(&view, "fd00:3:1::/48"), [AP, EU]);
}

#[test]
fn embedded_ipv4_is_looked_at_as_ipv4_and_its_scope_is_told_as_ipv6() {
    let view = with_health(&[]);
    for form in ["::ffff:10.3.1.1/128", "64:ff9b::a03:101/128"] {
        let answer = view.answer(&view.system.services[0], client(form));
        assert_eq!(answer.candidates[0].region.as_str(), AP, "{form}");
        assert_eq!(answer.population.unwrap().as_str(), "asia");
        assert_eq!(answer.scope, 96 + 16);
    }
}

#[test]
fn a_stranger_gets_the_same_answer_in_every_region() {
    let system = Arc::new(fixture::system());
    let snapshot = Arc::new(fixture::snapshot(&system, &[]));
    let answers: Vec<_> = [US, EU, AP]
        .map(|here| View::new(Arc::clone(&system), fixture::name(here), Arc::clone(&snapshot)))
        .iter()
        .map(|view| view.answer(&system.services[0], client("203.0.113.9/32")))
        .collect();
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    assert_eq!(answers[0].population, None);
}

#[test]
fn unknown_stands_behind_up_and_before_nothing() {
    let view = with_health(&[(EU, Health::Unknown)]);
    assert_eq!(
        order(&view, "10.2.0.0/24"),
        ["us-east-1 serving", "ap-southeast-1 serving", "eu-central-1 unknown"]
    );
    let all = [(US, Health::Unknown), (EU, Health::Unknown), (AP, Health::Unknown)];
    let view = with_health(&all);
    assert_eq!(offered(&view, "10.2.0.0/24"), [EU, US]);
}

#[test]
fn an_unknown_region_is_no_fallback_for_one_that_is_up() {
    let view = with_health(&[(US, Health::Unknown), (AP, Health::Unknown)]);
    assert_eq!(offered(&view, "10.1.0.0/24"), [EU]);
}

#[test]
fn down_is_out_until_all_are_down() {
    let view = with_health(&[(EU, Health::Down)]);
    let answer = view.answer(&view.system.services[0], client("10.2.0.0/24"));
    assert_eq!(answer.candidates.len(), 2);
    assert_eq!(answer.left_out[0].region.as_str(), EU);
    assert!(answer.left_out[0].reason.contains("the test says down"), "{:?}", answer.left_out);

    let view = with_health(&[(US, Health::Down), (EU, Health::Down), (AP, Health::Down)]);
    let answer = view.answer(&view.system.services[0], client("10.2.0.0/24"));
    assert_eq!(answer.candidates[0].region.as_str(), EU);
    assert!(answer.candidates[0].reason.contains("only while every region is down"));
}

#[test]
fn a_region_serves_only_with_its_edge() {
    let system = fixture::system();
    let mut snapshot = fixture::snapshot(&system, &[]);
    fixture::set_part(&mut snapshot, EU, Part::Edge, Health::Down);
    let view = view(system, snapshot);
    assert_eq!(offered(&view, "10.2.0.0/24"), [US, AP]);
}

#[test]
fn a_region_without_its_application_comes_after_those_that_have_it() {
    let system = fixture::system();
    let mut snapshot = fixture::snapshot(&system, &[]);
    fixture::set_part(&mut snapshot, EU, Part::App, Health::Down);
    let view = view(system, snapshot);
    assert_eq!(order(&view, "10.2.0.0/24")[2], "eu-central-1 relaying");
}

#[test]
fn drained_only_when_no_other_and_forbidden_never() {
    let dials = [(US, Dial::Drain), (AP, Dial::Forbid)];
    assert_eq!(order(&with_dials(&dials, &[]), "10.1.0.0/24"), ["eu-central-1 serving"]);
    let eu_down = with_dials(&dials, &[(EU, Health::Down)]);
    assert_eq!(order(&eu_down, "10.1.0.0/24"), ["us-east-1 drained"]);
    let both_down = with_dials(&dials, &[(EU, Health::Down), (US, Health::Down)]);
    assert_eq!(order(&both_down, "10.1.0.0/24"), ["us-east-1 down", "eu-central-1 down"]);
    let forbidden = with_dials(&[(US, Dial::Forbid), (EU, Dial::Forbid), (AP, Dial::Forbid)], &[]);
    assert_eq!(order(&forbidden, "10.1.0.0/24"), Vec::<String>::new());
}

#[test]
fn a_share_of_zero_stays_zero() {
    let view = with_dials(&[(US, Dial::Share(Share::ZERO))], &[]);
    assert_eq!(order(&view, "10.1.0.0/24"), ["eu-central-1 serving", "ap-southeast-1 serving"]);
}

#[test]
fn a_turned_dial_counts_like_one_of_the_spec() {
    let half = Turn::Share(Share::from_percent(50.0).unwrap());
    let nothing = Turn::Share(Share::ZERO);
    for turn in [Turn::Drain, nothing, half] {
        let of_spec = with_dials(&[(US, turn.into())], &[]);
        let turned = with_turned(fixture::system(), vec![turned(US, turn)]);
        assert_eq!(of_spec.classes(), turned.classes());
        for n in 0..64 {
            let (from, service) = (client(&format!("10.1.{n}.0/24")), &turned.system.services[0]);
            let (one, other) = (of_spec.answer(service, from), turned.answer(service, from));
            let ranks =
                |a: &Answer| a.candidates.iter().map(|c| (c.region.clone(), c.rank)).collect::<Vec<_>>();
            assert_eq!((ranks(&one), one.scope), (ranks(&other), other.scope), "{turn}");
        }
    }
}

#[test]
fn a_turn_lifts_a_drain_of_the_spec_but_no_forbid_and_says_who_drained() {
    let mut system = fixture::system();
    system.topology.regions[0].dial = Dial::Drain;
    system.topology.regions[2].dial = Dial::Forbid;
    let all = [US, EU, AP]
        .map(|region| turned(region, if region == EU { Turn::Drain } else { Turn::Share(Share::ONE) }));
    let view = with_turned(system, all.into());
    assert_eq!(order(&view, "10.3.0.0/24"), ["us-east-1 serving"]);
    let answer = view.answer(&view.system.services[0], client("10.3.0.0/24"));
    let reason = |region: &str| {
        let out = answer.left_out.iter().find(|c| c.region.as_str() == region);
        out.map(|c| c.reason.clone()).unwrap_or_default()
    };
    assert!(reason(EU).starts_with("drained by ana; up"), "{:?}", answer.left_out);
    assert!(reason(AP).contains("forbidden by its dial"), "{:?}", answer.left_out);
}

#[test]
fn the_last_region_serves_although_it_was_drained() {
    let system = fixture::system();
    let mut snapshot = fixture::snapshot(&system, &[(EU, Health::Down), (AP, Health::Down)]);
    snapshot.dials = vec![turned(US, Turn::Drain)];
    assert_eq!(order(&view(system, snapshot), "10.2.0.0/24"), ["us-east-1 drained"]);
}

#[test]
fn a_witness_serves_nobody() {
    let mut system = fixture::system();
    system.topology.regions[1].role = Role::Witness;
    let snapshot = fixture::snapshot(&system, &[]);
    assert_eq!(offered(&view(system, snapshot), "10.2.0.0/24"), [US, AP]);
}

#[test]
fn a_partial_dial_takes_its_share_of_networks_and_keeps_to_it() {
    let view = with_dials(&[(US, Dial::Share(Share::from_percent(30.0).unwrap()))], &[]);
    let service = &view.system.services[0];
    let first = |network: u32| {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 0)) + (network << 8) % (1 << 16));
        let answer = view.answer(service, Client { address: address.into(), prefix: 24 });
        assert_eq!(answer.scope, 24);
        assert_eq!(answer.candidates.len(), 3, "who is past a dial is still there to fall back to");
        answer.candidates[0].region.as_str() == US
    };
    let taken = (0..256).filter(|n| first(*n)).count();
    // 256 networks at 30 %: mean 77, standard deviation 7.3.
    assert!((55..=99).contains(&taken), "{taken}");
}

#[test]
fn two_partial_dials_are_independent() {
    let view = with_dials(&[(US, SHARE_HALF()), (EU, SHARE_HALF())], &[]);
    let classes: std::collections::BTreeMap<u32, u32> = (0..4_096_u32)
        .map(|n| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + (n << 8)))
        .map(|ip| view.classify(Client { address: ip.into(), prefix: 24 }).0.dials)
        .fold(Default::default(), |mut count, dials| {
            *count.entry(dials).or_default() += 1;
            count
        });
    assert_eq!(classes.len(), 4);
    assert!(classes.values().all(|n| (900..1_150).contains(n)), "{classes:?}");
}

#[test]
fn the_listed_classes_hold_every_client() {
    let view = with_dials(&[(US, SHARE_HALF()), (EU, SHARE_HALF())], &[]);
    let classes = view.classes();
    assert_eq!(classes.len(), 4 * 4);
    for n in 0..512_u32 {
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 0)) + n * 641);
        assert!(classes.contains(&view.classify(Client::at(ip.into())).0));
    }
}

fn any_dial() -> impl Strategy<Value = Dial> {
    prop_oneof![
        Just(Dial::Share(Share::ONE)),
        (0..=100_u32).prop_map(|p| Dial::Share(Share::from_percent(f64::from(p)).unwrap())),
        Just(Dial::Drain),
        Just(Dial::Forbid),
    ]
}

fn any_turn() -> impl Strategy<Value = Option<Turn>> {
    let share = |percent| Turn::Share(Share::from_percent(f64::from(percent)).unwrap());
    prop::option::of(prop_oneof![Just(Turn::Drain), (0..=100_u32).prop_map(share)])
}

fn any_health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Up), Just(Health::Down), Just(Health::Unknown)]
}

proptest! {
    #[test]
    fn the_laws_of_an_answer(
        dials in prop::array::uniform3(any_dial()),
        turns in prop::array::uniform3(any_turn()),
        whole in prop::array::uniform3(any_health()),
        edge in prop::array::uniform3(any_health()),
        app in prop::array::uniform3(any_health()),
        address in any::<u128>(),
        v4 in any::<bool>(),
        prefix in 0..=128_u8,
    ) {
        let mut system = fixture::system();
        for (region, dial) in system.topology.regions.iter_mut().zip(dials) {
            region.dial = dial;
        }
        let names = [US, EU, AP];
        let mut snapshot = fixture::snapshot(&system, &[]);
        for i in 0..3 {
            snapshot.regions[i].health = whole[i];
            fixture::set_part(&mut snapshot, names[i], Part::Edge, edge[i]);
            fixture::set_part(&mut snapshot, names[i], Part::App, app[i]);
        }
        let turns = names.iter().zip(turns);
        snapshot.dials = turns.filter_map(|(region, turn)| Some(turned(region, turn?))).collect();
        let view = view(system.clone(), snapshot);
        let address = if v4 { IpAddr::V4(Ipv4Addr::from(address as u32)) } else { IpAddr::V6(address.into()) };
        let client = Client { address, prefix };
        let answer = view.answer(&system.services[0], client);

        // Deterministic, and every region is accounted for with a reason.
        prop_assert_eq!(&answer, &view.answer(&system.services[0], client));
        prop_assert_eq!(answer.candidates.len() + answer.left_out.len(), 3);
        prop_assert!(answer.candidates.iter().chain(&answer.left_out).all(|c| !c.reason.is_empty()));

        // Never a forbidden region; never empty unless all are forbidden.
        let dial = |name: &Name| system.region(name).unwrap().dial;
        prop_assert!(answer.candidates.iter().all(|c| dial(&c.region) != Dial::Forbid));
        let all_forbidden = dials.iter().all(|d| *d == Dial::Forbid);
        prop_assert_eq!(answer.candidates.is_empty(), all_forbidden);
        prop_assert_eq!(answer.offered().next().is_none(), all_forbidden);

        // A down region never before an up one, and unknown never before up (drained ones aside).
        let kinds: Vec<u8> = answer.candidates.iter()
            .filter(|c| c.rank != Rank::Drained)
            .map(|c| rank::health_order(c.health)).collect();
        prop_assert!(kinds.is_sorted(), "{:?}", answer.candidates);
        if answer.candidates.iter().any(|c| c.health != Health::Down) {
            prop_assert!(answer.candidates.iter().all(|c| c.health != Health::Down));
        }
        // Drained only alone.
        if answer.candidates.iter().any(|c| c.rank == Rank::Drained) {
            prop_assert!(answer.candidates.iter().all(|c| c.rank == Rank::Drained));
        }
    }

    /// RFC 7871: everybody in the scope that is told gets the same answer.
    #[test]
    fn a_scope_is_never_too_wide(
        nets in prop::collection::vec((any::<u32>(), 0..=32_u8), 0..12),
        share in 1..100_u32,
        address in any::<u32>(),
        other in any::<u32>(),
        near in 0..nets_max(),
    ) {
        let mut system = fixture::system();
        for (at, (bits, length)) in nets.iter().enumerate() {
            let net = ipnet::IpNet::new(Ipv4Addr::from(*bits).into(), *length).unwrap().trunc();
            system.topology.users[at % 3].networks.push(net);
        }
        system.topology.regions[0].dial = Dial::Share(Share::from_percent(f64::from(share)).unwrap());
        let snapshot = fixture::snapshot(&system, &[]);
        let view = view(system, snapshot);
        // Half of the time an address beside the edge of some network.
        let address = nets.get(near).map_or(address, |(bits, length)| bits ^ (1 << (32 - (*length).max(1))));
        let (class, scope) = view.classify(Client::at(Ipv4Addr::from(address).into()));
        prop_assert!(scope <= 32);
        let inside = u32::MAX.checked_shr(u32::from(scope)).unwrap_or(0);
        let neighbour = Ipv4Addr::from((address & !inside) | (other & inside));
        prop_assert_eq!(view.classify(Client::at(neighbour.into())).0, class);
    }
}

const fn nets_max() -> usize {
    24
}
