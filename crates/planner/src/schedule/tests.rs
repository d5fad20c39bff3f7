//! Hours that come once a day, also on the days on which clocks are moved; checked against a search
//! minute by minute.

use meridian_model::Name;
use meridian_model::schedule::TimeOfDay;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<Instant>().expect("an instant").as_millisecond())
}

fn moved(region: &str, hour: &str, time_zone: &str, days: &[Weekday]) -> ScheduledMove {
    let (h, m) = hour.split_once(':').expect("HH:MM");
    ScheduledMove {
        region: Name::new(region).expect("a name"),
        at: TimeOfDay::new(h.parse().expect("hour"), m.parse().expect("minute")).expect("in range"),
        time_zone: time_zone.to_owned(),
        days: days.to_vec(),
    }
}

fn sun() -> Vec<ScheduledMove> {
    vec![
        moved("ap-northeast-1", "08:00", "Asia/Tokyo", &Weekday::ALL),
        moved("eu-central-1", "08:00", "Europe/Berlin", &Weekday::ALL),
        moved("us-east-1", "08:00", "America/New_York", &Weekday::ALL),
    ]
}

fn told(found: Option<(RegionName, Timestamp)>) -> Option<(String, String)> {
    let instant = |t: Timestamp| Instant::from_millisecond(t.0).expect("in range").to_string();
    found.map(|(region, t)| (region.to_string(), instant(t)))
}

fn some(region: &str, instant: &str) -> Option<(String, String)> {
    Some((region.to_owned(), instant.to_owned()))
}

#[test]
fn the_writer_follows_the_mornings() {
    let next = |now| told(next(&sun(), at(now)));
    assert_eq!(next("2026-01-15T00:00:00Z"), some("eu-central-1", "2026-01-15T07:00:00Z"));
    assert_eq!(next("2026-01-15T07:00:00Z"), some("us-east-1", "2026-01-15T13:00:00Z"));
    assert_eq!(next("2026-01-15T13:00:00Z"), some("ap-northeast-1", "2026-01-15T23:00:00Z"));
    // In summer Berlin and New York are an hour earlier, Tokyo is not.
    assert_eq!(next("2026-07-15T00:00:00Z"), some("eu-central-1", "2026-07-15T06:00:00Z"));
    assert_eq!(next("2026-07-15T12:00:00Z"), some("ap-northeast-1", "2026-07-15T23:00:00Z"));
}

#[test]
fn clocks_show_what_they_show_there() {
    let shown = |zone, now| clock(zone, at(now)).map(|time| time.to_string());
    assert_eq!(shown("Asia/Tokyo", "2026-01-15T23:59:30Z").as_deref(), Some("08:59"));
    assert_eq!(shown("America/New_York", "2026-07-15T12:00:00Z").as_deref(), Some("08:00"));
    assert_eq!(shown("Asia/Kathmandu", "2026-07-15T12:00:00Z").as_deref(), Some("17:45"));
    assert_eq!(shown("Mars/Olympus", "2026-07-15T12:00:00Z"), None);
}

#[test]
fn an_hour_is_due_until_it_was_seen_and_only_the_latest_counts() {
    let due = |last, now| told(due(&sun(), at(last), at(now)));
    assert_eq!(due("2026-01-15T06:59:59.999Z", "2026-01-15T06:59:59.999Z"), None);
    assert_eq!(
        due("2026-01-15T06:59:59.999Z", "2026-01-15T07:00:00Z"),
        some("eu-central-1", "2026-01-15T07:00:00Z")
    );
    assert_eq!(due("2026-01-15T07:00:00Z", "2026-01-15T12:59:59Z"), None, "seen");
    assert_eq!(
        due("2026-01-01T00:00:00Z", "2026-01-15T12:59:59Z"),
        due("2026-01-15T00:00:00Z", "2026-01-15T07:00:00Z")
    );
    assert_eq!(
        due("1970-01-01T00:00:00Z", "2026-01-15T13:30:00Z"),
        some("us-east-1", "2026-01-15T13:00:00Z")
    );
}

#[test]
fn an_hour_that_the_clocks_skip_comes_after_the_gap() {
    // Berlin, 29 March 2026: 02:00 becomes 03:00. New York, 8 March.
    let schedule = [moved("eu", "02:30", "Europe/Berlin", &Weekday::ALL)];
    let gap = |now| told(next(&schedule, at(now)));
    assert_eq!(gap("2026-03-28T12:00:00Z"), some("eu", "2026-03-29T01:30:00Z"), "03:30 in Berlin");
    assert_eq!(gap("2026-03-29T01:30:00Z"), some("eu", "2026-03-30T00:30:00Z"), "02:30 in Berlin again");
    let schedule = [moved("us", "02:00", "America/New_York", &[Weekday::Sun])];
    assert_eq!(told(next(&schedule, at("2026-03-08T00:00:00Z"))), some("us", "2026-03-08T07:00:00Z"));
}

