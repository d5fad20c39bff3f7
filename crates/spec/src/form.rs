//! Forms: what may be written, declared once. A form both parses a node and tells its JSON Schema, so
//! that parser, schema and messages cannot drift apart.
//!
//! A kind of resource is declared with [`form!`]: its fields with name, need, type and documentation.
//! All fields of a parsed form are options, also those that must be there: a missing one is told, and
//! reading goes on to find more faults. What is *meant* is decided later, in `meaning`.

mod leaves;

use meridian_catalog::closest;
use serde_json::{Value, json};

use crate::source::{Place, Problems};
use crate::tree::{Data, Node};

pub(crate) use leaves::{AtLeastOne, Bytes, Url, bytes_text};

/// Something that may be written in a spec.
pub(crate) trait Form: Sized {
    /// Reads it; tells what is wrong and gives none.
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self>;
    /// Its JSON Schema.
    fn schema() -> Value;
}

/// A value with the place where it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Form> Form for At<T> {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        T::parse(node, problems).map(|value| Self { value, place: node.place })
    }
    fn schema() -> Value {
        T::schema()
    }
}

/// A mapping with the names that were written in it, those of wrong values and unknown ones included.
#[derive(Debug, Clone)]
pub(crate) struct Written<T> {
    pub(crate) form: T,
    pub(crate) names: Vec<At<String>>,
}

impl<T: Form> Form for Written<T> {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let form = T::parse(node, problems)?;
        let Data::Map(entries) = &node.data else { return None };
        let names = entries.iter().map(|e| At { value: e.key.clone(), place: e.key_place });
        Some(Self { form, names: names.collect() })
    }
    fn schema() -> Value {
        T::schema()
    }
}

impl<T: Form> Form for Vec<T> {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::List(items) => Some(items.iter().filter_map(|item| T::parse(item, problems)).collect()),
            _ => wrong(
                node,
                "a list",
                "write each item after `- ` on a line of its own, or all in [ ]",
                problems,
            ),
        }
    }
    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// Free names with text values, such as settings; in the order of the source.
impl Form for Vec<(String, String)> {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Data::Map(entries) = &node.data else {
            return wrong(node, "a mapping of names to values", "write `name: value`", problems);
        };
        let pairs = entries.iter().filter_map(|e| Some((e.key.clone(), String::parse(&e.value, problems)?)));
        Some(pairs.collect())
    }
    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
    }
}

/// Tells that `expected` should stand here; always none.
pub(crate) fn wrong<T>(node: &Node, expected: &str, hint: &str, problems: &mut Problems) -> Option<T> {
    let found = match &node.data {
        Data::Nothing => "nothing".to_owned(),
        Data::Scalar(text) => format!("`{}`", clip(text)),
        Data::List(_) => "a list".to_owned(),
        Data::Map(_) => "a mapping".to_owned(),
    };
    problems.error(node.place, format!("expected {expected}, found {found}"), hint);
    None
}

/// Enough of a text to know it again in a message.
pub(crate) fn clip(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or("")),
        None => text.to_owned(),
    }
}

/// A field of a mapping, as declared.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) doc: String,
    pub(crate) schema: Value,
}

/// A mapping that is being read by its declared fields.
pub(crate) struct Reader<'n> {
    node: &'n Node,
    /// Declared fields that a misspelt one was probably meant to be: not also told as missing.
    meant: Vec<&'static str>,
}

impl<'n> Reader<'n> {
    /// Begins to read; tells every field that is not declared.
    pub(crate) fn begin(node: &'n Node, names: &[&'static str], problems: &mut Problems) -> Option<Self> {
        let Data::Map(entries) = &node.data else {
            let some: Vec<_> = names.iter().take(3).copied().collect();
            return wrong(node, "a mapping", &format!("write fields such as {}", some.join(", ")), problems);
        };
        let mut meant = Vec::new();
        for entry in entries.iter().filter(|e| !names.contains(&e.key.as_str())) {
            let nearest = closest(&entry.key, names.iter().copied());
            let hint = match nearest.and_then(|near| names.iter().find(|n| **n == near)) {
                Some(near) => {
                    meant.push(*near);
                    format!("did you mean `{near}`?")
                }
                None if entry.key == "<<" => "merge keys are not YAML 1.2: write the fields out".to_owned(),
                None => format!("known here: {}", names.join(", ")),
            };
            problems.error(entry.key_place, format!("unknown field `{}`", clip(&entry.key)), hint);
        }
        Some(Self { node, meant })
    }

    /// Reads one field; tells if it must be there and is not.
    pub(crate) fn field<T: Form>(
        &self,
        name: &'static str,
        required: bool,
        problems: &mut Problems,
    ) -> Option<T> {
        match self.node.get(name) {
            Some(entry) if entry.value.data == Data::Nothing => {
                let message = format!("`{name}` has no value");
                problems.error(entry.key_place, message, "give it one, or remove the line");
                None
            }
            Some(entry) => T::parse(&entry.value, problems),
            None => {
                if required && !self.meant.contains(&name) {
                    let message = format!("the field `{name}` is missing");
                    problems.error(self.node.place, message, format!("add `{name}:` to this mapping"));
                }
                None
            }
        }
    }
}

