//! Joins documents into one.

use toml::de::DeTable;

use super::Document;

/// The root's text without its `include`, followed by the text of each included document below a
/// comment that names it. Comments are kept; the result parses to the same configuration, for
/// included documents are made of `[tables]` alone.
pub fn flatten(documents: &[Document]) -> String {
    let Some((root, included)) = documents.split_first() else {
        return String::new();
    };
    let mut flat = without_include(&root.text);
    for document in included {
        if !flat.is_empty() && !flat.ends_with('\n') {
            flat.push('\n');
        }
        flat.push_str("\n# from ");
        flat.push_str(&document.name.replace(char::is_control, "?"));
        flat.push('\n');
        flat.push_str(
            document
                .text
                .strip_prefix('\u{feff}')
                .unwrap_or(&document.text),
        );
    }
    flat
}

/// `text` without `include = [...]`; the line goes too, unless a comment stands on it.
fn without_include(text: &str) -> String {
    let Ok(root) = DeTable::parse(text) else {
        return text.to_owned();
    };
    let Some((key, value)) = root.get_ref().get_key_value("include") else {
        return text.to_owned();
    };
    let start = text[..key.span().start].rfind('\n').map_or(0, |i| i + 1);
    let mut end = value.span().end;
    let line_end = text[end..].find('\n').map_or(text.len(), |i| end + i + 1);
    if text[end..line_end].trim().is_empty() {
        end = line_end;
    }
    let rest = text[end..].trim_start_matches([' ', '\t']);
    format!("{}{rest}", &text[..start])
}
