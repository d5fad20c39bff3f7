//! The parameters that a client was told (ParameterStatus), in one piece of memory.

/// Bytes of names and values; PostgreSQL reports about 400.
const TOLD_MAX: usize = 8 << 10;

/// Names and values, each ended by a zero byte.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<u8>);

impl Parameters {
    /// Nothing, or something else, was told than in this body of a ParameterStatus.
    pub(super) fn is_news(&self, body: &[u8]) -> bool {
        pair(body).is_some_and(|new| self.pairs().all(|told| told != new))
    }

    /// Takes it in the place of what was told before. False: that is more than can be kept.
    pub(super) fn note(&mut self, body: &[u8]) -> bool {
        let Some((name, value)) = pair(body).filter(|_| self.is_news(body)) else { return true };
        let mut told = Vec::with_capacity(self.0.len() + name.len() + value.len() + 2);
        for (name, value) in self.pairs().filter(|(n, _)| *n != name).chain([(name, value)]) {
            for text in [name, value] {
                told.extend_from_slice(text);
                told.push(0);
            }
        }
        self.0 = told;
        self.0.len() <= TOLD_MAX
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut texts = self.0.split(|b| *b == 0);
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }
}

/// The two texts of a ParameterStatus.
fn pair(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut texts = body.split(|b| *b == 0);
    Some((texts.next()?, texts.next()?))
}
