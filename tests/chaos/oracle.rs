//! What was answered, what is recorded and what is there must agree, soon after each death.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pipewright_tests::{Reach, reach};

use crate::world::{Slot, World};

/// Losses are noticed by events, and repaired after them.
const SOON: Duration = Duration::from_secs(30);

/// Tries until it holds; each try starts programs, which paces it.
fn soon(holds: impl Fn() -> Result<()>) -> Result<()> {
    let end = Instant::now() + SOON;
    loop {
        match holds() {
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}

/// The list is what was asked for, `check` has nothing to say of it, and nothing else is there.
pub(crate) fn agrees(world: &World) -> Result<()> {
    let wanted: BTreeSet<String> = world
        .slots
        .iter()
        .filter(|slot| slot.is_wanted)
        .map(|slot| slot.guest.reference().to_owned())
        .collect();
    soon(|| {
        let mut listed = BTreeSet::new();
        for one in world.agent.list()? {
            let guest = one["spec"]["guest"].as_str().context("an attachment has a guest")?;
            let state = one["state"].as_str().unwrap_or_default();
            if state != "ATTACHMENT_STATE_ATTACHED" {
                bail!("{guest} is {state}");
            }
            listed.insert(guest.to_owned());
        }
        if listed != wanted {
            bail!("wanted {wanted:#?}, listed {listed:#?}");
        }
        for words in ["check", "doctor --residue"] {
            let answer = world.agent.ctl(words)?;
            if answer.code != 0 {
                bail!("pwctl {words}: {}{}", answer.stdout, answer.stderr);
            }
        }
        Ok(())
    })
}

/// Whether the guest in a slot came back with its link: a namespace never does.
pub(crate) fn is_attached(world: &World, slot: usize) -> Result<bool> {
    let reference = world.slots[slot].guest.reference();
    let answer = std::cell::Cell::new(false);
    soon(|| {
        let list = world.agent.list()?;
        let known = list.iter().find(|one| one["spec"]["guest"] == reference);
        let is_there = world.slots[slot].guest.inside()?.has_link("eth1")?;
        match known {
            None if !is_there => answer.set(false),
            Some(one) if is_there && one["state"] == "ATTACHMENT_STATE_ATTACHED" => answer.set(true),
            other => bail!("{reference} has a link: {is_there}, and its record is {other:?}"),
        }
        Ok(())
    })?;
    Ok(answer.get())
}

/// Neighbours on each switch reach each other.
pub(crate) fn reaches(world: &World) -> Result<()> {
    for uplink in ["br0", "ovs0 --vlan 100"] {
        let there: Vec<&Slot> =
            world.slots.iter().filter(|slot| slot.is_wanted && slot.uplink() == uplink).collect();
        let [first, .., last] = there[..] else { continue };
        soon(|| {
            let found = reach(&first.guest.inside()?, &last.guest.inside()?, last.address().parse()?)?;
            if found != Reach::BOTH {
                bail!("{} does not reach {}: {found:?}", first.guest.reference(), last.guest.reference());
            }
            Ok(())
        })?;
    }
    Ok(())
}
