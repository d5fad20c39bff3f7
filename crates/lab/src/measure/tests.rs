//! Event streams with known answers.

use std::time::Duration;

use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};
use meridian_model::{Epoch, Moment, Name, Timestamp};

use super::*;
use crate::load::{Kind, Outcome, Sample};

fn ms(at: u64) -> Moment {
    Moment::from_millis(at)
}

fn sample(intended: u64, ended: u64, outcome: Outcome) -> Sample {
    Sample {
        population: 0,
        region: None,
        kind: Kind::Write,
        outcome,
        attempts: 1,
        intended: ms(intended),
        started: ms(intended),
        ended: ms(ended),
    }
}

/// Good answers every 100 ms in `range`, 20 ms each.
fn good(range: std::ops::Range<u64>) -> Vec<Sample> {
    range.step_by(100).map(|at| sample(at, at + 20, Outcome::Ok)).collect()
}

const FAULT: u64 = 10_000;
const END: u64 = 30_000;

fn judge(samples: &[Sample]) -> Recovery {
    recovery(samples, ms(FAULT), ms(END))
}

#[test]
fn without_an_outage_the_first_good_answer_counts() {
    let seen = judge(&good(0..END));
    assert_eq!(seen.after, Some(Duration::from_millis(20)));
    assert_eq!((seen.outages, seen.longest_outage), (0, Duration::ZERO));
}

#[test]
fn requests_that_were_held_show_an_outage_although_none_failed() {
    let mut samples = good(0..FAULT);
    samples.extend((FAULT..17_000).step_by(100).map(|at| sample(at, 17_000, Outcome::Ok)));
    samples.extend(good(17_000..END));
    let seen = judge(&samples);
    assert_eq!(seen.after, Some(Duration::from_secs(7)));
    assert_eq!(seen.longest_outage, Duration::from_millis(7_080));
}

#[test]
fn an_old_writer_that_still_answers_for_a_while_does_not_shorten_the_recovery() {
    let mut samples = good(0..13_000);
    samples.extend((13_000..17_000).step_by(100).map(|at| sample(at, at + 500, Outcome::Refused)));
    samples.extend(good(17_000..END));
    assert_eq!(judge(&samples).after, Some(Duration::from_millis(7_020)));
}

#[test]
fn single_failures_between_good_answers_are_no_outage() {
    let mut samples = good(0..END);
    samples.extend((FAULT..END).step_by(1_000).map(|at| sample(at, at + 5_000, Outcome::Unknown)));
    assert_eq!(judge(&samples).outages, 0);
}

#[test]
fn silence_of_the_users_is_no_outage() {
    let mut samples = good(0..FAULT);
    samples.extend(good(20_000..END));
    assert_eq!(judge(&samples).outages, 0);
}

#[test]
fn a_service_that_does_not_come_back_has_no_recovery_time() {
    let mut samples = good(0..FAULT);
    samples.extend((FAULT..END).step_by(100).map(|at| sample(at, at + 50, Outcome::Refused)));
    let seen = judge(&samples);
    assert_eq!((seen.after, seen.outages), (None, 1));
    assert_eq!(judge(&[]).after, None);
}

#[test]
fn a_second_outage_counts_until_its_end() {
    let mut samples = good(0..FAULT);
    samples.extend((FAULT..12_000).step_by(100).map(|at| sample(at, 12_000, Outcome::Ok)));
    samples.extend(good(12_000..20_000));
    samples.extend((20_000..22_000).step_by(100).map(|at| sample(at, at + 10, Outcome::Refused)));
    samples.extend(good(22_000..END));
    let seen = judge(&samples);
    assert_eq!((seen.after, seen.outages), (Some(Duration::from_millis(12_020)), 2));
}

#[test]
fn an_outage_long_after_the_service_was_good_again_is_another_one() {
    let mut samples = good(0..FAULT);
    samples.extend((FAULT..12_000).step_by(100).map(|at| sample(at, 12_000, Outcome::Ok)));
    samples.extend(good(12_000..24_000));
    samples.extend((24_000..26_000).step_by(100).map(|at| sample(at, at + 10, Outcome::Refused)));
    samples.extend(good(26_000..END));
    let seen = judge(&samples);
    assert_eq!((seen.after, seen.outages), (Some(Duration::from_millis(2_000)), 2));
    assert_eq!((seen.before_good.count, seen.later.count), (1, 1));
    assert_eq!(seen.later.longest, Duration::from_millis(2_100));
    let input = PhaseInput { reads: seen, ..PhaseInput::default() };
    let clock = ClockPair { at: ms(0), wall: Timestamp(0) };
    let phases = phases(&input, clock);
    let good = phases.iter().find(|p| p.name == "first good read").unwrap();
    assert_eq!(good.detail, "after an outage of 2.1 s", "of the later one it says nothing");
}

#[test]
fn without_an_outage_of_the_fault_a_later_one_is_no_part_of_the_recovery() {
    let mut samples = good(0..24_000);
    samples.extend((24_000..28_000).step_by(100).map(|at| sample(at, at + 10, Outcome::Refused)));
    samples.extend(good(28_000..END));
    let seen = judge(&samples);
    assert_eq!((seen.after, seen.before_good), (Some(Duration::from_millis(20)), Outages::default()));
    assert_eq!(seen.later, Outages { count: 1, longest: Duration::from_millis(4_100) });
}

