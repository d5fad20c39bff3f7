//! Dials that are turned: by a run, for as long as its reign lasts, or by a person, until a person clears it.

use meridian_model::run::Run;
use meridian_model::traffic::TurnedDial;
use meridian_model::{GroupName, RegionName};

use super::{AskError, Asks, refused, unchanged};
use crate::codec::encode;
use crate::store::{Compare, Txn};

impl Asks {
    /// All dials that persons and the runs of these groups have turned, whether they are in force or not.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn turned(&self, groups: &[GroupName]) -> Result<Vec<TurnedDial>, AskError> {
        let mut all = Vec::new();
        for key in groups.iter().map(|group| self.keys.group_dials(group)).chain([self.keys.dials()]) {
            all.extend(self.read::<Vec<TurnedDial>>(&key).await?.0.unwrap_or_default());
        }
        Ok(all)
    }

    /// Turns dials for a step of `run`. What it has turned so already is left as it is, so a step that is
    /// carried out again writes nothing.
    ///
    /// # Errors
    /// [`AskError::Raced`] also when the reign of the run is over: nothing is turned then.
    pub async fn turn_for(&self, run: &Run, dials: &[TurnedDial]) -> Result<(), AskError> {
        let key = self.keys.group_dials(&run.group);
        let (before, revision) = self.read::<Vec<TurnedDial>>(&key).await?;
        let mut all = before.unwrap_or_default();
        let same =
            |a: &TurnedDial, b: &TurnedDial| (&a.region, a.turn, &a.run) == (&b.region, b.turn, &b.run);
        if dials.iter().all(|dial| all.iter().any(|there| same(there, dial))) {
            return Ok(());
        }
        dials.iter().for_each(|dial| put(&mut all, dial.clone()));
        let reign = Compare::Value(self.keys.epoch(&run.group), encode(&run.epoch));
        let compare = vec![reign, unchanged(&key, revision)];
        self.commit(Txn { compare, put: vec![(key, encode(&all))], delete: Vec::new() }).await
    }

    /// Turns the dial of a region as a person wants it; it outranks what runs turn.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn turn(&self, dial: &TurnedDial) -> Result<(), AskError> {
        let key = self.keys.dials();
        let (before, revision) = self.read::<Vec<TurnedDial>>(&key).await?;
        let mut all = before.unwrap_or_default();
        put(&mut all, dial.clone());
        self.write(key, encode(&all), revision).await
    }

    /// The dial of a region is the spec's again, whoever has turned it: a person, or a run of these groups.
    ///
    /// # Errors
    /// [`AskError::Refused`] when nobody has turned it.
    pub async fn clear(&self, region: &RegionName, groups: &[GroupName]) -> Result<(), AskError> {
        let keys = groups.iter().map(|group| self.keys.group_dials(group));
        let mut txn = Txn::default();
        for key in keys.chain([self.keys.dials()]) {
            let (before, revision) = self.read::<Vec<TurnedDial>>(&key).await?;
            let mut all = before.unwrap_or_default();
            let count = all.len();
            all.retain(|dial| &dial.region != region);
            if all.len() < count {
                txn.compare.push(unchanged(&key, revision));
                txn.put.push((key, encode(&all)));
            }
        }
        if txn.put.is_empty() {
            return Err(refused(format!("nobody has turned the dial of {region}: it is the spec's")));
        }
        self.commit(txn).await
    }
}

/// One a region: the newest stands.
fn put(all: &mut Vec<TurnedDial>, dial: TurnedDial) {
    all.retain(|other| other.region != dial.region);
    all.push(dial);
}
