//! `meridian schema`: the JSON Schema of specs, for editors.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::output::Output;

/// Prints the JSON Schema (draft 2020-12) of one document of a spec.
///
/// For editors with the YAML language server: `meridian schema > meridian.schema.json`, then put
/// `# yaml-language-server: $schema=meridian.schema.json` in the first line of a spec.
#[derive(Args)]
pub(crate) struct SchemaArgs {
    /// The schema itself is JSON; `table` lists kinds and fields for people.
    #[arg(long, value_enum, default_value = "json")]
    output: Output,
}

/// Prints the schema.
pub(crate) fn run(args: SchemaArgs) -> anyhow::Result<ExitCode> {
    let schema = meridian_spec::schema();
    let text = match args.output {
        Output::Json => format!("{schema:#}\n"),
        Output::Table => fields(&schema),
    };
    crate::output::print(&text);
    Ok(ExitCode::SUCCESS)
}

/// Every field of every kind, a line each: its path, `*` if it must be there, what it is.
fn fields(schema: &Value) -> String {
    let kinds = schema["oneOf"].as_array().into_iter().flatten();
    let mut text = String::new();
    for kind in kinds {
        text += kind["title"].as_str().unwrap_or_default();
        text.push('\n');
        below(kind.pointer("/properties/spec").unwrap_or(&Value::Null), 1, &mut text);
        text.push('\n');
    }
    text
}

/// The fields of a mapping, indented; lists and alternatives are looked through.
fn below(schema: &Value, depth: usize, text: &mut String) {
    let forms = schema["anyOf"].as_array().into_iter().flatten();
    for form in [schema, &schema["items"]].into_iter().chain(forms) {
        for (name, field) in form["properties"].as_object().into_iter().flatten() {
            let required = form["required"].as_array().is_some_and(|r| r.iter().any(|n| n == name));
            let mark = if required { "*" } else { "" };
            let label = format!("{:indent$}{name}{mark}", "", indent = depth * 2);
            let doc = field["description"].as_str().unwrap_or_default().replace('\n', "");
            text.push_str(format!("{label:<30} {}", doc.trim()).trim_end());
            text.push('\n');
            below(field, depth + 1, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_for_people_has_the_fields_of_all_kinds() {
        let text = fields(&meridian_spec::schema());
        for line in
            ["Topology", "  regions*", "    name*", "Service", "    ttl", "Database", "DataResidencyPolicy"]
        {
            assert!(text.lines().any(|l| l == line || l.starts_with(&format!("{line} "))), "{line}:\n{text}");
        }
    }
}
