//! Which prefixes a neighbour may tell us, and which we tell it.

use std::fmt;
use std::sync::Arc;

use sekisho_types::{Name, Prefix};

use crate::config::{PrefixList, PrefixRule};

/// The decision a neighbour's configuration makes about prefixes in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All pass: a neighbour of our own AS without a list.
    Accept,
    /// None pass: a neighbour of another AS without a list (RFC 8212).
    Missing,
    /// Those pass that the list permits.
    List(Arc<PrefixList>),
}

/// Why a prefix did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// There is no policy toward another AS (RFC 8212).
    Missing,
    /// This rule denies it.
    Rule {
        /// The list.
        list: Name,
        /// The rule's position, counted from 1.
        number: usize,
        /// The rule.
        rule: PrefixRule,
    },
    /// No rule of the list matches.
    NoMatch {
        /// The list.
        list: Name,
    },
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "no policy toward another AS (RFC 8212)"),
            Self::Rule { list, number, rule } => {
                write!(f, "prefix-list {list} rule {number}: {rule}")
            }
            Self::NoMatch { list } => write!(f, "prefix-list {list}: no rule matches"),
        }
    }
}

impl fmt::Display for PrefixRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = if self.permit { "permit" } else { "deny" };
        write!(f, "{action} {}", self.prefix)?;
        if self.ge != self.prefix.len() {
            write!(f, " ge {}", self.ge)?;
        }
        if self.le != self.ge {
            write!(f, " le {}", self.le)?;
        }
        Ok(())
    }
}

impl PrefixRule {
    /// Whether the rule speaks about `prefix`.
    pub fn matches(&self, prefix: Prefix) -> bool {
        self.prefix.covers(prefix) && (self.ge..=self.le).contains(&prefix.len())
    }
}

impl Policy {
    /// The policy a neighbour configured with `list` follows. `internal`: it is of our own AS. A
    /// list that does not exist denies everything.
    pub fn new(list: Option<&Name>, internal: bool, lists: &[PrefixList]) -> Self {
        let Some(name) = list else {
            return if internal {
                Self::Accept
            } else {
                Self::Missing
            };
        };
        let found = lists.iter().find(|list| list.name == *name).cloned();
        Self::List(Arc::new(found.unwrap_or_else(|| PrefixList {
            name: name.clone(),
            rules: Vec::new(),
        })))
    }

    /// Whether `prefix` passes, or what stopped it.
    pub fn permits(&self, prefix: Prefix) -> Result<(), Denial> {
        let list = match self {
            Self::Accept => return Ok(()),
            Self::Missing => return Err(Denial::Missing),
            Self::List(list) => list,
        };
        let matching = (1..)
            .zip(&list.rules)
            .find(|(_, rule)| rule.matches(prefix));
        match matching {
            Some((_, rule)) if rule.permit => Ok(()),
            Some((number, rule)) => Err(Denial::Rule {
                list: list.name.clone(),
                number,
                rule: *rule,
            }),
            None => Err(Denial::NoMatch {
                list: list.name.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(permit: bool, prefix: &str, ge: u8, le: u8) -> PrefixRule {
        PrefixRule {
            permit,
            prefix: prefix.parse().unwrap(),
            ge,
            le,
        }
    }

    fn verdict(rules: Vec<PrefixRule>, prefix: &str) -> Result<(), String> {
        let name = Name::new("x").unwrap();
        let list = PrefixList {
            name: name.clone(),
            rules,
        };
        Policy::new(Some(&name), false, &[list])
            .permits(prefix.parse().unwrap())
            .map_err(|denial| denial.to_string())
    }

    #[test]
    fn another_as_without_a_list_gets_nothing_and_our_own_gets_all() {
        let prefix = "10.0.0.0/8".parse().unwrap();
        assert_eq!(
            Policy::new(None, false, &[]).permits(prefix),
            Err(Denial::Missing)
        );
        assert_eq!(Policy::new(None, true, &[]).permits(prefix), Ok(()));
    }

    #[test]
    fn ge_and_le_bound_the_length_inclusively() {
        let rules = || vec![rule(true, "203.0.113.0/24", 26, 28)];
        assert!(verdict(rules(), "203.0.113.0/25").is_err());
        assert_eq!(verdict(rules(), "203.0.113.0/26"), Ok(()));
        assert_eq!(verdict(rules(), "203.0.113.64/28"), Ok(()));
        assert!(verdict(rules(), "203.0.113.64/29").is_err());
        assert!(verdict(rules(), "203.0.112.0/26").is_err());
        assert!(verdict(rules(), "203.0.0.0/16").is_err());
    }

    #[test]
    fn the_first_match_decides_and_the_denial_names_it() {
        let rules = || {
            vec![
                rule(true, "10.1.0.0/16", 16, 16),
                rule(false, "10.0.0.0/8", 8, 24),
                rule(true, "10.0.0.0/8", 8, 32),
            ]
        };
        assert_eq!(verdict(rules(), "10.1.0.0/16"), Ok(()));
        assert_eq!(
            verdict(rules(), "10.2.0.0/16").unwrap_err(),
            "prefix-list x rule 2: deny 10.0.0.0/8 le 24"
        );
        assert_eq!(verdict(rules(), "10.2.0.1/32"), Ok(()));
        assert_eq!(
            verdict(rules(), "192.0.2.0/24").unwrap_err(),
            "prefix-list x: no rule matches"
        );
    }

    #[test]
    fn families_never_match_each_other() {
        assert!(verdict(vec![rule(true, "0.0.0.0/0", 0, 32)], "::/0").is_err());
    }
}
