//! Reads documents into [`Raw`]: TOML syntax, known keys, one value at a time.

use toml::de::DeTable;

use super::Document;
use super::fields::Fields;
use super::problem::{Place, Problems};
use super::raw::{
    Bgp, Gateway, NatLog, NatPool, NatTimers, Port, PrefixList, Raw, Route, Tenant, Underlay,
    Uplink,
};

/// Reads all documents; the first is the root.
pub(super) fn read(documents: &[Document], problems: &mut Problems<'_>) -> Raw {
    let mut raw = Raw::default();
    let mut singles = Singles::default();
    for (index, document) in documents.iter().enumerate() {
        let (root, errors) = DeTable::parse_recoverable(&document.text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let place = Place {
                document: index,
                span,
            };
            problems.error(&place, error.message());
        }
        if errors.is_empty() {
            let at = Place {
                document: index,
                span: 0..0,
            };
            let fields = Fields::new("the document", root.get_ref(), at);
            if index > 0 {
                check_included(fields.at.document, document, root.get_ref(), problems);
            }
            read_document(fields, &mut raw, &mut singles, problems);
        }
    }
    raw
}

/// Where each table that may stand only once was found first.
#[derive(Default)]
struct Singles(Vec<(&'static str, Place)>);

impl Singles {
    /// Whether this is the first of its name; reports it otherwise.
    fn first(&mut self, what: &'static str, at: &Place, problems: &mut Problems<'_>) -> bool {
        if let Some((_, first)) = self.0.iter().find(|(name, _)| *name == what) {
            let message = format!(
                "{what} may stand only once; the first is at {}; join the two there",
                problems.line_of(first)
            );
            problems.error(at, message);
            return false;
        }
        self.0.push((what, at.clone()));
        true
    }
}

fn read_document(mut f: Fields<'_>, raw: &mut Raw, singles: &mut Singles, p: &mut Problems<'_>) {
    f.texts::<String>("include", p);
    if let Some(table) = f.table("gateway", "[gateway]", p)
        && singles.first("[gateway]", &table.at, p)
    {
        raw.gateway = Some(Gateway::read(table, p));
    }
    if let Some(table) = f.table("underlay", "[underlay]", p)
        && singles.first("[underlay]", &table.at, p)
    {
        raw.underlay = Some(Underlay::read(table, p));
    }
    if let Some(table) = f.table("bgp", "[bgp]", p)
        && singles.first("[bgp]", &table.at, p)
    {
        raw.bgp = Some(Bgp::read(table, p));
    }
    if let Some(table) = f.table("nat", "[nat]", p)
        && singles.first("[nat]", &table.at, p)
    {
        raw.nat = Some(NatTimers::read(table, p));
    }
    if let Some(table) = f.table("nat-log", "[nat-log]", p)
        && singles.first("[nat-log]", &table.at, p)
    {
        raw.nat_log = Some(NatLog::read(table, p));
    }
    for table in f.tables("port", "[[port]]", p) {
        raw.ports.push(Port::read(table, p));
    }
    for table in f.tables("uplink", "[[uplink]]", p) {
        raw.uplinks.push(Uplink::read(table, p));
    }
    for table in f.tables("route", "[[route]]", p) {
        raw.routes.push(Route::read(table, false, p));
    }
    for table in f.tables("prefix-list", "[[prefix-list]]", p) {
        raw.prefix_lists.push(PrefixList::read(table, p));
    }
    for table in f.tables("nat-pool", "[[nat-pool]]", p) {
        raw.nat_pools.push(NatPool::read(table, p));
    }
    for table in f.tables("tenant", "[[tenant]]", p) {
        raw.tenants.push(Tenant::read(table, p));
    }
    f.finish(p);
}

/// An included document is made of `[tables]` alone, so that its text can be appended to the
/// root's, and includes nothing itself.
fn check_included(
    document: usize,
    text: &Document,
    root: &DeTable<'_>,
    problems: &mut Problems<'_>,
) {
    for key in root.keys() {
        let name: &str = key.get_ref();
        let at = Place {
            document,
            span: key.span(),
        };
        let line_start = text.text[..at.span.start].rfind('\n').map_or(0, |i| i + 1);
        if name == "include" {
            problems.error(
                &at,
                "only the root document includes others; write this pattern there",
            );
        } else if !text.text[line_start..].trim_start().starts_with('[') {
            let message = format!(
                "an included document is made of [tables]; begin with [{name}] or [[{name}]]"
            );
            problems.error(&at, message);
        }
    }
}
