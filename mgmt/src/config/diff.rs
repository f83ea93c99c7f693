//! What differs between two configurations.

use std::fmt::{self, Display};
use std::net::IpAddr;

use similar::TextDiff;

use super::model::Config;

/// What became of a configured thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It says something else.
    Changed,
}

/// One configured thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Added, removed or changed.
    pub kind: ChangeKind,
    /// What it is, like `tenant`.
    pub what: &'static str,
    /// Its name; empty for sections that stand only once.
    pub name: String,
    /// Whether it takes effect only when the daemon is started again.
    pub needs_restart: bool,
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        f.write_str(match self.kind {
            ChangeKind::Added => " added",
            ChangeKind::Removed => " removed",
            ChangeKind::Changed => " changed",
        })
    }
}

/// Everything that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigDiff {
    /// In the order of the model: the gateway first, tenants last.
    pub changes: Vec<Change>,
}

impl ConfigDiff {
    /// What `new` changes in `old`.
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut diff = Self::default();
        let hardware = true;
        diff.single("gateway", hardware, Some(&old.gateway), Some(&new.gateway));
        let (before, after) = (&old.underlay, &new.underlay);
        diff.single("underlay", false, before.as_ref(), after.as_ref());
        diff.named("port", hardware, &old.ports, &new.ports, |port| &port.name);
        diff.named("uplink", false, &old.uplinks, &new.uplinks, |uplink| {
            &uplink.name
        });
        diff.named("route", false, &old.routes, &new.routes, |route| {
            (route.prefix, route.distance)
        });
        diff.speaker(old, new);
        let (before, after) = (&old.prefix_lists, &new.prefix_lists);
        diff.named("prefix-list", false, before, after, |list| &list.name);
        let (before, after) = (&old.nat_pools, &new.nat_pools);
        diff.named("nat-pool", false, before, after, |pool| &pool.name);
        diff.single("nat", false, Some(&old.nat), Some(&new.nat));
        diff.single("nat-log", false, Some(&old.nat_log), Some(&new.nat_log));
        diff.named("tenant", false, &old.tenants, &new.tenants, |tenant| {
            &tenant.name
        });
        diff
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes that need the daemon to be started again.
    pub fn needing_restart(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.needs_restart)
    }

    /// The speaker's own values and its neighbours are told apart: a new neighbour does not touch
    /// the sessions of the others.
    fn speaker(&mut self, old: &Config, new: &Config) {
        let own = |config: &Config| {
            let bgp = config.bgp.as_ref()?;
            Some((bgp.asn, bgp.router_id, bgp.maximum_paths))
        };
        self.single("bgp", false, own(old).as_ref(), own(new).as_ref());
        let neighbors = |config: &Config| {
            let bgp = config.bgp.as_ref();
            bgp.map_or_else(Vec::new, |bgp| bgp.neighbors.clone())
        };
        let (before, after) = (neighbors(old), neighbors(new));
        self.named("bgp neighbor", false, &before, &after, |neighbor| {
            neighbor.address
        });
    }

    fn single<T: PartialEq>(
        &mut self,
        what: &'static str,
        needs_restart: bool,
        old: Option<&T>,
        new: Option<&T>,
    ) {
        let kind = match (old, new) {
            (None, Some(_)) => ChangeKind::Added,
            (Some(_), None) => ChangeKind::Removed,
            (Some(old), Some(new)) if old != new => ChangeKind::Changed,
            _ => return,
        };
        self.push(kind, what, String::new(), needs_restart);
    }

    fn named<'c, T: PartialEq, K: Ord + Label>(
        &mut self,
        what: &'static str,
        needs_restart: bool,
        old: &'c [T],
        new: &'c [T],
        key: impl Fn(&'c T) -> K,
    ) {
        let index = |items: &'c [T]| {
            let items = items.iter().map(|item| (key(item), item));
            items.collect::<std::collections::BTreeMap<K, &T>>()
        };
        let (before, after) = (index(old), index(new));
        for name in before.keys().filter(|name| !after.contains_key(name)) {
            self.push(ChangeKind::Removed, what, name.label(), needs_restart);
        }
        for (name, item) in &after {
            match before.get(name) {
                None => self.push(ChangeKind::Added, what, name.label(), needs_restart),
                Some(old) if old != item => {
                    self.push(ChangeKind::Changed, what, name.label(), needs_restart);
                }
                Some(_) => {}
            }
        }
    }

    fn push(&mut self, kind: ChangeKind, what: &'static str, name: String, needs_restart: bool) {
        self.changes.push(Change {
            kind,
            what,
            name,
            needs_restart,
        });
    }
}

