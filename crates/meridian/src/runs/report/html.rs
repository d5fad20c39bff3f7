//! The page: a fixed sequence of sections, each a short function.

use meridian_page::escape;
use meridian_page::html::{Page, mark};
use meridian_page::scale::seconds;

use super::facts::{Facts, PhaseFact, StepFact};
use super::timeline;
use crate::runs::span::iso;

/// The whole page.
pub(super) fn html(facts: &Facts) -> String {
    let mut page = Page::default();
    head(&mut page, facts);
    tiles(&mut page, facts);
    facts.warnings.iter().for_each(|warning| page.warning("Note.", warning));
    steps(&mut page, facts);
    phases(&mut page, facts);
    why(&mut page, facts);
    people(&mut page, facts);
    switchover(&mut page, facts);
    loss(&mut page, facts);
    let definitions = facts.definitions.iter().map(|d| (d.word.as_str(), d.meaning.as_str()));
    page.definitions("What the figures mean", definitions);
    page.finish(&format!("Run {}: {}", facts.run.id, facts.state))
}

fn head(page: &mut Page, facts: &Facts) {
    let run = &facts.run;
    page.head(run.id.as_str(), &facts.state, facts.good);
    let kind = format!("{:?}", run.kind);
    let from = run.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    page.sentence(&format!(
        "{kind} of {}{from} to {}, in epoch {}. {}.",
        run.group, run.to, run.epoch, run.cause
    ));
    let plan = run.plan.as_ref().map(|plan| format!(", by plan {plan}")).unwrap_or_default();
    let decided = iso(run.decided_at);
    page.soft(&format!("System {}, decided {decided}{plan}; told {}.", facts.system, facts.told_at));
}

fn tiles(page: &mut Page, facts: &Facts) {
    let objectives = facts.objectives;
    let writes = facts.writes.map_or_else(|| "-".to_owned(), |figure| seconds(figure.seconds));
    let rto = format!("since {}; objective {}", facts.origin, seconds(objectives.rto_seconds));
    let protected = facts.phases.iter().find(|p| p.name == "protected again").and_then(|p| p.after_seconds);
    let protected = match (protected, &facts.run.aborted) {
        (Some(after), _) => seconds(after),
        (None, Some(_)) => "not: the run was aborted".to_owned(),
        (None, None) => "not yet".to_owned(),
    };
    let done = facts.steps.iter().filter(|s| s.state == "done").count();
    let again = facts.steps.iter().filter(|s| s.attempts > 1).count();
    page.tiles(&[
        ("Writes again after", writes, rto, facts.writes.map(|figure| figure.held)),
        ("Transactions lost", lost(facts), lost_note(facts), lost_held(facts)),
        ("Protected again after", protected, format!("since {}", facts.origin), None),
        (
            "Steps done",
            format!("{done} of {}", facts.steps.len()),
            format!("tried more than once: {again}"),
            Some(facts.steps.iter().all(|s| s.state != "failed")),
        ),
    ]);
}

fn lost(facts: &Facts) -> String {
    match (facts.loss.transactions, facts.loss.at_most_seconds) {
        (Some(count), _) => count.to_string(),
        (None, Some(0.0)) => "0".to_owned(),
        (None, _) => "not counted".to_owned(),
    }
}

/// A bound within the objective is no count: nothing is called good before it was counted or proven.
fn lost_held(facts: &Facts) -> Option<bool> {
    let known = facts.loss.transactions.is_some() || facts.loss.at_most_seconds == Some(0.0);
    facts.loss.held.filter(|held| known || !held)
}

fn lost_note(facts: &Facts) -> String {
    let objective = format!("objective {}", seconds(facts.objectives.rpo_seconds));
    let source = match (facts.loss.transactions, facts.loss.at_most_seconds) {
        (Some(_), _) => "counted in the old writer's log".to_owned(),
        (None, Some(0.0)) => "by proof before the promotion".to_owned(),
        (None, Some(most)) => format!("at most the last {}", seconds(most)),
        (None, None) => "no bound is known".to_owned(),
    };
    format!("{source}; {objective}")
}

