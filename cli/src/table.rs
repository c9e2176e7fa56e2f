//! Tables for people.

use comfy_table::{Table, presets};
use pipewright_api::wire;

/// Columns under a header, two blanks apart.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Text of others, without what a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// `-` for what there is none of.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Attachments, one a line.
pub(crate) fn attachments(attachments: &[wire::Attachment]) -> String {
    let shown = shortest(attachments);
    let rows = attachments.iter().map(|attachment| {
        let spec = attachment.spec.clone().unwrap_or_default();
        [
            attachment.id.chars().take(shown).collect(),
            spec.guest.clone(),
            spec.ifname.clone(),
            or_dash(&addresses(attachment).join(" ")),
            or_dash(&attachment.mac),
            uplink(&spec),
            vlan(&spec),
            or_dash(&attachment.host_ifname),
            format!("{}{}", state(attachment), origin(attachment)),
        ]
    });
    let header = ["ID", "GUEST", "IFNAME", "ADDRESS", "MAC", "UPLINK", "VLAN", "HOST END", "STATE"];
    table(header, rows)
}

/// How many characters of the ids tell them apart, at least eight.
fn shortest(attachments: &[wire::Attachment]) -> usize {
    let mut ids: Vec<&str> = attachments.iter().map(|attachment| attachment.id.as_str()).collect();
    ids.sort_unstable();
    let common =
        |(one, other): (&&str, &&str)| one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let shared = ids.iter().zip(ids.iter().skip(1)).map(common).max();
    shared.map_or(8, |shared| (shared + 1).max(8))
}

/// Addresses with their prefix lengths. With DHCP there may be none yet, or no more.
pub(crate) fn addresses(attachment: &wire::Attachment) -> Vec<&str> {
    use wire::attachment_spec::Addressing;
    let spec = attachment.spec.as_ref();
    let mut all = match spec.and_then(|spec| spec.addressing.as_ref()) {
        Some(Addressing::StaticAddresses(addresses)) => addresses.cidrs.iter().map(String::as_str).collect(),
        Some(Addressing::Dhcp(_)) => match &attachment.lease {
            Some(lease) => vec![&lease.address, "(dhcp)"],
            None => vec!["(dhcp)"],
        },
        Some(Addressing::NoAddress(_)) | None => Vec::new(),
    };
    if spec.is_some_and(|spec| spec.slaac) {
        all.push("(slaac)");
    }
    if spec.is_some_and(|spec| spec.dhcp6.is_some()) {
        all.extend(attachment.lease6.iter().map(|lease| lease.address.as_str()));
        all.push("(dhcp6)");
    }
    all
}

/// What the link is on, and in which partition of InfiniBand; a link of the host's own is on nothing.
fn uplink(spec: &wire::AttachmentSpec) -> String {
    match spec.kind() {
        wire::Kind::Direct => format!("{} (direct)", spec.uplink),
        wire::Kind::Ipoib if spec.pkey != 0 => format!("{} (pkey {:#06x})", spec.uplink, spec.pkey),
        _ => spec.uplink.clone(),
    }
}

fn vlan(spec: &wire::AttachmentSpec) -> String {
    use wire::attachment_spec::Vlan;
    match &spec.vlan {
        None => "-".to_owned(),
        Some(Vlan::AccessVlan(vlan)) => vlan.to_string(),
        Some(Vlan::TrunkVlans(trunk)) => {
            let vlans: Vec<String> = trunk.vlans.iter().map(ToString::to_string).collect();
            format!("trunk {}", vlans.join(","))
        }
        Some(Vlan::EveryVlan(_)) => "trunk all".to_owned(),
    }
}

/// Which label or variable of its container asked for it.
fn origin(attachment: &wire::Attachment) -> String {
    attachment.origin.as_ref().map(|origin| format!(" ({})", origin.key)).unwrap_or_default()
}

/// The state, and what is wrong with what is there.
pub(crate) fn state(attachment: &wire::Attachment) -> String {
    let state = match attachment.state() {
        wire::AttachmentState::Unspecified => "?",
        wire::AttachmentState::Attaching => "attaching",
        wire::AttachmentState::Attached => "attached",
        wire::AttachmentState::Detaching => "detaching",
        wire::AttachmentState::Detached => "detached",
        wire::AttachmentState::Incomplete => "incomplete",
        wire::AttachmentState::Waiting => "waiting",
    };
    let is_attached = attachment.state() == wire::AttachmentState::Attached;
    match &attachment.observed {
        _ if !attachment.leftovers.is_empty() => {
            format!("{state}; left over: {}", attachment.leftovers.join(", "))
        }
        _ if !attachment.waiting.is_empty() => format!("{state}: {}", attachment.waiting),
        Some(observed) if is_attached && !observed.present => {
            let what = if attachment.host_ifname.is_empty() { "link" } else { "host end" };
            format!("{state}; {what} is gone")
        }
        _ if !attachment.drift.is_empty() => {
            let words: Vec<String> = attachment.drift.iter().map(drift).collect();
            format!("{state}; drifted: {}", words.join(", "))
        }
        Some(observed) if !observed.ovs_error.is_empty() => format!("{state}; {}", observed.ovs_error),
        Some(_) | None => state.to_owned(),
    }
}

