//! The drawings: phases since the fault, who wrote, throughput, errors, latency.

use meridian_page::scale::{self, Scale, ceiling, marks, number, seconds};
use meridian_page::svg::{LEFT, RIGHT};
use meridian_page::{Anchor, Drawing};

use super::{Facts, FaultFact, PhaseFact, PopulationFact, SecondFact};

/// Room above a plot for the names of the faults.
const TOP: f64 = 34.0;
/// Room under a plot for the axis of time.
const BOTTOM: f64 = 38.0;
/// Colours that populations and regions take in turn; the style sheet has as many.
const COLOURS: usize = 6;
/// The height of a row of the phases.
const ROW: f64 = 26.0;
/// Where the phases' bars begin.
const PHASE_LEFT: f64 = 148.0;
/// Room for the figure behind the longest bar.
const PHASE_RIGHT: f64 = 880.0;
/// A last phase this many times later than the one before does not squeeze the others.
const FAR: f64 = 2.5;
/// The vertical axis of latency ends here at least and at most, in seconds.
const LATENCY_RANGE: (f64, f64) = (0.001, 100.0);
/// The distance within which the names of two faults would touch.
const NAME_ROOM: f64 = 150.0;

/// The phases as a waterfall: each bar runs from what came before it to the phase itself; what users
/// waited for runs from the fault.
pub(super) fn phases(facts: &Facts) -> String {
    let seen: Vec<(&PhaseFact, f64)> =
        facts.phases.iter().filter_map(|p| Some((p, p.after_fault_seconds?))).collect();
    let height = 8.0 + ROW * count(facts.phases.len()) + BOTTOM;
    let mut drawing = Drawing::new(height, "The phases of the recovery, in seconds since the fault");
    let time = Scale { from: 0.0, to: phase_end(&seen), start: PHASE_LEFT, end: PHASE_RIGHT };
    let bottom = height - BOTTOM;
    drawing.time_axis(&time, bottom, 8.0, "seconds since the fault");
    let mut before = 0.0_f64;
    for (row, phase) in facts.phases.iter().enumerate() {
        let y = 8.0 + ROW * count(row);
        drawing.text("label", (PHASE_LEFT - 12.0, y + 17.0), Anchor::End, &phase.name);
        match phase.after_fault_seconds {
            Some(after) => before = phase_bar(&mut drawing, &time, (y, before, after), phase),
            None => drawing.text("faint", (PHASE_LEFT + 8.0, y + 17.0), Anchor::Start, "not seen"),
        }
    }
    drawing.finish()
}

/// Where the axis of the phases ends.
fn phase_end(seen: &[(&PhaseFact, f64)]) -> f64 {
    let mut times: Vec<f64> = seen.iter().map(|(_, after)| *after).collect();
    times.sort_by(f64::total_cmp);
    match times.as_slice() {
        [.., before, last] if *before > 0.0 && *last > before * FAR => ceiling(before * 1.1),
        [.., last] if *last > 0.0 => ceiling(*last * 1.02),
        _ => 1.0,
    }
}

/// One bar; returns where the next one begins.
fn phase_bar(drawing: &mut Drawing, time: &Scale, place: (f64, f64, f64), phase: &PhaseFact) -> f64 {
    let (y, before, after) = place;
    let hint = format!("{}: {} after the fault. {}", phase.name, seconds(after), phase.detail);
    let user = phase.name.starts_with("first good");
    let class = if user { "phase user" } else { "phase" };
    let (from, to) = (time.at(if user { 0.0 } else { before.min(after) }), time.at(after));
    if to - from > 1.0 {
        drawing.bar(class, (from, y + 6.0), (to - from, ROW - 12.0), &hint);
    }
    drawing.dot(class, (to, y + ROW / 2.0), &hint);
    let far = after > time.to;
    let figure = if far { format!("{} \u{2192}", seconds(after)) } else { seconds(after) };
    drawing.text("figure", (to + 10.0, y + 17.0), Anchor::Start, &figure);
    if far || user { before } else { before.max(after) }
}

