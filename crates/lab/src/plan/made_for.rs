//! What the data in a lab's folder was made for: the file `made-for`.
//!
//! The data can only be used again with the same regions, databases and number (etcd keeps its peers'
//! addresses). The spec's fingerprint says besides whether it is the data of this very spec.

use std::fs;
use std::path::Path;

use meridian_model::System;

use crate::error::LabError;

/// The name of the file.
pub(crate) const FILE: &str = "made-for";

/// What a folder was made for, or what a lab wants one for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MadeFor {
    /// Regions and databases: what the data of etcd and PostgreSQL depends on, a line each.
    pub(crate) shape: Vec<String>,
    /// The number of the lab; none in folders of an earlier version.
    pub(crate) number: Option<u8>,
    /// The fingerprint of the spec; none in folders of an earlier version.
    pub(crate) spec: Option<String>,
    /// The data is nobody's: whoever finds it may remove it.
    pub(crate) temporary: bool,
}

impl MadeFor {
    /// What lab `number` of that system makes.
    pub(crate) fn of(system: &System, number: u8, temporary: bool) -> Self {
        let regions = system.region_names().map(|r| format!("region {r}"));
        let databases = system.databases.iter().map(|d| format!("database {} ({})", d.name, d.dbname));
        Self {
            shape: regions.chain(databases).collect(),
            number: Some(number),
            spec: Some(fingerprint(system)),
            temporary,
        }
    }

    /// What the data in `dir` was made for; none when no lab has made any there.
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(FILE)).ok()?;
        let mut made = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("number", number)) => made.number = number.parse().ok(),
                Some(("spec", spec)) => made.spec = Some(spec.to_owned()),
                _ if line == TEMPORARY => made.temporary = true,
                _ => made.shape.push(line.to_owned()),
            }
        }
        Some(made)
    }

    /// Writes it down in `dir`.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), LabError> {
        let mut lines = self.shape.clone();
        lines.extend(self.number.map(|n| format!("number {n}")));
        lines.extend(self.spec.as_ref().map(|s| format!("spec {s}")));
        lines.extend(self.temporary.then(|| TEMPORARY.to_owned()));
        let file = dir.join(FILE);
        fs::write(&file, lines.join("\n") + "\n").map_err(LabError::file("write", file))
    }

    /// Fails when data made for `before` cannot be used for this.
    pub(crate) fn refuse(&self, before: &Self, dir: &Path) -> Result<(), LabError> {
        let number = |made: &Self| made.number.map(|n| format!("number {n}"));
        let lines = |made: &Self| -> Vec<String> {
            // A folder of an earlier version does not say its number.
            let number = before.number.and(number(made));
            made.shape.iter().cloned().chain(number).collect()
        };
        let (then, now) = (lines(before), lines(self));
        if then == now {
            return Ok(());
        }
        let differs = |a: &[String], b: &[String]| {
            a.iter().filter(|l| !b.contains(l)).cloned().collect::<Vec<_>>().join(", ")
        };
        let what = format!("then [{}], now [{}]", differs(&then, &now), differs(&now, &then));
        Err(LabError::OtherSpec { dir: dir.to_owned(), what })
    }
}

/// FNV-1a of the spec in its written form: the same one is the same system.
pub(crate) fn fingerprint(system: &System) -> String {
    let hash = meridian_spec::write(system).bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The line of data that is nobody's.
const TEMPORARY: &str = "temporary";

#[cfg(test)]
mod tests {
    use super::*;

    fn made(region: &str, number: u8) -> MadeFor {
        let shape = vec![format!("region {region}")];
        MadeFor { shape, number: Some(number), spec: Some("ab".to_owned()), temporary: true }
    }

    #[test]
    fn what_was_written_is_read_and_only_the_same_shape_and_number_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert_eq!(MadeFor::read(dir), None);
        made("us", 10).write(dir).unwrap();
        let before = MadeFor::read(dir).unwrap();
        assert_eq!(before, made("us", 10));
        made("us", 10).refuse(&before, dir).unwrap();
        let told = made("us", 11).refuse(&before, dir).unwrap_err().to_string();
        assert!(told.contains("then [number 10], now [number 11]"), "{told}");
        assert!(made("eu", 10).refuse(&before, dir).is_err());
        let old = MadeFor { number: None, spec: None, ..before };
        made("us", 11).refuse(&old, dir).unwrap();
    }
}
