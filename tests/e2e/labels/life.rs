//! What comes of an attachment of a label, whatever its container and the agent do.

use anyhow::Result;
use pipewright_tests::{AgentOptions, Docker, Reach, needs, reach, residue};

use super::{CONFIG, Own, comes, of, options, told};
use crate::docker_door::{Behind, Door};
use crate::scene::until;

const WEB: &str = "pipewright.attach=BR1 --ip 192.0.2.1/24";

#[test]
fn it_follows_its_container_over_restarts_under_one_identity() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(CONFIG)?;
    let web = own.container("web", &[WEB], &[])?;
    let db = own.container("db", &["pipewright.attach=BR1 --ip 192.0.2.2/24"], &[])?;
    let made = comes(&own, &web, 1)?;
    comes(&own, &db, 1)?;

    for is_agent_killed in [false, true, false] {
        if is_agent_killed {
            own.scene.agent.crash_and_restart()?;
        }
        web.restart()?;
        until("it is there again", || web.inside()?.has_link("eth1"))?;
        let now = comes(&own, &web, 1)?;
        for same in ["id", "mac", "host_ifname", "created_at", "origin"] {
            assert_eq!(now[0][same], made[0][same], "{same}");
        }
        assert_eq!(reach(&web.inside()?, &db.inside()?, "192.0.2.2".parse()?)?, Reach::BOTH);
    }
    for guest in [&web, &db] {
        own.ctl(&format!("detach {}", guest.reference()))?;
    }
    own.scene.lab.finish()
}

#[test]
fn containers_that_run_when_the_agent_starts_get_theirs_and_no_twin() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(CONFIG)?;
    own.scene.agent.kill9()?;
    let web = own.container("web", &[WEB], &[])?;
    own.scene.agent.start()?;
    let made = comes(&own, &web, 1)?;

    for _ in 0..2 {
        own.scene.agent.crash_and_restart()?;
        // Whoever starts now is told of after those that ran were looked at.
        let late = own.container("late", &["pipewright.attach=BR1 --no-ip"], &[])?;
        comes(&own, &late, 1)?;
        late.kill()?;
        let now = comes(&own, &web, 1)?;
        assert_eq!(now[0]["id"], made[0]["id"]);
        until("what was late is gone", || Ok(own.scene.agent.list()?.len() == 1))?;
    }
    own.ctl(&format!("detach {}", web.reference()))?;
    own.scene.lab.finish()
}

#[test]
fn a_container_of_podman_gets_its_link_and_takes_it_along() -> Result<()> {
    needs!(Root, Podman, Ovs);
    let own = Own::new("")?;
    own.scene.agent.kill9()?;
    let file = own.scene.host.dir().join("pwagent.toml");
    std::fs::write(&file, own.of(CONFIG))?;
    let options = AgentOptions::with_runtimes()?.argument("--config").argument(&file.display().to_string());
    own.scene.agent.set_options(options);
    own.scene.agent.start()?;
    let label = |text: &str| format!("--label={}", own.of(text));
    let variable =
        format!("--env={}", own.of("pipework_cmd=BR2 -i eth2 @CONTAINER_NAME@ 198.51.100.@INSTANCE@/24"));
    let web = own.scene.host.podman_with("web-7", &[&label(WEB), &variable])?;

    let made = comes(&own, &web, 2)?;
    own.scene.agent.crash_and_restart()?;
    let now = comes(&own, &web, 2)?;

    assert_eq!((&now[0]["id"], &now[1]["id"]), (&made[0]["id"], &made[1]["id"]));
    assert_eq!(now[1]["spec"]["static_addresses"]["cidrs"][0], "198.51.100.7/24");
    assert!(web.inside()?.has_link("eth1")? && web.inside()?.has_link("eth2")?);
    web.kill()?;
    until("the records are gone with the container", || Ok(own.scene.agent.list()?.is_empty()))?;
    own.scene.lab.finish()
}

#[test]
fn a_start_that_docker_could_not_tell_of_is_heard_of_when_it_is_back() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new("")?;
    let door = Door::shut_at(&own.scene.host.dir().join("docker.sock"));
    own.scene.agent.kill9()?;
    own.scene.agent.set_options(options(&own.scene.host, &own.of(CONFIG))?.docker(&door.endpoint()));
    door.open(Behind::Docker)?;
    own.scene.agent.start()?;
    let web = own.container("web", &[WEB], &[])?;
    comes(&own, &web, 1)?;

    door.shut()?;
    let db = own.container("db", &["pipewright.attach=BR1 --ip 192.0.2.2/24"], &[])?;
    assert_eq!(own.scene.agent.list()?.len(), 1);
    door.open(Behind::Docker)?;

    comes(&own, &db, 1)?;
    comes(&own, &web, 1)?;
    for guest in [&web, &db] {
        own.ctl(&format!("detach {}", guest.reference()))?;
    }
    own.scene.lab.finish()
}

