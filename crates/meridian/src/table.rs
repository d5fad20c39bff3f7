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
