//! What a label does not get. Its container runs all the same, and nothing of the host is changed.

use std::time::Duration;

use anyhow::Result;
use pipewright_tests::needs;

use super::{CONFIG, Own, comes, of, waits_for};
use crate::scene::until;

#[test]
fn what_is_not_allowed_is_told_and_changes_nothing() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(CONFIG)?;
    own.ip("link add lax0 up type bridge")?;
    let cases = [
        ("other", "lax0 --no-ip", "uplink lax0 is not among those"),
        ("made", "br-new --no-ip", "uplink br-new is not among those"),
        ("missing", "LATER --no-ip", "LATER is not there, and labels may not have it made"),
        ("vlan", "SW1 --vlan 300 --no-ip", "VLAN 300 is not allowed, but 100, 200-299"),
        ("trunk", "SW1 --trunk all --no-ip", "a trunk of VLANs is not allowed"),
        ("address", "BR1 --ip 203.0.113.1/24", "203.0.113.1/24 is not within"),
        ("nic", "NIC1 --kind direct --no-ip", "a whole NIC cannot be asked for"),
        ("host", "host --no-ip", "a link to the host cannot be asked for"),
        ("peer", "guest:docker:db --no-ip", "a link to another guest cannot be asked for"),
        ("mac", "BR1 --no-ip --mac 02:00:5e:10:00:01", "a MAC address"),
        ("gateway", "BR2 --no-ip --gateway 198.51.100.254", "default gateway 198.51.100.254 is not allowed"),
        ("end", "BR1 --no-ip --host-ifname x9", "the name of the host's end"),
        ("typo", "BR1 --no-ipp", "unexpected argument '--no-ipp'"),
    ];
    let labels: Vec<String> =
        cases.iter().map(|(name, line, _)| format!("pipewright.attach.{name}={line}")).collect();
    let labels: Vec<&str> =
        labels.iter().map(String::as_str).chain(["pipewright.atach=BR1 --no-ip"]).collect();
    let variables = [
        "pipework_cmd=BR1 db 192.0.2.1/24",
        "pipework_cmd_route=route @CONTAINER_NAME@ add default via 192.0.2.9",
    ];

    own.scene.agent.kill9()?;
    let web = own.container("web", &labels, &variables)?;
    let before = own.scene.settled()?;
    own.scene.agent.start()?;
    let told = waits_for(&own, &web, cases.len() + 3)?;

    let why = |key: &str| told.iter().find(|(label, _)| label == key).map_or("", |(_, why)| why);
    for (name, line, said) in cases {
        let why = why(&format!("pipewright.attach.{name}"));
        assert!(why.contains(&own.of(said)), "{line}: {why}");
    }
    assert!(why("pipewright.atach").contains("there is no such label"));
    assert!(why("pipework_cmd").contains("db is another guest"));
    assert!(why("pipework_cmd_route").contains("run `pwctl pipework` on the host"));
    assert!(web.is_alive() && of(&own, &web)?.is_empty());
    before.wait_same(&own.scene.host)?;
    let line = own.scene.agent.wait_line("pipewright.attach.vlan", Duration::from_secs(10))?;
    assert!(line.contains("NOT_GRANTED") && line.contains("VLAN 300"), "{line}");

    // What is refused of one does not keep it from the rest; and nobody is told of a container that is gone.
    let db =
        own.container("db", &["pipewright.attach=BR1 --no-ip", "pipewright.attach.x=host --no-ip"], &[])?;
    comes(&own, &db, 1)?;
    waits_for(&own, &db, 1)?;
    db.kill()?;
    until("its refusal is forgotten", || Ok(super::told(&own, &db)?.is_empty()))?;
    until("its link is gone", || Ok(own.scene.agent.list()?.is_empty()))?;
    own.scene.lab.finish()
}

#[test]
fn a_label_does_not_take_the_place_of_an_operators_attachment() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(CONFIG)?;
    own.scene.agent.kill9()?;
    let web = own.container("web", &["pipewright.attach=BR1 --ip 192.0.2.1/24"], &[])?;
    own.scene.agent.set_options(super::options(&own.scene.host, "")?);
    own.scene.agent.start()?;
    own.ctl(&format!("attach BR2 {} --ip 198.51.100.9/24", web.reference()))?;

    own.restart(CONFIG)?;
    let told = waits_for(&own, &web, 1)?;

    assert!(told[0].1.contains("is attached already in another way"), "{told:?}");
    let all = of(&own, &web)?;
    assert_eq!((all.len(), &all[0]["spec"]["uplink"]), (1, &own.of("BR2").into()));
    own.ctl(&format!("detach {}", web.reference()))?;
    own.scene.lab.finish()
}
