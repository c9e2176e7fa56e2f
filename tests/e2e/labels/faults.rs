//! The agent dies over what a label asks for: the next one makes it, once.

use anyhow::{Result, ensure};
use pipewright_tests::{needs, residue};

use super::{CONFIG, Own, comes, of, options, told};
use crate::scene::until;

/// More than any plan here has.
const MOST: usize = 40;

#[test]
fn an_agent_that_dies_over_a_label_makes_it_once_when_it_is_started_again() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new("")?;
    let agent = &own.scene.agent;
    agent.kill9()?;
    let web = own.container("web", &["pipewright.attach=SW1 --vlan 100 --ip 192.0.2.1/24"], &[])?;
    let mut died = 0;
    for step in 0..MOST {
        let whole = options(&own.scene.host, &own.of(CONFIG))?;
        let faulty = whole.clone().binary("pwagent-faulty");
        agent.set_options(faulty.variable("PIPEWRIGHT_FAULT", &format!("kill-after:{step}")));
        agent.launch()?;
        until("it is dead, or has made it", || {
            Ok(agent.pid().is_none() || agent.log().matches("its container asked for it").count() > died)
        })?;
        let is_dead = agent.pid().is_none();
        agent.kill9()?;
        agent.set_options(whole);
        agent.start()?;

        comes(&own, &web, 1)?;
        agent.crash_and_restart()?;
        comes(&own, &web, 1)?;
        own.ctl(&format!("detach {}", web.reference()))?;
        assert_eq!(of(&own, &web)?.len(), 0);
        residue::none(&own.scene.host)?;
        agent.kill9()?;
        if !is_dead {
            break;
        }
        died = step + 1;
        web.restart()?;
    }
    ensure!(died > 5, "only {died} steps were died after");
    agent.start()?;
    own.scene.lab.finish()
}

#[test]
fn what_the_host_cannot_do_yet_is_made_once_it_can_and_nobody_has_to_tell() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let own = Own::new(CONFIG)?;
    own.ip("link del BR1")?;
    let web = own.container("web", &["pipewright.attach=BR1 --ip 192.0.2.1/24"], &[])?;
    until("doctor says what is missing", || {
        Ok(told(&own, &web)?.iter().any(|(_, why)| why.contains(&own.of("BR1"))))
    })?;
    assert_eq!(of(&own, &web)?.len(), 0);

    own.ip("link add BR1 up type bridge")?;

    // It is tried again at once, and then after 16 s, which is longer than most things are waited for.
    let made = comes(&own, &web, 1).or_else(|_| comes(&own, &web, 1)).or_else(|_| comes(&own, &web, 1))?;
    ensure!(made[0]["spec"]["uplink"] == own.of("BR1"), "{made:?}");
    until("doctor has nothing to say", || Ok(told(&own, &web)?.is_empty()))?;
    own.ctl(&format!("detach {}", web.reference()))?;
    own.scene.lab.finish()
}
