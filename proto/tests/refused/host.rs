//! Documents of a host that must be refused.

use pipewright_api::wire;
use pipewright_api::wire::attachment_spec::{Addressing, Vlan};

use super::{Refused, statics};

type Row = Refused<wire::ApplyRequest>;

/// The request that every row of [`rows`] begins with.
pub(crate) fn valid() -> wire::ApplyRequest {
    wire::ApplyRequest {
        request_id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        spec: Some(wire::HostSpec {
            fleet: "lab".to_owned(),
            switches: vec![
                switch("ovs0", wire::Kind::Ovs, Some(uplink("eth1", &[100, 200]))),
                switch("br0", wire::Kind::LinuxBridge, Some(uplink("eth2", &[]))),
            ],
            attachments: vec![
                attachment("docker:one", "ovs0", Some(Vlan::AccessVlan(100)), "192.0.2.1/24"),
                attachment("docker:two", "ovs0", Some(Vlan::AccessVlan(100)), "192.0.2.2/24"),
                attachment("docker:two", "br0", None, "198.51.100.2/24"),
            ],
        }),
        dry_run: false,
    }
}

fn switch(name: &str, kind: wire::Kind, uplink: Option<wire::UplinkSpec>) -> wire::SwitchSpec {
    wire::SwitchSpec { name: name.to_owned(), kind: kind.into(), uplink }
}

fn uplink(link: &str, trunk_vlans: &[u32]) -> wire::UplinkSpec {
    wire::UplinkSpec { link: link.to_owned(), trunk_vlans: trunk_vlans.to_vec() }
}

/// Links on `br0` are called `eth2`, others `eth1`.
fn attachment(guest: &str, bridge: &str, vlan: Option<Vlan>, cidr: &str) -> wire::AttachmentSpec {
    wire::AttachmentSpec {
        guest: guest.to_owned(),
        ifname: if bridge == "br0" { "eth2" } else { "eth1" }.to_owned(),
        uplink: bridge.to_owned(),
        vlan,
        addressing: statics([cidr]),
        ..wire::AttachmentSpec::default()
    }
}

/// Every document that must be refused.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = fleets();
    rows.extend(switches());
    rows.extend(uplinks());
    rows.extend(attachments());
    rows
}

fn of(name: &str, field: &str, spoil: impl Fn(&mut wire::HostSpec) + Send + Sync + 'static) -> Row {
    Row::new(name, field, move |request: &mut wire::ApplyRequest| {
        spoil(request.spec.as_mut().expect("the valid request has a spec"));
    })
}

fn fleets() -> Vec<Row> {
    let long = "a".repeat(64);
    let texts = ["", "Lab", "1lab", "-lab", "la b", "lab\n", "lab_1", "laß", "lab.one", "lab/one", &long];
    let row = |text: &str| {
        let text = text.to_owned();
        of(&format!("fleet {text:?}"), "spec.fleet", move |spec| spec.fleet.clone_from(&text))
    };
    let mut rows: Vec<Row> = texts.into_iter().map(row).collect();
    rows.push(Row::new("no request id", "request_id", |request: &mut wire::ApplyRequest| {
        request.request_id.clear();
    }));
    rows.push(Row::new("no document", "spec", |request: &mut wire::ApplyRequest| request.spec = None));
    rows
}

fn switches() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in
        ["", "ovs 0", "../x", "a%d", "-br0", "a-name-that-is-too-long", "lo", "pwbr0", "pwabcdefghijkl"]
    {
        rows.push(of(&format!("switch {name:?}"), "spec.switches[1].name", move |spec| {
            spec.switches[1].name = name.to_owned();
        }));
    }
    for kind in [0, 3, -1, i32::MAX] {
        rows.push(of(&format!("switch of kind {kind}"), "spec.switches[0].kind", move |spec| {
            spec.switches[0].kind = kind;
        }));
    }
    rows.push(of("a switch twice", "spec.switches[2].name", |spec| {
        spec.switches.push(switch("ovs0", wire::Kind::Ovs, None));
    }));
    rows.push(of("a switch twice, of two kinds", "spec.switches[2].name", |spec| {
        spec.switches.push(switch("br0", wire::Kind::Ovs, None));
    }));
    rows.push(of("257 switches", "spec.switches", |spec| {
        spec.switches = (0..257).map(|n| switch(&format!("br{n}"), wire::Kind::Ovs, None)).collect();
    }));
    rows
}

