//! `pwctl attach`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Args;
use pipewright_api::attachment::Attached;
use pipewright_api::dhcp::{ClientId, Dhcp, Hostname};
use pipewright_api::labels::Labels;
use pipewright_api::net::{InterfaceAddr, LinkName, MacAddr, Mtu, VlanId};
use pipewright_api::spec::{Addressing, AttachmentSpec, GuestRef, Kind, Route, Vlan};
use pipewright_api::wire;
use uuid::Uuid;

use crate::args::Global;
use crate::connect;
use crate::explain::{self, Failed};
use crate::output;
use crate::table;
use crate::values::{self, Auto};

/// Plug a link into a guest
///
/// Makes a veth pair, one end in the guest and the other in a bridge, and gives the guest's end its addresses. It answers
/// when all of it was read back; when something fails, nothing of it is left. Attaching what is there already changes
/// nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  A guest on a linux bridge, which is made if there is none:
    pwctl attach br0 docker:web --ip 192.0.2.10/24
  With a default gateway:
    pwctl attach br0 docker:web --ip 192.0.2.10/24 --gateway 192.0.2.1
  IPv6 beside IPv4:
    pwctl attach br0 docker:web --ip 192.0.2.10/24 --ip 2001:db8::10/64
  In VLAN 100 of an Open vSwitch bridge:
    pwctl attach ovs0 docker:web --ip 192.0.2.10/24 --vlan 100
  A link with two tagged VLANs and no address:
    pwctl attach ovs0 docker:router --no-ip --trunk 100,200 --ifname trunk0
  With an address from the network's DHCP server:
    pwctl attach br0 docker:web --dhcp
  What would be done, as `ip` and `ovs-vsctl` would say it:
    pwctl attach br0 docker:web --ip 192.0.2.10/24 --dry-run

