//! What changes is told in order, once, and from where the caller left off; what there is is listed page by page.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pipewright_api::attachment::State;
use pipewright_api::client::Events;
use pipewright_api::event::Event;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::{DetachTarget, ListFilter};
use pipewright_api::wire;
use pipewright_api::wire::agent_client::AgentClient;
use pipewright_tests::needs;
use tokio_stream::StreamExt as _;
use uuid::Uuid;

use crate::scene::{Scene, asking, refused, spec};

const LIFE: [State; 4] = [State::Attaching, State::Attached, State::Detaching, State::Detached];

async fn take(events: &mut Events, count: usize) -> Result<Vec<Event>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let event = tokio::time::timeout(Duration::from_secs(10), events.next());
        taken.push(event.await.context("no event")?.context("the stream ended")??);
    }
    Ok(taken)
}

#[test]
fn a_watch_tells_each_change_once_in_order_and_goes_on_where_it_was_left() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, other) = (scene.host.guest("web")?, scene.host.guest("other")?);
    let asked = spec(&web, "br0", "192.0.2.10/24");
    let target = DetachTarget::Guest { guest: asked.guest.clone(), ifname: None };

    let last = asking(async {
        let client = scene.agent.client()?;
        let mut events = client.watch(None, Some(&asked.guest)).await?;
        scene.ctl(&format!("attach br0 {} --no-ip", other.reference()))?;
        let attached = client.attach(Uuid::new_v4(), &asked, false).await?;
        client.detach(Uuid::new_v4(), &target, false).await?;
        scene.ctl(&format!("detach {}", other.reference()))?;

        let told = take(&mut events, LIFE.len()).await?;
        assert_eq!(told.iter().map(|event| event.attachment.state).collect::<Vec<_>>(), LIFE);
        assert!(told.iter().all(|event| event.attachment.id == attached.attachment.id));
        assert!(told.windows(2).all(|two| two[0].revision < two[1].revision), "{told:#?}");
        assert!(told.iter().all(|event| event.cause.is_none()), "somebody asked for it: {told:#?}");

        for (index, event) in told.iter().enumerate() {
            let mut later = client.watch(Some(event.revision), Some(&asked.guest)).await?;
            let rest = take(&mut later, LIFE.len() - index - 1).await?;
            assert_eq!(rest, told[index + 1..]);
        }
        Ok(told[LIFE.len() - 1].revision)
    })?;

    scene.restart()?;
    asking(async {
        let client = scene.agent.client()?;
        for unknown in [last, last + (1 << 60)] {
            match client.watch(Some(unknown), None).await {
                Err(error) => drop(refused(Err::<(), _>(error), Reason::Resync)),
                Ok(mut events) => {
                    let first = events.next().await.context("an answer")?;
                    drop(refused(first, Reason::Resync));
                }
            }
        }
        // The way on that RESYNC tells.
        let listing = client.list(&ListFilter::default()).await?;
        let mut events = client.watch(Some(listing.revision), None).await?;
        client.attach(Uuid::new_v4(), &asked, false).await?;
        client.detach(Uuid::new_v4(), &target, false).await?;
        let told = take(&mut events, LIFE.len()).await?;
        assert_eq!(told.iter().map(|event| event.attachment.state).collect::<Vec<_>>(), LIFE);
        assert!(told[0].revision > last, "revisions go up over a restart");
        Ok(())
    })?;
    scene.lab.finish()
}

#[test]
fn a_list_of_30_comes_in_pages_and_by_filter() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guests = [scene.host.guest("web")?, scene.host.guest("db")?];
    for (number, guest) in guests.iter().enumerate() {
        for link in 0..15 {
            let bridge = if link < 5 { "br1" } else { "br0" };
            scene.ctl(&format!(
                "attach {bridge} {} --ifname e{link} --ip 192.0.2.{}/24",
                guest.reference(),
                20 * number + link + 10
            ))?;
        }
    }

    asking(async {
        let channel = tonic::transport::Endpoint::from_shared(scene.agent.endpoint())?.connect().await?;
        let mut agent = AgentClient::new(channel);
        let mut ids = Vec::new();
        let mut sizes = Vec::new();
        let mut request = wire::ListRequest { page_size: 7, ..wire::ListRequest::default() };
        loop {
            let page = agent.list(request.clone()).await?.into_inner();
            sizes.push(page.attachments.len());
            ids.extend(page.attachments.into_iter().map(|one| one.id));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(sizes, [7, 7, 7, 7, 2]);
        assert_eq!(
            ids.iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
            ids.iter().collect::<Vec<_>>()
        );

        for (bad, field) in [("page_token", "nonsense"), ("page_size", "")] {
            let request = wire::ListRequest {
                page_token: field.to_owned(),
                page_size: if bad == "page_size" { 1001 } else { 7 },
                ..wire::ListRequest::default()
            };
            let status = agent.list(request).await.expect_err("no such page");
            let failure = Failure::from_status(&status).context("a refusal")?;
            assert_eq!((failure.reason(), failure.fact("field")), (Reason::InvalidField, Some(bad)));
        }

        let client = scene.agent.client()?;
        let count =
            async |filter: ListFilter| client.list(&filter).await.map(|found| found.attachments.len());
        assert_eq!(count(ListFilter::default()).await?, 30);
        assert_eq!(count(ListFilter { bridge: "br1".parse().ok(), ..ListFilter::default() }).await?, 10);
        let guest = guests[0].reference().parse().ok();
        assert_eq!(count(ListFilter { guest, ..ListFilter::default() }).await?, 15);
        assert_eq!(count(ListFilter { id: ids[3].parse().ok(), ..ListFilter::default() }).await?, 1);
        Ok(())
    })?;

    for guest in &guests {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    assert_eq!(scene.agent.list()?.len(), 0);
    scene.lab.finish()
}
