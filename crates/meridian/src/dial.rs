//! `meridian dial`: which share of the traffic a region takes, while the system runs.

use std::process::ExitCode;

use clap::Args;
use meridian_model::topology::{Dial, Region};
use meridian_model::traffic::{Turn, TurnedDial};
use meridian_model::{RegionName, Share, System};
use meridian_node::{DIALS, DialAsked};

use crate::output::{Output, json, print};
use crate::system::{Person, Which, known, no_answer};
use crate::table::{self, Column};

/// Turn the dial of a region, drain it, or clear it; without a region, show all dials.
///
/// What you turn stands in for the dial of the spec in every region, and before what the steps of a run turn,
/// until you clear it. A drained region serves in an emergency: when no other one can. `forbid` in the spec
/// stays. What a run has turned ends when another run of its group begins, or when you clear it.
#[derive(Args)]
#[command(after_help = format!("{}\n\n{EXAMPLES}", table::help("Columns", &DIALS_SHOWN)))]
pub(crate) struct DialArgs {
    /// Whose dial.
    region: Option<RegionName>,
    /// The share of arriving traffic that it takes, such as `40%`; or `drain`.
    #[arg(value_parser = turn, requires = "region")]
    turn: Option<Turn>,
    /// The dial is the spec's again, whoever has turned it.
    #[arg(long, requires = "region", conflicts_with = "turn")]
    clear: bool,
    #[command(flatten)]
    person: Person,
    #[command(flatten)]
    which: Which,
}

/// The dials.
pub(crate) const DIALS_SHOWN: [Column; 4] = [
    Column("REGION", "whose dial"),
    Column("IN THE SPEC", "the share of arriving traffic; drain: only in an emergency; forbid: never"),
    Column("TURNED TO", "what stands in for that now; -: nothing, the spec's counts"),
    Column("BY", "the person or the run that turned it, and why"),
];

const EXAMPLES: &str = "Examples:
  meridian dial                                  every region's dial, and who has turned it
  meridian dial eu-central-1 40%                 it takes 40 % of what arrives
  meridian dial eu-central-1 drain --reason \"new switches\"
  meridian dial eu-central-1 --clear             as the spec says";

pub(crate) fn run(args: &DialArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    if let Some(region) = &args.region {
        known(&nodes.system, region)?;
    }
    let asked = args.region.as_ref().filter(|_| args.turn.is_some() || args.clear);
    if let Some(region) = asked {
        let Person { by, reason } = &args.person;
        let (region, turn) = (region.clone(), args.turn);
        let asked = DialAsked { region: region.clone(), turn, by: by.clone(), reason: reason.clone() };
        let turned: Option<TurnedDial> = nodes.post(DIALS, &asked)?;
        match args.which.output {
            Output::Json => print(&json(&turned)?),
            Output::Table => {
                print(&turned.map_or_else(
                    || format!("the dial of {region} is the spec's again\n"),
                    |dial| line(&dial),
                ))
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let node = nodes.statuses().into_iter().next();
    let node = node.ok_or_else(no_answer)?;
    let shown: Vec<TurnedDial> =
        node.dials.into_iter().filter(|d| args.region.as_ref().is_none_or(|r| *r == d.region)).collect();
    match args.which.output {
        Output::Json => print(&json(&shown)?),
        Output::Table => print(&table(&nodes.system, args.region.as_ref(), &shown)),
    }
    Ok(ExitCode::SUCCESS)
}

/// One turned dial, with who turned it, when and why.
pub(crate) fn line(dial: &TurnedDial) -> String {
    let at = jiff::Timestamp::from_millisecond(dial.word.at.0).map(|t| format!(" at {t:.0}"));
    let reason = &dial.word.reason;
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    format!("DIAL     {} {} by {}{}{why}\n", dial.region, dial.turn, dial.who(), at.unwrap_or_default())
}

fn table(system: &System, only: Option<&RegionName>, turned: &[TurnedDial]) -> String {
    let regions = system.topology.regions.iter().filter(|r| only.is_none_or(|only| *only == r.name));
    let row = |region: &Region| {
        let spec = match region.dial {
            Dial::Share(share) => share.to_string(),
            Dial::Drain => "drain".to_owned(),
            Dial::Forbid => "forbid".to_owned(),
        };
        let now = turned.iter().find(|d| d.region == region.name);
        let (turn, by) = match now {
            Some(dial) if dial.word.reason.is_empty() => (dial.turn.to_string(), dial.who()),
            Some(dial) => (dial.turn.to_string(), format!("{}: {}", dial.who(), dial.word.reason)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        [region.name.to_string(), spec, turn, by]
    };
    table::text(&DIALS_SHOWN, &regions.map(row).collect::<Vec<_>>(), 0)
}

fn turn(text: &str) -> Result<Turn, String> {
    if text == "drain" {
        return Ok(Turn::Drain);
    }
    let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
    let share = percent.and_then(Share::from_percent).map(Turn::Share);
    share.ok_or_else(|| format!("`{text}` is neither `drain` nor a percentage from 0% to 100%, such as 40%"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::order::Word;
    use meridian_model::{Name, Timestamp};

    #[test]
    fn a_turn_is_a_percentage_with_its_sign_or_a_drain() {
        assert_eq!(turn("drain"), Ok(Turn::Drain));
        let share = |percent| Turn::Share(Share::from_percent(percent).unwrap());
        assert_eq!(
            (turn("40%"), turn("0.5 %"), turn("100%")),
            (Ok(share(40.0)), Ok(share(0.5)), Ok(share(100.0)))
        );
        for bad in ["40", "0.4", "101%", "-1%", "NaN%", "%", "forbid", ""] {
            assert!(turn(bad).unwrap_err().contains("such as 40%"), "{bad}");
        }
    }

    #[test]
    fn a_line_says_who_when_and_why() {
        let word =
            Word { by: "ana".to_owned(), at: Timestamp(1_700_000_000_000), reason: "switches".to_owned() };
        let name = |text| Name::new(text).unwrap();
        let mut dial = TurnedDial { region: name("eu"), turn: Turn::Drain, run: None, word };
        assert_eq!(line(&dial), "DIAL     eu drain by ana at 2023-11-14T22:13:20Z: switches\n");
        dial.run = Some(name("shop-2-failover"));
        assert!(line(&dial).contains(" by run shop-2-failover at "));
    }
}