When the connection is lost, it is unknown whether the link was made. Asking
again with the same --request-id makes it once at most; `pwctl operation ID`
only asks.")]
pub(crate) struct Attach {
    /// The bridge to plug it into; made when it is missing and its name begins with `br` or `ovs`
    #[arg(value_name = "UPLINK", value_parser = values::uplink)]
    uplink: LinkName,
    /// Whose link: docker:NAME, pid:N, netns:NAME, or a name that is looked up in that order
    #[arg(value_name = "GUEST", value_parser = values::checked::<GuestRef>)]
    guest: GuestRef,
    /// Address with prefix length; once for each address
    #[arg(long = "ip", value_name = "CIDR", value_parser = values::checked::<InterfaceAddr>)]
    ips: Vec<InterfaceAddr>,
    /// No address
    #[arg(long, conflicts_with = "ips")]
    no_ip: bool,
    /// An IPv4 address from a DHCP server, renewed for as long as the link is there and released on detach
    #[arg(long, conflicts_with_all = ["ips", "no_ip"])]
    dhcp: bool,
    /// Host name that DHCP is told [default: the guest's name]
    #[arg(long, value_name = "NAME", requires = "dhcp", value_parser = values::checked::<Hostname>)]
    hostname: Option<Hostname>,
    /// Whom DHCP shall know the guest as: a text, or bytes such as 01:02:00:5e:10:00:01 [default: container id and
    /// link, or the MAC address]
    #[arg(long, value_name = "ID", requires = "dhcp", value_parser = values::checked::<ClientId>)]
    client_id: Option<ClientId>,
    /// Default gateway, once for IPv4 and once for IPv6; detach puts the old default route back
    #[arg(long = "gateway", value_name = "IP", value_parser = values::address)]
    gateways: Vec<IpAddr>,
    /// Name of the link in the guest
    #[arg(long, default_value = "eth1", value_name = "NAME", value_parser = values::checked::<LinkName>)]
    ifname: LinkName,
    /// Name of the host's end [default: pw and 12 characters]
    #[arg(long, value_name = "NAME", value_parser = values::checked::<LinkName>)]
    host_ifname: Option<LinkName>,
    /// MAC address, or U:WORD for one derived from a word [default: derived from the attachment's id]
    #[arg(long, value_name = "MAC|U:SEED", value_parser = values::checked::<MacAddr>)]
    mac: Option<MacAddr>,
    /// The VLAN that the guest is in, untagged to it (Open vSwitch)
    #[arg(long, value_name = "VID", value_parser = values::checked::<VlanId>, conflicts_with = "trunk")]
    vlan: Option<VlanId>,
    /// The VLANs that the guest gets, tagged (Open vSwitch)
    #[arg(long, value_name = "VID,…|all", value_parser = values::trunk)]
    trunk: Option<Vlan>,
    /// MTU in bytes [default: the bridge's]
    #[arg(long, value_name = "BYTES", value_parser = values::mtu)]
    mtu: Option<Mtu>,
    /// auto, linux-bridge or ovs; auto looks what the uplink is
    #[arg(long, default_value = "auto", value_name = "KIND", value_parser = values::kind)]
    kind: Auto<Kind>,
    /// One more route over the link; once for each route
    #[arg(long = "route", value_name = "DST[@VIA]", value_parser = values::checked::<Route>)]
    routes: Vec<Route>,
    /// A note that is kept with the attachment, and with its port in Open vSwitch; once for each
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    labels: Vec<(String, String)>,
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
            let attached = attached.map_err(|error| explain::change(&error, global))?;
            print(global, attached, dry_run)
        })
    }

    /// What is asked for, if its parts fit together.
    fn spec(self) -> Result<AttachmentSpec, Failed> {
        let addressing = match (self.ips.is_empty(), self.dhcp, self.no_ip) {
            (false, ..) => Addressing::Static(self.ips),
            (true, true, _) => Addressing::Dhcp(Dhcp { hostname: self.hostname, client_id: self.client_id }),
            (true, false, true) => Addressing::None,
            (true, false, false) => {
                return Err(Failed::Usage(
                    "give an address with --ip CIDR, have one given with --dhcp, or --no-ip for a link without one"
                        .to_owned(),
                ));
            }
        };
        let spec = AttachmentSpec {
            guest: self.guest,
            ifname: self.ifname,
            uplink: self.uplink,
            kind: self.kind.0,
            host_ifname: self.host_ifname,
            mac: self.mac,
            mtu: self.mtu,
            vlan: self.vlan.map(Vlan::Access).or(self.trunk),
            addressing,
            gateways: self.gateways,
            routes: self.routes,
            labels: labels(self.labels)?,
        };
        spec.check().map_err(|failure| Failed::Usage(in_arguments(failure.message())))?;
        Ok(spec)
    }
}

/// `KEY=VALUE`, each key once.
fn labels(given: Vec<(String, String)>) -> Result<Labels, Failed> {
    let usage = |why: String| Failed::Usage(format!("--label: {why}"));
    let mut labels = BTreeMap::new();
    for (key, value) in given {
        if labels.insert(key.clone(), value).is_some() {
            return Err(usage(format!("{key} is there twice; leave one out")));
        }
    }
    Labels::try_from(labels).map_err(|why| usage(why.to_string()))
}

