//! What is left when a container ends by itself.

use anyhow::Result;
use pipewright_tests::{Snapshot, needs};

use super::{Stage, pid};
use crate::scene::FOREIGN;

#[test]
fn a_container_that_ends_takes_its_links_and_its_port_along() -> Result<()> {
    needs!(Root, Ovs, Docker);
    let stage = Stage::with_ovs()?;
    let before = Snapshot::take(&stage.host)?;
    let web = stage.host.container("web")?;

    // README, "Cleanup"; of the port in Open vSwitch pipework leaves the record, with an error in it.
    stage.pipework("br1 $web 192.0.2.1/24")?;
    stage.pipework(&format!("{FOREIGN} -i eth2 $web 198.51.100.1/24 @100"))?;
    let host_end = format!("veth1pl{}", pid(&web)?);
    assert!(stage.host.inside().has_link(&host_end)?);
    web.kill()?;

    before.wait_same(&stage.host)?;
    stage.end()
}
