//! How the users of a service share themselves among the regions: what a status tells.

use std::collections::BTreeMap;

use meridian_model::RegionName;
use meridian_model::service::Service;
use meridian_model::topology::{Dial, Population};

use crate::answer::Class;
use crate::view::View;

/// So many partial dials are told apart: 2^8 classes for each population. Further ones take everybody here.
const PARTIAL_MAX: usize = 8;

impl View {
    /// The share of all users that `service` sends to each region first, in the order of their names; regions
    /// that get nobody are left out. A population without networks counts as people from anywhere.
    #[must_use]
    pub fn shares(&self, service: &Service) -> Vec<(RegionName, f64)> {
        let mut by_region: BTreeMap<RegionName, f64> = BTreeMap::new();
        for (index, population) in (0..).zip(&self.system.topology.users) {
            let known = |p: &Population| !p.networks.is_empty();
            for (dials, part) in self.sides() {
                let class = Class { population: known(population).then_some(index), dials };
                let answer = self.answer_for(service, class);
                if let Some(first) = answer.candidates.first().filter(|_| part > 0.0) {
                    *by_region.entry(first.region.clone()).or_default() += population.share.as_f64() * part;
                }
            }
        }
        by_region.into_iter().collect()
    }

    /// On which sides of the partial dials networks fall, and which part of them does so: the dice of the
    /// regions are independent.
    fn sides(&self) -> Vec<(u32, f64)> {
        let partial = self.partial().iter().filter_map(|at| self.system.topology.regions.get(*at));
        let shares = partial.map(|region| match self.dial(region) {
            Dial::Share(share) => share.as_f64(),
            Dial::Drain | Dial::Forbid => 0.0,
        });
        let mut sides = vec![(u32::MAX, 1.0)];
        for (bit, share) in shares.take(PARTIAL_MAX).enumerate() {
            let both =
                |(mask, part): (u32, f64)| [(mask, part * share), (mask & !(1 << bit), part * (1.0 - share))];
            sides = sides.into_iter().flat_map(both).collect();
        }
        sides
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use meridian_model::Share;

    use super::*;
    use crate::fixture::{self, AP, EU, US};

    fn shares(change: impl FnOnce(&mut meridian_model::System)) -> Vec<(String, u32)> {
        let mut system = fixture::system();
        change(&mut system);
        let snapshot = Arc::new(fixture::snapshot(&system, &[]));
        let view = View::new(Arc::new(system), fixture::name(US), snapshot);
        let all = view.shares(&view.system.services[0]);
        all.into_iter()
            .map(|(region, share)| (region.to_string(), (share * 1_000.0).round() as u32))
            .collect()
    }

    fn told<const N: usize>(list: [(&str, u32); N]) -> Vec<(String, u32)> {
        list.map(|(region, share)| (region.to_owned(), share)).into()
    }

    #[test]
    fn each_population_counts_where_it_goes_first() {
        assert_eq!(shares(|_| ()), told([(AP, 250), (EU, 350), (US, 400)]));
        let drained = shares(|s| s.topology.regions[1].dial = Dial::Drain);
        assert_eq!(drained, told([(AP, 250), (US, 750)]));
        let anywhere = shares(|s| s.topology.users.iter_mut().for_each(|p| p.networks.clear()));
        assert_eq!(anywhere.iter().map(|(_, share)| share).sum::<u32>(), 1_000);
    }

    #[test]
    fn partial_dials_divide_a_population() {
        let some = |percent| Dial::Share(Share::from_percent(percent).unwrap());
        let one = shares(|s| s.topology.regions[0].dial = some(30.0));
        assert_eq!(one, told([(AP, 250), (EU, 350 + 280), (US, 120)]));
        // Of America 30 % stay; of the rest half go on to Europe, and the others past it to Asia.
        let two = shares(|s| {
            s.topology.regions[0].dial = some(30.0);
            s.topology.regions[1].dial = some(50.0);
        });
        let of = |region: &str| two.iter().find(|(r, _)| r == region).map_or(0, |(_, share)| *share);
        assert_eq!((two.len(), of(EU)), (3, 175 + 140), "{two:?}");
    }
}
