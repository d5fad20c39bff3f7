//! YAML text → a tree in which every key and value knows its place.
//!
//! Documents are cut apart first (a line that begins with `---` can be nothing else in YAML), so that a
//! syntax error in one does not hide the faults of the others. Built without recursion and under limits:
//! depth, nodes (aliases count what they copy, so that a small file cannot unfold into a large one) and
//! length of the file. Duplicate keys are faults here, with both places told.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::SourceFile;
use crate::source::{Place, Problems};

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) data: Data,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    /// Nothing, `~` or `null`.
    Nothing,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

impl Node {
    /// The value under `key`, if this is a mapping that has one.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }

    fn size(&self) -> usize {
        1 + match &self.data {
            Data::Nothing | Data::Scalar(_) => 0,
            Data::List(items) => items.iter().map(Self::size).sum::<usize>(),
            Data::Map(entries) => entries.iter().map(|e| e.value.size()).sum(),
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.data {
            Data::Nothing | Data::Scalar(_) => 0,
            Data::List(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            Data::Map(entries) => entries.iter().map(|e| e.value.depth()).max().unwrap_or(0),
        }
    }
}

/// The documents of one file, without empty ones. `false`: some of it could not be understood as YAML.
pub(crate) fn documents(file: usize, source: &SourceFile, problems: &mut Problems) -> (Vec<Node>, bool) {
    if source.text.len() > FILE_BYTES_MAX {
        let place = Place { file, line: 1, column: 1, length: 1 };
        let message = format!("the file is larger than {FILE_BYTES_MAX} bytes");
        problems.error(place, message, "a spec is a few pages: is this the right file?");
        return (Vec::new(), false);
    }
    let mut nodes = Vec::new();
    let mut whole = true;
    for (lines_before, text) in pieces(&source.text) {
        match Builder::new(file, lines_before).build(text, problems) {
            Ok(found) => nodes.extend(found),
            Err(Broken) => whole = false,
        }
    }
    (nodes, whole)
}

/// The text of each document, with the number of lines before it.
fn pieces(text: &str) -> Vec<(usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut starts = vec![(0, 0)];
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---").filter(|r| r.is_empty() || r.starts_with(char::is_whitespace));
        if rest.is_some() && at > 0 {
            starts.push((number, at));
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|(_, at)| *at).chain([text.len()]);
    let cut = starts.iter().zip(ends).map(|((lines, from), to)| (*lines, text.get(*from..to).unwrap_or("")));
    cut.filter(|(_, piece)| piece.lines().any(has_content)).collect()
}

fn has_content(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line).trim();
    !line.is_empty() && !line.starts_with('#') && !line.starts_with('%') && line != "..."
}

/// The document cannot be understood; the reason is among the problems.
struct Broken;

/// A list or mapping that is not finished.
struct Open {
    place: Place,
    anchor: usize,
    data: Data,
    /// In a mapping: the key that waits for its value.
    key: Option<(String, Place)>,
}

struct Builder {
    file: usize,
    lines_before: usize,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    finished: Vec<Node>,
}

impl Builder {
    fn new(file: usize, lines_before: usize) -> Self {
        let (open, finished) = (Vec::new(), Vec::new());
        Self { file, lines_before, open, anchors: BTreeMap::new(), nodes: 0, finished }
    }

