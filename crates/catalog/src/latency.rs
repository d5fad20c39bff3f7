//! Published round-trip times between regions of one cloud.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use meridian_model::topology::Provider;

use crate::{Basis, RoundTrip};

/// The published time from `from` to `to`; else the one for the way back; none if neither is there.
pub(crate) fn published(provider: Provider, from: &str, to: &str) -> Option<RoundTrip> {
    let matrix = match provider {
        Provider::Aws => &*AWS,
        Provider::Gcp => &*GCP,
        Provider::Azure => &*AZURE,
        Provider::Other => return None,
    };
    let tenths = matrix.tenths(from, to).or_else(|| matrix.tenths(to, from))?;
    Some(RoundTrip {
        rtt: Duration::from_micros(u64::from(tenths) * 100),
        basis: Basis::Published { source: matrix.source, as_of: matrix.as_of },
    })
}

/// One published table. Times are tenths of a millisecond; [`ABSENT`] where nothing was published.
#[derive(Default)]
struct Matrix {
    source: &'static str,
    as_of: &'static str,
    index: HashMap<&'static str, usize>,
    rows: HashMap<&'static str, Vec<u16>>,
}

impl Matrix {
    fn parse(text: &'static str) -> Self {
        let mut matrix = Self::default();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
            match head {
                "source:" => matrix.source = rest,
                "as_of:" => matrix.as_of = rest,
                "names:" => matrix.index = rest.split(' ').enumerate().map(|(i, n)| (n, i)).collect(),
                from => {
                    let tenths = rest.split(' ').map(|n| n.parse().unwrap_or(ABSENT));
                    matrix.rows.insert(from, tenths.collect());
                }
            }
        }
        matrix
    }

    fn tenths(&self, from: &str, to: &str) -> Option<u16> {
        let row = self.rows.get(from)?;
        row.get(*self.index.get(to)?).copied().filter(|t| *t != ABSENT)
    }
}

const ABSENT: u16 = u16::MAX;

static AWS: LazyLock<Matrix> = LazyLock::new(|| Matrix::parse(include_str!("data/rtt_aws.txt")));
static GCP: LazyLock<Matrix> = LazyLock::new(|| Matrix::parse(include_str!("data/rtt_gcp.txt")));
static AZURE: LazyLock<Matrix> = LazyLock::new(|| Matrix::parse(include_str!("data/rtt_azure.txt")));
