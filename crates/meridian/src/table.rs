//! Tables for people. One list of columns makes the heading, the widths and what `--help` says of them.

use std::fmt::Write as _;

/// A column: its heading, and what stands in it, for the help.
pub(crate) struct Column(pub(crate) &'static str, pub(crate) &'static str);

/// The heading and the rows, a line each without its end; a column is as wide as its widest cell.
pub(crate) fn lines<const N: usize>(columns: &[Column; N], rows: &[[String; N]]) -> Vec<String> {
    let heads = columns.each_ref().map(|Column(head, _)| (*head).to_owned());
    let all = || std::iter::once(&heads).chain(rows);
    let mut widths = [0_usize; N];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}

/// The same as one text, each line indented so far.
pub(crate) fn text<const N: usize>(columns: &[Column; N], rows: &[[String; N]], indent: usize) -> String {
    lines(columns, rows).iter().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

/// The most of a text with several lines that is shown on one.
const SHOWN_MAX: usize = 160;

/// A text of several lines, such as what a program said, on one: shortened; `--output json` has the whole.
pub(crate) fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let joined = lines.join(" | ");
    if lines.len() < 2 || joined.chars().count() <= SHOWN_MAX {
        return joined;
    }
    joined.chars().take(SHOWN_MAX).chain(['\u{2026}']).collect()
}

/// What the help says of a table.
pub(crate) fn help(title: &str, columns: &[Column]) -> String {
    let width = columns.iter().map(|Column(head, _)| head.len()).max().unwrap_or(0);
    let mut out = format!("{title}:");
    for Column(head, means) in columns {
        let _ = write!(out, "\n  {head:width$}  {means}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] =
        [Column("REGION", "whose"), Column("LAG", "how far behind"), Column("STATE", "what it does")];

    #[test]
    fn what_a_program_said_on_several_lines_stands_on_one() {
        assert_eq!(one_line("exit 1\n\n  no such host\r\n"), "exit 1 | no such host");
        let long = "a".repeat(2 * SHOWN_MAX);
        assert_eq!(one_line(&long), long, "it breaks no table");
        let cut = one_line(&format!("{long}\nb"));
        assert_eq!((cut.chars().count(), cut.ends_with('\u{2026}')), (SHOWN_MAX + 1, true));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_explained_in_the_help() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows = [row(["us", "nothing heard for 12 s", "follows"]), row(["eu", "\u{e9}", ""])];
        let expected = [
            "REGION  LAG                     STATE",
            "us      nothing heard for 12 s  follows",
            "eu      \u{e9}",
        ];
        assert_eq!(lines(&COLUMNS, &rows), expected);
        assert!(text(&COLUMNS, &rows, 2).starts_with("  REGION  LAG "));
        let told = "Of a region:\n  REGION  whose\n  LAG     how far behind\n  STATE   what it does";
        assert_eq!(help("Of a region", &COLUMNS), told);
    }
}