#[test]
fn what_an_operator_detached_stays_away_until_the_container_is_started_anew() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(CONFIG)?;
    // The second waits for its bridge, and is read after the first.
    let web = own.container("web", &[WEB, "pipewright.attach.z=LATER --no-ip --ifname eth2"], &[])?;
    // Detached in its first life, and in one that it followed into.
    for _ in 0..2 {
        comes(&own, &web, 1)?;
        own.ctl(&format!("detach {}", web.reference()))?;

        own.scene.agent.kill9()?;
        own.ip("link add LATER up type bridge")?;
        own.scene.agent.start()?;
        let all = comes(&own, &web, 1)?;
        assert_eq!(all[0]["spec"]["ifname"], "eth2");
        assert!(!web.inside()?.has_link("eth1")?);

        own.ip("link del LATER")?;
        web.restart()?;
        until("the first is back", || web.inside()?.has_link("eth1"))?;
        own.ctl(&format!("detach {}", all[0]["id"].as_str().unwrap_or_default()))?;
        web.restart()?;
    }
    own.ctl(&format!("detach {}", web.reference()))?;
    own.scene.lab.finish()
}

#[test]
fn a_container_that_is_made_anew_keeps_what_it_asks_for_again_and_nothing_else() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(&CONFIG.replace("recreate_within = 4", "recreate_within = 600"))?;
    let before = own.scene.settled()?;
    let more = "pipewright.attach.more=BR2 --ip 198.51.100.1/24 --ifname eth2";
    let first = own.container("web", &[WEB, more], &[])?;
    let name = first.reference().trim_start_matches("docker:").to_owned();
    let made = comes(&own, &first, 2)?;

    // Another text under one name, the same under the other.
    first.kill()?;
    let other = "pipewright.attach=BR1 --ip 192.0.2.7/24";
    let second = own.again("second", &name, &[other, more], &[])?;
    until("the new text is what is made", || {
        let all = of(&own, &second)?;
        Ok(all.len() == 2 && all[0]["spec"]["static_addresses"]["cidrs"][0] == "192.0.2.7/24")
    })?;
    let now = comes(&own, &second, 2)?;
    assert_ne!(now[0]["id"], made[0]["id"]);
    assert_eq!((&now[1]["id"], &now[1]["mac"]), (&made[1]["id"], &made[1]["mac"]));
    assert!(second.inside()?.has_link("eth1")? && second.inside()?.has_link("eth2")?);

    // None of it any more.
    second.kill()?;
    let third = own.again("third", &name, &[], &[])?;
    until("nothing is left", || Ok(own.scene.agent.list()?.is_empty()))?;
    assert!(!third.inside()?.has_link("eth1")?);
    third.kill()?;
    before.wait_same(&own.scene.host)?;
    residue::none(&own.scene.host)?;
    own.scene.lab.finish()
}

#[test]
fn a_container_that_gives_its_name_away_while_it_runs_keeps_its_link() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(CONFIG)?;
    let old = own.container("web", &[WEB], &[])?;
    let name = old.reference().trim_start_matches("docker:").to_owned();
    let made = comes(&own, &old, 1)?;
    let id = made[0]["guest"]["id"].as_str().unwrap_or_default();

    Docker::shared()?.docker(&["rename", &name, &format!("{name}-old")])?;
    let new = own.again("new", &name, &["pipewright.attach=BR1 --ip 192.0.2.1/24"], &[])?;

    until("each has one", || {
        Ok(own.scene.agent.list()?.iter().filter(|one| super::is_attached(one)).count() == 2)
    })?;
    assert!(old.inside()?.has_link("eth1")? && new.inside()?.has_link("eth1")?);
    // When the old one goes, the name is the new one's alone.
    Docker::shared()?.docker(&["rm", "--force", id])?;
    until("one is left", || Ok(own.scene.agent.list()?.len() == 1))?;
    let left = comes(&own, &new, 1)?;
    assert_ne!(left[0]["id"], made[0]["id"]);
    own.ctl(&format!("detach {}", new.reference()))?;
    // Both go by its name here.
    old.docker("inspect")?;
    own.scene.lab.finish()
}

#[test]
fn a_narrower_configuration_ends_no_traffic_and_holds_from_the_next_start() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(CONFIG)?;
    let web = own.container("web", &[WEB], &[])?;
    let made = comes(&own, &web, 1)?;

    let narrower = CONFIG.replace("192.0.2.0/24", "192.0.2.128/25");
    own.restart(&narrower)?;
    assert_eq!(comes(&own, &web, 1)?[0]["id"], made[0]["id"]);
    assert!(web.inside()?.has_link("eth1")?);
    web.restart()?;
    until("it waits, and says why", || {
        let all = of(&own, &web)?;
        let why = all.first().and_then(|one| one["waiting"].as_str()).unwrap_or_default();
        Ok(why.contains("192.0.2.1/24 is not within those that are allowed: 192.0.2.128/25"))
    })?;
    assert!(!web.inside()?.has_link("eth1")?);

    own.restart(CONFIG)?;
    assert_eq!(comes(&own, &web, 1)?[0]["id"], made[0]["id"]);
    assert_eq!(told(&own, &web)?, []);
    own.ctl(&format!("detach {}", web.reference()))?;
    own.scene.lab.finish()
}

#[test]
fn labels_do_no_harm_where_docker_is_not() -> Result<()> {
    needs!(Root, Ovs);
    let own = Own::new("")?;
    own.scene.agent.kill9()?;
    let file = own.scene.host.dir().join("pwagent.toml");
    std::fs::write(&file, own.of(CONFIG))?;
    own.scene
        .agent
        .set_options(AgentOptions::default().argument("--config").argument(&file.display().to_string()));
    own.scene.agent.start()?;
    let web = own.scene.host.guest("web")?;

    own.ctl(&format!("attach BR1 {} --no-ip", web.reference()))?;
    own.ctl(&format!("detach {}", web.reference()))?;
    own.scene.lab.finish()
}
