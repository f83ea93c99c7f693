//! The words after a command: `KEYWORD VALUE` pairs in any order, and free words.

use super::CliError;

/// What stands after a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pairs: Vec<(&'static str, String)>,
    /// Words that belong to no keyword.
    pub(super) free: Vec<String>,
}

impl Words {
    /// Reads `words`: pairs of one of `keywords` (which may be shortened) and its value, and at most
    /// `free` other words. `usage` is shown when that fails.
    pub(super) fn parse(
        words: &[String],
        keywords: &[&'static str],
        free: usize,
        usage: &str,
    ) -> Result<Self, CliError> {
        let refuse = |what: String| CliError::Usage(format!("{what}; write {usage}"));
        let mut parsed = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut meant = keywords
                .iter()
                .filter(|keyword| keyword.starts_with(word.as_str()));
            match (meant.next(), meant.next()) {
                (Some(keyword), None) => {
                    let value = words
                        .next()
                        .ok_or_else(|| refuse(format!("{keyword} needs a value")))?;
                    if parsed.get(keyword).is_some() {
                        return Err(refuse(format!("{keyword} stands twice")));
                    }
                    parsed.pairs.push((keyword, value.clone()));
                }
                (Some(first), Some(second)) => {
                    return Err(refuse(format!("{word:?} may be {first} or {second}")));
                }
                (None, _) if parsed.free.len() < free => parsed.free.push(word.clone()),
                (None, _) => return Err(refuse(format!("{word:?} was not understood"))),
            }
        }
        Ok(parsed)
    }

    /// The value of a keyword.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(name, _)| *name == keyword)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a keyword, empty if it is missing.
    pub(super) fn text(&self, keyword: &str) -> String {
        self.get(keyword).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Words, CliError> {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        Words::parse(&words, &["vrf", "inside", "in-use"], 1, "[vrf NAME]")
    }

    #[test]
    fn pairs_and_free_words_come_in_any_order() {
        let words = parse("10.0.0.0/8 vr blue").unwrap();
        assert_eq!(words.get("vrf"), Some("blue"));
        assert_eq!(words.free, ["10.0.0.0/8"]);
        assert_eq!(words, parse("vrf blue 10.0.0.0/8").unwrap());
    }

    #[test]
    fn what_is_not_understood_is_said_with_the_usage() {
        for (line, message) in [
            ("vrf", "vrf needs a value; write [vrf NAME]"),
            ("vrf a vrf b", "vrf stands twice; write [vrf NAME]"),
            ("in x", "\"in\" may be inside or in-use; write [vrf NAME]"),
            (
                "1.1.1.1 2.2.2.2",
                "\"2.2.2.2\" was not understood; write [vrf NAME]",
            ),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), message);
        }
    }
}