/// Who took writes when: one row for each region, by direct clients of its database.
pub(super) fn writers(facts: &Facts) -> String {
    let mut regions: Vec<&str> = Vec::new();
    for writer in &facts.writers {
        if !regions.contains(&writer.region.as_str()) {
            regions.push(&writer.region);
        }
    }
    let height = TOP + ROW * count(regions.len().max(1)) + BOTTOM;
    let mut drawing = Drawing::new(height, "Which database took writes when");
    let time = Scale { start: PHASE_LEFT, ..load_time(facts) };
    let bottom = height - BOTTOM;
    drawing.time_axis(&time, bottom, TOP, "seconds since the load began");
    for (row, region) in regions.iter().enumerate() {
        let y = TOP + ROW * count(row);
        drawing.text("label", (PHASE_LEFT - 12.0, y + 17.0), Anchor::End, region);
        for reign in facts.writers.iter().filter(|w| w.region == *region) {
            let (from, to) = (time.at(reign.first_seconds), time.at(reign.last_seconds));
            let hint = format!(
                "{region}, timeline {}: {} to {}, {} acknowledged test writes",
                reign.timeline,
                seconds(reign.first_seconds),
                seconds(reign.last_seconds),
                reign.acknowledgements
            );
            drawing.bar("reign", (from, y + 5.0), ((to - from).max(2.0), ROW - 10.0), &hint);
            if to - from > 90.0 {
                let label = format!("timeline {}", reign.timeline);
                drawing.text("inside", (from + 8.0, y + 17.0), Anchor::Start, &label);
            }
        }
    }
    fault_marks(&mut drawing, &time, facts, bottom);
    drawing.finish()
}

/// Answered requests a second, the populations on top of each other.
pub(super) fn throughput(facts: &Facts) -> String {
    let good = |s: &SecondFact| f64::from(s.reads + s.writes);
    stacked(facts, "Requests answered per second, by population", &good, Form::Areas)
}

/// Failed requests a second, the populations on top of each other.
pub(super) fn errors(facts: &Facts) -> String {
    let failed = |s: &SecondFact| f64::from(s.failed);
    stacked(facts, "Requests failed per second, by population", &failed, Form::Bars)
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Areas,
    Bars,
}

fn stacked(facts: &Facts, title: &str, value: &dyn Fn(&SecondFact) -> f64, form: Form) -> String {
    let height = if form == Form::Areas { 240.0 } else { 170.0 };
    let bottom = height - BOTTOM;
    let columns = seconds_of(facts);
    let layers = layers(facts, columns, value);
    let most = layers.last().into_iter().flatten().copied().fold(0.0, f64::max);
    let mut drawing = Drawing::new(height, title);
    let time = load_time(facts);
    let up = Scale { from: 0.0, to: ceiling(most.max(4.0)), start: bottom, end: TOP };
    drawing.time_axis(&time, bottom, TOP, "seconds since the load began");
    for mark in marks(up.from, up.to, 4.0) {
        drawing.line("grid", (LEFT, up.at(mark)), (RIGHT, up.at(mark)));
        drawing.text("tick", (LEFT - 8.0, up.at(mark) + 4.0), Anchor::End, &number(mark));
    }
    let mut under = vec![0.0; columns];
    for (index, layer) in layers.iter().enumerate() {
        let band = Band { under: &under, over: layer, index, time: &time, up: &up };
        match form {
            Form::Areas => area(&mut drawing, &band),
            Form::Bars => bars(&mut drawing, &band, facts),
        }
        under.clone_from(layer);
    }
    fault_marks(&mut drawing, &time, facts, bottom);
    drawing.finish()
}

/// The values of each population added to those before it.
fn layers(facts: &Facts, columns: usize, value: &dyn Fn(&SecondFact) -> f64) -> Vec<Vec<f64>> {
    let mut sum = vec![0.0; columns];
    let mut layers = Vec::new();
    for population in &facts.populations {
        for (total, second) in sum.iter_mut().zip(&population.series) {
            *total += value(second);
        }
        layers.push(sum.clone());
    }
    layers
}

/// One layer of a stack.
struct Band<'a> {
    under: &'a [f64],
    over: &'a [f64],
    index: usize,
    time: &'a Scale,
    up: &'a Scale,
}

fn area(drawing: &mut Drawing, band: &Band<'_>) {
    let place = |values: &[f64]| -> Vec<(f64, f64)> {
        let middle = |i: usize| band.time.at(count(i) + 0.5);
        values.iter().enumerate().map(|(i, v)| (middle(i), band.up.at(*v))).collect()
    };
    let (over, under) = (place(band.over), place(band.under));
    drawing.area(&format!("area c{}", band.index % COLOURS), &over, &under);
}

