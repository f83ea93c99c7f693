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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::parse;

    const GOOD: &str = include_str!("testdata/good.toml");

    fn document(name: &str, text: &str) -> Document {
        Document {
            name: name.into(),
            text: text.into(),
        }
    }

    #[test]
    fn included_texts_follow_the_root_with_their_names_and_comments() {
        let root = "# Ours.\ninclude = [\n  \"a.toml\", # first\n]\n\n[nat] # timers\n";
        let flat = flatten(&[
            document("sekisho.toml", root),
            document("a.toml", "# Blue.\n[[tenant]]\nname = \"blue\""),
            document("b.toml", "\u{feff}[[tenant]]\nname = \"green\"\n"),
        ]);
        let expected = "\
# Ours.

[nat] # timers

# from a.toml
# Blue.
[[tenant]]
name = \"blue\"

# from b.toml
[[tenant]]
name = \"green\"
";
        assert_eq!(flat, expected);
    }

    #[test]
    fn a_comment_behind_the_include_stays() {
        let flat = flatten(&[document("r", "include = [\"x\"] # why\n[nat]\n")]);
        assert_eq!(flat, "# why\n[nat]\n");
    }

    /// The good document in pieces, each of which begins with a table that may stand in any file.
    fn pieces() -> Vec<String> {
        let mut pieces = vec![String::new()];
        let mut single = false;
        for line in GOOD.split_inclusive('\n') {
            let starts = [
                "[[port]]",
                "[[uplink]]",
                "[[nat-pool]]",
                "[nat]",
                "[[tenant]]",
                "[bgp]",
            ];
            if starts.contains(&line.trim()) {
                single = false;
            }
            if !single && line.starts_with('[') && starts.contains(&line.trim()) {
                pieces.push(String::new());
                single = true;
            }
            if let Some(piece) = pieces.last_mut() {
                piece.push_str(line);
            }
        }
        pieces
    }

    proptest! {
        #[test]
        fn a_document_cut_anywhere_flattens_to_the_same_configuration(
            cuts in proptest::collection::vec(any::<bool>(), 16),
            newline: bool,
        ) {
            let mut documents = vec![document("r.toml", "include = [\"*.toml\"]\n")];
            for (index, piece) in pieces().iter().enumerate() {
                let name = format!("{index}.toml");
                match documents.last_mut() {
                    Some(last) if index == 0 || !cuts[index % cuts.len()] => {
                        last.text.push_str(piece);
                    }
                    _ => documents.push(document(&name, piece)),
                }
            }
            if !newline {
                for document in &mut documents {
                    document.text = document.text.trim_end().to_owned();
                }
            }
            let flat = flatten(&documents);
            let whole = parse(documents).unwrap().config;
            prop_assert_eq!(&whole, &parse(vec![document("r", GOOD)]).unwrap().config);
            prop_assert_eq!(whole, parse(vec![document("flat.toml", &flat)]).unwrap().config);
        }
    }
}
