//! A snapshot shows what changed, and residue is found: a check that cannot fail protects nothing.

use anyhow::Result;
use pipewright_tests::{Lab, Snapshot, needs, residue};

#[test]
fn a_snapshot_shows_every_kind_of_change() -> Result<()> {
    needs!(Root, Ovs);
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let guest = host.guest("web")?;
    host.ovs()?.add_bridge("ovs0")?;
    let before = Snapshot::take(&host)?;
    before.assert_same(&Snapshot::take(&host)?);

    let changes = [
        ("host link", "link set eth1 mtu 1400"),
        ("host address", "address add 192.0.2.1/24 dev eth1"),
        ("host route", "route add 198.51.100.0/24 via 192.0.2.9"),
        ("host route6", "route add 2001:db8:1::/48 dev eth1"),
        ("host rule", "rule add from 192.0.2.1 lookup 1000"),
    ];
    for (what, words) in changes {
        host.inside().ip(words)?;
        let diff = before.diff(&Snapshot::take(&host)?);
        assert!(diff.contains(&format!("+ {what}")), "`ip {words}` shows as:\n{diff}");
    }
    host.ovs()?.vsctl("set Port ovs0 tag=7")?;
    guest.ip("link set lo mtu 1300")?;
    let diff = before.diff(&Snapshot::take(&host)?);
    assert!(diff.contains("+ ovs port") && diff.contains("+ web link"), "{diff}");
    lab.finish()
}

#[test]
fn a_row_taken_out_of_a_bridge_and_put_back_shows_no_change() -> Result<()> {
    needs!(Root, Ovs);
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let ovs = host.ovs()?;
    ovs.add_bridge("ovs0")?;
    ovs.vsctl("add-port ovs0 eth1 tag=5")?;
    let before = Snapshot::take(&host)?;

    ovs.vsctl("del-port ovs0 eth1")?;
    assert!(before.diff(&Snapshot::take(&host)?).contains("has port \"eth1\""));
    ovs.vsctl("add-port ovs0 eth1 tag=5")?;

    before.assert_same(&Snapshot::take(&host)?);
    lab.finish()
}

#[test]
fn links_and_rows_of_ours_are_residue_and_those_of_others_are_not() -> Result<()> {
    needs!(Root, Ovs);
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let guest = host.guest("web")?;
    let ovs = host.ovs()?;
    ovs.add_bridge("ovs0")?;
    ovs.vsctl("add-port ovs0 eth1 -- set Interface eth1 external_ids:pipework.bridge=ovs0")?;
    host.inside().ip("link add veth7 group 77 type veth peer name veth8")?;
    assert_eq!(residue::find(&host)?, Vec::<String>::new());

    host.inside().ip("link add pw0123456789ab type veth peer name veth9")?;
    // 0x70770001
    guest.ip("link add eth1 group 1886846977 type veth peer name veth1")?;
    ovs.vsctl("set Port eth1 external_ids:pipewright-fleet=lab")?;
    let left = residue::find(&host)?;

    assert_eq!(left.len(), 3, "{left:#?}");
    assert!(left[0].contains("pw0123456789ab") && left[1].contains("web: link eth1"), "{left:#?}");
    assert!(left[2].contains("pipewright-fleet"), "{left:#?}");
    assert!(lab.finish().is_err());
    Ok(())
}
