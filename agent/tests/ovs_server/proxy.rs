//! A unix socket between a client and an OVSDB server that does to the bytes what networks may do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// What happens to the server's bytes on their way to the client.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Replies {
    /// They come in pieces of this many bytes.
    Split(usize),
    /// Messages come together: all that the server says within this time in one write.
    Coalesced(Duration),
    /// Those to requests with this text, and all after them, do not come.
    LostAfter(&'static str),
}

/// Accepts any number of connections; says what clients ask.
pub(crate) struct Proxy {
    path: PathBuf,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Proxy {
    pub(crate) fn start(path: PathBuf, server: &Path, replies: Replies) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let server = server.to_owned();
        let (ask, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = UnixStream::connect(&server).await {
                    tokio::spawn(carry(client, server, replies, ask.clone()));
                }
            }
        });
        Self { path, asked }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Returns when a client has asked for something with this text, and the server has been told.
    pub(crate) async fn asked(&mut self, text: &str) {
        while !self.asked.recv().await.unwrap().contains(text) {}
    }
}

async fn carry(client: UnixStream, server: UnixStream, replies: Replies, ask: mpsc::UnboundedSender<String>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (lose, lost) = tokio::sync::watch::channel(false);
    let upward = async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if matches!(replies, Replies::LostAfter(what) if text.contains(what)) {
                lose.send_replace(true);
            }
            to_server.write_all(&buffer[..count]).await.unwrap();
            // The test may not want to know.
            let _ = ask.send(text);
        }
    };
    let downward = async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            let mut bytes = buffer[..count].to_vec();
            if let Replies::Coalesced(pause) = replies {
                while let Ok(Ok(count @ 1..)) =
                    tokio::time::timeout(pause, from_server.read(&mut buffer)).await
                {
                    bytes.extend_from_slice(&buffer[..count]);
                }
            }
            if *lost.borrow() {
                continue;
            }
            let size = if let Replies::Split(size) = replies { size } else { bytes.len() };
            for piece in bytes.chunks(size) {
                if to_client.write_all(piece).await.is_err() {
                    return;
                }
                // Lets the client read this piece alone.
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        () = upward => {}
        () = downward => {}
    }
}
