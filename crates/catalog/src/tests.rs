//! The data are whole, and the estimate keeps its promise.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

#[test]
fn no_line_of_the_region_table_is_dropped_and_every_fact_is_in_range() {
    let lines = include_str!("data/regions.txt").lines().filter(|l| !l.starts_with('#')).count();
    assert_eq!(regions().count(), lines);
    assert!(lines > 150, "{lines} regions");
    let mut seen = HashSet::new();
    for r in regions() {
        assert!(seen.insert((r.provider, r.name)), "{} twice", r.name);
        assert!(meridian_model::Name::new(r.name).is_ok(), "{}", r.name);
        assert!(meridian_model::Name::new(r.jurisdiction).is_ok(), "{}", r.jurisdiction);
        assert!(r.location.latitude.abs() <= 90.0 && r.location.longitude.abs() <= 180.0, "{}", r.name);
        assert_eq!(r.country.len(), 2, "{}", r.name);
    }
}

#[test]
fn jurisdictions_are_as_documented() {
    let of = |name| region(Provider::Aws, name).map(|r| r.jurisdiction);
    assert_eq!(of("eu-central-1"), Some("eu"));
    assert_eq!(of("eu-west-2"), Some("uk"));
    assert_eq!(of("us-gov-west-1"), Some("us-gov"));
    assert_eq!(of("ap-southeast-1"), Some("apac"));
    assert_eq!(of("sa-east-1"), Some("br"));
    assert_eq!(of("cn-north-1"), Some("cn"));
    assert_eq!(region(Provider::Azure, "norwayeast").map(|r| r.jurisdiction), Some("eu"));
}

#[test]
fn the_pairs_of_the_example_are_published() {
    let between = |a: &str, b: &str| {
        let place = |name| {
            let r = region(Provider::Aws, name).expect(name);
            Place { provider: r.provider, name: r.name, location: r.location }
        };
        round_trip(&place(a), &place(b))
    };
    let atlantic = between("us-east-1", "eu-central-1");
    assert!((85..105).contains(&atlantic.rtt.as_millis()), "{atlantic:?}");
    assert!(matches!(atlantic.basis, Basis::Published { as_of: "2025-05-29", .. }), "{atlantic:?}");
    assert!((200..260).contains(&between("us-east-1", "ap-southeast-1").rtt.as_millis()));
    assert_eq!(between("us-east-1", "us-east-1").rtt, WITHIN_REGION);
    assert_eq!(between("ap-east-2", "us-east-1").basis, Basis::Estimated, "not published");
}

#[test]
fn regions_of_two_clouds_of_one_name_are_not_mixed_up() {
    let of = |provider| {
        let r = regions().find(|r| r.provider == provider).expect("has regions");
        Place { provider, name: r.name, location: r.location }
    };
    assert_eq!(round_trip(&of(Provider::Aws), &of(Provider::Gcp)).basis, Basis::Estimated);
}

#[test]
fn the_estimate_is_within_15_percent_for_half_of_the_published_pairs() {
    let mut errors = Vec::new();
    for a in regions() {
        for b in regions().filter(|b| b.provider == a.provider && b.name != a.name) {
            if let Some(published) = latency::published(a.provider, a.name, b.name) {
                let (told, guess) =
                    (published.rtt.as_secs_f64(), estimate(a.location, b.location).as_secs_f64());
                errors.push((guess - told).abs() / told);
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| errors[(errors.len() as f64 * share) as usize];
    assert!(errors.len() > 4000, "{} pairs", errors.len());
    assert!(at(0.5) < 0.15, "median error {}", at(0.5));
    assert!(at(0.9) < 0.40, "90th percentile {}", at(0.9));
}

#[test]
fn no_published_pair_is_faster_than_light_in_fibre() {
    for a in regions().filter(|r| r.provider == Provider::Aws) {
        for b in regions().filter(|b| b.provider == Provider::Aws && b.name != a.name) {
            if let Some(published) = latency::published(a.provider, a.name, b.name) {
                let bound = 2.0 * kilometres(a.location, b.location) / 199_861.0;
                assert!(published.rtt.as_secs_f64() >= bound * 0.95, "{} {} {published:?}", a.name, b.name);
            }
        }
    }
}

#[test]
fn typing_errors_find_their_region() {
    let name = |provider, text| suggest(provider, text).map(|r| r.name);
    assert_eq!(name(Provider::Aws, "eu-centrl-1"), Some("eu-central-1"));
    assert_eq!(name(Provider::Aws, "us-esat-1"), Some("us-east-1"));
    assert_eq!(name(Provider::Aws, "europe-west3"), Some("europe-west3"), "another cloud's");
    assert_eq!(name(Provider::Aws, "the-moon"), None);
    assert_eq!(closest("relicas", ["replication", "replicas", "role"]), Some("replicas"));
}

#[test]
fn continents_have_a_middle_on_their_own_side_of_the_world() {
    assert_eq!(continents().len(), 6);
    let europe = continent("europe").expect("known").middle;
    let frankfurt = region(Provider::Aws, "eu-central-1").expect("known").location;
    assert!(kilometres(europe, frankfurt) < 700.0);
    assert!(continent("atlantis").is_none());
}

fn location() -> impl Strategy<Value = Location> {
    (-90.0..=90.0, -180.0..=180.0).prop_map(|(latitude, longitude)| Location { latitude, longitude })
}

proptest! {
    #[test]
    fn distance_is_symmetric_and_at_most_half_way_round(a in location(), b in location()) {
        let (there, back) = (kilometres(a, b), kilometres(b, a));
        prop_assert!((there - back).abs() < 1e-6);
        prop_assert!((0.0..=20_016.0).contains(&there));
        prop_assert!(estimate(a, b) < Duration::from_millis(310));
    }

    #[test]
    fn closest_never_panics_and_finds_the_word_itself(word in "\\PC{0,80}", other in "\\PC{0,80}") {
        let found = closest(&word, [other.as_str(), word.as_str()]);
        if word.len() <= 64 && word.chars().count() >= 1 && word.to_lowercase() != other.to_lowercase() {
            prop_assert_eq!(found, Some(word.as_str()));
        }
    }
}
