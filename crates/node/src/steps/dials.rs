//! The step that turns dials: what share of the traffic the new writer's region takes, and whether the old
//! writer's is drained.
//!
//! They are turned in etcd, from where every region takes them into its snapshot. What a step names it turns;
//! the rest stays. When it ends, `meridian_model::traffic` says.

use std::sync::Arc;

use meridian_model::order::Word;
use meridian_model::run::Run;
use meridian_model::topology::Dial;
use meridian_model::traffic::{Turn, TurnedDial};
use meridian_model::{RegionName, Share};
use meridian_steering::View;
use meridian_telemetry::clock;

use super::Steps;

impl Steps {
    /// Turns what the step names; done when the snapshot here shows it. Says what was turned, or left as a
    /// person or another group's run wants it.
    pub(super) async fn turn(&self, run: &Run, dial: Option<Share>, drain: bool) -> Result<String, String> {
        let wanted = wanted(run, dial, drain);
        if !wanted.is_empty() {
            self.may_turn(&wanted).await?;
            self.asks.turn_for(run, &wanted).await.map_err(|error| error.to_string())?;
        }
        let mut views = self.views.clone();
        let shown = |view: &Arc<View>| wanted.iter().all(|dial| shows(view, dial));
        let view = views.wait_for(shown).await.map_err(|_| "the node is shutting down".to_owned())?;
        let mut told: Vec<String> = wanted.iter().map(|dial| became(&view, dial)).collect();
        if drain && wanted.iter().all(|dial| dial.turn != Turn::Drain) {
            told.push("no region is drained: the writer came from no other one".to_owned());
        }
        Ok(told.join("; "))
    }

    /// Every node would hold it back, and the step would wait for that in vain; written, it would take effect
    /// at some later time.
    async fn may_turn(&self, wanted: &[TurnedDial]) -> Result<(), String> {
        let view = Arc::clone(&self.views.borrow());
        let groups: Vec<_> = view.system.databases.iter().map(|database| database.name.clone()).collect();
        let all = self.asks.turned(&groups).await.map_err(|error| error.to_string())?;
        let refused = view.refuses(&all, wanted);
        refused.map_or(Ok(()), |why| Err(format!("{why}; turn or clear the other dial: meridian dial")))
    }
}

fn wanted(run: &Run, dial: Option<Share>, drain: bool) -> Vec<TurnedDial> {
    let plan = run.plan.as_ref().map_or_else(|| "a plan".to_owned(), |plan| format!("plan {plan}"));
    let turned = |region: &RegionName, turn| TurnedDial {
        region: region.clone(),
        turn,
        run: Some(run.id.clone()),
        word: Word { by: plan.clone(), at: clock::wall(), reason: run.cause.clone() },
    };
    let new = dial.map(|share| turned(&run.to, Turn::Share(share)));
    let old = run.from.as_ref().filter(|from| drain && **from != run.to);
    new.into_iter().chain(old.map(|from| turned(from, Turn::Drain))).collect()
}

/// It is in force, or what outranks it is.
fn shows(view: &View, wanted: &TurnedDial) -> bool {
    view.snapshot.turned(&wanted.region).is_some_and(|now| {
        let this = now.run == wanted.run && now.turn == wanted.turn;
        this || now.run.is_none() || (now.run != wanted.run && now.turn <= wanted.turn)
    })
}

fn became(view: &View, wanted: &TurnedDial) -> String {
    let region = &wanted.region;
    let forbidden = view.system.region(region).is_some_and(|r| r.dial == Dial::Forbid);
    match view.snapshot.turned(region) {
        _ if forbidden => format!("{region} takes no traffic: the spec forbids it"),
        Some(now) if now.run != wanted.run => format!("{region} is left at {} by {}", now.turn, now.who()),
        _ => match wanted.turn {
            Turn::Drain => format!("{region} is drained"),
            Turn::Share(share) => format!("{region} takes {share} of what arrives"),
        },
    }
}

#[cfg(test)]
mod tests;