/// `spec.gateways[0]: …` as `--gateway: …`.
fn in_arguments(message: &str) -> String {
    const ARGUMENTS: [(&str, &str); 13] = [
        ("spec.uplink", "UPLINK"),
        ("spec.guest", "GUEST"),
        ("spec.static_addresses", "--ip"),
        ("spec.dhcp.hostname", "--hostname"),
        ("spec.dhcp.client_id", "--client-id"),
        ("spec.gateways", "--gateway"),
        ("spec.routes", "--route"),
        ("spec.ifname", "--ifname"),
        ("spec.host_ifname", "--host-ifname"),
        ("spec.mac", "--mac"),
        ("spec.vlan", "--vlan"),
        ("spec.access_vlan", "--vlan"),
        ("spec.trunk_vlans", "--trunk"),
    ];
    let Some((path, why)) = message.split_once(": ") else { return message.to_owned() };
    match ARGUMENTS.iter().find(|(field, _)| path.starts_with(field)) {
        Some((_, argument)) => format!("{argument}: {why}"),
        None => message.to_owned(),
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
mod tests {
    use clap::Parser;
    use pipewright_api::wire;

    use super::lines;
    use crate::args::{Cli, Command};
    use crate::explain::Failed;

    #[test]
    fn an_attachment_is_shown_and_a_dry_run_shows_its_steps() {
        let attachment = wire::Attachment {
            id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
            plan: vec!["ip link add br0 type bridge".to_owned(), "guest: ip link set eth1 up".to_owned()],
            ..wire::Attachment::default()
        };
        let made = wire::AttachResponse { attachment: Some(attachment), created: true };
        let there = wire::AttachResponse { created: false, ..made.clone() };

        assert!(lines(&made, false).lines().nth(1).is_some_and(|row| row.starts_with("0198c0de  ")));
        assert!(lines(&there, false).ends_with("\n\nit was there already; nothing was changed"));
        assert_eq!(
            lines(&made, true),
            "nothing was changed; what would be done:\n  ip link add br0 type bridge\n  guest: ip link set eth1 up"
        );
    }

    /// The spec that a command line asks for as JSON, or what is said of it. Nothing connects here.
    fn asked(arguments: &str) -> Result<serde_json::Value, String> {
        let line = ["pwctl", "attach"].into_iter().chain(arguments.split_whitespace());
        let cli = Cli::try_parse_from(line).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })?;
        let Command::Attach(attach) = cli.command else { panic!("{arguments}") };
        match attach.spec() {
            Ok(spec) => Ok(serde_json::to_value(spec).unwrap()),
            Err(Failed::Usage(text)) => Err(text),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn br0(changes: &serde_json::Value) -> serde_json::Value {
        let mut spec = serde_json::json!({
            "guest": "web", "ifname": "eth1", "uplink": "br0", "kind": null, "host_ifname": null, "mac": null,
            "mtu": null, "vlan": null, "addressing": { "static": ["192.0.2.10/24"] }, "gateways": [], "routes": [],
        });
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    }

    #[test]
    fn arguments_become_a_spec() {
        let cases = [
            ("br0 web --ip 192.0.2.10/24", serde_json::json!({})),
            (
                "br0 web --dhcp",
                serde_json::json!({ "addressing": { "dhcp": { "hostname": null, "client_id": null } } }),
            ),
            (
                "br0 web --dhcp --hostname web --client-id 01:02",
                serde_json::json!({ "addressing": { "dhcp": { "hostname": "web", "client_id": "01:02" } } }),
            ),
            ("br0 docker:web --no-ip", serde_json::json!({ "guest": "docker:web", "addressing": "none" })),
            (
                "br0 web --ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway 192.0.2.1 --gateway 2001:db8::1",
                serde_json::json!({
                    "addressing": { "static": ["192.0.2.10/24", "2001:db8::10/64"] },
                    "gateways": ["192.0.2.1", "2001:db8::1"],
                }),
            ),
            (
                "ovs0 web --ip 192.0.2.10/24 --vlan 100 --kind ovs --mtu 1400 --mac U:myhost.foo.com",
                serde_json::json!({
                    "uplink": "ovs0", "vlan": { "access": 100 }, "kind": "ovs", "mtu": 1400,
                    "mac": "02:72:6c:cd:9b:8d",
                }),
            ),
            (
                "br0 web --ip 192.0.2.10/24 --trunk 20,10",
                serde_json::json!({ "vlan": { "trunk": [10, 20] } }),
            ),
            ("br0 web --ip 192.0.2.10/24 --trunk all --kind auto", serde_json::json!({ "vlan": "every" })),
            (
                "br0 web --ip 192.0.2.10/24 --route 198.51.100.0/24 --route 203.0.113.0/24@192.0.2.1",
                serde_json::json!({ "routes": [
                    { "destination": "198.51.100.0/24", "via": null },
                    { "destination": "203.0.113.0/24", "via": "192.0.2.1" },
                ] }),
            ),
            (
                "br0 web --ip 192.0.2.10/24 --ifname net0 --host-ifname web0 --dry-run --timeout 5s -o json",
                serde_json::json!({ "ifname": "net0", "host_ifname": "web0" }),
            ),
        ];
        for (arguments, changes) in cases {
            assert_eq!(asked(arguments), Ok(br0(&changes)), "{arguments}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_connects() {
        let ip = "--ip 192.0.2.10/24";
        let cases = [
            (
                "br0 web".to_owned(),
                "give an address with --ip CIDR, have one given with --dhcp, or --no-ip for a link without one",
            ),
            (format!("br0 web {ip} --no-ip"), "the argument '--ip <CIDR>' cannot be used with '--no-ip'"),
            (
                "br0 web --ip 192.0.2.10".to_owned(),
                "invalid value '192.0.2.10' for '--ip <CIDR>': not an interface address: add the length of its prefix, \
                 perhaps 192.0.2.10/24",
            ),
            (
                format!("mac:02:00:5e:00:53:01 web {ip}"),
                "invalid value 'mac:02:00:5e:00:53:01' for '<UPLINK>': an uplink by its MAC address is not in this \
                 version: give the name of a bridge",
            ),
            (
                format!("dummy web {ip}"),
                "invalid value 'dummy' for '<UPLINK>': dummy links are not in this version: give the name of a bridge",
            ),
            (
                format!("br0 web {ip} --kind macvlan"),
                "invalid value 'macvlan' for '--kind <KIND>': macvlan is not in this version: use auto, linux-bridge or \
                 ovs",
            ),
            (
                format!("ovs0 web {ip} --vlan 4095"),
                "invalid value '4095' for '--vlan <VID>': not a VLAN: use 1 to 4094",
            ),
            (
                format!("ovs0 web {ip} --vlan 1 --trunk 2"),
                "the argument '--vlan <VID>' cannot be used with '--trunk <VID,…|all>'",
            ),
            (
                format!("br0 web {ip} --mtu 100"),
                "invalid value '100' for '--mtu <BYTES>': not an MTU: use 1280 to 9216 bytes",
            ),
            (
                format!("br0 web {ip} --mac 01:00:5e:00:00:01"),
                "invalid value '01:00:5e:00:00:01' for '--mac <MAC|U:SEED>': not a unicast MAC address: the first byte \
                 must be even, or frames from it are multicast",
            ),
            (
                format!("br0 web {ip} --gateway 192.0.2.10"),
                "--gateway: 192.0.2.10 is the link's own address: give the router's",
            ),
            (
                format!("br0 web {ip} --gateway 192.0.2.1/24"),
                "invalid value '192.0.2.1/24' for '--gateway <IP>': write it as 192.0.2.1 or 2001:db8::1, without a \
                 prefix length",
            ),
            (
                format!("br0 web {ip} --kind linux-bridge --vlan 5"),
                "--vlan: this agent has no VLANs on linux bridges yet: leave it out, or use an Open vSwitch bridge",
            ),
            (
                format!("br0 podman:web {ip}"),
                "invalid value 'podman:web' for '<GUEST>': not a guest: use docker:NAME, pid:N, netns:NAME or a bare name",
            ),
            (
                format!("br0 web {ip} --host a --endpoint unix:/run/x.sock"),
                "the argument '--host <NAME>' cannot be used with '--endpoint <ENDPOINT>'",
            ),
            (
                format!("br0 web {ip} --timeout 0s"),
                "invalid value '0s' for '--timeout <DURATION>': use more than zero and at most 24h",
            ),
            (format!("br0 web {ip} --dhcp"), "the argument '--ip <CIDR>' cannot be used with '--dhcp'"),
            (
                "br0 web --dhcp --hostname web-".to_owned(),
                "invalid value 'web-' for '--hostname <NAME>': not a host name: use letters, digits and '-', up to \
                 63 between dots, with no '-' at either end",
            ),
        ];
        for (arguments, said) in cases {
            assert_eq!(asked(&arguments), Err(said.to_owned()), "{arguments}");
        }
    }
}
