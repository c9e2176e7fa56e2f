//! The table that `make bench` prints.

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::samples::{Samples, milliseconds, ratio};
use std::time::Duration;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Line {
    what: String,
    floor: String,
    ours: String,
    ratio: String,
    aim: String,
    is_met: Option<bool>,
}

impl Line {
    /// A time against the floor's: at most `aim` times as long.
    pub(crate) fn against(what: &str, floor: &Samples, ours: &Samples, aim: f64) -> Self {
        let times = ratio(ours.median(), floor.median());
        Self {
            what: format!("{what} (n={})", ours.len()),
            floor: floor.shown(),
            ours: ours.shown(),
            ratio: format!("{times:.2}"),
            aim: format!("≤ {aim}×"),
            is_met: Some(times <= aim),
        }
    }

    /// A time that must be so short by itself; the floor, if there is one, is shown beside it.
    pub(crate) fn within(what: &str, floor: Option<&Samples>, ours: &Samples, aim: Duration) -> Self {
        let times = floor.map(|floor| ratio(ours.median(), floor.median()));
        Self {
            what: format!("{what} (n={})", ours.len()),
            floor: floor.map(Samples::shown).unwrap_or_default(),
            ours: ours.shown(),
            ratio: times.map(|times| format!("{times:.2}")).unwrap_or_default(),
            aim: format!("≤ {} ms", milliseconds(aim)),
            is_met: Some(ours.median() <= aim),
        }
    }

    /// A time beside the floor's, without an aim.
    pub(crate) fn beside_floor(what: &str, floor: &Samples, ours: &Samples) -> Self {
        let times = ratio(ours.median(), floor.median());
        Self::free(format!("{what} (n={})", ours.len()), ours.shown(), "", true)
            .beside(floor.shown(), format!("{times:.2}"))
    }

    /// Anything else.
    pub(crate) fn free(what: impl Into<String>, ours: impl Into<String>, aim: &str, is_met: bool) -> Self {
        Self {
            what: what.into(),
            floor: String::new(),
            ours: ours.into(),
            ratio: String::new(),
            aim: aim.to_owned(),
            is_met: (!aim.is_empty()).then_some(is_met),
        }
    }

    /// With something to compare it to.
    pub(crate) fn beside(mut self, floor: String, ratio: String) -> Self {
        self.floor = floor;
        self.ratio = ratio;
        self
    }
}

pub(crate) fn print(lines: Vec<Line>) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["what", "floor, ms", "agent, ms", "ratio", "aim", ""]);
    for Line { what, floor, ours, ratio, aim, is_met } in lines {
        let verdict = match is_met {
            None => "",
            Some(true) => "met",
            Some(false) => "missed",
        };
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(what),
            right(floor),
            right(ours),
            right(ratio),
            Cell::new(aim),
            Cell::new(verdict),
        ]);
    }
    println!("\n{table}");
}