#[test]
fn an_hour_that_comes_twice_moves_once() {
    // Berlin, 25 October 2026: 03:00 becomes 02:00.
    let schedule = [moved("eu", "02:30", "Europe/Berlin", &Weekday::ALL)];
    assert_eq!(told(next(&schedule, at("2026-10-24T12:00:00Z"))), some("eu", "2026-10-25T00:30:00Z"));
    assert_eq!(told(next(&schedule, at("2026-10-25T00:30:00Z"))), some("eu", "2026-10-26T01:30:00Z"));
    assert_eq!(told(due(&schedule, at("2026-10-25T00:30:00Z"), at("2026-10-25T01:45:00Z"))), None);
}

#[test]
fn days_are_those_of_the_place() {
    // Monday 08:00 in Auckland is Sunday evening in Greenwich.
    let schedule = [moved("nz", "08:00", "Pacific/Auckland", &[Weekday::Mon])];
    assert_eq!(told(next(&schedule, at("2026-01-14T00:00:00Z"))), some("nz", "2026-01-18T19:00:00Z"));
}

#[test]
fn of_two_at_one_instant_the_later_in_the_schedule_counts() {
    let schedule = [
        moved("first", "09:00", "Europe/Berlin", &Weekday::ALL),
        moved("second", "08:00", "Europe/London", &Weekday::ALL),
    ];
    let (last, now) = (at("2026-01-15T00:00:00Z"), at("2026-01-15T08:00:00Z"));
    assert_eq!(told(due(&schedule, last, now)), some("second", "2026-01-15T08:00:00Z"));
    assert_eq!(told(next(&schedule, last)), some("second", "2026-01-15T08:00:00Z"));
}

#[test]
fn names_of_time_zones_are_known_without_the_machine() {
    assert!(is_time_zone("Europe/Berlin") && is_time_zone("UTC") && !is_time_zone("Europe/Berlim"));
    assert!(time_zones().len() > 400);
    assert_eq!(told(next(&[], at("2026-01-15T00:00:00Z"))), None);
    assert_eq!(
        told(next(&[moved("x", "08:00", "No/Where", &Weekday::ALL)], at("2026-01-15T00:00:00Z"))),
        None
    );
}

const ZONES: [&str; 6] =
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca", "UTC"];

fn any_move() -> impl Strategy<Value = ScheduledMove> {
    let days = proptest::sample::subsequence(Weekday::ALL.to_vec(), 1..=7);
    (0..3_usize, 0..24_u8, 0..60_u8, proptest::sample::select(&ZONES[..]), days).prop_map(
        |(region, h, m, time_zone, days)| ScheduledMove {
            region: Name::new(&format!("r-{region}")).expect("a name"),
            at: TimeOfDay::new(h, m).expect("in range"),
            time_zone: time_zone.to_owned(),
            days,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever looks every few minutes, or sleeps for days, sees the hours that [`next`] foretells, each
    /// once and in order.
    #[test]
    fn what_is_foretold_becomes_due(schedule in proptest::collection::vec(any_move(), 1..4), from in 1_700_000_000_000..1_900_000_000_000_i64, nap in 60_000..400_000_000_i64) {
        let mut seen = Timestamp(from);
        for step in 1..40 {
            let now = Timestamp(from + step * nap);
            let mut expected = None;
            let mut reached = seen;
            while let Some((region, at)) = next(&schedule, reached).filter(|(_, at)| *at <= now) {
                prop_assert!(at > reached);
                reached = at;
                expected = Some((region, at));
            }
            let due = due(&schedule, seen, now);
            prop_assert_eq!(&due, &expected);
            seen = due.map_or(seen, |(_, at)| at);
        }
    }

    /// Each day that is named has its hour: between two hours of a daily move lie 23 to 25 hours.
    #[test]
    fn no_day_is_skipped(mut daily in any_move(), from in 1_700_000_000_000..1_900_000_000_000_i64) {
        daily.days = Weekday::ALL.to_vec();
        let schedule = [daily];
        let mut now = next(&schedule, Timestamp(from)).expect("always one").1;
        for _ in 0..400 {
            let following = next(&schedule, now).expect("always one").1;
            let hours = (following.0 - now.0) as f64 / 3_600_000.0;
            prop_assert!((23.0..=25.0).contains(&hours), "{hours} after {now}");
            now = following;
        }
    }
}
