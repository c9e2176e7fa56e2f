//! When containers start and go, as their daemon tells it.

use std::collections::HashMap;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::{EventActor, EventMessage};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use pipewright_api::reason::Failure;

use super::docker::Docker;

/// Events from so long ago are told, too: none is missed between a look and the first event, whichever comes first, and a
/// repeated one costs a look.
const OVERLAP: Duration = Duration::from_secs(1);

/// What is told of containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It is listened from now on; what was before is not known.
    Unknown,
    /// One started, was deleted or got another name.
    Changed {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
}

impl Docker {
    /// Tells what happens to containers (`docker events`) until the daemon goes away, and then why.
    pub async fn tell(&self, tell: impl Fn(Life)) -> Failure {
        // Daemons answer the question for events late or never when they cannot answer at all.
        if let Err(failure) = self.version().await {
            return failure;
        }
        let client = match self.client() {
            Ok(client) => client,
            Err(failure) => return failure,
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let filters = HashMap::from([
            ("type".to_owned(), words(&["container"])),
            // Podman says `remove` where Docker says `destroy`.
            ("event".to_owned(), words(&["start", "destroy", "remove", "rename"])),
        ]);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(OVERLAP);
        let options =
            EventsOptionsBuilder::new().since(&since.as_secs().to_string()).filters(&filters).build();
        let mut events = pin!(client.events(Some(options)));
        tell(Life::Unknown);
        loop {
            match events.next().await {
                Some(Ok(event)) => tell(changed(event)),
                Some(Err(error)) => return self.down(&error),
                None => return self.silent(),
            }
        }
    }
}

fn changed(event: EventMessage) -> Life {
    let EventActor { id, attributes } = event.actor.unwrap_or_default();
    let name = attributes.and_then(|mut attributes| attributes.remove("name"));
    match id {
        Some(id) => Life::Changed { id, name: name.unwrap_or_default() },
        None => Life::Unknown,
    }
}