#[test]
fn percentiles_are_values_that_occurred() {
    let seen = percentiles((1..=200).map(Duration::from_millis));
    let millis = [seen.p50, seen.p95, seen.p99].map(|d| d.as_millis());
    assert_eq!((seen.count, millis), (200, [100, 190, 198]));
    assert_eq!(percentiles(std::iter::empty()), Percentiles::default());
    let one = percentiles(std::iter::once(Duration::from_millis(7)));
    assert_eq!(one.p99, Duration::from_millis(7));
}

#[test]
fn a_request_belongs_to_the_second_in_which_it_ended() {
    let samples = [sample(100, 2_500, Outcome::Ok), sample(1_100, 1_200, Outcome::Unknown)];
    let buckets = series(&samples, ms(0), Duration::from_secs(2));
    let counts: Vec<_> = buckets.iter().map(|b| (b.writes, b.failed)).collect();
    assert_eq!(counts, [(0, 0), (0, 1), (1, 0)]);
    assert_eq!(buckets[2].p95, Duration::from_millis(2_400));
}

fn ack(region: &str, timeline: u32, sent: u64, received: u64) -> WitnessAck {
    WitnessAck { region: Name::new(region).unwrap(), timeline, sent: ms(sent), received: ms(received) }
}

fn reigns(acks: &[WitnessAck]) -> Reigns {
    let mut reigns = Reigns::default();
    acks.iter().cloned().for_each(|a| reigns.note(a));
    reigns
}

#[test]
fn one_after_the_other_is_one_writer() {
    let seen =
        reigns(&[ack("us", 1, 0, 5), ack("us", 1, 100, 105), ack("eu", 2, 110, 120), ack("eu", 2, 130, 140)]);
    assert_eq!(seen.max_concurrent(), 1);
    assert_eq!(seen.in_order().iter().map(|r| r.acks).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn an_acknowledgement_of_the_old_writer_after_the_first_of_the_new_is_two_writers() {
    let seen = reigns(&[ack("us", 1, 0, 5), ack("eu", 2, 110, 120), ack("us", 1, 50, 111)]);
    assert_eq!(seen.max_concurrent(), 2);
}

#[test]
fn the_same_server_on_a_new_timeline_is_one_writer() {
    let seen = reigns(&[ack("us", 1, 0, 50), ack("us", 2, 40, 60)]);
    assert_eq!(seen.max_concurrent(), 1);
    assert_eq!(reigns(&[]).max_concurrent(), 0);
}

#[test]
fn names_who_acknowledged_after_a_new_epoch() {
    let seen = reigns(&[ack("us", 1, 0, 50), ack("us", 3, 400, 500)]);
    let us = Name::new("us").unwrap();
    assert_eq!(seen.acknowledged_after(&us, 1, ms(49)).len(), 1);
    assert!(seen.acknowledged_after(&us, 1, ms(50)).is_empty());
}

#[test]
fn both_clocks_tell_the_same_instant() {
    let pair = ClockPair { at: ms(5_000), wall: Timestamp(1_000_000) };
    assert_eq!(pair.moment(Timestamp(1_000_250)), ms(5_250));
    assert_eq!(pair.moment(Timestamp(999_000)), ms(4_000));
    assert_eq!(pair.wall(ms(4_000)), Timestamp(999_000));
    assert!((seconds(ms(2_000), ms(500)) + 1.5).abs() < 1e-9);
}

#[test]
fn phases_come_from_the_run_and_from_what_users_saw() {
    let done = |kind, at| {
        let state =
            StepState::Done { since: Timestamp(at - 10), at: Timestamp(at), detail: format!("{kind}") };
        Step::plain(kind, state).unwrap()
    };
    let run = Run {
        from: Name::new("us").ok(),
        cause: "us is down".to_owned(),
        detected_at: Some(Timestamp(14_000)),
        steps: vec![
            done(StepKind::Fence, 15_600),
            Step::plain(StepKind::Promote, StepState::Pending).unwrap(),
        ],
        ..Run::begin(
            Name::new("orders-2-failover").unwrap(),
            Name::new("orders").unwrap(),
            RunKind::Failover,
            Epoch(2),
            Name::new("eu").unwrap(),
            Timestamp(15_500),
        )
    };
    let input = PhaseInput {
        fault: Some((ms(FAULT), "kill us".to_owned())),
        run: Some(&run),
        writes: Recovery { good_at: Some(ms(17_000)), ..Recovery::default() },
        ..PhaseInput::default()
    };
    let list = phases(&input, ClockPair { at: ms(0), wall: Timestamp(0) });
    let at = |name: &str| list.iter().find(|p| p.name == name).unwrap().at;
    assert_eq!(at("detected"), Some(ms(14_000)));
    assert_eq!(at("fenced"), Some(ms(15_600)));
    assert_eq!(at("promoted"), None);
    assert_eq!(at("first good write"), Some(ms(17_000)));
    assert_eq!(at("redundant again"), None);
    assert_eq!(list.len(), 11);
}