/// How a key is shown.
trait Label {
    fn label(&self) -> String;
}

impl Label for &sekisho_types::Name {
    fn label(&self) -> String {
        self.to_string()
    }
}

impl Label for IpAddr {
    fn label(&self) -> String {
        self.to_string()
    }
}

impl Label for (sekisho_types::Prefix, u8) {
    fn label(&self) -> String {
        match self {
            (prefix, 1) => prefix.to_string(),
            (prefix, distance) => format!("{prefix} distance {distance}"),
        }
    }
}

/// A unified diff of two texts; empty if they are equal.
pub fn text_diff(old_name: &str, old: &str, new_name: &str, new: &str) -> String {
    TextDiff::from_lines(old, new)
        .unified_diff()
        .header(old_name, new_name)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, parse};

    const GOOD: &str = include_str!("testdata/good.toml");

    fn config(text: &str) -> Config {
        let document = Document {
            name: "r.toml".into(),
            text: text.into(),
        };
        parse(vec![document]).unwrap().config
    }

    /// What replacing `from` by `to` changes, and whether that needs a restart.
    fn changes(from: &str, to: &str) -> Vec<(String, bool)> {
        let edited = GOOD.replacen(from, to, 1);
        assert_ne!(edited, GOOD);
        let diff = ConfigDiff::between(&config(GOOD), &config(&edited));
        let changes = diff.changes.iter();
        changes
            .map(|change| (change.to_string(), change.needs_restart))
            .collect()
    }

    #[test]
    fn only_what_differs_is_named() {
        assert_eq!(changes("# The root", "# Our root"), []);
        let one = |text: &str, restart| vec![(text.to_owned(), restart)];
        assert_eq!(
            changes("vni = 6001", "vni = 6002"),
            one("tenant green changed", false)
        );
        assert_eq!(
            changes("\"9s\"", "\"12s\""),
            one("bgp neighbor 198.51.100.0 changed", false)
        );
        assert_eq!(
            changes("as = 65010", "as = 65011"),
            one("bgp changed", false)
        );
        assert_eq!(changes("\"5m\"", "\"6m\""), one("nat changed", false));
    }

    #[test]
    fn what_the_process_is_made_of_needs_a_restart() {
        let restart = |text: &str| vec![(text.to_owned(), true)];
        assert_eq!(
            changes("workers = 2", "workers = 3"),
            restart("gateway changed")
        );
        let from = "interface = \"eth-isp-a\"";
        let to = "interface = \"eth-isp-a\"\nmtu = 1400";
        assert!(changes(from, to).contains(&("port isp-a changed".to_owned(), true)));
    }

    #[test]
    fn a_route_with_another_distance_is_another_route() {
        let found = changes(
            "next-hop = \"10.1.0.254\"",
            "next-hop = \"10.1.0.254\"\ndistance = 5",
        );
        let expected = [
            "route 10.9.0.0/16 removed",
            "route 10.9.0.0/16 distance 5 added",
        ];
        let found: Vec<&str> = found.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn texts_are_compared_line_by_line() {
        let diff = text_diff("running", "a\nb\n", "candidate", "a\nc\n");
        assert_eq!(
            diff,
            "--- running\n+++ candidate\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        );
        assert_eq!(text_diff("running", "a\n", "candidate", "a\n"), "");
    }
}