fn steps(page: &mut Page, facts: &Facts) {
    page.heading("The run, step by step");
    page.soft("Violet: until the decision. Blue: each step. Dashed: when it was expected, and for how long.");
    page.raw(&timeline::steps(facts));
    let second = |value: Option<f64>| value.map_or_else(String::new, |s| format!("{s:.2} s"));
    let row = |s: &StepFact| {
        let state = match s.state.as_str() {
            "done" => mark(true, "done", ""),
            "failed" => mark(false, "", "failed"),
            other => escape(other),
        };
        let kind = if s.kind == s.name { String::new() } else { format!(" ({})", escape(&s.kind)) };
        let detail = s.stuck.as_ref().unwrap_or(&s.detail);
        vec![
            format!("<b class=\"name\">{}</b>{kind}", escape(&s.name)),
            state,
            second(s.began_after_seconds),
            second(s.took_seconds),
            second(s.expected_seconds),
            s.attempts.to_string(),
            clock(s.began_at.as_deref()),
            escape(detail),
        ]
    };
    let rows: Vec<_> = facts.steps.iter().map(row).collect();
    let heads =
        ["Step", "", "#Began after", "#Took", "#Expected", "#Attempts", "#Began (UTC)", "What was seen"];
    page.table(&heads, &rows);
}

fn phases(page: &mut Page, facts: &Facts) {
    page.heading("From alarm to protected again");
    page.soft(&format!("Times count from {}.", facts.origin));
    let rto = seconds(facts.objectives.rto_seconds);
    let row = |p: &PhaseFact| {
        let after = p.after_seconds.map_or_else(|| "not seen".to_owned(), |s| format!("{s:.3} s"));
        let held = p.held.map(|held| mark(held, &format!("within {rto}"), &format!("over {rto}")));
        vec![
            format!("<b class=\"name\">{}</b>", escape(&p.name)),
            escape(&after),
            clock(p.at.as_deref()),
            held.unwrap_or_default(),
            escape(&p.detail),
        ]
    };
    let rows: Vec<_> = facts.phases.iter().map(row).collect();
    page.table(&["Phase", "#After", "#At (UTC)", "Objective", "What was seen"], &rows);
}

/// The time of the day of an ISO time, as a cell.
fn clock(at: Option<&str>) -> String {
    let time = at.and_then(|at| at.split_once('T')).map_or("", |(_, time)| time.trim_end_matches('Z'));
    escape(time)
}

fn why(page: &mut Page, facts: &Facts) {
    let run = &facts.run;
    page.heading("Why it was decided");
    page.sentence(&run.cause);
    page.soft(&format!("Why the old writer could not write any more: {}.", run.proof));
    if run.evidence.rules.is_empty() {
        return;
    }
    let row = |rule: &meridian_model::run::RuleSaid| {
        let said = mark(rule.allows, "allowed it", "spoke against it");
        vec![said, format!("<b class=\"name\">{}</b>", escape(&rule.rule)), escape(&rule.evidence)]
    };
    let rows: Vec<_> = run.evidence.rules.iter().map(row).collect();
    page.table(&["", "Rule", "Evidence at that moment"], &rows);
}

fn people(page: &mut Page, facts: &Facts) {
    page.heading("Who");
    if facts.people.is_empty() {
        page.soft("No person took part: the rules allowed it.");
        return;
    }
    let row = |p: &super::facts::PersonFact| {
        vec![escape(p.at.as_deref().unwrap_or("")), format!("<b>{}</b>", escape(&p.who)), escape(&p.what)]
    };
    let rows: Vec<_> = facts.people.iter().map(row).collect();
    page.table(&["When", "Who", "What"], &rows);
}

fn switchover(page: &mut Page, facts: &Facts) {
    let Some(token) = &facts.run.evidence.handover else { return };
    let pairs = [
        ("order", token.order.to_string()),
        ("by", token.by.clone()),
        ("transactions held", iso(token.held_at)),
        ("old writer stopped", iso(token.stopped_at)),
        ("its last checkpoint", format!("timeline {} at {}", token.end.timeline, token.end.lsn)),
        ("sessions cut", token.cut.to_string()),
    ];
    page.pairs("How the writer was handed over", pairs.iter().map(|(name, value)| (*name, value.as_str())));
}

fn loss(page: &mut Page, facts: &Facts) {
    if facts.loss.sentences.is_empty() {
        return;
    }
    page.heading("What was lost");
    facts.loss.sentences.iter().for_each(|sentence| page.sentence(sentence));
    let tables = facts.loss.losses.iter().flat_map(|loss| &loss.by_table);
    let rows: Vec<_> = tables.map(|t| vec![escape(&t.table), t.rows.to_string()]).collect();
    if !rows.is_empty() {
        page.table(&["Table", "#Rows changed"], &rows);
        page.soft(&format!("meridian run lost {} lists the transactions.", facts.run.id));
    }
}
