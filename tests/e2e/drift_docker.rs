//! Docker computes a container's default route anew whenever the container joins or leaves a network.

use std::time::Instant;

use anyhow::{Result, ensure};
use pipewright_tests::{AgentOptions, Docker, Lab, needs};

use crate::scene::until;

#[test]
fn a_default_route_of_ours_comes_back_when_docker_sets_its_own() -> Result<()> {
    needs!(Root, Docker);
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let agent = host.agent(AgentOptions::with_docker()?)?;
    let web = host.container("web")?;
    let name = web.reference().trim_start_matches("docker:");
    let docker = Docker::shared()?;
    let (network, another) = (format!("{name}-net"), format!("{name}-another"));
    docker.docker(&["network", "create", "--subnet", "203.0.113.0/24", &network])?;
    docker.docker(&["network", "create", "--subnet", "198.51.100.0/24", &another])?;
    // A container without any network cannot join one.
    docker.docker(&["network", "disconnect", "none", name])?;
    docker.docker(&["network", "connect", &network, name])?;
    agent
        .ctl(&format!("attach br0 {} --ifname eth9 --ip 192.0.2.10/24 --gateway 192.0.2.1", web.reference()))?
        .ok()?;
    let ours = "default via 192.0.2.1 dev eth9";
    let route = || web.ip("route show default");

    // With our route in its place Docker's may be refused, and the container does not join then.
    let begun = Instant::now();
    let joined = docker.docker(&["network", "connect", &another, name]);
    println!("docker network connect: {joined:?}, then {}", route()?.trim());
    until("our default route is back", || Ok(route()?.contains(ours)))?;
    println!("our default route was back after {:?}", begun.elapsed());

    // Whatever it did: if Docker's route stands in place of ours, ours comes back, and detach puts back Docker's.
    web.ip("route replace default via 203.0.113.1 dev eth0")?;
    until("our default route is back", || Ok(route()?.trim().starts_with(ours)))?;
    agent.ctl(&format!("detach {}", web.reference()))?.ok()?;
    ensure!(route()?.contains("default via 203.0.113.1 dev eth0"), "{}", route()?);

    if joined.is_ok() {
        docker.docker(&["network", "disconnect", "--force", &another, name])?;
    }
    docker.docker(&["network", "disconnect", "--force", &network, name])?;
    web.kill()?;
    docker.docker(&["network", "rm", &network, &another])?;
    lab.finish()
}
