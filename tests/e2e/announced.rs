//! Neighbours that heard nothing the first time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pipewright_tests::needs;
use pipewright_tests::process::Process;

use crate::scene::Scene;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn addresses_are_announced_more_than_once_and_nothing_of_the_guest_is_held_meanwhile() -> Result<()> {
    needs!(Root, Tcpdump);
    let scene = Scene::linux()?;
    let (peer, web) = (scene.host.guest("peer")?, scene.host.guest("web")?);
    scene.ctl(&format!("attach br0 {} --no-ip", peer.reference()))?;
    let heard = Process::spawn(
        "tcpdump",
        peer.inside()?.command("tcpdump")?.args(["-l", "-n", "-i", "eth1", "arp or icmp6"]),
    )?;
    heard.wait_line(|line| line.contains("listening on"), SOON)?;

    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24 --ip 2001:db8::10/64", web.reference()))?;

    let arp = "Request who-has 192.0.2.10 tell 192.0.2.10";
    let advertisement = "neighbor advertisement, tgt is 2001:db8::10";
    let end = Instant::now() + SOON;
    let mut lines = 0;
    while heard.log().matches(arp).count() < 2 || heard.log().matches(advertisement).count() < 3 {
        ensure!(Instant::now() < end, "not announced often enough:\n{}", heard.log());
        lines = heard.wait_more(lines, SOON)?;
    }
    // A guest that dies takes its links along, which a held namespace would prevent.
    web.kill()?;
    crate::scene::until("the attachment is gone", || Ok(scene.agent.list()?.len() == 1))?;
    scene.ctl(&format!("detach {}", peer.reference()))?;
    scene.lab.finish()
}
