//! `pwctl host`.

use clap::Subcommand;
use pipewright_api::wire;

use crate::args::Global;
use crate::connect;
use crate::explain::Failed;
use crate::output;
use crate::table::{clean, or_dash, table};

/// Look at a host
#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Show what the host is and can do: runtimes, bridges, and links that could be an uplink
    #[command(after_help = "\
Examples:
  pwctl host show
  What is missing, and why:
    pwctl --host a host show -o json |
      jq -r '.capabilities[] | select(.present | not) | .name, .detail'")]
    Show,
}

impl Host {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failed> {
        let Self::Show = self;
        let answer: wire::ShowResponse = connect::client(global)?.show().await?.into();
        output::answer(global.output, &answer, lines)
    }
}

fn lines(answer: &wire::ShowResponse) -> String {
    let facts = format!(
        "host {}, kernel {}, agent {}, {} attachments",
        answer.hostname, answer.kernel, answer.agent_version, answer.attachments
    );
    let capabilities = answer.capabilities.iter().map(|capability| {
        let present = if capability.present { "yes" } else { "no" };
        [capability.name.clone(), present.to_owned(), or_dash(&capability.detail)]
    });
    let bridges = answer.bridges.iter().map(|bridge| {
        let kind = match bridge.kind() {
            wire::Kind::LinuxBridge => "linux-bridge",
            wire::Kind::Ovs => "ovs",
            // No kinds of bridges; an agent does not say so.
            wire::Kind::Unspecified
            | wire::Kind::Macvlan
            | wire::Kind::Ipvlan
            | wire::Kind::Vlan
            | wire::Kind::Dummy
            | wire::Kind::Ptp
            | wire::Kind::Direct
            | wire::Kind::Ipoib => "?",
        };
        let ours = if bridge.ours { "yes" } else { "no" };
        let ports = or_dash(&bridge.ports.join(" "));
        [bridge.name.clone(), kind.to_owned(), bridge.mtu.to_string(), ours.to_owned(), ports]
    });
    let links = answer.links.iter().map(|link| {
        let (addresses, holder) = (or_dash(&link.addresses.join(" ")), or_dash(&link.holder));
        [
            link.name.clone(),
            or_dash(&link.mac),
            link.mtu.to_string(),
            link.operstate.clone(),
            addresses,
            holder,
        ]
    });
    let parts = [
        clean(&facts),
        table(["CAPABILITY", "PRESENT", "DETAIL"], capabilities),
        table(["BRIDGE", "KIND", "MTU", "OURS", "PORTS"], bridges),
        table(["LINK", "MAC", "MTU", "STATE", "ADDRESS", "HELD BY"], links),
    ];
    parts.join("\n\n")
}
