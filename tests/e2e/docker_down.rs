//! Docker that is away: containers cannot be found by name, and everything else goes on.

use std::sync::Arc;

use anyhow::Result;
use pipewright_tests::{Agent, AgentOptions, Docker, Host, Lab, Snapshot, needs, reach};

use crate::ask;
use crate::docker_door::{Behind, Door};

fn host_with_door() -> Result<(Lab, Arc<Host>, Arc<Agent>, Door)> {
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let door = Door::shut_at(&host.dir().join("docker.sock"));
    let agent = host.agent(AgentOptions::default().docker(&door.endpoint()))?;
    Ok((lab, host, agent, door))
}

#[test]
fn without_docker_pids_and_namespaces_are_found_and_containers_once_it_is_there() -> Result<()> {
    needs!(Root, Docker);
    let (lab, host, agent, door) = host_with_door()?;
    let (web, job, named) = (host.container("web")?, host.process_guest("job")?, host.guest("named")?);
    let before = Snapshot::take(&host)?;
    let attach = |guest: &str, last: u8| agent.ctl(&format!("attach br0 {guest} --ip 192.0.2.{last}/24"));

    for guest in [web.reference(), "nobody"] {
        ask::refused(attach(guest, 1)?, "DOCKER_DOWN", &["docker.sock", "pid:N"]);
    }
    attach(job.reference(), 2)?.ok()?;
    attach(named.reference(), 3)?.ok()?;

    door.open(Behind::Docker)?;
    attach(web.reference(), 1)?.ok()?;
    assert!(reach::ping(&web.inside()?, "192.0.2.2".parse()?)?);

    door.shut()?;
    ask::refused(attach("docker:other", 4)?, "DOCKER_DOWN", &["docker.sock"]);
    door.open(Behind::Docker)?;
    ask::refused(attach("docker:other", 4)?, "GUEST_NOT_FOUND", &["other", "docker ps"]);

    for guest in [&web, &job, &named] {
        agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    }
    before.wait_same(&host)?;
    lab.finish()
}

#[test]
fn attachments_of_containers_outlive_dockers_absence_and_can_be_detached_meanwhile() -> Result<()> {
    needs!(Root, Docker);
    let (lab, host, agent, door) = host_with_door()?;
    let (web, db) = (host.container("web")?, host.container("db")?);
    let before = Snapshot::take(&host)?;
    door.open(Behind::Docker)?;
    for (guest, last) in [(&web, 1), (&db, 2)] {
        agent.ctl(&format!("attach br0 {} --ip 192.0.2.{last}/24", guest.reference()))?.ok()?;
    }

    door.shut()?;
    // Also the next agent finds what the last one made, by what was recorded.
    agent.crash_and_restart()?;
    assert_eq!(agent.list()?.len(), 2);
    assert!(reach::ping(&web.inside()?, "192.0.2.2".parse()?)?);
    agent.ctl(&format!("detach {}", web.reference()))?.ok()?;
    assert!(!web.inside()?.has_link("eth1")?);

    door.open(Behind::Docker)?;
    let again = agent.ctl(&format!("attach br0 {} --ip 192.0.2.2/24", db.reference()))?.ok()?;
    assert!(again.stdout.contains("it was there already"), "{again:?}");
    agent.ctl(&format!("detach {}", db.reference()))?.ok()?;
    before.wait_same(&host)?;
    lab.finish()
}

#[test]
fn a_docker_that_does_not_answer_holds_up_nobody_else() -> Result<()> {
    needs!(Root, Docker);
    let (lab, host, agent, door) = host_with_door()?;
    let job = host.process_guest("job")?;
    let before = Snapshot::take(&host)?;
    door.open(Behind::Nobody)?;

    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| agent.ctl("attach br0 docker:web --no-ip --timeout 60s"));
        for _ in 0..3 {
            agent.ctl(&format!("attach br0 {} --no-ip --timeout 5s", job.reference()))?.ok()?;
            agent.ctl(&format!("detach {} --timeout 5s", job.reference()))?.ok()?;
        }
        assert!(!asked.is_finished(), "Docker was not waited for");
        asked.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })?;

    ask::refused(answer, "DOCKER_DOWN", &["docker.sock"]);
    before.wait_same(&host)?;
    lab.finish()
}

#[test]
fn the_host_says_whether_docker_is_there() -> Result<()> {
    needs!(Root, Docker);
    let (lab, _host, agent, door) = host_with_door()?;
    let docker = || -> Result<serde_json::Value> {
        let shown = agent.ctl("-o json host show")?.json()?;
        let all = shown["capabilities"].as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().find(|one| one["name"] == "docker").unwrap_or_default())
    };

    assert_eq!(docker()?["present"], false);
    door.open(Behind::Docker)?;
    let version = Docker::shared()?.docker(&["version", "--format", "{{.Server.Version}}"])?;
    let shown = docker()?;
    assert_eq!(shown["present"], true);
    assert!(shown["detail"].as_str().is_some_and(|detail| detail.contains(version.trim())), "{shown}");
    lab.finish()
}
