//! The other side of the pipe: the process that takes a line, does what it says, and answers with a line.

use std::io::{BufRead as _, Write as _};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::dhcp;
use super::kernel::{Kernel, Link, Plug, open_netns};
use super::ovsdb::Ovsdb;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Attach(Link),
    Detach { host_end: String, ovs_bridge: Option<String> },
    Dump,
}

/// Serves until the pipe ends.
pub(crate) fn serve(ovsdb: Option<&str>) -> Result<()> {
    let mut kernel = Kernel::open()?;
    let mut ovsdb = ovsdb.map(Ovsdb::connect).transpose()?;
    let mut answers = std::io::stdout().lock();
    writeln!(answers, "ready")?;
    for line in std::io::stdin().lock().lines() {
        match take(&mut kernel, ovsdb.as_mut(), &line?) {
            Ok(()) => writeln!(answers, "done")?,
            Err(error) => writeln!(answers, "{error:#}")?,
        }
    }
    Ok(())
}

fn take(kernel: &mut Kernel, ovsdb: Option<&mut Ovsdb>, line: &str) -> Result<()> {
    let switch = || "this process has no Open vSwitch";
    match serde_json::from_str(line)? {
        Order::Attach(link) => {
            let netns = open_netns(&link.netns)?;
            kernel.plug(&link, &netns)?;
            let Plug::Ovs { tag } = link.plug else { return dhcp::configure(kernel, &link, &netns) };
            let ovsdb = ovsdb.with_context(switch)?;
            let cfg = ovsdb.add_port(&link, tag)?;
            // ovs-vswitchd is at work meanwhile.
            dhcp::configure(kernel, &link, &netns)?;
            ovsdb.await_cfg(cfg)
        }
        Order::Detach { host_end, ovs_bridge } => {
            if let Some(bridge) = ovs_bridge {
                ovsdb.with_context(switch)?.delete_port(&bridge, &host_end)?;
            }
            kernel.delete(&host_end)
        }
        Order::Dump => kernel.dump(),
    }
}