fn uplinks() -> Vec<Row> {
    let mut rows = Vec::new();
    for link in ["", "eth/1", "lo", "a%d", "-x", "pwabcdefghijkl", "a-name-that-is-too-long", "br0", "ovs0"] {
        rows.push(of(&format!("uplink {link:?}"), "spec.switches[0].uplink.link", move |spec| {
            spec.switches[0].uplink = Some(uplink(link, &[]));
        }));
    }
    for vlan in [0, 4095, 4096, 65636, 100] {
        rows.push(of(
            &format!("uplink trunk of 100 and {vlan}"),
            "spec.switches[0].uplink.trunk_vlans[1]",
            move |spec| spec.switches[0].uplink = Some(uplink("eth1", &[100, vlan])),
        ));
    }
    rows.push(of("a link that is uplink of two switches", "spec.switches[1].uplink.link", |spec| {
        spec.switches[1].uplink = Some(uplink("eth1", &[]));
    }));
    for vlan in [0, 4095] {
        rows.push(of(
            &format!("uplink trunk of a linux bridge with {vlan}"),
            "spec.switches[1].uplink.trunk_vlans[0]",
            move |spec| spec.switches[1].uplink = Some(uplink("eth2", &[vlan])),
        ));
    }
    rows.push(of("a trunk of more VLANs than there are", "spec.switches[0].uplink.trunk_vlans", |spec| {
        spec.switches[0].uplink = Some(uplink("eth1", &(0..4095).collect::<Vec<u32>>()));
    }));
    rows
}

fn attachments() -> Vec<Row> {
    vec![
        of("an attachment without guest", "spec.attachments[1].guest", |spec| {
            spec.attachments[1].guest.clear();
        }),
        of("a reserved name", "spec.attachments[2].ifname", |spec| {
            spec.attachments[2].ifname = "pw0".to_owned();
        }),
        of("a bad address", "spec.attachments[1].static_addresses.cidrs[0]", |spec| {
            spec.attachments[1].addressing = statics(["192.0.2.255/24"]);
        }),
        of("no addressing", "spec.attachments[0].addressing", |spec| spec.attachments[0].addressing = None),
        of("a link twice in a guest", "spec.attachments[1].ifname", |spec| {
            spec.attachments[1].guest = "docker:one".to_owned();
        }),
        of("a link twice in a guest, once by default", "spec.attachments[1].ifname", |spec| {
            spec.attachments[1].guest = "docker:one".to_owned();
            spec.attachments[1].ifname.clear();
        }),
        of("a host end twice", "spec.attachments[2].host_ifname", |spec| {
            spec.attachments[0].host_ifname = "one".to_owned();
            spec.attachments[2].host_ifname = "one".to_owned();
        }),
        of("a host end named like a switch", "spec.attachments[0].host_ifname", |spec| {
            spec.attachments[0].host_ifname = "br0".to_owned();
        }),
        of("a host end named like an uplink", "spec.attachments[0].host_ifname", |spec| {
            spec.attachments[0].host_ifname = "eth2".to_owned();
        }),
        of("a MAC address twice on a switch", "spec.attachments[1].mac", |spec| {
            spec.attachments[0].mac = "U:one".to_owned();
            spec.attachments[1].mac = "U:one".to_owned();
        }),
        of("an address twice in a VLAN", "spec.attachments[1].static_addresses.cidrs[0]", |spec| {
            spec.attachments[1].addressing = statics(["192.0.2.1/24"]);
        }),
        of("an Open vSwitch port without VLAN, by its switch", "spec.attachments[0].vlan", |spec| {
            spec.attachments[0].vlan = None;
        }),
        of("a kind that is not the switch's", "spec.attachments[0].kind", |spec| {
            spec.attachments[0].kind = wire::Kind::LinuxBridge.into();
            spec.attachments[0].vlan = None;
        }),
        of("4097 attachments", "spec.attachments", |spec| {
            spec.attachments = (0..4097)
                .map(|n| wire::AttachmentSpec {
                    guest: format!("docker:g{n}"),
                    uplink: "br0".to_owned(),
                    addressing: Some(Addressing::NoAddress(wire::NoAddress {})),
                    ..wire::AttachmentSpec::default()
                })
                .collect();
        }),
    ]
}
