//! The drawing: each step as a bar, with a dashed frame where it was expected.

use meridian_page::scale::{Scale, ceiling, seconds};
use meridian_page::{Anchor, Drawing};

use super::facts::{Facts, StepFact};

const ROW: f64 = 26.0;
/// Where bars begin, right of the names.
const BEGIN: f64 = 160.0;
/// Room for the figure behind the longest bar.
const END: f64 = 880.0;
const TOP: f64 = 8.0;
/// Room under the bars for the axis of time.
const BOTTOM: f64 = 38.0;

/// The steps in their order, in seconds since the origin of the report.
pub(super) fn steps(facts: &Facts) -> String {
    let rows = u32::try_from(facts.steps.len() + 1).map_or(1.0, f64::from);
    let bottom = TOP + ROW * rows;
    let mut drawing = Drawing::new(bottom + BOTTOM, "The steps of the run, in seconds");
    let time = scale(facts, facts.now_seconds);
    let unit = format!("seconds since {}", facts.origin);
    drawing.time_axis(&time, bottom, TOP, &unit);
    decision(&mut drawing, &time, facts);
    let mut y = TOP + ROW;
    for step in &facts.steps {
        drawing.text("label", (BEGIN - 12.0, y + 17.0), Anchor::End, &step.name);
        expected(&mut drawing, &time, y, step);
        actual(&mut drawing, &time, (y, facts.now_seconds), step);
        y += ROW;
    }
    drawing.finish()
}

fn scale(facts: &Facts, now: f64) -> Scale {
    let begins = facts.steps.iter().filter_map(|s| s.began_after_seconds);
    let ends = facts.steps.iter().filter_map(|s| match (s.began_after_seconds, s.took_seconds) {
        (Some(began), Some(took)) => Some(began + took),
        (Some(_), None) => Some(now),
        (None, _) => None,
    });
    let expected = facts.steps.iter().filter_map(|s| Some(s.expected_after_seconds? + s.expected_seconds?));
    let from = begins.fold(0.0, f64::min);
    let to = ends.chain(expected).fold(1.0, f64::max);
    Scale { from, to: ceiling(to * 1.02), start: BEGIN, end: END }
}

/// What came before the run: detection, the wait for the lease, the claim.
fn decision(drawing: &mut Drawing, time: &Scale, facts: &Facts) {
    let Some(decided) = facts.phases.iter().find(|p| p.name == "decided").and_then(|p| p.after_seconds)
    else {
        return;
    };
    let y = TOP;
    drawing.text("label", (BEGIN - 12.0, y + 17.0), Anchor::End, "until decided");
    let hint = format!("from {} to the decision: {}", facts.origin, seconds(decided));
    bar(drawing, "step machine", (time.at(0.0), time.at(decided)), y, &hint);
    let marks = facts.phases.iter().take_while(|p| p.name != "decided");
    for (mark, after) in marks.filter_map(|p| Some((p, p.after_seconds?))) {
        let hint = format!("{}: {}", mark.name, seconds(after));
        drawing.dot("step machine", (time.at(after), y + ROW / 2.0), &hint);
    }
    figure(drawing, time.at(decided), y, &seconds(decided));
}

fn expected(drawing: &mut Drawing, time: &Scale, y: f64, step: &StepFact) {
    if let (Some(begins), Some(takes)) = (step.expected_after_seconds, step.expected_seconds) {
        let (from, to) = (time.at(begins), time.at(begins + takes));
        let hint = format!("{} was expected at {} for {}", step.name, seconds(begins), seconds(takes));
        drawing.bar("expected", (from, y + 3.0), ((to - from).max(2.0), ROW - 6.0), &hint);
    }
}

fn actual(drawing: &mut Drawing, time: &Scale, (y, now): (f64, f64), step: &StepFact) {
    let Some(began) = step.began_after_seconds else {
        drawing.text("faint", (BEGIN + 8.0, y + 17.0), Anchor::Start, &step.state);
        return;
    };
    let running = step.took_seconds.is_none();
    let took = step.took_seconds.unwrap_or((now - began).max(0.0));
    let class = match step.state.as_str() {
        "failed" => "step failed",
        "running" => "step running",
        _ => "step",
    };
    let hint = format!("{}: {} for {}. {}", step.name, step.state, seconds(took), step.detail);
    let to = time.at(began + took);
    bar(drawing, class, (time.at(began), to), y, &hint);
    let label = match &step.stuck {
        Some(stuck) => stuck.clone(),
        None if running => format!("{} so far", seconds(took)),
        None => seconds(took),
    };
    figure(drawing, to, y, &label);
}

fn bar(drawing: &mut Drawing, class: &str, (from, to): (f64, f64), y: f64, hint: &str) {
    drawing.bar(class, (from, y + 7.0), ((to - from).max(2.0), ROW - 14.0), hint);
}

/// Behind the bar, or before its end where there is no room.
fn figure(drawing: &mut Drawing, to: f64, y: f64, text: &str) {
    let room = meridian_page::svg::WIDTH - to - 10.0;
    let needed = 7.0 * u32::try_from(text.chars().count()).map_or(0.0, f64::from);
    if needed <= room {
        drawing.text("figure", (to + 10.0, y + 17.0), Anchor::Start, text);
    } else {
        drawing.text("figure", (to - 6.0, y + 17.0), Anchor::End, text);
    }
}
