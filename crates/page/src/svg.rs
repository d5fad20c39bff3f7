//! Text that becomes a drawing: escaping, elements, and the frame that all charts share.
//!
//! Colours are CSS classes, so that one drawing fits light, dark and paper.

use std::fmt::Write as _;

use super::scale::{Scale, marks, number};

/// The width of every drawing, in its own units; the page scales it.
pub const WIDTH: f64 = 960.0;
/// Where plots begin, right of the labels of the vertical axis.
pub const LEFT: f64 = 64.0;
/// Where plots end.
pub const RIGHT: f64 = WIDTH - 16.0;

/// Text that is safe inside an element or a quoted attribute.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// A drawing in the making.
#[derive(Debug)]
pub struct Drawing {
    body: String,
    height: f64,
    title: String,
}

/// Where a text hangs.
#[derive(Debug, Clone, Copy)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

impl Drawing {
    /// An empty one; the title is for those who do not see it.
    #[must_use]
    pub fn new(height: f64, title: &str) -> Self {
        Self { body: String::new(), height, title: title.to_owned() }
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// A filled rectangle with a text that shows when one points at it.
    pub fn bar(&mut self, class: &str, corner: (f64, f64), size: (f64, f64), hint: &str) {
        let ((x, y), (width, height)) = (corner, size);
        let hint = escape(hint);
        self.push(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">\
             <title>{hint}</title></rect>"
        ));
    }

    /// A small disc.
    pub fn dot(&mut self, class: &str, centre: (f64, f64), hint: &str) {
        let ((x, y), hint) = (centre, escape(hint));
        self.push(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"><title>{hint}</title></circle>"
        ));
    }

    /// A text.
    pub fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let ((x, y), text) = (at, escape(text));
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// A line through points; where a point is missing the line has a gap.
    pub fn path(&mut self, class: &str, points: impl Iterator<Item = Option<(f64, f64)>>) {
        let (mut data, mut pen_down) = (String::new(), false);
        for point in points {
            if let Some((x, y)) = point {
                _ = write!(data, "{}{x:.1} {y:.1}", if pen_down { 'L' } else { 'M' });
            }
            pen_down = point.is_some();
        }
        self.push(format_args!("<path class=\"{class}\" d=\"{data}\"/>"));
    }

    /// An area under points down to `base`.
    pub fn area(&mut self, class: &str, top: &[(f64, f64)], bottom: &[(f64, f64)]) {
        let mut data = String::new();
        for (i, (x, y)) in top.iter().chain(bottom.iter().rev()).enumerate() {
            _ = write!(data, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
        }
        self.push(format_args!("<path class=\"{class}\" d=\"{data}Z\"/>"));
    }

    /// Marks, numbers and unit of the axis of time along the bottom at `y`, with faint lines up to `top`.
    pub fn time_axis(&mut self, time: &Scale, y: f64, top: f64, unit: &str) {
        for mark in marks(time.from, time.to, 12.0) {
            let x = time.at(mark);
            self.line("grid", (x, top), (x, y));
            self.text("tick", (x, y + 16.0), Anchor::Middle, &number(mark));
        }
        self.line("axis", (time.start, y), (time.end, y));
        self.text("tick", (time.end, y + 32.0), Anchor::End, unit);
    }

    /// The finished drawing.
    #[must_use]
    pub fn finish(self) -> String {
        let Self { body, height, title } = self;
        let title = escape(&title);
        format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n{body}</svg>\n")
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        _ = self.body.write_fmt(element);
        self.body.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_out_of_a_drawing() {
        let mut drawing = Drawing::new(10.0, "a \"title\"");
        let evil = "</title></svg><script>";
        drawing.bar("c", (0.0, 0.0), (1.0, 1.0), evil);
        drawing.dot("c", (0.0, 0.0), evil);
        drawing.text("c", (0.0, 0.0), Anchor::Middle, evil);
        let svg = drawing.finish();
        assert!(!svg.contains("<script") && svg.matches("</svg>").count() == 1, "{svg}");
        assert!(svg.contains("aria-label=\"a &quot;title&quot;\""), "{svg}");
        assert_eq!(escape("a\u{1b}[0m"), "a [0m", "a terminal's words are no text");
    }
}