    fn build(mut self, text: &str, problems: &mut Problems) -> Result<Vec<Node>, Broken> {
        for event in Parser::new_from_str(text) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let span = Span::empty(*error.marker());
                    self.refuse_syntax(text, span, error.info(), problems);
                    return Err(Broken);
                }
            };
            self.take(event, span, problems)?;
        }
        Ok(self.finished)
    }

    fn refuse_syntax(&self, text: &str, span: Span, info: &str, problems: &mut Problems) {
        let place = self.place(span);
        if span.start.line() > text.lines().count() {
            // After the end: what was begun last and is not finished is what is wrong.
            let last = text.lines().count().max(1);
            let length = text.lines().last().map_or(1, |l| l.chars().count().max(1));
            let end = Place { line: self.lines_before + last, column: length, length: 1, ..place };
            let place = self.open.last().map_or(end, |open| open.place);
            let hint = "what begins here is not closed: look for a missing `]`, `}` or quote";
            return problems.error(place, format!("this is not YAML: {info}"), hint);
        }
        let line = text.lines().nth(span.start.line().saturating_sub(1)).unwrap_or("");
        let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        let suggestion = if indent.contains('\t') {
            "indent with spaces: YAML allows no tabs there"
        } else {
            "check indentation, colons and quotes here and in the line before"
        };
        problems.error(place, format!("this is not YAML: {info}"), suggestion);
    }

    fn take(&mut self, event: Event<'_>, span: Span, problems: &mut Problems) -> Result<(), Broken> {
        let place = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let data = scalar(text, style);
                self.finish(Node { place, data }, anchor, problems)
            }
            Event::SequenceStart(anchor, _) => self.begin(place, anchor, Data::List(Vec::new()), problems),
            Event::MappingStart(anchor, _) => self.begin(place, anchor, Data::Map(Vec::new()), problems),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.finish(Node { place: open.place, data: open.data }, open.anchor, problems),
                None => Ok(()),
            },
            Event::Alias(id) => self.alias(id, place, problems),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(
        &mut self,
        place: Place,
        anchor: usize,
        data: Data,
        problems: &mut Problems,
    ) -> Result<(), Broken> {
        if self.open.len() >= DEPTH_MAX {
            problems.error(
                place,
                format!("nested deeper than {DEPTH_MAX} levels"),
                "a spec is flatter than this",
            );
            return Err(Broken);
        }
        // A block mapping begins at its first key: the caret stands there, one character wide.
        let place = Place { length: 1, ..place };
        self.open.push(Open { place, anchor, data, key: None });
        Ok(())
    }

    fn alias(&mut self, id: usize, place: Place, problems: &mut Problems) -> Result<(), Broken> {
        let Some(copy) = self.anchors.get(&id) else {
            problems.error(place, "the alias names something that contains it", "write the value out");
            return Err(Broken);
        };
        let (more, deeper) = (copy.size(), copy.depth());
        if self.nodes.saturating_add(more) > NODES_MAX || self.open.len() + deeper > DEPTH_MAX {
            let message = format!("aliases unfold into more than {NODES_MAX} values or {DEPTH_MAX} levels");
            problems.error(place, message, "write out what is needed");
            return Err(Broken);
        }
        let copy = copy.clone();
        self.nodes += more;
        self.finish(copy, 0, problems)
    }

    fn finish(&mut self, node: Node, anchor: usize, problems: &mut Problems) -> Result<(), Broken> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            problems.error(
                node.place,
                format!("more than {NODES_MAX} values in one document"),
                "split the spec",
            );
            return Err(Broken);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.finished.push(node),
            Some(open) => open.add(node, problems),
        }
        Ok(())
    }

    fn place(&self, span: Span) -> Place {
        let one_line = span.start.line() == span.end.line();
        Place {
            file: self.file,
            line: self.lines_before + span.start.line().max(1),
            column: span.start.col() + 1,
            length: if one_line { span.len().max(1) } else { 1 },
        }
    }
}

impl Open {
    fn add(&mut self, node: Node, problems: &mut Problems) {
        match (&mut self.data, self.key.take()) {
            (Data::List(items), _) => items.push(node),
            (Data::Map(entries), Some((key, key_place))) => match entries.iter().find(|e| e.key == key) {
                Some(first) => {
                    let before = first.key_place.line;
                    let message = format!("`{key}` is written twice, first in line {before}");
                    problems.error(key_place, message, "remove one of them");
                }
                None => entries.push(Entry { key, key_place, value: node }),
            },
            (Data::Map(_), None) => {
                let place = node.place;
                let key = match node.data {
                    Data::Scalar(text) => text,
                    _ => {
                        problems.error(place, "a field's name must be plain text", "");
                        String::new()
                    }
                };
                self.key = Some((key, place));
            }
            (Data::Nothing | Data::Scalar(_), _) => {}
        }
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Data {
    match (style, text.as_ref()) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Data::Nothing,
        _ => Data::Scalar(text.into_owned()),
    }
}

/// Far above any spec (a dozen regions are about 20 KB).
const FILE_BYTES_MAX: usize = 1 << 20;
/// Values in one document, those that aliases copy included.
const NODES_MAX: usize = 20_000;
/// Levels of lists and mappings; the deepest kind has nine.
const DEPTH_MAX: usize = 32;
