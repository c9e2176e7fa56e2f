//! What most stories begin with, and how they ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pipewright_api::client::ClientError;
use pipewright_api::net::VlanId;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{Addressing, AttachmentSpec, Vlan};
use pipewright_tests::ctl::Answer;
use pipewright_tests::{Agent, AgentOptions, Guest, Host, Lab, Snapshot};

/// An Open vSwitch bridge that is not ours.
pub(crate) const FOREIGN: &str = "foreign0";

/// A lab of one host with an agent.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) host: Arc<Host>,
    pub(crate) agent: Arc<Agent>,
}

impl Scene {
    /// Linux bridges only.
    pub(crate) fn linux() -> Result<Self> {
        Self::linux_with(AgentOptions::default())
    }

    /// Linux bridges only, and another agent.
    pub(crate) fn linux_with(options: AgentOptions) -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        let agent = host.agent(options)?;
        Ok(Self { lab, host, agent })
    }

    /// As [`Scene::linux`], with a NIC that has all that can hang on one.
    pub(crate) fn with_furnished_nic() -> Result<Self> {
        let scene = Self::linux()?;
        crate::direct::furnish(scene.host.inside(), "eth1")?;
        crate::direct::set(scene.host.inside(), "eth1")?;
        Ok(scene)
    }

    /// With an Open vSwitch that has one bridge of somebody else's.
    pub(crate) fn ovs() -> Result<Self> {
        Self::ovs_with(AgentOptions::default())
    }

    /// Likewise, and another agent.
    pub(crate) fn ovs_with(options: AgentOptions) -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        // The first bridge of the userspace datapath brings a link ovs-netdev, which Open vSwitch never removes.
        host.ovs()?.add_bridge(FOREIGN)?;
        let agent = host.agent(options)?;
        Ok(Self { lab, host, agent })
    }

    /// What an operator sees now.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(&self.host)
    }

    /// What an operator sees once nothing comes by itself any more: a link-local address of a link that has just come up
    /// is checked for duplicates first (RFC 4862), and its route appears a second later.
    pub(crate) fn settled(&self) -> Result<Snapshot> {
        let guests = self.host.guests();
        until("no address is tentative", || {
            let mut tentative = self.host.inside().ip("address show tentative")?;
            for guest in guests.iter().filter(|guest| guest.is_alive()) {
                tentative += &guest.ip("address show tentative")?;
            }
            Ok(!tentative.contains("inet6"))
        })?;
        self.snapshot()
    }

    /// Starts the agent anew on the same state, with this fault (see `pwagent-faulty`).
    pub(crate) fn restart_with_fault(&self, fault: &str) -> Result<()> {
        self.agent.kill9()?;
        self.agent.set_options(
            AgentOptions::default().binary("pwagent-faulty").variable("PIPEWRIGHT_FAULT", fault),
        );
        self.agent.start()
    }

    /// Starts the agent anew on the same state, without a fault.
    pub(crate) fn restart(&self) -> Result<()> {
        self.agent.kill9()?;
        self.agent.set_options(AgentOptions::default());
        self.agent.start()
    }

    /// Types a pwctl line that must succeed.
    pub(crate) fn ctl(&self, words: &str) -> Result<Answer> {
        self.agent.ctl(words)?.ok()
    }
}

/// Runs what asks by the client.
pub(crate) fn asking<T>(ask: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(ask)
}

/// The refusal that a call must have come to.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>, reason: Reason) -> Failure {
    let error = answer.expect_err("the call should have been refused");
    let failure = error.failure().unwrap_or_else(|| panic!("not a refusal: {error}")).clone();
    assert_eq!(failure.reason(), reason, "{failure}");
    failure
}

/// A link of a guest with one address, in VLAN 100 where the bridge is one of Open vSwitch.
pub(crate) fn spec(guest: &Guest, uplink: &str, address: &str) -> AttachmentSpec {
    let parsed = "a story's own words parse";
    AttachmentSpec {
        guest: guest.reference().parse().expect(parsed),
        ifname: "eth1".parse().expect(parsed),
        uplink: uplink.parse().expect(parsed),
        kind: None,
        mode: None,
        host_ifname: None,
        mac: None,
        mtu: None,
        pkey: None,
        vlan: (!uplink.starts_with("br")).then(|| Vlan::Access(VlanId::try_from(100).expect(parsed))),
        addressing: Addressing::Static(vec![address.parse().expect(parsed)]),
        slaac: false,
        dhcp6: None,
        gateways: Vec::new(),
        routes: Vec::new(),
        duplicate_check: Default::default(),
        host_reach: false,
        peer: Default::default(),
        labels: Default::default(),
        follow: None,
    }
}

/// Gives a guest a link `eth0` to nowhere with default routes of both families, as a container of another network has.
pub(crate) fn with_default_routes(guest: &Guest) -> Result<()> {
    for words in [
        "link add eth0 type veth peer name nowhere",
        "link set nowhere addrgenmode none",
        "link set nowhere up",
        "link set eth0 addrgenmode none",
        "link set eth0 up",
    ] {
        guest.ip(words)?;
    }
    // The kernel turns both ends to operational by and by; what it shows of them is then to stay.
    until("both ends of eth0 are up", || {
        let links = guest.inside()?.ip_json("link show up")?;
        Ok(links.iter().filter(|link| link["operstate"] == "UP").count() == 2)
    })?;
    for words in [
        "address add 203.0.113.10/24 dev eth0",
        "address add 2001:db8:ffff::10/64 dev eth0 nodad",
        "route add default via 203.0.113.1 proto static src 203.0.113.10",
        "-6 route add default via 2001:db8:ffff::1 proto static",
    ] {
        guest.ip(words)?;
    }
    // The kernel makes the route to a link's own IPv6 address in work of its own.
    until("eth0 has its address in the local table", || {
        Ok(guest.ip("-6 route show table local")?.contains("2001:db8:ffff::10"))
    })
}

/// Looks again and again until something is so; for what no event tells. Each look starts a program, which paces it.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_so()? {
        ensure!(Instant::now() < end, "after 10 s it is not so that {what}");
    }
    Ok(())
}