/// The JSON Schema of a mapping with these fields and no others.
pub(crate) fn object_schema(doc: &str, fields: Vec<Field>) -> Value {
    let required: Vec<&str> = fields.iter().filter(|f| f.required).map(|f| f.name).collect();
    let described = fields.iter().map(|f| {
        let mut schema = f.schema.clone();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), Value::from(f.doc.trim()));
        }
        (f.name.to_owned(), schema)
    });
    let properties: serde_json::Map<String, Value> = described.collect();
    let mut schema = json!({
        "type": "object",
        "description": doc.trim(),
        "properties": properties,
        "additionalProperties": false,
    });
    if let (false, Some(schema)) = (required.is_empty(), schema.as_object_mut()) {
        schema.insert("required".to_owned(), Value::from(required));
    }
    schema
}

/// Declares a mapping: a struct of optional fields, its parser and its JSON Schema.
///
/// Each field: documentation (shown by editors), `required` or `optional`, its name in Rust, its name
/// in the spec, its type.
macro_rules! form {
    (
        $(#[doc = $doc:literal])*
        pub(crate) struct $form:ident {
            $( $(#[doc = $field_doc:literal])* $need:ident $field:ident $name:literal: $type:ty, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $form {
            $( $(#[doc = $field_doc])* pub(crate) $field: Option<$type>, )*
        }

        impl $form {
            /// The names of its fields.
            pub(crate) const NAMES: &'static [&'static str] = &[$($name),*];
        }

        impl $crate::form::Form for $form {
            fn parse(
                node: &$crate::tree::Node,
                problems: &mut $crate::source::Problems,
            ) -> Option<Self> {
                let reader = $crate::form::Reader::begin(node, Self::NAMES, problems)?;
                Some(Self {
                    $( $field: reader.field($name, $crate::form::form!(@required $need), problems), )*
                })
            }

            fn schema() -> serde_json::Value {
                let fields = vec![$( $crate::form::Field {
                    name: $name,
                    required: $crate::form::form!(@required $need),
                    doc: concat!($($field_doc, "\n"),*).to_owned(),
                    schema: <$type as $crate::form::Form>::schema(),
                } ),*];
                $crate::form::object_schema(concat!($($doc, "\n"),*), fields)
            }
        }
    };
    (@required required) => { true };
    (@required optional) => { false };
}

/// Declares the words by which a choice of the model is written.
macro_rules! words {
    ($type:ty: $what:literal { $($word:literal => $value:expr,)+ }) => {
        impl $crate::form::Form for $type {
            fn parse(
                node: &$crate::tree::Node,
                problems: &mut $crate::source::Problems,
            ) -> Option<Self> {
                match $crate::form::word(node, $what, &[$($word),+], problems)? {
                    $($word => Some($value),)+
                    _ => None,
                }
            }
            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),+] })
            }
        }
    };
}

pub(crate) use {form, words};

/// A list of so few words is told whole to who has written another one.
const LISTED_WHOLE: usize = 4;

/// Reads one of `words`.
pub(crate) fn word(
    node: &Node,
    what: &str,
    words: &[&'static str],
    problems: &mut Problems,
) -> Option<&'static str> {
    if let Data::Scalar(text) = &node.data {
        if let Some(word) = words.iter().find(|w| *w == text) {
            return Some(word);
        }
        // Of a short list the near word may mean the very opposite (`sync`, `async`).
        if !(2..=LISTED_WHOLE).contains(&words.len())
            && let Some(near) = closest(text, words.iter().copied())
        {
            return wrong(node, what, &format!("did you mean `{near}`?"), problems);
        }
    }
    wrong(node, what, &format!("one of: {}", words.join(", ")), problems)
}