/// `address of eth1 is nothing, not 192.0.2.10/24`
fn drift(drift: &wire::Drift) -> String {
    let wire::Drift { what, object, found, expected, .. } = drift;
    format!("{what} of {object} is {found}, not {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(id: &str) -> wire::Attachment {
        wire::Attachment {
            id: id.to_owned(),
            spec: Some(wire::AttachmentSpec {
                guest: "docker:web".to_owned(),
                ifname: "eth1".to_owned(),
                uplink: "ovs0".to_owned(),
                vlan: Some(wire::attachment_spec::Vlan::AccessVlan(100)),
                addressing: Some(wire::attachment_spec::Addressing::StaticAddresses(wire::StaticAddresses {
                    cidrs: vec!["192.0.2.10/24".to_owned(), "2001:db8::10/64".to_owned()],
                })),
                ..wire::AttachmentSpec::default()
            }),
            state: wire::AttachmentState::Attached.into(),
            host_ifname: "pwh7f3a5cdefgh".to_owned(),
            mac: "02:00:5e:10:00:01".to_owned(),
            ..wire::Attachment::default()
        }
    }

    #[test]
    fn a_list_has_one_line_an_attachment_and_ids_that_tell_them_apart() {
        let mut broken = attachment("0198c0de-0000-7000-8000-000000000002");
        broken.observed = Some(wire::ObservedLink::default());
        broken.spec = broken.spec.map(|spec| wire::AttachmentSpec { vlan: None, addressing: None, ..spec });
        let list = [attachment("0198c0de-0000-7000-8000-000000000001"), broken];

        let text = attachments(&list[..1]);
        let both = attachments(&list);

        let expected = "\
ID        GUEST       IFNAME  ADDRESS                        MAC                UPLINK  VLAN  HOST END        STATE
0198c0de  docker:web  eth1    192.0.2.10/24 2001:db8::10/64  02:00:5e:10:00:01  ovs0    100   pwh7f3a5cdefgh  attached";
        assert_eq!(text, expected);
        let second = both.lines().nth(2).unwrap();
        assert!(
            second.starts_with("0198c0de-0000-7000-8000-000000000002  docker:web  eth1    -   "),
            "{both}"
        );
        assert!(second.ends_with("-     pwh7f3a5cdefgh  attached; host end is gone"), "{both}");
    }

    #[test]
    fn one_that_waits_says_why() {
        let mut waiting = attachment("0198c0de-0000-7000-8000-000000000001");
        waiting.state = wire::AttachmentState::Waiting.into();
        waiting.waiting = "its guest stopped".to_owned();
        waiting.observed = Some(wire::ObservedLink::default());

        assert_eq!(state(&waiting), "waiting: its guest stopped");
    }

    #[test]
    fn what_somebody_changed_is_shown_with_the_state() {
        let mut drifted = attachment("0198c0de-0000-7000-8000-000000000001");
        let [what, object, found, expected] = ["vlan", "pwx", "200", "100"].map(str::to_owned);
        drifted.drift = vec![wire::Drift { what, object, found, expected, ..wire::Drift::default() }];

        assert_eq!(state(&drifted), "attached; drifted: vlan of pwx is 200, not 100");
    }

    #[test]
    fn an_address_that_was_leased_is_shown_as_such() {
        let mut leased = attachment("0198c0de-0000-7000-8000-000000000001");
        let addressing = Some(wire::attachment_spec::Addressing::Dhcp(wire::Dhcp::default()));
        leased.spec = leased.spec.map(|spec| wire::AttachmentSpec { addressing, ..spec });
        let without = addresses(&leased).join(" ");
        leased.lease = Some(wire::Lease { address: "192.0.2.77/24".to_owned(), ..wire::Lease::default() });

        assert_eq!(
            (without.as_str(), addresses(&leased).join(" ").as_str()),
            ("(dhcp)", "192.0.2.77/24 (dhcp)")
        );
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(table(["A"], [["\u{1b}[2Jx".to_owned()]]), "A\n\u{fffd}[2Jx");
    }
}
