//! The regions of the three large clouds.

use std::sync::LazyLock;

use meridian_model::topology::{Location, Provider};

use crate::words::closest;

/// A region of a cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudRegion {
    /// Whose.
    pub provider: Provider,
    /// Its code, such as `eu-central-1`.
    pub name: &'static str,
    /// The city, or the state where only that is known.
    pub city: &'static str,
    /// ISO 3166-1 alpha-2.
    pub country: &'static str,
    /// Such as `europe`; here Asia, Oceania and the Middle East are told apart.
    pub continent: &'static str,
    /// The legal area: see the crate's documentation.
    pub jurisdiction: &'static str,
    /// The city's place, never a building's.
    pub location: Location,
}

/// The region of that name; none if the catalogue does not know it.
#[must_use]
pub fn region(provider: Provider, name: &str) -> Option<&'static CloudRegion> {
    REGIONS.iter().find(|r| r.provider == provider && r.name == name)
}

/// All regions of all clouds, in the clouds' own order.
pub fn regions() -> impl Iterator<Item = &'static CloudRegion> {
    REGIONS.iter()
}

/// The region that was probably meant by `name`: another cloud's of exactly that name, else the one
/// that is spelt most like it, of `provider` first.
#[must_use]
pub fn suggest(provider: Provider, name: &str) -> Option<&'static CloudRegion> {
    let of = |wanted: fn(Provider, Provider) -> bool| {
        let names = REGIONS.iter().filter(|r| wanted(r.provider, provider)).map(|r| r.name);
        let found = closest(name, names)?;
        REGIONS.iter().find(|r| wanted(r.provider, provider) && r.name == found)
    };
    let exact = REGIONS.iter().find(|r| r.name == name);
    exact.or_else(|| of(|a, b| a == b)).or_else(|| of(|a, b| a != b))
}

static REGIONS: LazyLock<Vec<CloudRegion>> =
    LazyLock::new(|| include_str!("data/regions.txt").lines().filter_map(parse).collect());

/// One line of the table; comments are none. That no other line is dropped is tested.
fn parse(line: &'static str) -> Option<CloudRegion> {
    let mut fields = line.split('\t');
    let provider = provider_of(fields.next()?)?;
    Some(CloudRegion {
        provider,
        name: fields.next()?,
        city: fields.next()?,
        country: fields.next()?,
        continent: fields.next()?,
        jurisdiction: fields.next()?,
        location: Location {
            latitude: fields.next()?.parse().ok()?,
            longitude: fields.next()?.parse().ok()?,
        },
    })
}

fn provider_of(word: &str) -> Option<Provider> {
    match word {
        "aws" => Some(Provider::Aws),
        "gcp" => Some(Provider::Gcp),
        "azure" => Some(Provider::Azure),
        _ => None,
    }
}
