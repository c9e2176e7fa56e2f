//! Empty guests by the hundred: named namespaces, made and deleted by one `ip -batch` each.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use pipewright_api::dhcp::Dhcp;
use pipewright_api::net::InterfaceAddr;
use pipewright_api::spec::{Addressing, AttachmentSpec, GuestRef, Vlan};
use pipewright_tests::process::command;
use pipewright_tests::{Guest, Lab};

use crate::floor::kernel::{Link, Plug};

/// The gateway of every guest; a linux bridge has it itself. From the range for benchmarks (RFC 2544).
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Of every address.
pub(crate) const PREFIX: u8 = 15;

/// Where one link goes, the same for both contestants.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    /// How an agent is told of the guest.
    pub(crate) guest: String,
    /// The file of its namespace.
    pub(crate) netns: String,
    /// Of the link in the guest.
    pub(crate) ifname: String,
    /// Different for every seat of a lab.
    pub(crate) number: u16,
    /// Whether the link brings the default route.
    pub(crate) has_gateway: bool,
}

/// What both contestants plug into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Net {
    /// A bridge, or a NIC.
    pub(crate) uplink: &'static str,
    pub(crate) plug: Plug,
    /// Addresses are a DHCP server's to give.
    pub(crate) is_leased: bool,
}

impl Seat {
    /// A further link of a guest that has several, which cannot all be its default route.
    pub(crate) fn in_guest(guest: &Guest, number: u16) -> Result<Self> {
        Ok(Self {
            guest: guest.reference().to_owned(),
            netns: guest.inside()?.path().display().to_string(),
            ifname: format!("eth{number}"),
            number,
            has_gateway: false,
        })
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 1, 0).to_bits() + u32::from(self.number))
    }

    /// As the floor is told.
    pub(crate) fn link(&self, net: Net) -> Link {
        let [a, b] = self.number.to_be_bytes();
        Link {
            host_end: format!("floor{}", self.number),
            netns: self.netns.clone(),
            ifname: self.ifname.clone(),
            mac: [2, 0, 0, 0, a, b],
            address: (!net.is_leased).then(|| (self.address(), PREFIX)),
            gateway: self.has_gateway.then_some(GATEWAY),
            uplink: net.uplink.to_owned(),
            plug: net.plug,
        }
    }

    /// As the agent is told.
    pub(crate) fn spec(&self, net: Net) -> Result<AttachmentSpec> {
        let address: InterfaceAddr = format!("{}/{PREFIX}", self.address()).parse()?;
        let vlan = match net.plug {
            Plug::Ovs { tag } => Some(Vlan::Access(tag.to_string().parse()?)),
            Plug::LinuxBridge | Plug::Macvlan => None,
        };
        // A server tells the gateway, too.
        let has_gateway = self.has_gateway && !net.is_leased;
        Ok(AttachmentSpec {
            guest: self.reference()?,
            ifname: self.ifname.parse()?,
            uplink: net.uplink.parse()?,
            kind: None,
            mode: None,
            host_ifname: None,
            mac: None,
            mtu: None,
            pkey: None,
            vlan,
            addressing: match net.is_leased {
                true => Addressing::Dhcp(Dhcp::default()),
                false => Addressing::Static(vec![address]),
            },
            slaac: false,
            dhcp6: None,
            gateways: has_gateway.then_some(GATEWAY.into()).into_iter().collect(),
            routes: Vec::new(),
            duplicate_check: Default::default(),
            host_reach: false,
            peer: Default::default(),
            labels: Default::default(),
            follow: None,
        })
    }

    pub(crate) fn reference(&self) -> Result<GuestRef> {
        Ok(self.guest.parse()?)
    }
}

/// The guests of one row. Deleted when dropped.
#[derive(Debug)]
pub(crate) struct Guests {
    names: Vec<String>,
}

impl Guests {
    pub(crate) fn add(lab: &Lab, count: usize) -> Result<Self> {
        let names: Vec<String> = (0..count).map(|number| format!("{}-n{number}", lab.name())).collect();
        batch(&names.iter().fold(String::new(), |mut lines, name| {
            let _ = writeln!(lines, "netns add {name}");
            lines
        }))?;
        Ok(Self { names })
    }

    pub(crate) fn seats(&self) -> Vec<Seat> {
        let seat = |(number, name): (u16, &String)| Seat {
            guest: format!("netns:{name}"),
            netns: format!("/run/netns/{name}"),
            ifname: "eth1".to_owned(),
            number,
            has_gateway: true,
        };
        (0..).zip(&self.names).map(seat).collect()
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        let lines: String = self.names.iter().map(|name| format!("netns del {name}\n")).collect();
        if let Err(error) = batch(&lines) {
            eprintln!("{error:#}");
        }
    }
}

/// `ip -batch -`, in the machine's own namespace.
fn batch(lines: &str) -> Result<()> {
    run_batch(command("ip")?, lines)
}

/// Feeds lines to a prepared `ip`.
pub(crate) fn run_batch(mut ip: std::process::Command, lines: &str) -> Result<()> {
    let mut child = ip.args(["-batch", "-"]).stdin(std::process::Stdio::piped()).spawn()?;
    child.stdin.take().context("a child without input")?.write_all(lines.as_bytes())?;
    let status = child.wait()?;
    ensure!(status.success(), "ip -batch: {status}");
    Ok(())
}

/// The gateway's address, for a bridge itself.
pub(crate) fn own_address() -> Result<Ipv4Net> {
    Ok(Ipv4Net::new(GATEWAY, PREFIX)?)
}
