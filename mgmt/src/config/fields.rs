//! Reads the keys of a TOML table, and complains about those it does not know.

use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Located, Place, Problems};
use super::text::FromText;

/// The keys of one table. Every key that is asked for is known; [`Fields::finish`] reports the
/// others.
pub(super) struct Fields<'t> {
    /// The table as a reader knows it, like `[[uplink]]`.
    what: &'static str,
    table: &'t DeTable<'t>,
    known: Vec<&'static str>,
    /// Where the table begins.
    pub(super) at: Place,
}

impl<'t> Fields<'t> {
    pub(super) fn new(what: &'static str, table: &'t DeTable<'t>, at: Place) -> Self {
        Self {
            what,
            table,
            known: Vec::new(),
            at,
        }
    }

    /// Text, read as a `T`.
    pub(super) fn text<T: FromText>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Option<Located<T>> {
        let (value, at) = self.value(key)?;
        text_value(value, at, problems)
    }

    /// Text that must be there; `example` is shown when it is not.
    pub(super) fn required<T: FromText>(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Problems<'_>,
    ) -> Option<Located<T>> {
        if !self.table.contains_key(key) {
            self.missing(key, example, problems);
        }
        self.text(key, problems)
    }

    /// A list of texts.
    pub(super) fn texts<T: FromText>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Option<Vec<Located<T>>> {
        self.array(key, problems).map(|array| {
            let items = array.iter().filter_map(|item| {
                let at = self.place(item.span());
                text_value(item.get_ref(), at, problems)
            });
            items.collect()
        })
    }

    /// A whole number from `min` to `max`.
    pub(super) fn integer<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        min: i64,
        max: i64,
        problems: &mut Problems<'_>,
    ) -> Option<Located<T>> {
        let (value, at) = self.value(key)?;
        integer_value(value, at, min, max, problems)
    }

    /// A list of whole numbers from `min` to `max`.
    pub(super) fn integers<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        min: i64,
        max: i64,
        problems: &mut Problems<'_>,
    ) -> Option<Vec<Located<T>>> {
        self.array(key, problems).map(|array| {
            let items = array.iter().filter_map(|item| {
                let at = self.place(item.span());
                integer_value(item.get_ref(), at, min, max, problems)
            });
            items.collect()
        })
    }

    /// A whole number that must be there; `example` is shown when it is not.
    pub(super) fn required_integer<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        (min, max): (i64, i64),
        example: &str,
        problems: &mut Problems<'_>,
    ) -> Option<Located<T>> {
        if !self.table.contains_key(key) {
            self.missing(key, example, problems);
        }
        self.integer(key, min, max, problems)
    }

    /// `true` or `false`.
    pub(super) fn flag(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Option<Located<bool>> {
        let (value, at) = self.value(key)?;
        match value.as_bool() {
            Some(value) => Some(Located { value, at }),
            None => {
                problems.error(&at, format!("{} is not true or false", described(value)));
                None
            }
        }
    }

    /// The table `key`, if it is there.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        what: &'static str,
        problems: &mut Problems<'_>,
    ) -> Option<Fields<'t>> {
        let (value, at) = self.value(key)?;
        match value.as_table() {
            Some(table) => Some(Fields::new(what, table, at)),
            None => {
                problems.error(&at, format!("{key} is a table; write {what}"));
                None
            }
        }
    }

    /// The tables of the array `key`, in order; none if it is not there.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        what: &'static str,
        problems: &mut Problems<'_>,
    ) -> Vec<Fields<'t>> {
        let Some((value, at)) = self.value(key) else {
            return Vec::new();
        };
        let Some(array) = value.as_array() else {
            problems.error(&at, format!("there may be several of these; write {what}"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array.iter() {
            let at = self.place(item.span());
            match item.get_ref().as_table() {
                Some(table) => tables.push(Fields::new(what, table, at)),
                None => problems.error(&at, format!("each of these is a table; write {what}")),
            }
        }
        tables
    }

    /// The keys asked for so far that are there.
    pub(super) fn said(&self) -> Vec<&'static str> {
        let known = self.known.iter().copied();
        known.filter(|key| self.table.contains_key(*key)).collect()
    }

    /// Reports the keys nobody asked for.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let at = self.place(key.span());
            let message = match nearest(name, &self.known) {
                Some(meant) => {
                    format!("{} has no key {name:?}; did you mean {meant:?}?", self.what)
                }
                None => format!(
                    "{} has no key {name:?}; it has {}",
                    self.what,
                    self.known.join(", ")
                ),
            };
            problems.error(&at, message);
        }
    }

    fn missing(&self, key: &str, example: &str, problems: &mut Problems<'_>) {
        let message = format!("{} needs {key:?}; write {key} = {example}", self.what);
        problems.error(&self.at, message);
    }

    fn array(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<&'t DeArray<'t>> {
        let (value, at) = self.value(key)?;
        let array = value.as_array();
        if array.is_none() {
            problems.error(
                &at,
                format!("{} is not a list; write [ ] around it", described(value)),
            );
        }
        array
    }

    fn value(&mut self, key: &'static str) -> Option<(&'t DeValue<'t>, Place)> {
        self.known.push(key);
        let value = self.table.get(key)?;
        Some((value.get_ref(), self.place(value.span())))
    }

    fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place {
            document: self.at.document,
            span,
        }
    }
}

fn text_value<T: FromText>(
    value: &DeValue<'_>,
    at: Place,
    problems: &mut Problems<'_>,
) -> Option<Located<T>> {
    let Some(text) = value.as_str() else {
        let message = format!("{} is not text; put it in quotes", described(value));
        problems.error(&at, message);
        return None;
    };
    match T::from_text(text) {
        Ok(value) => Some(Located { value, at }),
        Err(message) => {
            problems.error(&at, message);
            None
        }
    }
}

fn integer_value<T: TryFrom<i64>>(
    value: &DeValue<'_>,
    at: Place,
    min: i64,
    max: i64,
    problems: &mut Problems<'_>,
) -> Option<Located<T>> {
    let number = value
        .as_integer()
        .and_then(|integer| i64::from_str_radix(integer.as_str(), integer.radix()).ok())
        .filter(|number| (min..=max).contains(number))
        .and_then(|number| T::try_from(number).ok());
    match number {
        Some(value) => Some(Located { value, at }),
        None => {
            let message = format!(
                "{} is not a whole number from {min} to {max}",
                described(value)
            );
            problems.error(&at, message);
            None
        }
    }
}

/// The value as a reader would recognise it.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// The candidate that `word` is probably a slip of.
fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_meant_and_a_far_one_is_not() {
        let known = ["snat", "name", "segment"];
        assert_eq!(nearest("nam", &known), Some("name"));
        assert_eq!(nearest("segmnet", &known), Some("segment"));
        assert_eq!(nearest("gateway", &known), None);
    }
}
