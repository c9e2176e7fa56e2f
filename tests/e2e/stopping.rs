//! The way down.

use std::time::Duration;

use anyhow::Result;
use pipewright_api::client::ClientError;
use pipewright_api::condition::Condition;
use pipewright_api::net::LinkName;
use pipewright_api::reason::Reason;
use pipewright_api::spec::GuestRef;
use pipewright_tests::needs;
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;

use crate::scene::Scene;

#[test]
fn an_agent_stops_although_somebody_watches_and_somebody_waits() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;

    Runtime::new()?.block_on(async {
        let client = scene.agent.client()?.asking_again_for(Duration::ZERO);
        let mut watching = client.watch(None, None).await?;
        let (waits, ifname) = (client.clone(), "eth1".parse::<LinkName>()?);
        let reference: GuestRef = guest.reference().parse()?;
        let waiting = tokio::spawn(async move {
            waits.wait(&reference, &ifname, Condition::Up, Duration::from_secs(600)).await
        });
        // The watcher hears of an attachment, so its stream is open, and the one who waits came before it.
        scene.ctl(&format!("attach br0 {} --ifname eth2 --no-ip", guest.reference()))?;
        assert!(watching.next().await.is_some());

        scene.agent.terminate()?;

        let sent_away = waiting.await?;
        assert!(
            matches!(&sent_away, Err(ClientError::Refused(why)) if why.reason() == Reason::Stopping),
            "{sent_away:?}"
        );
        while watching.next().await.is_some() {}
        anyhow::Ok(())
    })?;
    scene.agent.start()?;
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}
