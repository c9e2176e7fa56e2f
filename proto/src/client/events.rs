//! The stream of a watch.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::endpoint::Endpoint;
use super::error::{Asked, ClientError, Ended};
use crate::event::Event;
use crate::wire;

/// Changes of attachments as they happen. Ends when the agent closes the connection in order; an error is its last item.
#[derive(Debug)]
pub struct Events {
    stream: Option<Streaming<wire::WatchResponse>>,
    endpoint: Endpoint,
}

impl Events {
    pub(super) fn new(stream: Streaming<wire::WatchResponse>, endpoint: Endpoint) -> Self {
        Self { stream: Some(stream), endpoint }
    }

    fn parse(&self, event: Result<wire::WatchResponse, Status>) -> Result<Event, ClientError> {
        match event {
            Ok(event) => Event::try_from(event).map_err(|why| ClientError::Protocol {
                endpoint: self.endpoint.clone(),
                why: why.message().to_owned(),
            }),
            Err(status) => Err(Ended::from(&status).into_error(Asked::Only, &self.endpoint)),
        }
    }
}

impl Stream for Events {
    type Item = Result<Event, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        match Pin::new(stream).poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(event)) => {
                let event = self.parse(event);
                if event.is_err() {
                    self.stream = None;
                }
                Poll::Ready(Some(event))
            }
        }
    }
}
