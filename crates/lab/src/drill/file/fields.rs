//! A mapping that is read field by field: unknown ones are told, and those that nobody asked for.

use std::collections::BTreeSet;

use meridian_spec::reading::{Faults, Pair, Spot};

/// A mapping being read.
pub(super) struct Fields<'n> {
    whole: Spot<'n>,
    pairs: Vec<Pair<'n>>,
    taken: BTreeSet<&'n str>,
    known: Vec<String>,
}

impl<'n> Fields<'n> {
    /// Begins; every field that is not in `known` is told.
    pub(super) fn begin(spot: Spot<'n>, known: &[&str], faults: &mut Faults) -> Option<Self> {
        let Some(pairs) = spot.fields() else {
            let message = format!("expected a mapping, found {}", spot.found());
            faults.error(spot, message, format!("write its fields: {}", known.join(", ")));
            return None;
        };
        for pair in pairs.iter().filter(|p| !known.contains(&p.key)) {
            let suggestion = meridian_catalog::closest(pair.key, known.iter().copied()).map_or_else(
                || format!("known here: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let name: String = pair.key.chars().take(60).collect();
            faults.error(pair.key_spot, format!("unknown field `{name}`"), suggestion);
        }
        let known = known.iter().map(|k| (*k).to_owned()).collect();
        Some(Self { whole: spot, pairs, taken: BTreeSet::new(), known })
    }

    /// It is there, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|p| p.key == name)
    }

    /// It holds a field that is not known here.
    pub(super) fn misspelt(&self) -> bool {
        self.pairs.iter().any(|p| !self.known.iter().any(|k| k == p.key))
    }

    /// The value, if it is there.
    pub(super) fn optional(&mut self, name: &str) -> Option<Spot<'n>> {
        let pair = self.pairs.iter().find(|p| p.key == name)?;
        self.taken.insert(pair.key);
        Some(pair.value)
    }

    /// The value; its absence is told.
    pub(super) fn required(&mut self, name: &str, faults: &mut Faults) -> Option<Spot<'n>> {
        let value = self.optional(name);
        if value.is_none() {
            faults.error(self.whole, format!("the field `{name}` is missing"), format!("add `{name}:`"));
        }
        value
    }

    /// A field that can have one value only.
    pub(super) fn constant(&mut self, name: &str, wanted: &str, faults: &mut Faults) {
        if let Some(value) = self.required(name, faults).filter(|v| v.text() != Some(wanted)) {
            faults.error(
                value,
                format!("{name} is {}", value.found()),
                format!("a drill has `{name}: {wanted}`"),
            );
        }
    }

    /// Tells known fields that make no sense beside what was read.
    pub(super) fn refuse_unused(&self, beside: &str, faults: &mut Faults) {
        let unused = |p: &&Pair<'_>| !self.taken.contains(p.key) && self.known.iter().any(|k| k == p.key);
        for pair in self.pairs.iter().filter(unused) {
            faults.error(pair.key_spot, format!("`{}` means nothing beside {beside}", pair.key), "remove it");
        }
    }
}
