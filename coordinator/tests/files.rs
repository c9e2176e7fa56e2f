//! The files that we publish are right: the examples pass, and the schema is the one of the types.

#![allow(clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]

use std::path::{Path, PathBuf};

use pipewright_coordinator::{check, desired, fleet, graph};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_example_is_a_fleet() {
    let folder = repository().join("deploy/examples");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let yaml: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    assert!(yaml.len() >= 3, "{yaml:?}");

    for path in yaml {
        let file = fleet::read(&path).unwrap_or_else(|error| panic!("{error}"));
        let fleet = check::check(&file).unwrap_or_else(|problems| panic!("{}\n{problems}", path.display()));

        assert_eq!(desired::desired(&fleet).len(), file.hosts.len(), "{}", path.display());
    }
}

#[test]
fn the_published_schema_is_the_one_of_the_types() {
    let published = std::fs::read_to_string(repository().join("docs/fleet.schema.json")).unwrap();

    let current = fleet::schema();

    assert!(published == current, "run `pwctl fleet schema > docs/fleet.schema.json`");
}

#[test]
fn a_fleet_is_drawn_as_text_and_as_a_graph() {
    let file = fleet::read(&repository().join("deploy/examples/two-hosts.yaml")).unwrap();
    let fleet = check::check(&file).unwrap();

    let text = graph::text(&fleet);
    let dot = graph::dot(&fleet);

    let expected = "\
fleet lab
  host a (http://192.0.2.1:7443)
    switch ovs0 (ovs, uplink eth1)
      segment blue (VLAN 200, 10.0.0.0/24)
        docker:con2 eth1 10.0.0.2/24
      segment red (VLAN 100, 10.0.0.0/24)
        docker:con1 eth1 10.0.0.1/24
  host b (http://192.0.2.2:7443)
    switch ovs0 (ovs, uplink ens3)
      segment blue (VLAN 200, 10.0.0.0/24)
        docker:con4 eth1 10.0.0.4/24
      segment red (VLAN 100, 10.0.0.0/24)
        docker:con3 eth1 10.0.0.3/24
";
    assert_eq!(text, expected);
    assert!(dot.starts_with("graph \"lab\" {\n"), "{dot}");
    assert!(
        dot.contains("\"guest/a/docker:con1\" -- \"switch/a/ovs0\" [label=\"eth1 10.0.0.1/24\"];"),
        "{dot}"
    );
    assert!(dot.contains("\"switch/b/ovs0\" -- \"segment/red\" [label=\"ens3\"];"), "{dot}");
}
