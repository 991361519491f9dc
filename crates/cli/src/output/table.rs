//! Tables: columns as wide as their widest cell, two spaces between them, no lines. Cells can't break them.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::printable;

/// A table that is being filled.
#[derive(Debug)]
pub(crate) struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these headings.
    pub(crate) const fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    /// Adds a row with one cell a heading. An empty cell shows as `-`, so that columns stay countable.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells
            .into_iter()
            .map(|cell| match cell.as_str() {
                "" => "-".to_owned(),
                text => printable(text).into_owned(),
            })
            .collect();
        debug_assert_eq!(cells.len(), self.headings.len(), "one cell a heading");
        self.rows.push(cells);
    }

    /// Writes it.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let headings: Vec<String> = self.headings.iter().map(|text| (*text).to_owned()).collect();
        let mut widths: Vec<usize> = headings.iter().map(|text| text.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
            }
            writeln!(to, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_what_the_terminal_shows() {
        let mut table = Table::new(&["NAME", "STATUS", "WHY"]);
        table.row(["web".into(), "ready".into(), String::new()]);
        table.row([
            "überlang-日本".into(),
            "blocked".into(),
            "no\x1b[2J file\n".into(),
        ]);
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "NAME           STATUS   WHY\n\
             web            ready    -\n\
             überlang-日本  blocked  no\\u{1b}[2J file\n"
        );
    }
}
