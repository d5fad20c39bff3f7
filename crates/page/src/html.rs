//! The page in the making: headings, tiles, tables, and the frame around them.

use std::fmt::Write as _;

use super::style::STYLE;
use super::svg::escape;

/// The body of a page.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Adds what is HTML already: the caller has escaped what came from outside.
    pub fn raw(&mut self, html: &str) {
        self.0.push_str(html);
        self.0.push('\n');
    }

    /// What the page is about, with a verdict beside it that is good or bad.
    pub fn head(&mut self, title: &str, verdict: &str, good: bool) {
        let bad = if good { "" } else { " bad" };
        let (title, verdict) = (escape(title), escape(verdict));
        self.raw(&format!("<header><h1>{title}</h1><span class=\"verdict{bad}\">{verdict}</span></header>"));
    }

    /// Begins a section.
    pub fn heading(&mut self, text: &str) {
        self.raw(&format!("<h2>{}</h2>", escape(text)));
    }

    /// A sentence.
    pub fn sentence(&mut self, text: &str) {
        self.raw(&format!("<p>{}</p>", escape(text)));
    }

    /// A sentence that stands back.
    pub fn soft(&mut self, text: &str) {
        self.raw(&format!("<p class=\"soft\">{}</p>", escape(text)));
    }

    /// A sentence in a frame that nobody overlooks, after a word in bold.
    pub fn warning(&mut self, word: &str, text: &str) {
        self.raw(&format!("<div class=\"violation\"><b>{}</b> {}</div>", escape(word), escape(text)));
    }

    /// Figures side by side: name, value, note, and whether what had to hold did (none: nothing had to).
    pub fn tiles(&mut self, tiles: &[(&str, String, String, Option<bool>)]) {
        self.raw("<div class=\"tiles\">");
        for (name, value, note, held) in tiles {
            let class = match held {
                Some(true) => "tile",
                Some(false) => "tile bad",
                None => "tile plain",
            };
            let (name, value, note) = (escape(name), escape(value), escape(note));
            self.raw(&format!(
                "<div class=\"{class}\"><span>{name}</span><b>{value}</b><span>{note}</span></div>"
            ));
        }
        self.raw("</div>");
    }

    /// A table; a column whose heading begins with `#` holds numbers. Cells are HTML already.
    pub fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) {
        let class = |h: &&str| if h.starts_with('#') { " class=\"n\"" } else { "" };
        let mut out = String::from("<div class=\"wide\"><table>\n<thead><tr>");
        for heading in headings {
            _ = write!(out, "<th{}>{}</th>", class(heading), escape(heading.trim_start_matches('#')));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            out.push_str("<tr>");
            for (heading, cell) in headings.iter().zip(row) {
                _ = write!(out, "<td{}>{}</td>", class(heading), cell);
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>");
        self.raw(&out);
    }

    /// Names with their values, under a heading; nothing when there are none.
    pub fn pairs<'a>(&mut self, heading: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let row = |(name, value)| vec![format!("<b>{}</b>", escape(name)), escape(value)];
        let rows: Vec<_> = pairs.into_iter().map(row).collect();
        if !rows.is_empty() {
            self.heading(heading);
            self.table(&["", ""], &rows);
        }
    }

    /// Words with their meanings, under a heading.
    pub fn definitions<'a>(
        &mut self,
        heading: &str,
        definitions: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        self.heading(heading);
        let mut out = String::from("<dl>");
        for (word, meaning) in definitions {
            _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(word), escape(meaning));
        }
        out.push_str("</dl>");
        self.raw(&out);
    }

    /// The whole file.
    #[must_use]
    pub fn finish(self, title: &str) -> String {
        let title = escape(title);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta name=\"color-scheme\" content=\"light dark\"/>\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
            self.0
        )
    }
}

/// A cell that says whether something held.
#[must_use]
pub fn mark(held: bool, yes: &str, no: &str) -> String {
    if held {
        format!("<span class=\"ok\">\u{2713} {}</span>", escape(yes))
    } else {
        format!("<span class=\"no\">\u{2717} {}</span>", escape(no))
    }
}

/// Whether every element of a page is closed, in order; what is wrong otherwise. For tests of pages.
///
/// # Errors
/// The first fault, in a sentence.
pub fn well_formed(page: &str) -> Result<(), String> {
    let (before, rest) = page.split_once("<style>").ok_or("no style")?;
    let (style, after) = rest.split_once("</style>").ok_or("the style does not end")?;
    if style.contains("url(") || style.contains("@import") {
        return Err("the style loads something".to_owned());
    }
    let page = format!("{before}{after}");
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    while let Some((_, from)) = rest.split_once('<') {
        let (element, after) = from.split_once('>').ok_or("an element without an end")?;
        if element.matches('"').count() % 2 == 1 {
            return Err(format!("a quote is open in <{element}>"));
        }
        if let Some(name) = element.strip_prefix('/') {
            let top = open.pop();
            if top != Some(name) {
                return Err(format!("</{name}> closes {top:?}"));
            }
        } else if !element.ends_with('/') {
            open.push(element.split_whitespace().next().unwrap_or_default());
        }
        rest = after;
    }
    if open.is_empty() { Ok(()) } else { Err(format!("left open: {open:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_become_markup() {
        let mut page = Page::default();
        let evil = "<script>alert('x')</script> & \"quoted\"";
        page.head(evil, evil, false);
        page.sentence(evil);
        page.warning(evil, evil);
        page.tiles(&[(evil, evil.to_owned(), evil.to_owned(), None)]);
        page.table(&[evil], &[vec![mark(true, evil, "")]]);
        page.pairs(evil, [(evil, evil)]);
        page.definitions(evil, [(evil, evil)]);
        let page = page.finish(evil);
        well_formed(&page).unwrap();
        assert!(!page.contains("<script"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 17);
    }

    #[test]
    fn a_page_that_is_not_whole_is_told() {
        let page = |body: &str| format!("<!DOCTYPE html><html><style></style>{body}</html>");
        well_formed(&page("<p>well</p><br/>")).unwrap();
        for (broken, told) in
            [("<p>", "closes"), ("</p>", "closes"), ("<p class=\">", "quote"), ("<b><i></b></i>", "closes")]
        {
            let error = well_formed(&page(broken)).unwrap_err();
            assert!(error.contains(told), "{broken}: {error}");
        }
    }
}