fn bars(drawing: &mut Drawing, band: &Band<'_>, facts: &Facts) {
    let name = facts.populations.get(band.index).map_or("", |p| p.name.as_str());
    let width = (band.time.at(1.0) - band.time.at(0.0) - 1.0).clamp(1.0, 18.0);
    for (second, (under, over)) in band.under.iter().zip(band.over).enumerate() {
        if over > under {
            let corner = (band.time.at(count(second)) + 0.5, band.up.at(*over));
            let tall = band.up.at(*under) - band.up.at(*over);
            let hint = format!("second {second}, {name}: {} failed", number(over - under));
            drawing.bar(&format!("fill c{}", band.index % COLOURS), corner, (width, tall), &hint);
        }
    }
}

/// Median and 95th percentile of one population, on a logarithmic axis.
pub(super) fn latency(facts: &Facts, index: usize, population: &PopulationFact) -> String {
    let height = 190.0;
    let bottom = height - BOTTOM;
    let mut drawing = Drawing::new(height, &format!("Latency of {}", population.name));
    let time = load_time(facts);
    let slowest = population.series.iter().filter_map(|s| s.p95_seconds).fold(0.1, f64::max);
    let fastest = population.series.iter().filter_map(|s| s.p50_seconds).fold(slowest, f64::min);
    let decade = |v: f64| v.clamp(LATENCY_RANGE.0, LATENCY_RANGE.1).log10();
    let up = Scale { from: decade(fastest).floor(), to: decade(slowest).ceil(), start: bottom, end: TOP };
    drawing.time_axis(&time, bottom, TOP, "seconds since the load began");
    for mark in marks(up.from, up.to, up.to - up.from) {
        drawing.line("grid", (LEFT, up.at(mark)), (RIGHT, up.at(mark)));
        let label = scale::latency(10_f64.powf(mark));
        drawing.text("tick", (LEFT - 8.0, up.at(mark) + 4.0), Anchor::End, &label);
    }
    let mut line = |class: &str, value: &dyn Fn(&SecondFact) -> Option<f64>| {
        let place = |(i, s): (usize, &SecondFact)| Some((time.at(count(i) + 0.5), up.at(decade(value(s)?))));
        drawing
            .path(&format!("{class} c{}", index % COLOURS), population.series.iter().enumerate().map(place));
    };
    line("line thin", &|s| s.p95_seconds);
    line("line", &|s| s.p50_seconds);
    fault_marks(&mut drawing, &time, facts, bottom);
    drawing.finish()
}

/// A dashed line for each fault, with its name above, on a second row where two would touch.
fn fault_marks(drawing: &mut Drawing, time: &Scale, facts: &Facts, bottom: f64) {
    let mut last_end = [f64::MIN; 2];
    for fault in &facts.faults {
        let x = time.at(fault.at_seconds);
        let class = if fault.mends { "mend" } else { "fault" };
        let row = usize::from(last_end.first().is_some_and(|end| *end > x));
        drawing.line(class, (x, if row == 0 { 8.0 } else { 20.0 }), (x, bottom));
        if last_end.get(row).is_some_and(|end| *end > x) {
            continue;
        }
        if let Some(end) = last_end.get_mut(row) {
            *end = x + NAME_ROOM;
        }
        fault_name(drawing, (x, 15.0 + 12.0 * count(row)), time, fault);
    }
}

fn fault_name(drawing: &mut Drawing, at: (f64, f64), time: &Scale, fault: &FaultFact) {
    let (x, y) = at;
    let class = if fault.mends { "mend-name" } else { "fault-name" };
    if x + NAME_ROOM > time.end {
        drawing.text(class, (x - 5.0, y), Anchor::End, &fault.what);
    } else {
        drawing.text(class, (x + 5.0, y), Anchor::Start, &fault.what);
    }
}

/// The axis of the whole drill.
fn load_time(facts: &Facts) -> Scale {
    Scale { from: 0.0, to: facts.duration_seconds.max(1.0), start: LEFT, end: RIGHT }
}

/// How many seconds have a value: the last, broken one has not.
fn seconds_of(facts: &Facts) -> usize {
    let longest = facts.populations.iter().map(|p| p.series.len()).max().unwrap_or_default();
    longest.saturating_sub(1)
}

fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::MAX, f64::from)
}
