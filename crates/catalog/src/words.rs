//! Which word was probably meant.

/// The candidate that is spelt most like `word`, if any is alike enough to be meant: at most a third of
/// its letters differ, and never more than [`DISTANCE_MAX`]. Case does not count. The first of equals wins.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_MAX {
        return None;
    }
    let word = word.to_lowercase();
    let scored = candidates.into_iter().map(|c| (distance(&word, &c.to_lowercase()), c));
    let (away, best) = scored.min_by_key(|(away, _)| *away)?;
    let length = word.chars().count().max(best.chars().count());
    (away <= DISTANCE_MAX && away * 3 <= length.max(3)).then_some(best)
}

/// The number of letters to insert, delete, replace, or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let at = |row: &[usize], i: usize| row.get(i).copied().unwrap_or(usize::MAX - 1);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replace = at(&last, j) + usize::from(x != y);
            let mut cost = replace.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

const DISTANCE_MAX: usize = 4;
/// Longer words are not compared: the cost is the product of the lengths.
const WORD_MAX: usize = 64;
