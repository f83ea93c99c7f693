//! Aligned columns, and how durations and counts are written.

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows below a header, columns two spaces apart, without lines.
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A header; a name that begins with `>` stands, like its column, on the right.
    pub(super) fn new(header: &[&'static str]) -> Self {
        let columns = header
            .iter()
            .map(|name| match name.strip_prefix('>') {
                Some(name) => (name, Align::Right),
                None => (*name, Align::Left),
            })
            .collect();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row; an empty cell is shown as `-`.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text, without spaces at the ends of lines.
    pub(super) fn render(&self) -> String {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, (name, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(index));
                let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                widest.max(name.len())
            })
            .collect();
        let header: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| (*name).into())
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, (_, align)), width) in row.iter().zip(&self.columns).zip(&widths) {
                let cell = if cell.is_empty() { "-" } else { cell };
                let cell = match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                };
                if !line.is_empty() {
                    line.push_str("  ");
                }
                line.push_str(&cell);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// `HH:MM:SS`, then `1d02h03m`, then `1w2d03h`, as routers write it.
pub(super) fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match days {
        0 => format!("{:02}:{:02}:{:02}", hours, minutes % 60, seconds % 60),
        1..=6 => format!("{days}d{:02}h{:02}m", hours % 24, minutes % 60),
        _ => format!("{}w{}d{:02}h", days / 7, days % 7, hours % 24),
    }
}

/// `1 thing`, `2 things`.
pub(super) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_are_written_as_routers_do() {
        assert_eq!(uptime(3), "00:00:03");
        assert_eq!(uptime(86399), "23:59:59");
        assert_eq!(uptime(86400 + 2 * 3600 + 3 * 60 + 59), "1d02h03m");
        assert_eq!(uptime(9 * 86400 + 3 * 3600), "1w2d03h");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["Name", ">Packets", "Note"]);
        table.row(vec!["a".into(), "7".into(), String::new()]);
        table.row(vec!["longer".into(), "123456789".into(), "x".into()]);
        let expected = "\
Name      Packets  Note
a               7  -
longer  123456789  x
";
        assert_eq!(table.render(), expected);
    }
}
