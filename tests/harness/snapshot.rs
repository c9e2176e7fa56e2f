//! What an operator can see of a host and its guests, as lines, so that a story can say "as it was before".

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::guest::Guest;
use crate::host::Host;
use crate::netns::Inside;
use crate::process::Process;

/// Longer than ovs-vswitchd takes to let go of a link.
const SETTLED: Duration = Duration::from_secs(10);

/// Keys of `ip -j -d` that change by themselves: counters, timers, lifetimes, and ids that the kernel gives to namespaces
/// when somebody looks.
const VOLATILE: [&str; 17] = [
    "stats64",
    "stats",
    "valid_life_time",
    "preferred_life_time",
    "tentative",
    "expires",
    "link_netnsid",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "topology_change",
    "topology_change_detected",
    "gc_timer",
    "hold_timer",
    "forward_delay_timer",
    "message_age_timer",
    "cache",
];

/// Links, addresses, routes, rules, switch rows and named namespaces, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeSet<String>,
}

impl Snapshot {
    /// Looks at a host, its live guests and its Open vSwitch.
    ///
    /// # Errors
    /// A namespace is gone, or a program fails.
    pub fn take(host: &Host) -> Result<Self> {
        let mut lines = BTreeSet::new();
        network("host", host.inside(), &mut lines)?;
        for guest in host.guests().iter().filter(|guest| guest.is_alive()) {
            network(guest.name(), &guest.inside()?, &mut lines)?;
        }
        if let Some(ovs) = host.started_ovs() {
            rows(ovs, &mut lines)?;
        }
        for entry in std::fs::read_dir("/run/netns")? {
            let name = entry?.file_name();
            if name.to_string_lossy().starts_with(host.netns().name()) {
                lines.insert(format!("netns {}", name.display()));
            }
        }
        Ok(Self { lines })
    }

    /// Looks at one guest.
    ///
    /// # Errors
    /// It is dead, or a program fails.
    pub fn take_guest(guest: &Guest) -> Result<Self> {
        let mut lines = BTreeSet::new();
        network(guest.name(), &guest.inside()?, &mut lines)?;
        Ok(Self { lines })
    }

    /// What differs, for a person: `- ` was there before, `+ ` is there now. Empty when nothing does.
    pub fn diff(&self, now: &Self) -> String {
        let mut text = String::new();
        for line in self.lines.difference(&now.lines) {
            let _ = writeln!(text, "- {line}");
        }
        for line in now.lines.difference(&self.lines) {
            let _ = writeln!(text, "+ {line}");
        }
        text
    }

    /// Waits until a host is as it was. ovs-vswitchd lets go of links and removes its own in its own time, so each event
    /// of the host's links gives another look.
    ///
    /// # Errors
    /// It is not within 10 s; with what differs.
    pub fn wait_same(&self, host: &Host) -> Result<()> {
        let end = Instant::now() + SETTLED;
        // Before the first look, so that no change falls between a look and the wait for the next event.
        let monitor = Process::spawn("ip monitor", host.inside().command("ip")?.args(["monitor", "all"]))?;
        let mut events = 0;
        loop {
            let diff = self.diff(&Self::take(host)?);
            if diff.is_empty() {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            match monitor.wait_more(events, left) {
                Ok(more) => events = more,
                Err(_) => bail!("host {} is not as it was within {SETTLED:?}:\n{diff}", host.name()),
            }
        }
    }

    /// Whether a line has all of these parts.
    pub fn has(&self, parts: &[&str]) -> bool {
        self.lines.iter().any(|line| parts.iter().all(|part| line.contains(part)))
    }

    /// # Panics
    /// When the host is not as it was.
    #[track_caller]
    pub fn assert_same(&self, now: &Self) {
        let diff = self.diff(now);
        assert!(diff.is_empty(), "the host is not as it was:\n{diff}");
    }
}

fn network(whose: &str, inside: &Inside, lines: &mut BTreeSet<String>) -> Result<()> {
    let looks = [
        ("link", "-d link show"),
        ("address", "address show"),
        ("route", "-4 route show table all"),
        ("route6", "-6 route show table all"),
        ("rule", "-4 rule show"),
        ("rule6", "-6 rule show"),
        ("neighbour", "neighbour show nud permanent"),
    ];
    for (what, words) in looks {
        for mut object in inside.ip_json(words)? {
            strip(&mut object);
            lines.insert(format!("{whose} {what} {object}"));
        }
    }
    Ok(())
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|key, _| !VOLATILE.contains(&key.as_str()));
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn rows(ovs: &crate::Ovs, lines: &mut BTreeSet<String>) -> Result<()> {
    let ports = ovs.rows("Port", &["_uuid", "name"])?;
    for bridge in
        ovs.rows("Bridge", &["name", "ports", "datapath_type", "external_ids", "other_config", "fail_mode"])?
    {
        let mut shown = bridge.clone();
        shown.remove("ports");
        lines.insert(format!("ovs bridge {}", Value::Object(shown)));
        // Ports by name: a row that was removed and made again has another uuid.
        let wanted = bridge.get("ports").map(Value::to_string).unwrap_or_default();
        for port in &ports {
            let uuid = port.get("_uuid").and_then(|uuid| uuid[1].as_str()).unwrap_or("?");
            if wanted.contains(uuid) {
                lines.insert(format!("ovs bridge {} has port {}", bridge["name"], port["name"]));
            }
        }
    }
    for port in ovs.rows("Port", &["name", "tag", "trunks", "vlan_mode", "external_ids", "other_config"])? {
        lines.insert(format!("ovs port {}", Value::Object(port)));
    }
    for interface in ovs.rows("Interface", &["name", "type", "options", "external_ids", "other_config"])? {
        lines.insert(format!("ovs interface {}", Value::Object(interface)));
    }
    Ok(())
}
