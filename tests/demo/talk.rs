//! Who reaches whom, as a table.

use anyhow::{Result, anyhow};
use comfy_table::{Cell, Table, presets};
use pipewright_tests::{Reach, reach};

use crate::scene::{PARTS, Part, Scene};

/// Tries every pair in both directions, prints the table, and gives what is not as the VLANs say.
pub(crate) fn table(scene: &Scene) -> Result<Vec<String>> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header(std::iter::once(Cell::new("from \\ to")).chain(PARTS.iter().map(column)));
    let mut wrong = Vec::new();
    // All at once: what does not get through takes its full deadline.
    let reached: Result<Vec<Option<Reach>>> = std::thread::scope(|scope| {
        let pairs = PARTS.iter().flat_map(|from| PARTS.iter().map(move |to| (from, to)));
        let tries: Vec<_> = pairs.map(|(from, to)| scope.spawn(move || try_pair(scene, from, to))).collect();
        tries.into_iter().map(|tried| tried.join().map_err(|_| anyhow!("a thread panicked"))?).collect()
    });
    for (from, reached) in PARTS.iter().zip(reached?.chunks(PARTS.len())) {
        let mut row = vec![Cell::new(format!("{} on {}, VLAN {}", from.name, from.host, from.vlan))];
        for (to, reached) in PARTS.iter().zip(reached) {
            let Some(reached) = *reached else {
                row.push(Cell::new(""));
                continue;
            };
            let wanted = if from.vlan == to.vlan { Reach::BOTH } else { Reach::NEITHER };
            if reached != wanted {
                wrong.push(format!("{} to {}: {}, not {}", from.name, to.name, say(reached), say(wanted)));
            }
            row.push(Cell::new(say(reached)));
        }
        table.add_row(row);
    }
    println!("{table}");
    Ok(wrong)
}

fn try_pair(scene: &Scene, from: &Part, to: &Part) -> Result<Option<Reach>> {
    if from.name == to.name {
        return Ok(None);
    }
    let inside = |part: &Part| scene.guest(part.name)?.inside();
    reach(&inside(from)?, &inside(to)?, to.address.parse()?).map(Some)
}

fn column(part: &Part) -> Cell {
    Cell::new(format!("{} on {}\nVLAN {}", part.name, part.host, part.vlan))
}

fn say(reached: Reach) -> &'static str {
    match (reached.ping, reached.tcp) {
        (true, true) => "ping, TCP",
        (true, false) => "only ping",
        (false, true) => "only TCP",
        (false, false) => "-",
    }
}
