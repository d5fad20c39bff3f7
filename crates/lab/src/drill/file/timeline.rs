//! The timeline of a drill file: when and what, one entry after the other.

use std::time::Duration;

use meridian_model::RegionName;
use meridian_spec::reading::{Faults, Spot};

use super::fields::Fields;
use super::types::{Timed, What, When};
use super::units::{self, Words};
use super::{Context, region, scheduled};
use crate::faults::{Fault, FaultPart};

/// Reads the whole timeline, in the order in which it is played.
pub(super) fn timeline(spot: Spot<'_>, context: &mut Context<'_>) -> Option<Vec<Timed>> {
    let Some(items) = spot.items() else {
        let message = format!("expected a list of faults, found {}", spot.found());
        context.faults.error(
            spot,
            message,
            "write `- at: 10s` and under it what happens, such as `kill: us-east-1`",
        );
        return None;
    };
    let read = items.into_iter().filter_map(|item| Some((item, timed(item, context)?)));
    let read: Vec<(Spot<'_>, Timed)> = read.collect();
    if let Some((first, entry)) = read.first()
        && !matches!(entry.when, When::At(_))
    {
        context.faults.error(*first, "nothing is before this entry", "write `at:` instead of `after:`");
    }
    whole_minutes(&read, context.faults);
    Some(in_order(read.into_iter().map(|(_, entry)| entry).collect()))
}

/// By time; an entry that follows another stays behind it.
fn in_order(list: Vec<Timed>) -> Vec<Timed> {
    let mut head = Duration::ZERO;
    let mut keyed: Vec<(Duration, Timed)> = Vec::with_capacity(list.len());
    for entry in list {
        if let When::At(at) = entry.when {
            head = at;
        }
        keyed.push((head, entry));
    }
    keyed.sort_by_key(|(at, _)| *at);
    keyed.into_iter().map(|(_, entry)| entry).collect()
}

/// The hours of a schedule are whole minutes, so turns are as far apart.
fn whole_minutes(read: &[(Spot<'_>, Timed)], faults: &mut Faults) {
    let mut first: Option<Duration> = None;
    for (spot, entry) in read {
        let (What::Turn(_), When::At(at)) = (&entry.what, entry.when) else {
            if matches!(entry.what, What::Turn(_)) {
                faults.error(*spot, "a turn has a time of its own", "write `at:` instead of `after:`");
            }
            continue;
        };
        let from = *first.get_or_insert(at);
        if !at.abs_diff(from).as_millis().is_multiple_of(MINUTE_MS) {
            let message = "turns are whole minutes apart, as the hours of a schedule are";
            faults.error(*spot, message, "write 1m, 2m and so on after the first turn");
        }
    }
}

const MINUTE_MS: u128 = 60_000;

/// The verbs of a timeline, of which each entry has one.
const VERBS: [&str; 11] = [
    "kill",
    "freeze",
    "restore",
    "partition",
    "isolate",
    "slow",
    "heal",
    "switchover",
    "failback",
    "turn",
    "killActing",
];
/// What an entry may have besides.
const BESIDES: [&str; 7] = ["at", "after", "part", "oneWay", "rtt", "loss", "bandwidth"];

fn timed(spot: Spot<'_>, context: &mut Context<'_>) -> Option<Timed> {
    let known: Vec<&str> = VERBS.into_iter().chain(BESIDES).collect();
    let mut fields = Fields::begin(spot, &known, context.faults)?;
    let when = when(&mut fields, context.faults);
    let verbs: Vec<&str> = VERBS.into_iter().filter(|verb| fields.has(verb)).collect();
    let [verb] = verbs.as_slice() else {
        if verbs.is_empty() && fields.misspelt() {
            return None; // That was told, and it was probably the verb.
        }
        let suggestion = format!("each entry has exactly one of: {}", VERBS.join(", "));
        context.faults.error(spot, format!("{} things happen in this entry", verbs.len()), suggestion);
        return None;
    };
    let what = what(verb, &mut fields, context);
    fields.refuse_unused(&format!("`{verb}`"), context.faults);
    Some(Timed { when: when?, what: what? })
}

fn when(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<When> {
    let Some(after) = fields.optional("after") else {
        return fields.required("at", faults).and_then(|at| units::duration(at, faults)).map(When::At);
    };
    if let Some(at) = fields.optional("at") {
        faults.error(at, "an entry has `at` or `after`, not both", "remove one of them");
        return None;
    }
    if after.text() == Some("redundant") {
        return Some(When::AfterRedundant);
    }
    let hint = "`redundant`, or how long after the entry before, such as `15s`";
    units::duration_or(after, hint, faults).map(When::After)
}

fn what(verb: &str, fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<What> {
    let value = fields.optional(verb)?;
    match verb {
        "turn" => scheduled(value, context).map(What::Turn),
        "killActing" => {
            let words = Words { what: "when the acting node is killed", words: &["between-steps"] };
            units::word(value, words, context.faults).map(|_| What::KillActing)
        }
        _ => fault(verb, value, fields, context).map(What::Fault),
    }
}

fn fault(verb: &str, value: Spot<'_>, fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Fault> {
    match verb {
        "kill" => Some(Fault::Kill { region: region(value, context)?, part: part(fields, context)? }),
        "freeze" => Some(Fault::Freeze { region: region(value, context)?, part: part(fields, context)? }),
        "restore" => Some(Fault::Restore { region: region(value, context)? }),
        "switchover" => Some(Fault::Switchover { to: region(value, context)? }),
        "isolate" => Some(Fault::Isolate { region: region(value, context)? }),
        "partition" => {
            let one_way = fields.optional("oneWay").map_or(Some(false), |s| units::truth(s, context.faults));
            let (from, to) = two_regions(value, context)?;
            Some(Fault::Partition { from, to, one_way: one_way? })
        }
        "slow" => slow(value, fields, context),
        "failback" => {
            let words = Words { what: "where the writer goes back to", words: &["home"] };
            units::word(value, words, context.faults).map(|_| Fault::Failback)
        }
        _ => {
            units::word(value, Words { what: "what is healed", words: &["all"] }, context.faults)?;
            Some(Fault::Heal)
        }
    }
}

fn slow(value: Spot<'_>, fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Fault> {
    let rtt = fields.optional("rtt").map(|s| units::duration(s, context.faults));
    let loss = fields.optional("loss").map(|s| units::percent(s, context.faults));
    let bandwidth = fields.optional("bandwidth").map(|s| units::bandwidth(s, context.faults));
    let (from, to) = two_regions(value, context)?;
    if rtt.is_none() && loss.is_none() && bandwidth.is_none() {
        let suggestion = "add one or more of `rtt: 300ms`, `loss: 1%`, `bandwidth: 10MiB/s`";
        context.faults.error(value, "nothing says how slow", suggestion);
        return None;
    }
    let (rtt, loss) = (given(rtt)?, given(loss)?);
    Some(Fault::Slow { from, to, rtt, loss, bandwidth: given(bandwidth)? })
}

/// `None`: it was given and is wrong; `Some(None)`: it was not given.
#[expect(clippy::option_option, reason = "the outer one says that it could be read")]
fn given<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |value| value.map(Some))
}

/// The part, `Some(None)` for the whole region.
#[expect(
    clippy::option_option,
    reason = "the outer one says that it could be read, the inner one that it is there"
)]
fn part(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Option<FaultPart>> {
    let Some(spot) = fields.optional("part") else { return Some(None) };
    let words = Words { what: "a part", words: &["postgres", "etcd", "node", "app"] };
    let word = units::word(spot, words, context.faults)?;
    Some(FaultPart::ALL.into_iter().find(|p| p.to_string() == word))
}

fn two_regions(spot: Spot<'_>, context: &mut Context<'_>) -> Option<(RegionName, RegionName)> {
    let items = spot.items().unwrap_or_default();
    let [from, to] = items.as_slice() else {
        let message = format!("expected two regions, found {}", spot.found());
        context.faults.error(spot, message, "write both in brackets: [us-east-1, eu-central-1]");
        return None;
    };
    let (a, b) = (region(*from, context), region(*to, context));
    let (a, b) = (a?, b?);
    if a == b {
        context.faults.error(*to, format!("`{b}` is on both sides"), "name two different regions");
        return None;
    }
    Some((a, b))
}
