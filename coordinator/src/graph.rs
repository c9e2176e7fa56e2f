//! A fleet as a picture: hosts, their switches, the segments on them and who is on those.

use crate::check::{Attachment, Fleet, Segment, Switch};
use crate::name::Name;

/// As an indented text.
pub fn text(fleet: &Fleet) -> String {
    let mut out = format!("fleet {}\n", fleet.members.fleet);
    for (host, endpoint) in &fleet.members.hosts {
        line(&mut out, 1, &format!("host {host} ({endpoint})"));
        for (name, switch) in &fleet.switches {
            let Some(uplink) = switch.uplinks.get(host) else { continue };
            let uplink = uplink.as_ref().map_or_else(String::new, |link| format!(", uplink {link}"));
            line(&mut out, 2, &format!("switch {name} ({}{uplink})", switch.kind));
            for (segment_name, segment) in
                fleet.segments.iter().filter(|(_, segment)| segment.switch == *name)
            {
                line(&mut out, 3, &format!("segment {segment_name} ({})", segment_label(segment)));
                for attachment in on(fleet, host, segment_name) {
                    line(&mut out, 4, &guest_label(attachment));
                }
            }
        }
    }
    out
}

fn line(out: &mut String, depth: usize, text: &str) {
    let indent = depth * 2;
    out.push_str(&format!("{:indent$}{text}\n", ""));
}

/// As a graph for `dot -Tsvg`: a box a host, an edge a link.
pub fn dot(fleet: &Fleet) -> String {
    let mut out = Dot::default();
    out.add(&format!("graph {} {{", quoted(fleet.members.fleet.as_str())));
    out.add("  rankdir=LR; node [shape=box, fontname=sans]; edge [fontname=sans];");
    for host in fleet.members.hosts.keys() {
        out.add(&format!("  subgraph {} {{", quoted(&format!("cluster_{host}"))));
        out.add(&format!("    label={};", quoted(host.as_str())));
        for (name, _) in on_host(fleet, host) {
            out.add(&format!("    {} [label={}];", node(&["switch", host.as_str(), name]), quoted(name)));
        }
        for attachment in fleet.attachments.iter().filter(|attachment| attachment.host == *host) {
            let label = quoted(&attachment.spec.guest.to_string());
            out.add(&format!("    {} [label={label}, shape=ellipse];", guest_node(attachment)));
        }
        out.add("  }");
    }
    for (name, segment) in &fleet.segments {
        let label = quoted(&format!("{name}\\n{}", segment_label(segment)));
        out.add(&format!("  {} [label={label}, shape=hexagon];", node(&["segment", name.as_str()])));
    }
    for attachment in &fleet.attachments {
        let Some(segment) = fleet.segments.get(&attachment.segment) else { continue };
        let switch = node(&["switch", attachment.host.as_str(), segment.switch.as_str()]);
        let label = quoted(&link_label(attachment));
        out.add(&format!("  {} -- {switch} [label={label}];", guest_node(attachment)));
    }
    for (name, segment) in &fleet.segments {
        let switch = fleet.switches.get(&segment.switch);
        for (host, uplink) in switch.iter().flat_map(|switch| &switch.uplinks) {
            let switch = node(&["switch", host.as_str(), segment.switch.as_str()]);
            let label = quoted(uplink.as_ref().map_or("", |link| link.as_str()));
            out.add(&format!("  {switch} -- {} [label={label}];", node(&["segment", name.as_str()])));
        }
    }
    out.add("}");
    out.0
}

#[derive(Default)]
struct Dot(String);

impl Dot {
    fn add(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }
}

fn on_host<'a>(fleet: &'a Fleet, host: &'a Name) -> impl Iterator<Item = (&'a str, &'a Switch)> {
    let here = fleet.switches.iter().filter(|(_, switch)| switch.uplinks.contains_key(host));
    here.map(|(name, switch)| (name.as_str(), switch))
}

fn on<'a>(fleet: &'a Fleet, host: &'a Name, segment: &'a Name) -> impl Iterator<Item = &'a Attachment> {
    fleet.attachments.iter().filter(move |at| at.host == *host && at.segment == *segment)
}

fn segment_label(segment: &Segment) -> String {
    let mut label = match segment.vlan {
        Some(vlan) => format!("VLAN {vlan}, {}", segment.subnet),
        None => format!("untagged, {}", segment.subnet),
    };
    if let Some(gateway) = segment.gateway {
        label.push_str(&format!(", gateway {gateway}"));
    }
    label
}

fn link_label(attachment: &Attachment) -> String {
    let addresses = attachment.spec.addressing.addresses().iter();
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    format!("{} {}", attachment.spec.ifname, addresses.join(" "))
}

fn guest_label(attachment: &Attachment) -> String {
    format!("{} {}", attachment.spec.guest, link_label(attachment))
}

fn guest_node(attachment: &Attachment) -> String {
    node(&["guest", attachment.host.as_str(), &attachment.spec.guest.to_string()])
}

fn node(parts: &[&str]) -> String {
    quoted(&parts.join("/"))
}

/// A string of the DOT language; `\n` in it is a line break of the label.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}
