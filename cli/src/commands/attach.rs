//! `pwctl attach`.

use clap::Args;
use pipewright_api::attachment::Attached;
use pipewright_api::spec::{AttachmentSpec, GuestRef, Uplink};
use pipewright_api::wire;
use pipewright_lines::link::{Link, in_arguments};
use uuid::Uuid;

use crate::args::Global;
use crate::connect;
use crate::explain::{self, Failed};
use crate::output;
use crate::table;
use crate::values;

/// Plug a link into a guest
///
/// On a bridge: makes a veth pair, one end in the guest and the other in the bridge. On another link of the host, such as a
/// NIC: makes a macvlan on it, or what --kind says. Then gives the guest's link its addresses. It answers when all of it was read back; when something fails, nothing of it is left. Attaching what is there already changes
/// nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  A guest on a linux bridge, which is made if there is none:
    pwctl attach br0 docker:web --ip 192.0.2.10/24
  Unless somebody on the network has the address:
    pwctl attach br0 docker:web --ip 192.0.2.10/24 --check-duplicates
  With a default gateway:
    pwctl attach br0 docker:web --ip 192.0.2.10/24 --gateway 192.0.2.1
  IPv6 beside IPv4:
    pwctl attach br0 docker:web --ip 192.0.2.10/24 --ip 2001:db8::10/64
  In VLAN 100 of an Open vSwitch bridge:
    pwctl attach ovs0 docker:web --ip 192.0.2.10/24 --vlan 100
  Likewise on a linux bridge, which then keeps VLANs apart:
    pwctl attach br0 docker:web --ip 192.0.2.10/24 --vlan 100
  A link with two tagged VLANs and no address:
    pwctl attach ovs0 docker:router --no-ip --trunk 100,200 --ifname trunk0
  With an address from the network's DHCP server:
    pwctl attach br0 docker:web --dhcp
  With IPv6 as the network's routers and its DHCPv6 server say, too:
    pwctl attach br0 docker:web --dhcp --slaac --dhcp6
  On the host's own network, as a station beside the host (macvlan on its NIC):
    pwctl attach eth0 docker:web --ip 192.0.2.10/24 --gateway 192.0.2.1
  The same, and the host itself reaches the guest:
    pwctl attach eth0 docker:web --ip 192.0.2.10/24 --host-reach
  In VLAN 100 of a NIC; its sub-interface eth0.100 is made when it is missing:
    pwctl attach eth0 docker:web --ip 192.0.2.10/24 --vlan 100
  On the NIC with that MAC address, whatever its name:
    pwctl attach mac:02:00:5e:10:00:01 docker:web --ip 192.0.2.10/24
  The whole NIC, with its own MAC address; it comes back as it was:
    pwctl attach eth3 docker:web --kind direct --ip 192.0.2.10/24
  In partition 0x8001 of an InfiniBand port:
    pwctl attach ib0 docker:web --ip 192.0.2.10/24 --pkey 0x8001
  A link that leads nowhere:
    pwctl attach dummy docker:web --ip 192.0.2.10/32
  Between the guest and the host, and nobody else:
    pwctl attach host docker:web --ip 192.0.2.2/31 --host-ip 192.0.2.3/31 --host-ifname web0
  Between two guests:
    pwctl attach guest:docker:db docker:web --ifname db0 --ip 192.0.2.4/31 --peer-ifname web0 --peer-ip 192.0.2.5/31
  Until the guest stops, and not again when it starts:
    pwctl attach br0 docker:web --ip 192.0.2.10/24 --once
  What would be done, as `ip` and `ovs-vsctl` would say it:
    pwctl attach br0 docker:web --ip 192.0.2.10/24 --dry-run

When the connection is lost and nobody answers again for --retry-for, it is
unknown whether the link was made. Asking again with the same --request-id
makes it once at most; `pwctl operation ID` only asks.")]
pub(crate) struct Attach {
    /// What it is plugged into: a bridge, made when it is missing and its name begins with `br` or `ovs`; another link of the
    /// host, such as a NIC, by its name or as mac:ADDRESS; dummy for nothing; host for the host itself; guest:GUEST for another
    /// guest
    #[arg(value_name = "UPLINK", value_parser = values::checked::<Uplink>)]
    uplink: Uplink,
    /// Whose link: docker:NAME, podman:NAME, lxc:NAME, containerd:ID, crio:ID, machined:NAME, pid:N, netns:NAME, or a name that is
    /// looked up in all of these
    #[arg(value_name = "GUEST", value_parser = values::checked::<GuestRef>)]
    guest: GuestRef,
    #[command(flatten)]
    link: Link,
    /// Show what would be done and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The request's own id: the same id gives the same answer for ever [default: a new one]
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
}

impl Attach {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failed> {
        let (dry_run, request_id) = (self.dry_run, self.request_id.unwrap_or_else(Uuid::new_v4));
        let spec = self.spec()?;
        super::block_on(async {
            let client = connect::client(global)?;
            let attached = client.attach(request_id, &spec, dry_run).await;
            let attached = attached.map_err(|error| match explain::change(&error, global) {
                // The agent knows the field, and who typed the line its argument.
                Failed::Because(why) => Failed::Because(in_arguments(&why)),
                failed @ (Failed::Usage(_) | Failed::Client(_) | Failed::Output(_)) => failed,
            })?;
            print(global, attached, dry_run)
        })
    }

    /// What is asked for, if its parts fit together.
    pub(crate) fn spec(self) -> Result<AttachmentSpec, Failed> {
        self.link.spec(self.uplink, self.guest).map_err(Failed::Usage)
    }
}

fn print(global: &Global, attached: Attached, dry_run: bool) -> Result<(), Failed> {
    let answer: wire::AttachResponse = attached.into();
    output::answer(global.output, &answer, |answer| lines(answer, dry_run))
}

fn lines(answer: &wire::AttachResponse, dry_run: bool) -> String {
    let Some(attachment) = &answer.attachment else { return String::new() };
    match (dry_run, answer.created) {
        // The id and what is derived from it are another's when it is made.
        (true, true) => {
            let steps = attachment.plan.iter().map(|step| format!("\n  {}", table::clean(step)));
            format!("nothing was changed; what would be done:{}", steps.collect::<String>())
        }
        (false, true) => table::attachments(std::slice::from_ref(attachment)),
        (_, false) => {
            let there = table::attachments(std::slice::from_ref(attachment));
            format!("{there}\n\nit was there already; nothing was changed")
        }
    }
}

#[cfg(test)]
mod tests;
