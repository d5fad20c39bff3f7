//! Where the people of a continent are, for a spec that names its users by continent.

use meridian_model::topology::Location;

/// A continent as a population.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Continent {
    /// Its name in a spec.
    pub name: &'static str,
    /// The middle of its internet users.
    pub middle: Location,
    /// Its internet users, in millions.
    pub internet_users_millions: u32,
}

/// The continent of that name.
#[must_use]
pub fn continent(name: &str) -> Option<&'static Continent> {
    CONTINENTS.iter().find(|c| c.name == name)
}

/// All that a spec may name.
#[must_use]
pub fn continents() -> &'static [Continent] {
    &CONTINENTS
}

const fn middle_of(name: &'static str, latitude: f64, longitude: f64, millions: u32) -> Continent {
    Continent { name, middle: Location { latitude, longitude }, internet_users_millions: millions }
}

// The mean place of countries, weighted by internet users: users from the World Bank and ITU (2023-2024, by
// datasets/population @425fc44 and open-numbers systema_globalis @c63631a, CC BY 4.0); places are country
// centroids (gavinr/world-countries-centroids @0c6e44d, MIT), but for the six largest countries a city or
// region where people live (Moscow, Missouri, Toronto, Sydney, Sao Paulo, Wuhan: general knowledge).
// A mean place may be one where nobody lives; it stands for the distance, not for a city.
const CONTINENTS: [Continent; 6] = [
    middle_of("north-america", 32.9, -92.1, 522),
    middle_of("europe", 51.0, 14.8, 684),
    middle_of("asia-pacific", 26.2, 102.4, 3177),
    middle_of("south-america", -19.3, -58.2, 358),
    middle_of("africa", 8.3, 17.0, 600),
    middle_of("middle-east", 32.8, 41.6, 231),
];
