//! Tables in Markdown, and the units of their cells.

use std::time::Duration;

use super::machine;

/// Says what is measured, on what, under which load and when.
pub(crate) fn heading(title: &str) {
    println!("\n## {title}\n");
    println!("{} · load {} · {}\n", machine::machine(), machine::load(), machine::date());
}

/// A table, printed as a whole.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new<const N: usize>(columns: [&str; N]) -> Self {
        Self { rows: vec![columns.map(str::to_owned).to_vec()] }
    }

    /// Adds a row: as many cells as there are columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// Prints the table, and the load at this moment.
    pub(crate) fn print(&self) {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column| {
            let cells = self.rows.iter().filter_map(|row: &Vec<String>| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
            println!("|{}", cells.collect::<String>());
            if number == 0 {
                let dashes = widths.iter().map(|width| format!(" {} |", "-".repeat(*width)));
                println!("|{}", dashes.collect::<String>());
            }
        }
        println!("\n- load at the end: {}", machine::load());
    }
}

/// Prints a remark below a table, as an item of a list.
pub(crate) fn note(text: &str) {
    println!("- {text}");
}

/// As text, in microseconds.
pub(crate) fn us(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

/// As text, in milliseconds.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// As text, in mebibytes.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The rate of `count` things in `time`, each second, as text.
pub(crate) fn rate(count: usize, time: Duration) -> String {
    format!("{:.0}/s", count as f64 / time.as_secs_f64())
}

/// How many times as long `one` took as `other`, as text.
pub(crate) fn times(one: Duration, other: Duration) -> String {
    format!("{:.2}×", one.as_secs_f64() / other.as_secs_f64())
}
