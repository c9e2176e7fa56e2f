//! Containers that ask for their links themselves, in labels and variables; and what they do not get.

use std::sync::Arc;

use anyhow::Result;
use pipewright_tests::ctl::Answer;
use pipewright_tests::{AgentOptions, Guest, Host, Lab, needs};
use serde_json::Value;

use crate::scene::{Scene, until};

mod faults;
mod life;
mod refused;

/// What the agents of these stories allow. All stories of a program share one Docker, and each agent hears of the containers of
/// all, so each host has uplinks of its own names; see [`Own::of`].
const CONFIG: &str = "\
recreate_within = 4
[labels]
pipework_cmd = true
[[labels.allow]]
uplink = \"BR1\"
addresses = [\"192.0.2.0/24\"]
gateway = true
[[labels.allow]]
uplink = \"BR2\"
addresses = [\"198.51.100.0/24\"]
[[labels.allow]]
uplink = \"SW1\"
vlans = [100, \"200-299\"]
addresses = [\"192.0.2.0/24\"]
[[labels.allow]]
uplink = \"NIC1\"
[[labels.allow]]
uplink = \"LATER\"
";

/// A host with two linux bridges, one of Open vSwitch and a NIC, and an agent that heeds labels.
struct Own {
    scene: Scene,
    number: String,
}

impl Own {
    fn new(config: &str) -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        let number = lab.name().rsplit('-').next().unwrap_or_default().to_owned();
        let own = |text: &str| Self::named(&number, text);
        host.ovs()?.add_bridge(&own("SW1"))?;
        // With a port and an address of its own, it is the same with and without ours.
        for (bridge, mac) in [("BR1", "02:00:5e:10:00:01"), ("BR2", "02:00:5e:10:00:02")] {
            host.inside().ip(&own(&format!("link add {bridge} up address {mac} type bridge")))?;
            host.inside()
                .ip(&own(&format!("link add {bridge}p up master {bridge} type veth peer name {bridge}q")))?;
            host.inside().ip(&own(&format!("link set {bridge}q up")))?;
        }
        host.inside().ip(&own("link add NIC1 up type veth peer name NIC1x"))?;
        host.inside().ip(&own("link set NIC1x up"))?;
        let agent = host.agent(options(&host, &own(config))?)?;
        Ok(Self { scene: Scene { lab, host, agent }, number })
    }

    fn named(number: &str, text: &str) -> String {
        let names = [("BR1", "lan"), ("BR2", "lab"), ("SW1", "sw"), ("NIC1", "nic"), ("LATER", "br-")];
        names.iter().fold(text.to_owned(), |text, (name, own)| text.replace(name, &format!("{own}{number}")))
    }

    /// A text with the names that the uplinks have here.
    fn of(&self, text: &str) -> String {
        Self::named(&self.number, text)
    }

    fn ctl(&self, line: &str) -> Result<Answer> {
        self.scene.ctl(&self.of(line))
    }

    fn ip(&self, line: &str) -> Result<String> {
        self.scene.host.inside().ip(&self.of(line))
    }

    /// Has the agent started anew with another configuration.
    fn restart(&self, config: &str) -> Result<()> {
        self.scene.agent.kill9()?;
        self.scene.agent.set_options(options(&self.scene.host, &self.of(config))?);
        self.scene.agent.start()
    }

    /// A container with these labels and variables, each `NAME=TEXT`.
    fn container(&self, name: &str, labels: &[&str], variables: &[&str]) -> Result<Arc<Guest>> {
        self.again(name, &format!("{}-{name}", self.scene.lab.name()), labels, variables)
    }

    /// Likewise, under the name that another one had.
    fn again(&self, name: &str, called: &str, labels: &[&str], variables: &[&str]) -> Result<Arc<Guest>> {
        let labels = labels.iter().map(|label| format!("--label={}", self.of(label)));
        let variables = variables.iter().map(|variable| format!("--env={}", self.of(variable)));
        let options: Vec<String> = labels.chain(variables).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.scene.host.container_with(name, called, &options)
    }
}

fn options(host: &Host, config: &str) -> Result<AgentOptions> {
    let file = host.dir().join("pwagent.toml");
    std::fs::write(&file, config)?;
    Ok(AgentOptions::with_docker()?.argument("--config").argument(&file.display().to_string()))
}

/// The attachments of a guest, in the order of their links' names.
fn of(own: &Own, guest: &Guest) -> Result<Vec<Value>> {
    let listed = own.ctl(&format!("-o json list --guest {}", guest.reference()))?.json()?;
    let mut all = listed["attachments"].as_array().cloned().unwrap_or_default();
    all.sort_by_key(|one| one["spec"]["ifname"].as_str().unwrap_or_default().to_owned());
    Ok(all)
}

fn is_attached(attachment: &Value) -> bool {
    attachment["state"] == "ATTACHMENT_STATE_ATTACHED"
}

/// Waits until a guest has that many links, all of them attached, and gives them.
fn comes(own: &Own, guest: &Guest, count: usize) -> Result<Vec<Value>> {
    until(&format!("{} has {count} links", guest.reference()), || {
        let all = of(own, guest)?;
        Ok(all.len() == count && all.iter().all(is_attached))
    })?;
    of(own, guest)
}

/// What the doctor says of the labels of a guest.
fn told(own: &Own, guest: &Guest) -> Result<Vec<(String, String)>> {
    let said = own.scene.agent.ctl("-o json doctor")?;
    let said: Value = serde_json::from_str(&said.stdout)?;
    let findings = said["findings"].as_array().cloned().unwrap_or_default();
    let of_it = findings.iter().filter(|finding| finding["code"] == "FINDING_CODE_LABEL_REFUSED").filter_map(
        |finding| {
            let object = finding["object"].as_str()?.strip_suffix(&format!(" of {}", guest.reference()))?;
            Some((object.to_owned(), finding["text"].as_str()?.to_owned()))
        },
    );
    Ok(of_it.collect())
}

/// Waits until that is said of that many labels.
fn waits_for(own: &Own, guest: &Guest, count: usize) -> Result<Vec<(String, String)>> {
    until(&format!("{count} labels are refused"), || Ok(told(own, guest)?.len() == count))?;
    told(own, guest)
}

#[test]
fn labels_are_not_heeded_unless_the_configuration_says_so() -> Result<()> {
    needs!(Root, Docker, Ovs);
    for config in ["", "[labels]\npipework_cmd = true\n"] {
        let own = Own::new(config)?;
        let web = own.container(
            "web",
            &["pipewright.attach=BR1 --no-ip"],
            &["pipework_cmd=BR1 -i eth2 @CONTAINER_NAME@ 0/0"],
        )?;
        own.ctl(&format!("attach BR2 {} --no-ip --ifname eth7", web.reference()))?;

        // Its start is heard of, and brings back what follows it.
        web.restart()?;
        let all = comes(&own, &web, 1)?;

        assert_eq!(all[0]["spec"]["ifname"], "eth7");
        assert!(!web.inside()?.has_link("eth1")? && !web.inside()?.has_link("eth2")?);
        assert_eq!(told(&own, &web)?, []);
        own.ctl(&format!("detach {}", web.reference()))?;
        own.scene.lab.finish()?;
    }
    Ok(())
}

#[test]
fn a_container_gets_the_links_that_its_labels_ask_for() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(CONFIG)?;
    let before = own.scene.settled()?;
    let web = own.container(
        "web",
        &[
            "pipewright.attach=BR1 --ip 192.0.2.1/24 --gateway 192.0.2.254",
            "pipewright.attach.db=SW1 --vlan 200 --ip 192.0.2.129/25 --ifname db0",
            "pipewright.attach.raw=NIC1 --no-ip --ifname raw0",
        ],
        &[],
    )?;

    let all = comes(&own, &web, 3)?;

    let shown: Vec<_> = all.iter().map(|one| (&one["spec"]["ifname"], &one["origin"]["key"])).collect();
    assert_eq!(shown[0], (&"db0".into(), &"pipewright.attach.db".into()));
    assert_eq!(shown[1], (&"eth1".into(), &"pipewright.attach".into()));
    assert_eq!(shown[2], (&"raw0".into(), &"pipewright.attach.raw".into()));
    assert_eq!(all[1]["origin"]["line"], own.of("BR1 --ip 192.0.2.1/24 --gateway 192.0.2.254"));
    assert_eq!(web.inside()?.ip_json("route show default")?[0]["gateway"], "192.0.2.254");
    let port = all[0]["host_ifname"].as_str().unwrap_or_default().to_owned();
    assert_eq!(own.scene.host.ovs()?.vsctl(&format!("get port {port} tag"))?.trim(), "200");
    let list = own.ctl("list")?.stdout;
    assert!(list.contains("attached (pipewright.attach.db)"), "{list}");
    // Who asks for the same is told that it is there.
    let same = format!("attach BR1 {} --ip 192.0.2.1/24 --gateway 192.0.2.254", web.reference());
    assert!(own.ctl(&same)?.stdout.contains("it was there already"));

    web.kill()?;
    until("the records are gone with the container", || Ok(own.scene.agent.list()?.is_empty()))?;
    before.wait_same(&own.scene.host)?;
    own.scene.lab.finish()
}

#[test]
fn a_container_gets_the_links_that_its_variables_ask_for_in_pipeworks_words() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(CONFIG)?;
    let web = own.container(
        "web-7",
        &[],
        &[
            "pipework_cmd=pipework BR1 -i eth0 @CONTAINER_NAME@ 192.0.2.@INSTANCE@/24@192.0.2.254",
            "pipework_cmd_2=SW1 @CONTAINER_ID@ 192.0.2.9/24 @100",
            "pipework_cmd_3=BR2 -i eth3 @HOSTNAME@ 0/0",
        ],
    )?;

    let all = comes(&own, &web, 3)?;

    assert_eq!(all[0]["spec"]["static_addresses"]["cidrs"][0], "192.0.2.7/24");
    assert_eq!(all[0]["origin"]["key"], "pipework_cmd");
    assert_eq!(all[1]["spec"]["access_vlan"], 100);
    assert_eq!(web.inside()?.ip_json("route show default")?[0]["dev"], "eth0");
    own.ctl(&format!("detach {}", web.reference()))?;
    own.scene.lab.finish()
}
